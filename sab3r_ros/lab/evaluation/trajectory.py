"""A recording's trajectory against the true one, live and after adjustment, and its surfaces against measured depth."""

import resource
import time
from itertools import islice
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from tqdm import tqdm

from sab3r_ros.config import Settings
from sab3r_ros.geometry.projection import backproject, transform
from sab3r_ros.lab.evaluation.degradation import degraded
from sab3r_ros.lab.evaluation.metrics import root_mean_square
from sab3r_ros.lab.evaluation.poses import align_positions, relative_pose_accuracy, wide_baseline_pairs
from sab3r_ros.lab.evaluation.recordings import RecordedLabels, TrueRecording
from sab3r_ros.lab.evaluation.report import Report
from sab3r_ros.lab.evaluation.true_up import true_up, up_error
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.models.base import Backend
from sab3r_ros.sources.base import SourceError

_SURFACE_STEP = 4  # pixels between the true points of a depth image
_CELL = 0.02  # metres; true points are thinned to one a cell
_NEAR = 0.05  # metres, of the F-score
_PAIRED = 100  # frames, evenly chosen, of which pairs are made
_MARGIN = 0.1  # metres around the true points outside of which the map is not judged


def evaluate_trajectory(
    settings: Settings, backend: Backend, path: Path, rate: float = 30.0, limit: int = 0, page: Report | None = None,
    degradation: str = "",
) -> tuple[dict, Mapper]:  # fmt: skip
    """The recording's figures, and the mapper with its map; only its colour images are mapped. limit: images, 0 = all;
    page: gets a picture of the ways; degradation: done to the images first.

    Raises SourceError where the recording has no true poses.
    """
    recording = TrueRecording(path, rate)
    source, poses = recording.source, recording.poses[: limit or None]
    mapper = Mapper(settings, backend)
    started = time.perf_counter()
    with tqdm(total=len(poses), unit="frame") as bar:
        frames = islice(source, limit or None)
        run = map_stream(mapper, degraded(frames, degradation) if degradation else frames, bar.update)
    seconds = time.perf_counter() - started
    live = {r.stamp: p for r, p in zip(run.results, run.live, strict=True) if r is not None and p is not None}
    after = dict(mapper.trajectory)
    known = [(s, p) for s, p in zip(source.layout.stamps, poses, strict=False) if p is not None and s in after]
    if len(known) < 3:
        raise SourceError(f"{path}: only {len(known)} tracked images have a true pose")
    truth = [p for _, p in known]
    found = [after[s] for s, _ in known]
    similarity, errors = align_positions(found, truth)
    _, rigid_errors = align_positions(found, truth, fixed_scale=1.0)
    _, live_errors = align_positions([live[s] for s, _ in known], truth)
    scale = float(np.cbrt(np.linalg.det(similarity[:3, :3])))
    figures = {
        "frames": len(poses), "tracked": len(after), "ate_sim3": root_mean_square(errors), "ate_se3": root_mean_square(rigid_errors),
        "ate_live": root_mean_square(live_errors), "focal_error_percent": _focal_error(mapper, recording), "scale": scale,
    }  # fmt: skip
    up = true_up(recording, RecordedLabels.beside(source))
    figures |= {"up_error_degrees": None if up is None else up_error(found, truth, up)}
    figures |= _relative(recording, known, found)
    figures |= _surfaces(mapper, recording, poses, similarity)
    if page is not None:
        ways = {"true": truth, "as published": [live[s] for s, _ in known], "adjusted": found}
        page.paths(_from_above(ways), "the camera's way from above, aligned")
    report = mapper.adjusted
    figures |= {
        "loops": 0 if report is None else report.loops, "keyframes": mapper.status().keyframes,
        "fps_processed": run.fps, "fps_video": len(poses) / max(seconds, 1e-9), "seconds": seconds,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    }  # fmt: skip
    return figures, mapper


def _from_above(ways: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """Ways (N,2) of cameras (4,4), all aligned with the first, in the plane in which that spreads most."""
    true = next(iter(ways.values()))
    aligned = {name: (align_positions(poses, true)[0] @ np.stack(poses))[:, :3, 3] for name, poses in ways.items()}
    first = next(iter(aligned.values()))
    middle = first.mean(0)
    plane = np.linalg.svd(first - middle, full_matrices=False)[2][:2]
    return {name: (line - middle) @ plane.T for name, line in aligned.items()}


def _focal_error(mapper: Mapper, recording: TrueRecording) -> float | None:
    """Percent by which the found focal length, of the image without its radial term, differs from the true one."""
    newest = mapper.state.newest
    lens, _ = mapper.state.believed_lens()
    if recording.intrinsics is None or newest is None or lens is None:
        return None
    true = newest[1].framing.intrinsics(recording.intrinsics)
    return float(100 * abs(lens.focal / ((true[0, 0] + true[1, 1]) / 2) - 1))


def _relative(recording: TrueRecording, known: list, found: list[np.ndarray]) -> dict[str, float | None]:
    """rra15 and rta15 (percent) over pairs of frames that see the same from places apart; None without depth."""
    if not recording.has_depth:
        return {"rra15": None, "rta15": None}
    number = {s: k for k, s in enumerate(recording.source.layout.stamps)}
    step = -(-len(known) // _PAIRED)
    known, found = known[::step], found[::step]
    views = [recording.view(number[s]) for s, _ in known]
    rra, rta = relative_pose_accuracy(found, [p for _, p in known], wide_baseline_pairs(views))
    return {"rra15": rra, "rta15": rta}


def _surfaces(mapper: Mapper, recording: TrueRecording, poses: list, similarity: np.ndarray) -> dict[str, float | None]:
    """fscore5 (percent), accuracy and completeness (m) of the map, brought to the truth by the trajectory's similarity."""
    if not recording.has_depth:
        return {"fscore5": None, "accuracy": None, "completeness": None}
    parts = []
    for number, pose in enumerate(poses):
        if pose is None or recording.depths[number] is None:
            continue
        depth = recording.depth(number)
        points = backproject(depth, recording.intrinsics)[::_SURFACE_STEP, ::_SURFACE_STEP]
        valid = depth[::_SURFACE_STEP, ::_SURFACE_STEP] > 0
        parts.append(_thinned(transform(pose, points[valid])))
    truth = _thinned(np.concatenate(parts))
    mapped = transform(similarity, mapper.snapshot(columns=("xyz",)).points.astype(float))
    inside = ((mapped > truth.min(0) - _MARGIN) & (mapped < truth.max(0) + _MARGIN)).all(1)
    mapped = mapped[inside]
    to_truth, to_map = cKDTree(truth).query(mapped)[0], cKDTree(mapped).query(truth)[0]
    precision, recall = (to_truth < _NEAR).mean(), (to_map < _NEAR).mean()
    return {
        "fscore5": float(200 * precision * recall / max(precision + recall, 1e-9)),
        "accuracy": float(to_truth.mean()), "completeness": float(to_map.mean()),
    }  # fmt: skip


def _thinned(points: np.ndarray) -> np.ndarray:
    """One point of every cell."""
    _, first = np.unique(np.floor(points / _CELL).astype(np.int64), axis=0, return_index=True)
    return points[first]
