"""The map's own format: a directory with map.safetensors and map.json, written as a whole or not at all."""

import contextlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sab3r_ros.files import sha256
from sab3r_ros.mapping.feature_codec import FeatureCodec
from sab3r_ros.mapping.frames import Keyframe, ScaleSource
from sab3r_ros.mapping.keypoints import detect_keypoints
from sab3r_ros.mapping.mapper import Scale, SemanticMapper, signature
from sab3r_ros.mapping.voxel_map import VoxelMap
from sab3r_ros.models.preprocess import Framing

FORMAT, VERSION = "sab3r_map", 1
_ROWS = ("xyz", "rgb", "feature", "weight", "hits", "stamp")


class MapFileError(ValueError):
    """A map that cannot be read or written; the message says why. What was there before is untouched."""


class EmptyMap(MapFileError):
    """There is nothing to save yet."""


class PathExists(MapFileError):
    """Something is there already and overwriting was not asked for."""


@dataclass
class MapFile:
    """A map read from disk: voxel rows and `basis` as in `SemanticMapper.snapshot`, keyframes, and `info` (map.json)."""

    snapshot: dict[str, torch.Tensor]
    keyframes: list[dict[str, torch.Tensor]]
    trajectory: list[tuple[int, np.ndarray]]
    info: dict


def save_map(mapper: SemanticMapper, path: Path, overwrite: bool = False, include_features: bool = True) -> int:
    """Write the map; returns its size in bytes.

    Raises EmptyMap, PathExists, MapFileError. A failed write leaves nothing behind and an older map intact.
    """
    path = Path(path).expanduser()
    with mapper.lock:
        tensors = mapper.snapshot()
        keyframes = list(mapper.keyframes)
        trajectory = list(mapper.trajectory)
        info = {
            "format": FORMAT, "version": VERSION, "model": mapper.perception.checkpoint.id, "frame": "map",
            "voxel_size": mapper.voxels.voxel_size, "voxels": len(mapper.voxels), "revision": mapper.revision,
            "scale_source": mapper.scale.source.name.lower(), "scale_stddev": _finite(mapper.scale.stddev),
            "keyframes": len(keyframes), "features": include_features,
        }  # fmt: skip
    if not info["voxels"]:
        raise EmptyMap("the map is empty; there is nothing to save")
    if path.exists() and not overwrite:
        raise PathExists(f"{path} exists; ask for overwriting or give another path")
    if path.exists() and not (path / "map.json").is_file() and (not path.is_dir() or any(path.iterdir())):
        raise PathExists(f"{path} exists and is not a map; it will not be overwritten")
    if not include_features:
        tensors["feature"], tensors["basis"] = tensors["feature"][:, :0], tensors["basis"][:0]
    tensors["rgb"] = tensors["rgb"].clamp(0, 255).round().byte()
    for k, frame in enumerate(keyframes):
        for name, value in (
            ("points", frame.points.half()),
            ("conf", frame.conf.half()),
            ("pose", frame.pose),
            ("rgb", torch.from_numpy(frame.rgb)),
            ("stamp", torch.tensor(frame.stamp)),
        ):
            tensors[f"keyframe.{k}.{name}"] = value.cpu().contiguous()
    tensors["trajectory.stamp"] = torch.tensor([s for s, _ in trajectory], dtype=torch.int64)
    tensors["trajectory.pose"] = torch.from_numpy(np.array([p for _, p in trajectory]).reshape(-1, 4, 4))
    return _write(path, {k: v.contiguous() for k, v in tensors.items()}, info)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _write(path: Path, tensors, info) -> int:
    """Write into a folder beside the target, then swap."""
    work = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        work.chmod(0o755)
        save_file(tensors, work / "map.safetensors")
        (work / "map.safetensors").chmod(0o644)
        info["sha256"] = sha256(work / "map.safetensors")
        (work / "map.json").write_text(json.dumps(info, indent=1) + "\n")
        for name in ("map.safetensors", "map.json"):
            with (work / name).open("rb+") as stream:
                os.fsync(stream.fileno())
        size = sum(f.stat().st_size for f in work.iterdir())
        if path.exists():
            _replace_inside(path, work)
        else:
            work.rename(path)
        return size
    except OSError as error:
        raise MapFileError(f"cannot write the map to {path}: {error}") from error
    finally:
        if work is not None and work.exists():
            shutil.rmtree(work, ignore_errors=True)


def _replace_inside(path: Path, work: Path) -> None:
    """Replace a map; other files of its folder (a PLY, a preview) stay."""
    old = path / "map.safetensors.old"
    with contextlib.suppress(FileNotFoundError):
        (path / "map.safetensors").replace(old)
    try:
        (work / "map.safetensors").replace(path / "map.safetensors")
        (work / "map.json").replace(path / "map.json")
    except OSError:
        with contextlib.suppress(OSError):
            old.replace(path / "map.safetensors")
        raise
    old.unlink(missing_ok=True)


