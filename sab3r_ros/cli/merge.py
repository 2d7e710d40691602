"""`sab3r merge`: several saved maps into one."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from sab3r_ros.cli.mapping import registry_of, with_voxels_of
from sab3r_ros.config import Settings
from sab3r_ros.files import finite, write_json
from sab3r_ros.geometry.sim3 import rigid_part, split_sim3
from sab3r_ros.mapping.joining import PlaceNotRecognised
from sab3r_ros.mapping.map_file import check_target
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.session import Joined, join_map, load_map
from sab3r_ros.models.backends import load_backend
from sab3r_ros.outputs import write_outputs
from sab3r_ros.query.map_query import query_for

log = logging.getLogger(__name__)


def merge_maps(paths: Sequence[Path], out: Path, settings: Settings, overwrite: bool, adjust: bool) -> dict:
    """Join maps to the first one, whose frame and unit stay, adjust all keyframes together, and write the result.

    A map that shows no place of the others is tried again after each that was joined, and left out in the end. Returns the
    summary, which is also OUT/summary.json. Raises as `load_map` and `check_target`, and PlaceNotRecognised where nothing could be
    joined; nothing is written then.
    """
    check_target(out, overwrite)
    settings = with_voxels_of(paths[0], settings)
    backend = load_backend(settings.model, settings.window.size)
    query = query_for(backend.features, settings.query)
    mapper = Mapper(settings, backend)
    rows: list[dict] = [{"map": str(paths[0]), "joined": True}]
    if not load_map(mapper, paths[0]):
        print(f"{paths[0]}: its features are of another model and are left out", file=sys.stderr)
    waiting: dict[Path, str] = dict.fromkeys(paths[1:], "")
    joined_one = True
    while waiting and joined_one:
        joined_one = False
        for path in list(waiting):
            try:
                done = join_map(mapper, path)
            except PlaceNotRecognised as error:
                waiting[path] = str(error)
                continue
            del waiting[path]
            joined_one = True
            rows.append({"map": str(path), "joined": True, **_row(done)})
            if not done.same_features:
                print(f"{path}: its features are of another model and are left out", file=sys.stderr)
            if not done.join.same_camera:
                print(f"{path}: another camera or image size; placed as a whole, not adjusted", file=sys.stderr)
    for path, why in waiting.items():
        print(f"{path}: {why}", file=sys.stderr)
        rows.append({"map": str(path), "joined": False, "why": why})
    if len(waiting) == len(paths) - 1:
        raise PlaceNotRecognised("none of the maps could be joined to the first one; nothing was written")
    report = None
    if adjust and mapper.adjusts:
        print("adjusting all keyframes", file=sys.stderr)
        report = mapper.adjust()
    write_outputs(mapper, query, out, overwrite, registry=registry_of(paths[0]))
    status = mapper.status()
    summary = {
        "maps": rows, "keyframes": status.keyframes, "points": status.points, "adjusted": report is not None,
        "largest_motion": None if report is None else round(report.largest_motion, 4),
    }  # fmt: skip
    write_json(out / "summary.json", finite(summary))
    return summary


def _row(done: Joined) -> dict:
    """How a map was joined, for JSON: the similarity as scale, and as a rigid pose (4,4) in the first map."""
    scale, pose = split_sim3(done.join.anchor)[0], rigid_part(done.join.anchor).numpy()
    return {
        "places_tried": done.join.tried, "recognised": done.join.recognised, "agree": done.join.agree,
        "same_camera": done.join.same_camera, "scale": round(float(scale), 4), "pose": pose.round(4).tolist(),
        "keyframes": done.keyframes, "new_voxels": done.voxels,
    }  # fmt: skip
