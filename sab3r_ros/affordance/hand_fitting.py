"""Where an open hand fits around an object: every orientation, place and depth of a grid, tested against all points at once.

The frame of a hand: origin midway between the finger tips, +z the approach, +y the closing direction. Fingers are boxes behind
the tips, outside of what they close on; what they sweep while they come must be free, so that no separate test of the way is
needed. (Candidates on a grid of orientations and tests against the cloud as in ten Pas et al. 2017, GPD, sections IV and V.)
"""

from dataclasses import dataclass

import cv2
import numpy as np

_BIN = 0.003  # metres along the closing direction
_REACH = 0.16  # metres behind the tips that must be free
_TILTS = (0.0, np.radians(30), np.radians(60), np.radians(88))  # of the approach from straight down
_AROUND, _TURNS, _TURNS_DOWN = 8, 6, 12  # directions of a tilt, closing angles about an approach
_DEPTHS = (0.04, 0.028, 0.018, 0.01)  # metres that the tips go past the front of what is between them
_CENTRES = 28  # places on the object
_ASKED_CENTRES = 16  # further ones on the part that was asked for
_MIN_DEPTH = 0.006
PALM_DEPTH = 0.05  # metres along the approach
_NEAR = 0.015  # metres about a centre in which the front is looked for


@dataclass(frozen=True)
class Fits:
    """Hands that fit, one per row: rotation (F,3,3), tips (F,3) in metres, width between the surfaces (F,), depth of the tips
    past the front (F,), and whether they were looked for at the asked part (F,)."""

    rotation: np.ndarray
    tips: np.ndarray
    width: np.ndarray
    depth: np.ndarray
    asked: np.ndarray


def orientations(axis: np.ndarray) -> np.ndarray:
    """Hands (R,3,3) from above to the side; axis (2,): a horizontal direction of the object that some of them close along."""
    start = np.arctan2(axis[1], axis[0])
    out = []
    for tilt in _TILTS:
        around = _AROUND if tilt else 1
        turns = _TURNS if tilt else _TURNS_DOWN
        for k in range(around):
            heading = start + 2 * np.pi * k / around
            approach = np.array([np.sin(tilt) * np.cos(heading), np.sin(tilt) * np.sin(heading), -np.cos(tilt)])
            side = (
                np.array([np.cos(heading), np.sin(heading), 0])
                if not tilt
                else np.array([-np.sin(heading), np.cos(heading), 0])
            )
            third = np.cross(approach, side)
            for turn in np.pi * np.arange(turns) / turns:
                closing = np.cos(turn) * side + np.sin(turn) * third
                out.append(np.stack([np.cross(closing, approach), closing, approach], 1))
    return np.array(out)


def spread_rows(points: np.ndarray, count: int) -> np.ndarray:
    """Rows of points (N,3) that are far from each other, beginning at the one nearest to their mean."""
    chosen = [int(np.linalg.norm(points - points.mean(0), axis=1).argmin())]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def footprint_axis(points: np.ndarray) -> np.ndarray:
    """The longer side (2,) of the smallest rectangle around points (N,3) seen from above: faces of boxes lie along it."""
    (_, (width, height), angle) = cv2.minAreaRect(np.ascontiguousarray(points[:, :2], np.float32))
    turn = np.radians(angle if width >= height else angle + 90)
    return np.array([np.cos(turn), np.sin(turn)])


def fit_hands(
    points: np.ndarray,
    inside: np.ndarray,
    gripper,
    gap: float,
    table_gap: float,
    support: float | None,
    asked: np.ndarray,
) -> Fits:
    """Hands around an object (N,3), in metres, z up, that touch neither it while they come nor the table.

    inside (M,3): points in the object's inside; gap: metres between an open finger and the surface, table_gap: and the table; support: its height, None where there is none;
    asked (N,) bool: points of a part at which further hands are looked for. What else is in the way is not looked at here.
    """
    axis = footprint_axis(points) if len(points) > 2 else np.array([1.0, 0])
    middle = points[:, :2].mean(0)
    centres = np.concatenate([points[spread_rows(points, _CENTRES)], [[*middle, np.quantile(points[:, 2], 0.9)]]])
    general = len(centres)
    if asked.any():
        part = points[asked]
        centres = np.concatenate([centres, part[spread_rows(part, _ASKED_CENTRES)]])
    solid = np.concatenate([points, inside])
    found = [_fit(solid, centres, rotation, gripper, gap, table_gap, support) for rotation in orientations(axis)]
    rotation, tips, width, depth, centre = (np.concatenate(column) for column in zip(*found, strict=True))
    return Fits(rotation, tips, width, depth, centre >= general)


