"""Saving and opening maps: a directory with map.safetensors and map.json, written as a whole or not at all.

Format 2 holds the voxels, every keyframe, the edges between them and the ids of both models;
format 1, which had one model and no edges, is read too.
"""

import contextlib
import glob
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sab3r_ros.files import sha256
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.state import MapState
from sab3r_ros.types import COLUMNS, Edge, Keyframe, MapSnapshot, Scale, ScaleSource, Tracking

FORMAT, VERSION = "sab3r_map", 2
_FILES = ("map.safetensors", "map.json")
_NEXT = ".next"  # folder inside a map's: a whole new map on its way to its place
_KEYFRAME = ("points", "conf", "pose", "image", "stamp")
_EDGE = ("source_pixels", "target_pixels", "weights", "target_from_source")


class MapFileError(ValueError):
    """A map that cannot be read or written; the message says why. What was there before is untouched."""


class EmptyMap(MapFileError):
    """There is nothing to save yet."""


class PathExists(MapFileError):
    """Something is there already and overwriting was not asked for."""


@dataclass(frozen=True)
class MapFile:
    """A map read from disk.

    snapshot: all voxels; keyframes: without tokens, descriptors of length 0; trajectory: stamps (ns) and poses (4,4), and per
    entry the keyframe it was tracked beside (-1 in format 1); info: the content of map.json.
    """

    snapshot: MapSnapshot
    keyframes: list[Keyframe]
    edges: list[Edge]
    trajectory: list[tuple[int, np.ndarray]]
    beside: list[int]
    info: dict

    @property
    def geometry_model(self) -> str:
        """Id of the model that made the geometry."""
        return self.info["geometry_model"]

    @property
    def feature_model(self) -> str:
        """Id of the model that made the features; "" where there are none."""
        return self.info["feature_model"]

    @property
    def scale(self) -> Scale:
        """Where the map's unit comes from."""
        stddev = self.info["scale_stddev"]
        return Scale(ScaleSource[self.info["scale_source"].upper()], float("nan") if stddev is None else stddev)


def save_map(mapper: Mapper, path: Path, overwrite: bool = False, include_features: bool = True) -> int:
    """Write the map; returns its size in bytes.

    Raises EmptyMap, PathExists, MapFileError. A failed write leaves nothing behind and an older map intact.
    """
    path = Path(path).expanduser()
    with mapper.lock:
        state, revision = mapper.state, mapper.revision
        snapshot = state.scene.snapshot()
        keyframes, edges, trajectory = state.graph.keyframes, list(state.graph.edges), state.graph.trajectory
        beside = state.graph.beside
        scale = state.scale
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
        "features": with_features,
    }  # fmt: skip
    tensors = _voxel_tensors(snapshot, with_features)
    for k, frame in enumerate(keyframes):
        values = (
            frame.points.half(),
            frame.conf.half(),
            frame.pose,
            torch.from_numpy(frame.image),
            torch.tensor(frame.stamp),
        )
        tensors |= {f"keyframe.{k}.{name}": value for name, value in zip(_KEYFRAME, values, strict=True)}
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
    return _write(path, {k: v.cpu().contiguous() for k, v in tensors.items()}, info)


def check_target(path: Path, overwrite: bool) -> None:
    """Raise where a map may not or cannot be written; asked before the work, not after it.

    PathExists: something is there that was not to be overwritten, or is no map (an empty folder is used); MapFileError: the
    place cannot be written to.
    """
    path = Path(path).expanduser()
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        if not (path.is_dir() and ((path / "map.json").is_file() or (path / _NEXT).is_dir())):
            raise PathExists(f"{path} exists and is not a map; it will not be overwritten: give another path")
        if not overwrite:
            raise PathExists(f"{path} holds a map already: ask for overwriting (--overwrite) or give another path")
    place = path if path.is_dir() else path.parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise MapFileError(f"cannot write to {place}: {error.strerror or error}") from error


def _voxel_tensors(snapshot: MapSnapshot, with_features: bool) -> dict[str, Tensor]:
    tensors = {name: snapshot.column(name) for name in COLUMNS}
    tensors["rgb"] = tensors["rgb"].clamp(0, 255).round().byte()
    tensors["feature"] = tensors["feature"].half() if with_features else tensors["feature"][:, :0].half()
    tensors["basis"] = snapshot.basis if with_features else snapshot.basis[:0]
    return tensors


