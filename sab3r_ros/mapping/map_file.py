"""The file of a map: a directory with map.safetensors and map.json, written as a whole or not at all.

Format 2 holds the voxels, what every keyframe contributed to them, the keyframes, the edges between them and the ids of both
models. Maps of older releases have no contributions; format 1, which had one model and no edges, is read too.
"""

import contextlib
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sab3r_ros.files import sha256
from sab3r_ros.mapping.adjustment.bundle import Lens
from sab3r_ros.mapping.adjustment.sightings import Sightings
from sab3r_ros.mapping.keypoints import Keypoints
from sab3r_ros.mapping.scene import KeyframeVoxels
from sab3r_ros.mapping.voxel_grid import inside_voxel
from sab3r_ros.types import COLUMNS, Edge, Keyframe, MapSnapshot, Scale, ScaleSource

FORMAT, VERSION = "sab3r_map", 2
_FILES = ("map.safetensors", "map.json")
_NEXT = ".next"  # folder inside a map's: a whole new map on its way to its place
_NO_MAP = "no map at {path} (a map is a folder with map.json and map.safetensors)"
_KEYFRAME = ("points", "conf", "pose", "image", "stamp")
_PART = ("rows", "offset", "rgb", "weight", "feature")  # of what keyframes contributed
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

    snapshot: all voxels; contributions: what keyframes contributed to them, none in maps of older releases; keyframes: without
    tokens, and from older releases with descriptors of length 0; trajectory: stamps (ns) and poses (4,4), and per entry the
    keyframe it was tracked beside (-1 in format 1); sightings: the keypoints it saw, None where that is not known; info: the
    content of map.json; path: where it was read.
    """

    snapshot: MapSnapshot
    contributions: list[KeyframeVoxels]
    keyframes: list[Keyframe]
    edges: list[Edge]
    trajectory: list[tuple[int, np.ndarray]]
    beside: list[int]
    sightings: list[Sightings | None]
    info: dict
    path: Path

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

    @property
    def sessions(self) -> np.ndarray:
        """The session (N,) int of every voxel: that of the keyframe that contributed most to it; 0 where that is not known."""
        of_keyframe = {k.id: k.session for k in self.keyframes}
        best, session = torch.zeros(len(self.snapshot)), torch.zeros(len(self.snapshot), dtype=torch.int64)
        for part in self.contributions:
            more = part.weight > best[part.rows]
            best[part.rows[more]] = part.weight[more]
            session[part.rows[more]] = of_keyframe.get(part.keyframe, 0)
        return session.numpy()

    @property
    def unit(self) -> float:
        """The map's unit over the geometry model's own: 1 unless depth or odometry measured it."""
        return float(self.info.get("unit", 1.0))

    @property
    def lens(self) -> tuple[Lens | None, bool]:
        """The lens of the keyframes' images, None where no adjustment or calibration told it; whether it is a calibration."""
        values = self.info.get("lens")
        return (None if values is None else Lens(*values)), bool(self.info.get("lens_is_known"))


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


def write_map(path: Path, tensors: dict[str, Tensor], info: dict) -> int:
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
    return str(_entry(path, "sha256"))


def saved_voxel_size(path: Path) -> float:
    """Edge of a saved map's voxels in metres, without reading its tensors. Raises FileNotFoundError where there is no map,
    MapFileError where map.json cannot be read."""
    path = Path(path).expanduser()
    with contextlib.suppress(OSError):
        finish_exchange(path)
    if not (path / "map.json").is_file():
        raise FileNotFoundError(_NO_MAP.format(path=path))
    return float(_entry(path, "voxel_size"))


