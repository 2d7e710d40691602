"""Walls, floors and ceilings as planes, in a map whose z axis points up.

A network's depth errs by some percent, and where nothing can be matched nothing else tells: walls are wavy, and lean. What is
labelled as a wall is brought onto an upright plane that many such points lie near, what is labelled as floor or ceiling onto a
level one, along the ray by which it was seen. Planes are found one after the other (RANSAC, Fischler and Bolles 1981), fitted
robustly, and shifted to where triangulated keypoints on them say; a plane that its points do not lie close to is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

_NEAR = 0.04  # of its distance from the camera, within which a point speaks for a plane
_FITTED, _MOVED = 0.06, 0.1  # the same, of points that a plane is fitted to, and that are brought onto it
_TAKEN = 0.12  # the same, of points that speak for no other plane: layers of the same wall
_CRISP = 0.02  # the same, median of the points near a plane: more is a crowd of things, not a surface
_LEAST_SHARE, _LEAST_POINTS = 0.01, 150  # of all points, and points, of a plane
_MOST = 12  # planes of a kind
_TRIES, _SAMPLED, _ROUNDS = 300, 4000, 6
_APART = 0.05  # metres between two points that tell where a wall runs
_SPREAD = 0.05  # metres from the plane where a point counts half
_ON_PLANE, _KEYPOINTS = 0.1, 8  # metres within which keypoints are of a plane, and how many shift it
_FARTHEST = 0.2  # of the log of a point's distance by which it may be moved


class Kind(IntEnum):
    """What a point is part of."""

    OTHER = 0
    WALL = 1
    FLOOR = 2
    CEILING = 3


@dataclass(frozen=True)
class Plane:
    """All points p with normal . p = offset; normal (3,) of unit length."""

    kind: Kind
    normal: np.ndarray
    offset: float

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Signed distances (N,) of points (N,3)."""
        return points @ self.normal - self.offset


def find_planes(
    points: np.ndarray, ranges: np.ndarray, kinds: np.ndarray, keypoints: np.ndarray, keypoint_kinds: np.ndarray
) -> list[Plane]:
    """Planes of points (N,3) with their distances (N,) from the cameras that saw them and kinds (N,); keypoints (K,3) are exact."""
    planes = []
    least = max(_LEAST_SHARE * len(points), _LEAST_POINTS)
    for kind in (Kind.WALL, Kind.FLOOR, Kind.CEILING):
        mine = kinds == kind
        known = keypoints[keypoint_kinds == kind]
        planes += [_shifted(p, known) for p in _of_kind(kind, points[mine], ranges[mine], least)]
    return planes


def _of_kind(kind: Kind, points: np.ndarray, ranges: np.ndarray, least: float) -> list[Plane]:
    rng = np.random.default_rng(0)
    found: list[Plane] = []
    for _ in range(_MOST):
        if len(points) < least:
            break
        some = rng.choice(len(points), min(_SAMPLED, len(points)), replace=False)
        tried = [_through(kind, *points[rng.integers(len(points), size=2)]) for _ in range(_TRIES)]
        near = [(np.abs(p.distance(points[some])) < _NEAR * ranges[some]).sum() for p in tried]
        plane = tried[int(np.argmax(near))]
        for _ in range(_ROUNDS):
            own = np.abs(plane.distance(points)) < _FITTED * ranges
            plane = _fitted(plane, points[own], ranges[own])
        off = np.abs(plane.distance(points)) / ranges
        if (off < _FITTED).sum() < least:
            break
        if np.median(off[off < _MOVED]) < _CRISP:
            found.append(plane)
        left = off > _TAKEN
        points, ranges = points[left], ranges[left]
    return found


def _through(kind: Kind, a: np.ndarray, b: np.ndarray) -> Plane:
    """The level plane through a, or the upright one through a and b."""
    apart = np.hypot(*(a - b)[:2])
    if kind != Kind.WALL:
        normal = np.array([0, 0, 1.0])
    elif apart > _APART:
        normal = np.array([a[1] - b[1], b[0] - a[0], 0]) / apart
    else:
        normal = np.array([1.0, 0, 0])
    return Plane(kind, normal, float(normal @ a))


def _fitted(plane: Plane, points: np.ndarray, ranges: np.ndarray) -> Plane:
    """The plane with the least sum of weighted squares; errors grow with the distance from the camera."""
    if len(points) < 3:
        return plane
    weight = 1 / (1 + (plane.distance(points) / _SPREAD) ** 2) / np.maximum(ranges, 0.1) ** 2
    middle = np.average(points, axis=0, weights=weight)
    normal = plane.normal
    if plane.kind == Kind.WALL:
        flat = (points - middle)[:, :2]
        across = np.linalg.eigh((flat * weight[:, None]).T @ flat)[1][:, 0]
        normal = np.array([*across, 0]) * np.sign(across @ plane.normal[:2] or 1)
    return Plane(plane.kind, normal, float(normal @ middle))


def _shifted(plane: Plane, keypoints: np.ndarray) -> Plane:
    """The plane where the keypoints on it are, if they are enough."""
    off = plane.distance(keypoints)
    off = off[np.abs(off) < _ON_PLANE]
    if len(off) < _KEYPOINTS:
        return plane
    return Plane(plane.kind, plane.normal, plane.offset + float(np.median(off)))


def onto_planes(points: np.ndarray, eye: np.ndarray, kinds: np.ndarray, planes: Sequence[Plane]) -> np.ndarray:
    """Points (N,3) with those that are near a plane of their kind moved onto it, along the rays from `eye` (3,)."""
    seen = points - eye
    ranges = np.linalg.norm(seen, axis=1)
    best, moved = _MOVED * ranges, points.copy()
    for plane in planes:
        off = np.abs(plane.distance(points))
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = (plane.offset - plane.normal @ eye) / (seen @ plane.normal)
            near = (kinds == plane.kind) & (off < best) & (factor > 0) & (np.abs(np.log(factor)) < _FARTHEST)
        moved[near] = eye + seen[near] * factor[near, None]
        best[near] = off[near]
    return moved