def _write(path: Path, tensors, info) -> int:
    """Write into a folder beside the target, then put it in place by one rename."""
    work = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.{os.getpid()}.", dir=path.parent))
        work.chmod(0o755)
        save_file(tensors, work / "map.safetensors")
        (work / "map.safetensors").chmod(0o644)
        info["sha256"] = sha256(work / "map.safetensors")
        (work / "map.json").write_text(json.dumps(info, indent=1) + "\n")
        for name in _FILES:
            with (work / name).open("rb+") as stream:
                os.fsync(stream.fileno())
        size = sum(f.stat().st_size for f in work.iterdir())
        if path.is_dir() and any(path.iterdir()):
            finish_exchange(path)  # one that was interrupted before
            work.rename(path / _NEXT)  # from here on the new map is the one that is read
            finish_exchange(path)
        else:
            work.rename(path)
        return size
    except (OSError, SafetensorError) as error:
        raise MapFileError(f"cannot write the map to {path}: {error}") from error
    finally:
        if work is not None and work.exists():
            shutil.rmtree(work, ignore_errors=True)


def finish_exchange(path: Path) -> None:
    """Bring a whole new map that waits inside a map's folder to its place; other files of the folder (a PLY) stay.

    Every step can be interrupted and done again, by the next save or when the map is opened.
    """
    waiting = path / _NEXT
    if not waiting.is_dir():
        return
    for name in _FILES:  # map.json last: while it waits, the exchange is not finished
        with contextlib.suppress(FileNotFoundError):
            (waiting / name).replace(path / name)
    shutil.rmtree(waiting, ignore_errors=True)


def _remove_leftovers(path: Path) -> None:
    """Folders of saves that were killed on this machine."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.*"):
        number = left.name[len(path.name) + 2 :].partition(".")[0]
        if number.isdigit() and not Path(f"/proc/{number}").exists() and Path("/proc").exists():
            shutil.rmtree(left, ignore_errors=True)


def map_mark(path: Path) -> str:
    """SHA-256 of a saved map's tensors, by which what lies beside it knows that it belongs to it. Raises as `read_map`."""
    try:
        return str(json.loads((Path(path).expanduser() / "map.json").read_text())["sha256"])
    except (OSError, ValueError, KeyError) as error:
        raise MapFileError(f"{path} has no readable map.json: {error}") from error


def read_map(path: Path) -> MapFile:
    """Read and verify a map. Raises FileNotFoundError where there is none, MapFileError where it is damaged."""
    path = Path(path).expanduser()
    with contextlib.suppress(OSError):  # a disk that is read-only: see below
        finish_exchange(path)
    files = {name: path / _NEXT / name if (path / _NEXT / name).is_file() else path / name for name in _FILES}
    if not files["map.json"].is_file():
        if (path / "map.safetensors").is_file():
            raise MapFileError(f"{path} has no map.json: the map is half-written")
        raise FileNotFoundError(f"no map at {path} (a map is a folder with map.json and map.safetensors)")
    try:
        info = json.loads(files["map.json"].read_text())
        if info.get("format") != FORMAT:
            raise MapFileError(f"{path}/map.json is not of a {FORMAT}")
        if info["version"] > VERSION:
            raise MapFileError(f"{path} has format version {info['version']}; this release reads up to {VERSION}")
        if sha256(files["map.safetensors"]) != info["sha256"]:
            raise MapFileError(f"{path}/map.safetensors is damaged or half-written: its checksum differs")
        tensors = load_file(files["map.safetensors"])
        if info["version"] == 1:
            _from_version_1(info, tensors)
        if {len(tensors[name]) for name in COLUMNS} != {info["voxels"]}:
            raise MapFileError(f"{path} is inconsistent: its arrays differ in length")
        trajectory = list(zip(tensors["trajectory.stamp"].tolist(), tensors["trajectory.pose"].numpy(), strict=True))
        content = MapFile(
            _snapshot(info, tensors), _keyframes(tensors), _edges(info, tensors), trajectory,
            tensors["trajectory.keyframe"].tolist(), info,
        )  # fmt: skip
        _ = content.scale, content.geometry_model, content.feature_model  # unusable values are found here
    except (
        OSError, json.JSONDecodeError, UnicodeDecodeError, SafetensorError, KeyError, AttributeError, TypeError,
    ) as error:  # fmt: skip
        raise MapFileError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    return content


