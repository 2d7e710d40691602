"""Long walks that return: what joint adjustment and loops bring, with a network's geometry or an oracle's in its place."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
import torch

from sab3r_ros.config import Settings
from sab3r_ros.geometry.projection import overlap
from sab3r_ros.lab.evaluation.metrics import finite_mean
from sab3r_ros.lab.evaluation.oracle import OracleErrors, OracleGeometry
from sab3r_ros.lab.evaluation.poses import absolute_trajectory_error, rotation_angle
from sab3r_ros.lab.evaluation.stream import GroundTruthView
from sab3r_ros.lab.evaluation.wheels import odometry_of
from sab3r_ros.lab.synthetic.long_walks import render_long_walk
from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.mapping.adjustment.back_end import LOOP
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.models.backends import load_backend
from sab3r_ros.models.base import Backend
from sab3r_ros.types import Frame, nth_stamp

FIRST_WALK = 70_000  # among the held-out rooms
_RATE = 10.0
_NOTHING_SHARED = 0.02  # of either view: a pair that shares less sees different places
_MUCH_SHARED, _SAME_SIDE = 0.4, 30.0  # share of both views, and degrees between them: seen again
_NO_WORSE = 0.001  # metres
_OVERLAP_STEP = 8  # pixels


@dataclass(frozen=True)
class WalkResult:
    """One walk, mapped without adjustment and with it.

    ate_off, ate_on: metres, over the frames that both tracked, after the best similarity; nan where these are too few. ate_odometry: of
    odometry alone over the same frames, nan without it.
    """

    number: int
    frames: int
    path: float
    tracked_off: int
    tracked_on: int
    ate_off: float
    ate_on: float
    accepted: int
    wrong: int
    possible: int
    found: int
    ate_odometry: float = float("nan")


def map_walk(settings: Settings, number: int, oracle: bool, length: float, odometry: bool = False) -> WalkResult:
    """Render the walk of a number, and map it twice; with odometry, as a robot's wheels would have it. Raises as `load_backend`."""
    torch.set_num_threads(1)
    rendered = list(render_long_walk(HELD_OUT_SEEDS[FIRST_WALK + number], length))
    images = [v.rgb for v in rendered]
    truth = [GroundTruthView(v.depth, v.cam2world, v.intrinsics) for v in rendered]
    del rendered
    if oracle:
        backend = Backend(OracleGeometry(images, truth, OracleErrors(), number))
    else:
        backend = Backend(load_backend(settings.model).geometry)  # features would cost time and tell nothing here
    wheels = odometry_of([t.cam2world for t in truth], number) if odometry else None
    frames = [
        Frame(image, nth_stamp(k, _RATE), odometry=wheels[k] if wheels else None) for k, image in enumerate(images)
    ]
    poses = []
    for enabled in (False, True):
        mapper = Mapper(settings.with_values(adjustment={"enabled": enabled}), backend)
        map_stream(mapper, frames)
        poses.append(dict(mapper.trajectory))
    both = [k for k in range(len(images)) if all(nth_stamp(k, _RATE) in p for p in poses)]
    true = [truth[k].cam2world for k in both]
    off, on = (absolute_trajectory_error([p[nth_stamp(k, _RATE)] for k in both], true)[0] for p in poses)
    alone = absolute_trajectory_error([wheels[k] for k in both], true)[0] if wheels else float("nan")
    positions = np.array([t.cam2world[:3, 3] for t in truth])
    path = float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())
    accepted, wrong, possible, found = _loops(mapper, truth)
    return WalkResult(
        number, len(images), path, len(poses[0]), len(poses[1]), off, on, accepted, wrong, possible, found, alone
    )


def _loops(mapper: Mapper, truth: Sequence[GroundTruthView]) -> tuple[int, int, int, int]:
    """Pairs of keyframes far apart in time: how many were matched, how many of these wrongly; how many keyframes see again what
    an older one saw, and how many of these were matched with such a one."""
    numbers = {nth_stamp(k, _RATE): k for k in range(len(truth))}
    keyframes = mapper.state.graph.keyframes
    views = [truth[numbers[k.stamp]] for k in keyframes]
    position = {k.id: n for n, k in enumerate(keyframes)}
    matched = {(position[p.older], position[p.newer]) for p, _ in mapper.state.matches.among(position)}
    accepted = {(a, b) for a, b in matched if b - a > LOOP}
    wrong = sum(_shared(views[a], views[b]) < _NOTHING_SHARED for a, b in accepted)
    possible, found = 0, 0
    for b in range(LOOP + 1, len(views)):
        again = [a for a in range(b - LOOP) if _sees_again(views[a], views[b])]
        possible += bool(again)
        found += any((a, b) in accepted for a in again)
    return len(accepted), wrong, possible, found


def _sees_again(a: GroundTruthView, b: GroundTruthView) -> bool:
    """Whether two views see much of the same from the same side."""
    return rotation_angle(a.cam2world[:3, :3], b.cam2world[:3, :3]) <= _SAME_SIDE and _shared(a, b) >= _MUCH_SHARED


def _shared(a: GroundTruthView, b: GroundTruthView) -> float:
    """The smaller of the shares that two views see of each other; 0 without a look where they face apart."""
    if a.cam2world[:3, 2] @ b.cam2world[:3, 2] < -0.2:
        return 0.0
    return min(overlap(a, b, _OVERLAP_STEP), overlap(b, a, _OVERLAP_STEP))


def evaluate_loops(
    settings: Settings, walks: int, first: int, oracle: bool, length: float, workers: int, odometry: bool = False,
    report: Callable[[WalkResult], None] = lambda result: None,
) -> dict:  # fmt: skip
    """Figures over long walks from number `first` on, each in a process of a pool.

    ate_off, ate_on (means, m); worse: walks that adjustment made worse; wrong_loops: matched pairs of keyframes that see
    different places; ate_odometry: of odometry alone; recall (percent) of keyframes that see again, from the same side, what one long before them saw; path_error_percent: ATE over length.
    """
    started = time.perf_counter()
    results: list[WalkResult] = []
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        job = partial(map_walk, settings, oracle=oracle, length=length, odometry=odometry)
        for result in pool.map(job, range(first, first + walks)):
            results.append(result)
            report(result)
    return {**loop_figures(results), "oracle": oracle, "odometry": odometry, "seconds": time.perf_counter() - started}


def loop_figures(results: Sequence[WalkResult]) -> dict:
    """The figures of some walks; see `evaluate_loops`."""
    possible = sum(r.possible for r in results)
    return {
        "walks": len(results), "ate_off": finite_mean([r.ate_off for r in results]),
        "ate_on": finite_mean([r.ate_on for r in results]),
        "ate_odometry": finite_mean([r.ate_odometry for r in results]),
        "worse": sum(not r.ate_on <= r.ate_off + _NO_WORSE for r in results),
        "wrong_loops": sum(r.wrong for r in results),
        "recall": 100 * sum(r.found for r in results) / possible if possible else float("nan"),
        "path_error_percent": finite_mean([100 * r.ate_on / r.path for r in results]),
        "loops": sum(r.accepted for r in results), "path": finite_mean([r.path for r in results]),
        "tracked_percent": 100 * sum(r.tracked_on for r in results) / max(sum(r.frames for r in results), 1),
        "by_walk": [[r.number, round(r.ate_off, 4), round(r.ate_on, 4), r.accepted, r.wrong] for r in results],
    }  # fmt: skip
