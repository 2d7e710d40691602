"""Free space: voxels that keyframes see through, where something stood before, or where depth was wrong.

A keyframe sees through a voxel where its own surface lies clearly behind it (Moravec and Elfes 1985, "High resolution maps from wide
angle sonar", for the idea; here keyframes vote). What the last keyframes that look there all see through is not there: people and hands,
a thing that was carried away however long it had stood there, depth that was wrong. In a real kitchen nine tenths of these voxels are farther than
5 cm from any surface, two thirds to three quarters of all others. Votes over all keyframes, older ones included, told less: 0.62 to 0.84.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from sab3r_ros.config import MapSettings
from sab3r_ros.geometry.sim3 import rigid_part, split_sim3
from sab3r_ros.mapping.adjustment.bundle import Lens
from sab3r_ros.mapping.voxel_grid import surface_mask
from sab3r_ros.types import Keyframe

# Share of the depth, and metres, by which a surface lies behind what it is seen through.
_BEHIND, _BEHIND_BY = 0.15, 0.05
_SAME, _SAME_BY = 0.07, 0.03  # within which it is the same
_AROUND = 5  # pixels a side among which depth is the nearest, or the farthest
_LATELY = 2  # times seen through since it was seen last
_WIDER = 1.1  # than a pinhole's image, as far as a radial term goes
_CELL = 0.5  # metres of the cells that are tried before their voxels


@dataclass(frozen=True)
class DepthView:
    """What a keyframe sees: rigid pose (4,4), camera to map; depth (h,w) in the map's unit, 0 where it is not to be believed."""

    pose: np.ndarray
    depth: np.ndarray


def depth_view(keyframe: Keyframe, settings: MapSettings) -> DepthView:
    """A keyframe's view; only of pixels that could be fused: what it is not confident of, it may still see through."""
    points, conf = keyframe.points.float(), keyframe.conf.float()
    kept = surface_mask(points, conf, settings.min_confidence, 0.0, settings.edge_ratio, settings.max_range)
    depth = keyframe.host_depth * kept.cpu() * split_sim3(keyframe.host_pose)[0]
    return DepthView(rigid_part(keyframe.host_pose).numpy(), np.nan_to_num(depth.numpy()).astype(np.float32))


def seen_through(points: np.ndarray, views: Iterable[DepthView], lens: Lens) -> np.ndarray:
    """Which voxels (N,) bool are not there: points (N,3) in the map, and the views, oldest first."""
    since = np.zeros(len(points), np.int32)
    cells = _Cells(points)
    for view in views:
        near = cells.before(view, lens)
        through, same = _looked_at(points[near], view, lens)
        since[near] = np.where(same, 0, since[near] + through)
    return since >= _LATELY


def _looked_at(points: np.ndarray, view: DepthView, lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    """Which points (M,3) a view sees through, and which it sees: (M,) bool each."""
    through, same = np.zeros(len(points), bool), np.zeros(len(points), bool)
    seen = (points - view.pose[:3, 3]) @ view.pose[:3, :3]
    pixels, z = lens.project(seen), seen[:, 2]
    h, w = view.depth.shape
    # A radial term brings what is far outside back into the image.
    edge = _WIDER * np.array([lens.u, lens.v]) / lens.focal * z[:, None]
    with np.errstate(invalid="ignore"):
        in_image = ((pixels >= 0) & (pixels <= [w - 1, h - 1]) & (np.abs(seen[:, :2]) < edge)).all(1)
    inside = np.flatnonzero(in_image)
    column, row = np.round(pixels[inside]).astype(int).T
    around = np.ones((_AROUND, _AROUND), np.uint8)
    nearest, farthest = cv2.erode(view.depth, around)[row, column], cv2.dilate(view.depth, around)[row, column]
    z = z[inside]
    through[inside] = z < (1 - _BEHIND) * nearest - _BEHIND_BY
    same[inside] = (z > (1 - _SAME) * nearest - _SAME_BY) & (z < (1 + _SAME) * farthest + _SAME_BY)
    return through, same


class _Cells:
    """Points by the coarse cells they lie in, so that a view need not try all of them."""

    def __init__(self, points: np.ndarray):
        cell, member = np.unique(np.floor(points / _CELL).astype(np.int64), axis=0, return_inverse=True)
        member = member.reshape(-1)
        self._middles = (cell + 0.5) * _CELL
        self._order = np.argsort(member, kind="stable")
        self._start = np.searchsorted(member[self._order], np.arange(len(cell) + 1))

    def before(self, view: DepthView, lens: Lens) -> np.ndarray:
        """Numbers (M,) of the points in cells that reach into a view, no farther than it sees."""
        seen = (self._middles - view.pose[:3, 3]) @ view.pose[:3, :3]
        reach = _CELL * 3**0.5 / 2
        wide, high = lens.u / lens.focal, lens.v / lens.focal
        # A cell's ball reaches into the pyramid where it reaches over all of its sides; lenses differ a little from a pinhole.
        sideways = (np.abs(seen[:, 0]) - _WIDER * wide * seen[:, 2]) < reach * (1 + wide**2) ** 0.5
        upwards = (np.abs(seen[:, 1]) - _WIDER * high * seen[:, 2]) < reach * (1 + high**2) ** 0.5
        along = (seen[:, 2] > -reach) & (seen[:, 2] < view.depth.max(initial=0) * (1 + _SAME) + _SAME_BY + reach)
        chosen = np.flatnonzero(sideways & upwards & along)
        parts = [self._order[self._start[c] : self._start[c + 1]] for c in chosen]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)