def _from_version_1(info: dict, tensors: dict[str, Tensor]) -> None:
    """Bring the content of format 1 to that of format 2, in place."""
    info["geometry_model"] = info["model"]
    info["feature_model"] = info["model"] if info["features"] else ""
    info["edges"] = []
    for k in range(info["keyframes"]):
        tensors[f"keyframe.{k}.image"] = tensors.pop(f"keyframe.{k}.rgb")
    tensors["keyframe_ids"] = torch.arange(info["keyframes"])
    tensors["trajectory.keyframe"] = torch.full_like(tensors["trajectory.stamp"], -1)


def _snapshot(info: dict, tensors: dict[str, Tensor]) -> MapSnapshot:
    columns: dict[str, Any] = {name: tensors[name] for name in COLUMNS}
    columns["rgb"], columns["feature"] = columns["rgb"].float(), columns["feature"].float()
    rows, basis = torch.arange(info["voxels"]), tensors["basis"].float()
    return replace(MapSnapshot(info["voxel_size"], rows, basis, bool(info["feature_model"])), **columns)


def _keyframes(tensors: dict[str, Tensor]) -> list[Keyframe]:
    keyframes = []
    for k, number in enumerate(tensors["keyframe_ids"].tolist()):
        points, conf, pose, image, stamp = (tensors[f"keyframe.{k}.{name}"] for name in _KEYFRAME)
        keyframes.append(
            Keyframe(number, int(stamp), pose.double(), points.float(), conf.float(), image.numpy(), torch.zeros(0))
        )
    return keyframes


def _edges(info: dict, tensors: dict[str, Tensor]) -> list[Edge]:
    if not info["edges"]:
        return []
    source, target, weights, poses = (tensors[f"edges.{name}"].numpy().astype(float) for name in _EDGE)
    ends = np.cumsum([about["matches"] for about in info["edges"]])
    edges = []
    for about, pose, start, end in zip(info["edges"], poses, [0, *ends[:-1]], ends, strict=True):
        part = slice(start, end)
        about = {name: about[name] for name in ("source", "target", "kind", "sigma")}
        edges.append(
            Edge(
                **about,
                source_pixels=source[part],
                target_pixels=target[part],
                weights=weights[part],
                target_from_source=pose,
            )  # fmt: skip
        )
    return edges


def load_map(mapper: Mapper, path: Path, clear: bool = True) -> bool:
    """Load a map into a mapper; returns False when its features are of another model and were left out.

    clear: replace what is mapped; otherwise the loaded voxels are fused into it, both being in one frame.
    Raises as `read_map`, and MapFileError when the voxel sizes differ; the mapper is then untouched.
    """
    content = read_map(path)
    wanted = mapper.settings.map.voxel_size
    if abs(content.info["voxel_size"] - wanted) > 1e-6:
        raise MapFileError(
            f"{path} has voxels of {content.info['voxel_size']} m, this mapper {wanted} m; set map.voxel_size"
        )
    features = mapper.backend.features
    same_features = content.feature_model in ("", features.id if features else "")
    if clear or not mapper.status().points:
        state = mapper.empty_state()
        state.scene.restore(content.snapshot, same_features)
        _restore_graph(mapper, state, content)
        state.hold()
        mapper.replace_state(state)
    else:
        with mapper.lock:
            mapper.state.scene.restore(content.snapshot, same_features)
            mapper.state.hold()
            mapper.revision += 1
    return same_features


def _restore_graph(mapper: Mapper, state: MapState, content: MapFile) -> None:
    """Keyframes encoded again by the mapper's own model, so that the camera can be found in the loaded map."""
    by_source: dict[int | None, list[Edge]] = {}
    for edge in content.edges:
        by_source.setdefault(edge.source, []).append(edge)
    for keyframe in content.keyframes:
        state.graph.add(mapper.encode.restore_keyframe(keyframe), by_source.get(keyframe.id, ()))
    if content.keyframes:
        state.graph.restore_trajectory(content.trajectory, content.beside)
        state.tracking = Tracking.LOST
    state.scale = content.scale
