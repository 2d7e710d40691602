"""Saving a mapper's map and loading it again."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.mapping.joining import Join, PlaceNotRecognised, find_join, moved_by
from sab3r_ros.mapping.map_file import (
    FORMAT,
    VERSION,
    EmptyMap,
    MapFile,
    MapFileError,
    check_target,
    contribution_tensors,
    keyframe_tensors,
    read_map,
    sighting_tensors,
    write_map,
)
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.state import MapState
from sab3r_ros.types import COLUMNS, Edge, Keyframe, MapSnapshot, Tracking


def save_map(mapper: Mapper, path: Path, overwrite: bool = False, include_features: bool = True) -> int:
    """Write the map; returns its size in bytes.

    Raises EmptyMap, PathExists, MapFileError. A failed write leaves nothing behind and an older map intact.
    """
    path = Path(path).expanduser()
    with mapper.lock:
        state, revision = mapper.state, mapper.revision
        snapshot = state.scene.snapshot()
        keyframes, edges, trajectory = state.graph.keyframes, list(state.graph.edges), state.graph.trajectory
        beside, sightings = state.graph.beside, [t.sightings for t in state.graph.tracked_poses]
        parts = state.scene.contributions(snapshot)
        scale, lens = state.scale, state.lens
    if not len(snapshot):
        raise EmptyMap("the map is empty; there is nothing to save")
    check_target(path, overwrite)
    features = mapper.backend.features
    with_features = include_features and snapshot.has_features
    info = {
        "format": FORMAT, "version": VERSION, "geometry_model": mapper.geometry.id,
        "feature_model": features.id if features and with_features else "", "frame": "map", "voxel_size": snapshot.voxel_size,
        "voxels": len(snapshot), "revision": revision, "scale_source": scale.source.name.lower(),
        "scale_stddev": scale.stddev if np.isfinite(scale.stddev) else None, "keyframes": len(keyframes),
        "edges": [
            {"source": e.source, "target": e.target, "kind": e.kind, "sigma": e.sigma, "matches": len(e)} for e in edges
        ],
        "features": with_features, "lens": None if lens is None else [lens.focal, lens.k1, lens.u, lens.v],
        "lens_is_known": state.lens_is_known, "unit": state.expected_scale, "has_depth": state.has_depth,
    }  # fmt: skip
    tensors = _voxel_tensors(snapshot, with_features) | contribution_tensors(parts, snapshot.voxel_size, with_features)
    for k, frame in enumerate(keyframes):
        tensors |= keyframe_tensors(k, frame)
    if edges:
        columns = {
            name: [np.atleast_2d(getattr(e, name)) for e in edges] for name in ("source_pixels", "target_pixels")
        }
        columns |= {
            "weights": [e.weights for e in edges],
            "target_from_source": [e.target_from_source[None] for e in edges],
        }
        tensors |= {f"edges.{name}": torch.from_numpy(np.concatenate(parts)).float() for name, parts in columns.items()}
    tensors["keyframe_ids"] = torch.tensor([k.id for k in keyframes], dtype=torch.int64)
    tensors["trajectory.stamp"] = torch.tensor([s for s, _ in trajectory], dtype=torch.int64)
    tensors["trajectory.pose"] = torch.from_numpy(np.array([p for _, p in trajectory]).reshape(-1, 4, 4))
    tensors["trajectory.keyframe"] = torch.tensor(beside, dtype=torch.int64)
    tensors |= sighting_tensors(sightings)
    return write_map(path, {k: v.cpu().contiguous() for k, v in tensors.items()}, info)


def _voxel_tensors(snapshot: MapSnapshot, with_features: bool) -> dict[str, Tensor]:
    tensors = {name: snapshot.column(name) for name in COLUMNS}
    tensors["rgb"] = tensors["rgb"].clamp(0, 255).round().byte()
    tensors["feature"] = tensors["feature"].half() if with_features else tensors["feature"][:, :0].half()
    tensors["basis"] = snapshot.basis if with_features else snapshot.basis[:0]
    return tensors


def load_map(mapper: Mapper, path: Path, clear: bool = True) -> bool:
    """Load a map into a mapper; returns False when its features are of another model and were left out.

    clear: replace what is mapped; otherwise it is joined to it, at a place that both have seen (see `join_map`).
    Raises as `read_map`, and MapFileError when the voxel sizes differ or no common place is recognised; the mapper is then
    untouched.
    """
    if not clear and mapper.status().points:
        return join_map(mapper, path).same_features
    content, same_features = _read_for(mapper, path)
    state = mapper.empty_state()
    _restore_keyframes(state, content, _keyframes_for(mapper, content), same_features)
    state.tracking = Tracking.LOST if content.keyframes else state.tracking
    state.scale, state.unit = content.scale, content.unit
    state.lens, state.lens_is_known = content.lens
    state.loaded_focal = 0.0 if state.lens is None else state.lens.pinhole_focal
    state.session = 1 + max((k.session for k in content.keyframes), default=-1)
    state.upright = True  # others may know places in it
    state.settled_at = state.graph.next_id  # as it was when it was saved
    mapper.replace_state(state)
    return same_features


@dataclass(frozen=True)
class Joined:
    """A map that was joined to another: how, how many keyframes and voxels it brought, and whether with its features."""

    join: Join
    keyframes: int
    voxels: int
    same_features: bool


def join_map(mapper: Mapper, path: Path) -> Joined:
    """Join a saved map to the one in the mapper, which keeps its frame and its unit: at places that both have seen.

    Keyframes, edges and voxels of both can be adjusted together afterwards (`Mapper.adjust`). Raises as `read_map`, MapFileError
    when the voxel sizes differ, and PlaceNotRecognised; the mapper is then untouched.
    """
    content, same_features = _read_for(mapper, path)
    if not content.keyframes or not mapper.status().keyframes:
        raise PlaceNotRecognised(f"{path} and the present map need keyframes to be joined by what they see")
    keyframes = _keyframes_for(mapper, content)
    join = find_join(mapper, content, keyframes)
    with mapper.lock:
        state = mapper.state
        session = 1 + max(k.session for k in state.graph.keyframes)
        before = len(state.scene)
        moved = moved_by(content, keyframes, join, state.graph.next_id, session)
        _restore_keyframes(state, moved, moved.keyframes, same_features)
        state.session, state.near_newest = session + 1 + max(k.session for k in keyframes), False
        mapper.revision += 1
        voxels = len(state.scene) - before
    return Joined(join, len(keyframes), voxels, same_features)


def _read_for(mapper: Mapper, path: Path) -> tuple[MapFile, bool]:
    """A map that a mapper can take, and whether its features are of the mapper's model."""
    content = read_map(path)
    wanted = mapper.settings.map.voxel_size
    if abs(content.info["voxel_size"] - wanted) > 1e-6:
        raise MapFileError(
            f"{path} has voxels of {content.info['voxel_size']} m, this mapper {wanted} m; set map.voxel_size"
        )
    features = mapper.backend.features
    return content, content.feature_model in ("", features.id if features else "")


