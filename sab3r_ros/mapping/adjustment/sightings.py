"""Which keypoints of keyframes a tracked frame saw, so that it can be placed again once they have moved."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from sab3r_ros.mapping.adjustment.bundle import Lens
from sab3r_ros.mapping.keypoints import Keypoints
from sab3r_ros.types import Edge

_MOST = 200  # sightings of a frame
_ENOUGH = 15  # points that place a frame
_LARGEST_ERROR = 3.0  # standard deviations of a pixel
_TRIMS = 3


@dataclass(frozen=True)
class Sightings:
    """Of a frame: keyframe ids (M,) int32, numbers of their keypoints (M,) int32, and where the frame saw them (M,2) float32."""

    keyframe: np.ndarray
    keypoint: np.ndarray
    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.keyframe)


def sightings_of(edges: Iterable[Edge], keypoints: dict[int, Keypoints]) -> Sightings | None:
    """The matched keypoints that agree with a frame's pose, thinned out evenly; None where there are too few.

    keypoints: of the keyframes that the edges lead to.
    """
    parts = []
    for edge in edges:
        theirs = keypoints.get(edge.target)
        if edge.kind != "keypoints" or theirs is None or not len(theirs):
            continue
        kept = edge.agreeing
        number = _numbers_of(edge.target_pixels[kept], theirs.pixels)
        parts.append((np.full(len(number), edge.target), number, edge.source_pixels[kept]))
    if sum(len(n) for _, n, _ in parts) < _ENOUGH:
        return None
    keyframe, keypoint, pixels = (np.concatenate(column) for column in zip(*parts, strict=True))
    step = -(-len(keyframe) // _MOST)
    return Sightings(
        keyframe[::step].astype(np.int32), keypoint[::step].astype(np.int32), pixels[::step].astype(np.float32)
    )


def _numbers_of(pixels: np.ndarray, all_pixels: np.ndarray) -> np.ndarray:
    """Numbers (M,) of pixels (M,2) among all_pixels (N,2), which they were taken from."""
    keys, wanted = (np.ascontiguousarray(p, dtype=np.float64).view(np.complex128)[:, 0] for p in (all_pixels, pixels))
    order = np.argsort(keys, kind="stable")
    return order[np.searchsorted(keys[order], wanted).clip(max=len(order) - 1)]


def placed(pose: np.ndarray, points: np.ndarray, pixels: np.ndarray, lens: Lens, sigma: float) -> np.ndarray | None:
    """The rigid pose (4,4), camera to map, from which points (M,3) are seen at pixels (M,2), beginning at `pose`.

    Levenberg-Marquardt on what is left after the worst were trimmed; None where fewer than 15 agree.
    """
    if len(points) < _ENOUGH:
        return None
    inverse = np.linalg.inv(pose)
    turn, shift = cv2.Rodrigues(inverse[:3, :3])[0], inverse[:3, 3:].copy()
    kept = np.ones(len(points), bool)
    for trim in range(_TRIMS):
        seen = points @ cv2.Rodrigues(turn)[0].T + shift[:, 0]
        error = np.linalg.norm(lens.project(seen) - pixels, axis=1)
        error = np.where(np.isfinite(error), error, np.inf)
        kept = error < max(_LARGEST_ERROR * sigma, np.median(error) * 2 ** (_TRIMS - 1 - trim))
        if kept.sum() < _ENOUGH:
            return None
        turn, shift = cv2.solvePnPRefineLM(
            points[kept], pixels[kept].astype(np.float64), lens.matrix, lens.distortion, turn, shift
        )
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    return np.linalg.inv(out) if np.isfinite(out).all() else None
