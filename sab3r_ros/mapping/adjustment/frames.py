"""Frames between keyframes: placed by the points they saw, and adjusted together with the keyframes."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from sab3r_ros.geometry.sim3 import rigid_part
from sab3r_ros.mapping.adjustment.back_end import Prepared
from sab3r_ros.mapping.adjustment.bundle import BundleProblem, BundleSolution
from sab3r_ros.mapping.adjustment.sightings import placed
from sab3r_ros.mapping.graph import TrackedPose

_ROUNDS = ((3.0, 1.0), (2.0, 1.0))  # of an adjustment that begins near its end
_ADJUSTED = 300  # frames that are adjusted together with the keyframes; more are placed afterwards
_KEYPOINTS = 1 << 20  # more than an image has


@dataclass(frozen=True)
class Sighted:
    """A frame: its place in the trajectory, the points (M,) it saw by number, where (M,2), and its rigid pose (4,4)."""

    position: int
    points: np.ndarray
    pixels: np.ndarray
    pose: np.ndarray


def adjust_with_frames(
    solve: Callable[..., BundleSolution], prepared: Prepared, solution: BundleSolution, tracked: list[TrackedPose]
) -> tuple[BundleSolution, list[Sighted]]:
    """The keyframes' solution once more, with the frames between them, and where these frames are then.

    Raises as `solve`.
    """
    sigma = prepared.problem.sigma
    tried = [_placed(frame, solution, sigma) for frame in _sighted(prepared, solution, tracked)]
    frames = [frame for frame in tried if frame is not None]
    if not frames:
        return solution, []
    step = -(-len(frames) // _ADJUSTED)
    chosen = frames[::step]
    views, observations = len(prepared.keyframes), len(prepared.problem.track)
    found = solve(_extended(prepared.problem, solution, chosen), _ROUNDS)
    again = {f.position: replace(f, pose=pose) for f, pose in zip(chosen, found.poses[views:], strict=True)}
    solution = BundleSolution(found.poses[:views], found.lens, found.points, found.inliers[:observations])
    others = [_placed(f, solution, sigma) or f for f in frames if f.position not in again]
    return solution, [*again.values(), *others]


def _sighted(prepared: Prepared, solution: BundleSolution, tracked: list[TrackedPose]) -> list[Sighted]:
    """The frames that saw points of the solution, with the pose that their keyframe's new one gives them."""
    tracks, keyframes = prepared.tracks, prepared.keyframes
    number = {k.id: n for n, k in enumerate(keyframes)}
    stamps = {k.stamp for k in keyframes}
    inliers = solution.inliers
    key = tracks.view[inliers].astype(np.int64) * _KEYPOINTS + tracks.keypoint[inliers]
    order = np.argsort(key)
    key, point = key[order], tracks.track[inliers][order]
    frames = []
    for position, frame in enumerate(tracked):
        seen = frame.sightings
        if seen is None or frame.stamp in stamps or frame.keyframe not in number or not len(key):
            continue
        views = np.array([number.get(k, -1) for k in seen.keyframe.tolist()], np.int64)
        wanted = views * _KEYPOINTS + seen.keypoint
        entry = np.searchsorted(key, wanted).clip(max=len(key) - 1)
        known = np.flatnonzero((key[entry] == wanted) & (views >= 0))
        points, first = np.unique(point[entry[known]], return_index=True)
        anchor = keyframes[number[frame.keyframe]].host_pose
        beside = torch.linalg.inv(rigid_part(anchor)) @ rigid_part(anchor @ frame.keyframe_from_frame.cpu())
        pose = solution.poses[number[frame.keyframe]] @ beside.numpy()
        frames.append(Sighted(position, points, seen.pixels[known[first]].astype(np.float64), pose))
    return frames


def _placed(frame: Sighted, solution: BundleSolution, sigma: float) -> Sighted | None:
    points = solution.points[frame.points]
    known = np.isfinite(points).all(1)
    pose = placed(frame.pose, points[known], frame.pixels[known], solution.lens, sigma)
    return None if pose is None else replace(frame, pose=pose)


def _extended(problem: BundleProblem, solution: BundleSolution, frames: list[Sighted]) -> BundleProblem:
    views = len(problem.poses)
    track = np.concatenate([problem.track, *(f.points for f in frames)])
    view = np.concatenate([problem.view, *(np.full(len(f.points), views + n) for n, f in enumerate(frames))])
    pixels = np.concatenate([problem.pixels, *(f.pixels for f in frames)])
    ranges = np.concatenate([problem.ranges, np.full(len(track) - len(problem.track), np.nan)])
    poses = np.concatenate([solution.poses, [f.pose for f in frames]])
    free = np.concatenate([problem.free, np.ones(len(frames), bool)])
    return replace(
        problem, poses=poses, free=free, track=track, view=view, pixels=pixels, ranges=ranges, lens=solution.lens
    )