def _keyframes_for(mapper: Mapper, content: MapFile) -> list[Keyframe]:
    """Keyframes as the mapper's own model sees them: encoded again where the file has not what it needs."""
    device = mapper.geometry.device
    out = []
    for keyframe in content.keyframes:
        known = content.geometry_model == mapper.geometry.id and len(keyframe.descriptor)
        if known and (keyframe.keypoints is not None or not mapper.settings.tracking.max_keypoints):
            keyframe = keyframe.without_heavy_tensors()
            out.append(replace(keyframe, pose=keyframe.pose.to(device), descriptor=keyframe.descriptor.to(device)))
        else:
            out.append(mapper.encode.restore_keyframe(keyframe))
    return out


def _restore_keyframes(state: MapState, content: MapFile, keyframes: list[Keyframe], same_features: bool) -> None:
    """Add voxels, keyframes, edges and trajectory of a file to a state."""
    rest = state.scene.restore(content.snapshot, same_features, content.contributions)
    by_source: dict[int | None, list[Edge]] = {}
    for edge in content.edges:
        by_source.setdefault(edge.source, []).append(edge)
    for keyframe in keyframes:
        state.graph.add(keyframe, by_source.get(keyframe.id, ()))
    if keyframes:
        state.graph.restore_trajectory(content.trajectory, content.beside, content.sightings)
    if rest:  # of an older release: who contributed what is not known
        moving = {part.keyframe for part in content.contributions}
        state.hold(k.id for k in keyframes if k.id not in moving)