def read_map(path: Path) -> MapFile:
    """Read and verify a map. Raises FileNotFoundError where there is none, MapFileError where it is damaged."""
    path = Path(path).expanduser()
    if not (path / "map.json").is_file():
        if (path / "map.safetensors").is_file():
            raise MapFileError(f"{path} has no map.json: the map is half-written")
        raise FileNotFoundError(f"no map at {path} (a map is a folder with map.json and map.safetensors)")
    try:
        info = json.loads((path / "map.json").read_text())
        if info.get("format") != FORMAT:
            raise MapFileError(f"{path}/map.json is not of a {FORMAT}")
        if info["version"] > VERSION:
            raise MapFileError(f"{path} has format version {info['version']}; this release reads up to {VERSION}")
        if sha256(path / "map.safetensors") != info["sha256"]:
            raise MapFileError(f"{path}/map.safetensors is damaged or half-written: its checksum differs")
        tensors = load_file(path / "map.safetensors")
        snapshot = {k: tensors[k] for k in (*_ROWS, "basis")}
        snapshot["rgb"] = snapshot["rgb"].float()
        if {len(snapshot[k]) for k in _ROWS} != {info["voxels"]}:
            raise MapFileError(f"{path} is inconsistent: its arrays differ in length")
        keyframes = [
            {n: tensors[f"keyframe.{k}.{n}"] for n in ("points", "conf", "pose", "rgb", "stamp")}
            for k in range(info["keyframes"])
        ]
        trajectory = list(zip(tensors["trajectory.stamp"].tolist(), tensors["trajectory.pose"].numpy(), strict=True))
        info["scale_source"] = ScaleSource[info["scale_source"].upper()].name.lower()
    except (
        OSError,
        json.JSONDecodeError,
        UnicodeDecodeError,
        SafetensorError,
        KeyError,
        AttributeError,
        TypeError,
    ) as error:
        raise MapFileError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    return MapFile(snapshot, keyframes, trajectory, info)


def load_map(mapper: SemanticMapper, path: Path, clear: bool = True) -> bool:
    """Load a map into a mapper; returns False when its features are of another model and were left out.

    clear: replace what is mapped; otherwise the loaded voxels are fused into it, both being in one frame.
    Raises as `read_map`, and MapFileError when the voxel sizes differ; the mapper is then untouched.
    """
    content = read_map(path)
    info, snapshot = content.info, content.snapshot
    if abs(info["voxel_size"] - mapper.settings.map.voxel_size) > 1e-6:
        raise MapFileError(
            f"{path} has voxels of {info['voxel_size']} m, this mapper {mapper.settings.map.voxel_size} m; set map.voxel_size"
        )
    same_model = info["model"] == mapper.perception.checkpoint.id
    device, width = mapper.perception.device, mapper.perception.feature_dim
    if clear or not len(mapper.voxels):
        codec = FeatureCodec(width, mapper.settings.map.feature_dim, device)
        codes = _recode(snapshot, codec, same_model)
        voxels = VoxelMap.from_state(
            {**snapshot, "feature": codes}, info["voxel_size"], mapper.settings.map.max_voxels, device
        )
        keyframes = [_revive(mapper, k) for k in content.keyframes]
        scale = Scale(
            ScaleSource[info["scale_source"].upper()],
            info["scale_stddev"] if info["scale_stddev"] is not None else float("nan"),
        )
        mapper.adopt(voxels, codec, keyframes, content.trajectory, scale)
    else:
        with mapper.lock:
            codes = _recode(snapshot, mapper.codec, same_model)
            mapper.voxels.integrate(
                snapshot["xyz"].to(device),
                snapshot["rgb"].to(device),
                snapshot["weight"].to(device),
                codes if same_model else None,
                int(snapshot["stamp"].max()),
            )
            mapper.revision += 1
    return same_model


def _recode(snapshot, codec: FeatureCodec, same_model: bool) -> torch.Tensor:
    """Stored codes in the coordinates of another codec; zeros where they are of another model or absent."""
    codes, basis = snapshot["feature"].float(), snapshot["basis"].float()
    if not same_model or codes.shape[1] == 0 or basis.shape[1] != codec.dim:
        return torch.zeros(len(codes), codec.rank, device=codec.basis.device)
    features = (codes[:, : len(basis)] @ basis).to(codec.basis.device)
    codec.observe(features)
    return codec.encode(features)


def _revive(mapper: SemanticMapper, stored) -> Keyframe:
    """Encode a stored keyframe's picture again, so that the camera can be found in the loaded map."""
    rgb = stored["rgb"].numpy()
    perception = mapper.perception
    tokens = perception.encode(rgb)
    device = perception.device
    points, conf = stored["points"].float().to(device), stored["conf"].float().to(device)
    pose, limit = stored["pose"].double().to(device), mapper.settings.tracking.keypoints
    size = rgb.shape[1], rgb.shape[0]
    keypoints = detect_keypoints(rgb, Framing(size, size, (0, 0), size), limit) if limit else None
    return Keyframe(tokens, points, conf, pose, int(stored["stamp"]), signature(tokens.tokens), rgb, keypoints)
