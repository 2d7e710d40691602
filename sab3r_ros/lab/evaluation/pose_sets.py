"""Relative poses of a few unordered pictures: CO3Dv2, and any recording with true poses."""

import gzip
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sab3r_ros.config import Settings
from sab3r_ros.faults import Faults
from sab3r_ros.lab.evaluation.poses import mean_average_accuracy, pose_errors
from sab3r_ros.lab.evaluation.recordings import TrueRecording, scenes_of
from sab3r_ros.lab.evaluation.stream import keeping_every_view
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.models.base import Backend
from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.encodings import ImageError, decode_compressed
from sab3r_ros.types import BadFrame, Frame, nth_stamp

_ANNOTATIONS = "frame_annotations.jgz"
_TO_OPENCV = np.diag([-1.0, -1.0, 1.0])  # PyTorch3D's cameras: x left, y up


@dataclass(frozen=True)
class PosedPictures:
    """Pictures of one sequence and their true poses (4,4), camera to world."""

    name: str
    files: list[Path]
    poses: list[np.ndarray]


def co3d_sequences(folder: Path) -> list[PosedPictures]:
    """All sequences of CO3Dv2's categories in `folder`, or of one category. Raises SourceError."""
    files = _annotation_files(folder)
    if not files:
        raise SourceError(f"{folder} has no {_ANNOTATIONS}: a category of CO3Dv2, or the folder of them, is expected")
    sequences = []
    for file in files:
        found: dict[str, list[tuple[Path, np.ndarray]]] = defaultdict(list)
        try:
            entries = json.loads(gzip.decompress(file.read_bytes()))
            for entry in entries:
                pose = co3d_pose(entry["viewpoint"]["R"], entry["viewpoint"]["T"])
                found[entry["sequence_name"]].append((file.parent.parent / entry["image"]["path"], pose))
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"{file} cannot be read as CO3Dv2's annotations: {type(error).__name__}: {error}"
            ) from error
        for name, frames in sorted(found.items()):
            sequences.append(
                PosedPictures(f"{file.parent.name}/{name}", [f for f, _ in frames], [p for _, p in frames])
            )
    return sequences


def _annotation_files(folder: Path) -> list[Path]:
    """Of one category, or of all categories in a folder."""
    own = folder / _ANNOTATIONS
    return [own] if own.is_file() else sorted(folder.glob(f"*/{_ANNOTATIONS}"))


def co3d_pose(rotation: Sequence[Sequence[float]], translation: Sequence[float]) -> np.ndarray:
    """Camera to world (4,4) in OpenCV's axes, from PyTorch3D's x_camera = x_world R + T with x left, y up.

    Raises ValueError for what is no rotation.
    """
    r, t = np.asarray(rotation, float).reshape(3, 3), np.asarray(translation, float).reshape(3)
    if not np.isfinite(r).all() or np.abs(r @ r.T - np.eye(3)).max() > 0.02:
        raise ValueError("a viewpoint's R is no rotation")
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3], world_to_camera[:3, 3] = _TO_OPENCV @ r.T, _TO_OPENCV @ t
    return np.linalg.inv(world_to_camera)


def recorded_sequences(folder: Path) -> list[PosedPictures]:
    """Recordings with true poses, each a sequence. Raises SourceError."""
    out = []
    for scene in scenes_of(folder):
        recording = TrueRecording(scene)
        known = [(f, p) for f, p in zip(recording.source.images, recording.poses, strict=True) if p is not None]
        out.append(PosedPictures(scene.name, [f for f, _ in known], [p for _, p in known]))
    return out


def evaluate_poses(
    settings: Settings, backend: Backend, folder: Path, views: int = 10, seed: int = 0, limit: int = 0,
    report: Callable[[], None] = lambda: None,
) -> dict:  # fmt: skip
    """rra15, rta15, maa30 (percent, over all pairs) of `views` random pictures of every sequence.

    The pictures come in random order and each is kept, so that nothing is known of the next one. A sequence that cannot be read is
    named in "faults". Raises SourceError where none can be evaluated.
    """
    started = time.perf_counter()
    sequences = co3d_sequences(folder) if _annotation_files(folder) else recorded_sequences(folder)
    settings = keeping_every_view(settings.with_values(window={"size": max(settings.window.size, views - 1)}))
    faults, errors, lost, count = Faults(), [], 0, 0
    for number, sequence in enumerate(sequences[: limit or None]):
        rng = np.random.default_rng([seed, number])
        chosen = rng.permutation(len(sequence.files))[:views]
        try:
            if len(chosen) < 2:
                raise SourceError("it has fewer than two pictures with a pose")
            frames = [_frame(sequence.files[k], n) for n, k in enumerate(chosen)]
            run = map_stream(Mapper(settings, backend), frames)
        except (SourceError, BadFrame) as error:
            faults.add(sequence.name, error)
            continue
        errors.append(pose_errors(run.poses, [sequence.poses[k] for k in chosen]))
        lost += sum(p is None for p in run.poses)
        count += 1
        report()
    if not count:
        raise SourceError(
            f"{folder}: no sequence could be evaluated; {faults.lines[0] if faults.lines else 'there is none'}"
        )
    every = np.concatenate(errors)
    accuracy = 100 * (every < 15).mean(0)
    return {
        "rra15": float(accuracy[0]), "rta15": float(accuracy[1]), "maa30": mean_average_accuracy(every), "pairs": len(every),
        "sequences": count, "lost_views": lost, "faults": list(faults.lines), "seconds": time.perf_counter() - started,
    }  # fmt: skip


def _frame(file: Path, number: int) -> Frame:
    try:
        return Frame(decode_compressed(file.read_bytes()), nth_stamp(number, 10.0))
    except (ImageError, OSError) as error:
        raise SourceError(f"{file}: {error}") from error