def _fit(points, centres, rotation, gripper, gap, table_gap, support):
    """Hands of one orientation around every centre (K,3), at every depth (D)."""
    own, at = points @ rotation, centres @ rotation
    beside = own[None, :, 1] - at[:, None, 1]  # (K,N)
    half = gripper.max_width / 2 + gap + gripper.finger_thickness + _BIN
    inside = (np.abs(own[None, :, 0] - at[:, None, 0]) < gripper.finger_width / 2 + gap / 2) & (np.abs(beside) < half)
    front = np.where(inside & (np.abs(beside) < _NEAR), own[None, :, 2], np.inf).min(1)  # (K,)
    front = np.where(np.isfinite(front), front, at[:, 2])
    tips = front[:, None] + np.array(_DEPTHS)  # (K,D)
    tips = np.minimum(tips, _deepest(at, rotation, gripper, gap, table_gap, support)[:, None])
    depth = tips - front[:, None]
    bins = int(np.ceil(2 * half / _BIN))
    column = ((beside + half) / _BIN).astype(int).clip(0, bins - 1)
    taken = np.zeros((*tips.shape, bins), bool)  # (K,D,B): what lies before the tips, along the closing direction
    for d in range(tips.shape[1]):
        rows, cols = np.nonzero(
            inside & (own[None, :, 2] < tips[:, d, None]) & (own[None, :, 2] > tips[:, d, None] - _REACH)
        )
        taken[rows, d, column[rows, cols]] = True
    low, high = _between(taken, int(np.ceil((gripper.finger_thickness + gap) / _BIN)), bins)
    width = (high - low) * _BIN
    fits = (low >= 0) & (width > 0) & (width <= gripper.max_width + _BIN) & (depth >= _MIN_DEPTH)
    k, d = np.nonzero(fits)
    local = np.stack([at[k, 0], at[k, 1] - half + (low[k, d] + high[k, d]) / 2 * _BIN, tips[k, d]], 1)
    count = len(k)
    return np.broadcast_to(rotation, (count, 3, 3)), local @ rotation.T, width[k, d], depth[k, d], k


def _between(taken: np.ndarray, finger: int, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Bins (K,D) between which fingers of `finger` bins find room on both sides of the middle: first taken and one past the
    last taken; -1 where they find none."""
    sums = np.concatenate([np.zeros((*taken.shape[:2], 1), int), np.cumsum(taken, 2)], 2)
    free = sums[..., finger:] - sums[..., :-finger] == 0  # window that begins at this bin
    middle = bins // 2
    starts = np.arange(free.shape[2])
    left = np.where(free & (starts + finger <= middle + 1), starts, -1).max(2)  # nearest window left of the middle
    right = np.where(free & (starts >= middle), starts, bins + 1).min(2)
    inner = (np.arange(bins) >= (left + finger)[..., None]) & (np.arange(bins) < right[..., None]) & taken
    some = inner.any(2) & (left >= 0) & (right <= bins)
    low = np.where(some, inner.argmax(2), -1)
    high = np.where(some, bins - inner[..., ::-1].argmax(2), -1)
    return low, high


def _deepest(at, rotation, gripper, gap, table_gap, support):
    """How far along the approach the tips may go before part of an open hand is at the table (K,)."""
    if support is None:
        return np.full(len(at), np.inf)
    slope = rotation[2, 2]
    reach = gripper.max_width / 2 + gap + gripper.finger_thickness
    finger = min(0.0, -gripper.finger_length * slope) - np.abs(rotation[2, :2]) @ np.array(
        [gripper.finger_width / 2, reach]
    )
    ends = -slope * np.array([gripper.palm_reach, gripper.palm_reach + PALM_DEPTH])
    palm = ends.min() - np.abs(rotation[2, :2]) @ np.array([gripper.finger_width, gripper.palm_width / 2])
    # Height of the tips at depth z: at's own x and y, and z along the approach.
    base = at[:, 0] * rotation[2, 0] + at[:, 1] * rotation[2, 1]
    room = base - support - table_gap + min(finger, palm)  # of the lowest part of an open hand with its tips at depth 0
    if abs(slope) < 1e-3:
        return np.where(room >= 0, np.inf, -np.inf)
    return room / -slope if slope < 0 else np.full(len(at), np.inf)
