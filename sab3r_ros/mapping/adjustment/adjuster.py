"""The adjustment of a mapper's state: taken under the lock, solved without it, put back under the lock."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from sab3r_ros.mapping.adjustment.back_end import Prepared, finished, pose_graph_of, prepare, rescaled
from sab3r_ros.mapping.adjustment.bundle import ROUNDS, BundleProblem, BundleSolution, Rounds, agreeing, solve
from sab3r_ros.mapping.adjustment.depth_fields import solve_depth
from sab3r_ros.mapping.adjustment.depth_problem import depth_problem
from sab3r_ros.mapping.adjustment.frames import Sighted, adjust_with_frames
from sab3r_ros.mapping.adjustment.pose_graph import is_contradicted, solve_pose_graph
from sab3r_ros.mapping.adjustment.solver_process import P, R, SolverError, SolverProcess

if TYPE_CHECKING:
    from sab3r_ros.mapping.mapper import Mapper

_LOG = logging.getLogger("sab3r_ros")
_LARGEST_FOCAL_CHANGE = 0.4  # of the log, beyond which the solution is not believed
_LEAST_INLIERS = 0.3  # share of the observations that must agree in the end
_WORSE = 0.02  # of them, that may agree less than with the map as it stands


@dataclass(frozen=True)
class AdjustmentReport:
    """What an adjustment did: keyframes that it moved, pairs of them that match, how many of these are loops, points, root mean
    square error in pixels of the network's image, focal length and radial term, and the largest motion in metres."""

    keyframes: int
    pairs: int
    loops: int
    points: int
    pixel_error: float
    focal: float
    k1: float
    largest_motion: float


class Adjuster:
    """Adjusts a mapper's keyframes, one adjustment at a time, by a process of its own."""

    def __init__(self) -> None:
        self._solve = SolverProcess()

    def close(self) -> None:
        """End the solver's process, at work or not; the next adjustment starts another one."""
        self._solve.close()

    def __call__(self, mapper: "Mapper", whole: bool, stop: threading.Event) -> AdjustmentReport | None:
        """Adjust all keyframes, or those of the window.

        None where nothing was moved: too little matches, no solution that can be believed, `stop` was set, or the map was
        replaced meanwhile.
        The mapper's lock is only held while the result is put in place.
        """
        settings = mapper.settings.adjustment
        with mapper.lock:
            state = mapper.state
            held = state.held
            keyframes, tracked = state.graph.keyframes, state.graph.tracked_poses
            metres = None if state.has_depth else state.expected_scale
            lens, known = state.believed_lens()
            odometry = state.odometry.copy()
        if lens is None:
            return None
        window = 0 if whole else settings.window
        prepared = prepare(keyframes, lens, known, state.matches, settings, metres, window, held, stop, odometry)
        if prepared is None:
            return None
        frames: list[Sighted] = []

        def solved(function: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
            if stop.is_set():
                raise SolverError("told to end")
            return self._solve(function, *args, **options)

        def adjust(problem: BundleProblem, rounds: Rounds = ROUNDS) -> BundleSolution:
            return solved(solve, problem, rounds)

        try:
            # Odometry may contradict matches, and rightly so: of a chequered floor many are wrong.
            before = 0.0 if prepared.problem.motions else float(agreeing(prepared.problem)[1].mean())
            if whole and is_contradicted(graph := pose_graph_of(prepared)):
                poses = solved(solve_pose_graph, graph)
                if poses is not None:
                    prepared = replace(prepared, problem=replace(prepared.problem, poses=poses))
                    _LOG.info(
                        "keyframes were placed anew by %d pairs that match: tracking had lost its way", prepared.pairs
                    )
            solution = adjust(prepared.problem)
            _check(prepared, solution, before)
            if whole:
                solution, frames = adjust_with_frames(adjust, prepared, solution, tracked)
                _check(prepared, solution, before)
            found = finished(prepared, solution, whole and not held)
            corrections = {}
            if whole and settings.depth:
                nodes = solved(solve_depth, depth_problem(prepared, solution, found))
                corrections = {k.id: c for k, c in zip(prepared.keyframes, nodes, strict=True) if k.id not in held}
        except (SolverError, np.linalg.LinAlgError, cv2.error) as error:  # the map stays as it is
            if not stop.is_set():
                _LOG.warning("keyframes were not adjusted: %s", error)
            return None
        points = int(np.isfinite(solution.points).all(1).sum())
        with mapper.lock:
            if mapper.state is not state:
                return None
            motion = state.move_keyframes({number: torch.from_numpy(pose) for number, pose in found.poses.items()})
            state.correct_depth(corrections)
            standing = {k.id for k in state.graph.keyframes}
            state.certainty.join((p.older, p.newer, len(m)) for p, m in state.matches.among(standing))
            if whole:
                seen = solution.points[np.isfinite(solution.points).all(1)]
                state.keypoints = seen @ found.to_metres[:3, :3].T + found.to_metres[:3, 3]
            for frame in frames:
                pose = torch.from_numpy(rescaled(found.to_metres, frame.pose))
                state.graph.replace_tracked(frame.position, tracked[frame.position].stamp, pose)
            state.lens = found.lens
        mapper.move_voxels(state)
        return AdjustmentReport(
            len(found.poses),
            prepared.pairs,
            prepared.loops,
            points,
            found.pixel_error,
            found.lens.focal,
            found.lens.k1,
            motion,
        )


def _check(prepared: Prepared, solution: BundleSolution, before: float) -> None:
    """Raises SolverError for a solution that cannot be believed; before: share of the observations that agree with the map as it stands."""
    change = abs(float(np.log(max(solution.lens.focal, 1e-6) / prepared.problem.lens.focal)))
    if not np.isfinite(solution.poses).all() or change > _LARGEST_FOCAL_CHANGE:
        raise SolverError(f"the focal length went from {prepared.problem.lens.focal:.0f} to {solution.lens.focal:.0f}")
    share = float(solution.inliers.mean())
    if share < _LEAST_INLIERS:
        raise SolverError(f"only {100 * share:.0f} % of the matched keypoints agree with it")
    if share < before - _WORSE:
        raise SolverError(
            f"{100 * share:.0f} % of the matched keypoints agree with it, with the map as it is {100 * before:.0f} %"
        )
