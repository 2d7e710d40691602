"""What a mapping run leaves behind: the map itself, files for other programs, and an image."""

from collections.abc import Sequence
from pathlib import Path

from sab3r_ros.mapping.export import write_ply, write_tum
from sab3r_ros.mapping.map_file import map_mark
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.session import save_map
from sab3r_ros.query.map_query import MapQuery, label_voxels
from sab3r_ros.query.object_store import save_objects
from sab3r_ros.query.objects import LocatedObject
from sab3r_ros.query.registry import ObjectRegistry
from sab3r_ros.viewer.preview import draw_preview


def write_outputs(
    mapper: Mapper,
    query: MapQuery | None,
    out: Path,
    overwrite: bool,
    objects: Sequence[LocatedObject] = (),
    registry: ObjectRegistry | None = None,
) -> None:
    """The map's own format with its things, map.ply, trajectory.txt and preview.png; registry: things whose ids go on.

    Raises as `save_map`.
    """
    save_map(mapper, out, overwrite)
    snapshot, trajectory = mapper.snapshot(), mapper.trajectory
    if query is not None:
        registry = registry or ObjectRegistry()
        registry.update(query, snapshot, mapper.state.graph.keyframes)
        save_objects(out, map_mark(out), registry)
    label, score = label_voxels(query, snapshot)
    write_ply(out / "map.ply", snapshot.points, snapshot.colours, score, label)
    write_tum(out / "trajectory.txt", trajectory)
    draw_preview(out / "preview.png", snapshot, label, query.vocabulary if query else None, trajectory, objects)