def _entry(path: Path, name: str) -> Any:
    """One value of a saved map's map.json."""
    try:
        return json.loads((Path(path).expanduser() / "map.json").read_text())[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
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
        raise FileNotFoundError(_NO_MAP.format(path=path))
    try:
        info = json.loads(files["map.json"].read_text())
        if info.get("format") != FORMAT:
            raise MapFileError(f"{path}/map.json is not of a {FORMAT}")
        if info["version"] > VERSION:
            raise MapFileError(f"{path} has format version {info['version']}; this release reads up to {VERSION}")
        if sha256(files["map.safetensors"]) != info["sha256"]:
            raise MapFileError(f"{path}/map.safetensors is damaged or half-written: its checksum differs")
        # Copied, for what is read is mapped memory: whoever writes over the file later would end this process (SIGBUS).
        tensors = {name: tensor.clone() for name, tensor in load_file(files["map.safetensors"]).items()}
        if info["version"] == 1:
            _from_version_1(info, tensors)
        if {len(tensors[name]) for name in COLUMNS} != {info["voxels"]}:
            raise MapFileError(f"{path} is inconsistent: its arrays differ in length")
        trajectory = list(zip(tensors["trajectory.stamp"].tolist(), tensors["trajectory.pose"].numpy(), strict=True))
        content = MapFile(
            snapshot := _snapshot(info, tensors), _contributions(tensors, snapshot), _keyframes(tensors), _edges(info, tensors),
            trajectory, tensors["trajectory.keyframe"].tolist(), _sightings(tensors), info, path,
        )  # fmt: skip
        # Unusable values are found here.
        _ = content.scale, content.unit, content.lens, content.geometry_model, content.feature_model
    except MapFileError:
        raise
    except (
        OSError, SafetensorError, LookupError, AttributeError, TypeError, ValueError, RuntimeError,
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


def contribution_tensors(parts: Sequence[KeyframeVoxels], voxel_size: float, with_features: bool) -> dict[str, Tensor]:
    """What keyframes contributed as tensors of the file, one after the other; positions as offsets from the voxels' middles."""
    if not parts:
        return {}

    def joined(name: str) -> Tensor:
        if name == "offset":
            return torch.cat([p.xyz - _middle(p.xyz, voxel_size) for p in parts]).half()
        if name == "feature":  # nothing where a keyframe has none: it came from a map of another feature model
            return torch.cat(
                [p.feature if p.feature is not None else torch.zeros(len(p.rows), rank) for p in parts]
            ).half()
        return torch.cat([getattr(p, name) for p in parts])

    rank = max(0 if p.feature is None else p.feature.shape[1] for p in parts) if with_features else 0
    columns = {name: joined(name) for name in _PART if name != "feature" or rank}
    columns["rows"] = columns["rows"].int()
    columns["rgb"] = columns["rgb"].clamp(0, 255).round().byte()
    columns |= {
        "keyframe": torch.tensor([p.keyframe for p in parts]), "count": torch.tensor([len(p.rows) for p in parts]),
        "stamp": torch.tensor([p.stamp for p in parts]), "pose": torch.stack([p.pose.cpu() for p in parts]),
    }  # fmt: skip
    return {f"contributions.{name}": value for name, value in columns.items()}


def _middle(xyz: Tensor, voxel_size: float) -> Tensor:
    """The middles (N,3) of the voxels that hold points (N,3)."""
    return (((xyz.double() / voxel_size).floor() + 0.5) * voxel_size).float()


def _contributions(tensors: dict[str, Tensor], snapshot: MapSnapshot) -> list[KeyframeVoxels]:
    if "contributions.keyframe" not in tensors:
        return []
    about = {name: tensors[f"contributions.{name}"] for name in ("keyframe", "count", "stamp", "pose")}
    counts = about["count"].tolist()
    columns = {
        name: tensors[f"contributions.{name}"].split(counts) for name in _PART if f"contributions.{name}" in tensors
    }
    middle = _middle(snapshot.column("xyz"), snapshot.voxel_size)
    out = []
    for n, (keyframe, stamp) in enumerate(zip(about["keyframe"].tolist(), about["stamp"].tolist(), strict=True)):
        rows = columns["rows"][n].long()
        xyz = middle[rows] + inside_voxel(columns["offset"][n].float(), snapshot.voxel_size)
        feature = columns["feature"][n] if "feature" in columns else None
        rgb, weight = columns["rgb"][n].float(), columns["weight"][n]
        out.append(KeyframeVoxels(keyframe, about["pose"][n], rows, xyz, rgb, weight, feature, stamp))
    return out


def keyframe_tensors(number: int, keyframe: Keyframe) -> dict[str, Tensor]:
    """A keyframe as tensors of the file."""
    out = {
        "points": keyframe.points.half(), "conf": keyframe.conf.half(), "pose": keyframe.pose,
        "image": torch.from_numpy(keyframe.image), "stamp": torch.tensor(keyframe.stamp),
        "descriptor": keyframe.descriptor.float(), "about": torch.tensor([keyframe.depth_factor, keyframe.session]).double(),
    }  # fmt: skip
    if keyframe.depth_correction is not None:
        out["depth_correction"] = torch.from_numpy(keyframe.depth_correction)
    if (found := keyframe.keypoints) is not None:
        out["keypoints"] = torch.from_numpy(found.pixels)
        out["keypoint_sigma"] = torch.tensor(found.sigma, dtype=torch.float64)
        out["keypoint_descriptors"] = torch.from_numpy((255 * found.descriptors).round().astype(np.uint8))
    return {f"keyframe.{number}.{name}": value for name, value in out.items()}


def _keyframes(tensors: dict[str, Tensor]) -> list[Keyframe]:
    keyframes = []
    for k, number in enumerate(tensors["keyframe_ids"].tolist()):
        points, conf, pose, image, stamp = (tensors[f"keyframe.{k}.{name}"] for name in _KEYFRAME)
        factor, session = tensors.get(f"keyframe.{k}.about", torch.tensor([1.0, 0.0])).tolist()
        keypoints = None
        if (pixels := tensors.get(f"keyframe.{k}.keypoints")) is not None:
            # Of unit length again: they were rounded to bytes.
            descriptors = tensors[f"keyframe.{k}.keypoint_descriptors"].float()
            descriptors /= descriptors.norm(dim=1, keepdim=True).clamp(min=1)
            keypoints = Keypoints(pixels.numpy(), descriptors.numpy(), float(tensors[f"keyframe.{k}.keypoint_sigma"]))
        keyframes.append(
            Keyframe(
                number,
                int(stamp),
                pose.double(),
                points.float(),
                conf.float(),
                image.numpy(),
                tensors.get(f"keyframe.{k}.descriptor", torch.zeros(0)),
                keypoints,
                None,
                factor,
                int(session),
                None if (correction := tensors.get(f"keyframe.{k}.depth_correction")) is None else correction.numpy(),
            )  # fmt: skip
        )
    return keyframes


def sighting_tensors(sightings: Sequence[Sightings | None]) -> dict[str, Tensor]:
    """The keypoints that frames of the trajectory saw, as tensors of the file, one frame after the other."""
    known = [s for s in sightings if s is not None]
    if not known:
        return {}
    return {
        "sightings.count": torch.tensor([-1 if s is None else len(s) for s in sightings]),
        "sightings.keyframe": torch.from_numpy(np.concatenate([s.keyframe for s in known])),
        "sightings.keypoint": torch.from_numpy(np.concatenate([s.keypoint for s in known])),
        "sightings.pixels": torch.from_numpy(np.concatenate([s.pixels for s in known])),
    }


def _sightings(tensors: dict[str, Tensor]) -> list[Sightings | None]:
    if "sightings.count" not in tensors:
        return []
    columns = [tensors[f"sightings.{name}"].numpy() for name in ("keyframe", "keypoint", "pixels")]
    out: list[Sightings | None] = []
    start = 0
    for count in tensors["sightings.count"].tolist():
        out.append(None if count < 0 else Sightings(*(c[start : start + count] for c in columns)))
        start += max(count, 0)
    return out


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
