"""How far a located thing is on, under, in, next to, left of ... another one, from their points in a map whose z is up.

Left, right, in front of and behind are a viewer's words: as seen by somebody who stands at `viewpoint` and looks at the other
thing.
"""

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.query.objects import LocatedObject
from sab3r_ros.query.questions import Relation

_GAP = 0.12  # metres between a thing and what it stands on: voxels, and depth that errs
_NEXT = 0.6  # metres to what is next to it
_ABOVE = 0.8  # metres up to what is above, under it
_SIDE = 1.0  # metres: what is farther than twice this is no longer left of a thing
_RATHER = 0.8  # what is on a table is rather not called above or next to it
_LOW, _HIGH = 0.05, 0.95  # quantiles that stand for a thing's bottom and top: stray voxels are no part of it


def relation_score(
    relation: Relation, thing: LocatedObject, anchor: LocatedObject, viewpoint: np.ndarray | None = None
) -> float:
    """In [0, 1]: how far `thing` is in the relation to `anchor`. viewpoint (3,): of the viewer, default beside the thing.

    Relation.NEAREST falls with the distance, so that the nearest of several has the highest score.
    """
    if np.array_equal(thing.index, anchor.index):
        return 0.0
    if relation in _VIEWED:
        return _VIEWED[relation](*_seen(thing, anchor, viewpoint))
    return _GEOMETRIC[relation](thing, anchor)


def _extent(item: LocatedObject) -> tuple[float, float]:
    low, high = np.quantile(item.points[:, 2], [_LOW, _HIGH])
    return float(low), float(high)


def _beneath(item: LocatedObject, other: LocatedObject) -> tuple[float, float]:
    """Share of `item`'s footprint that has points of `other` above or below it, and these points' height next to its bottom."""
    low = _extent(item)[0]
    distance, _ = cKDTree(other.points[:, :2]).query(item.points[:, :2], distance_upper_bound=_GAP)
    covered = float(np.isfinite(distance).mean())
    near, _ = cKDTree(item.points[:, :2]).query(other.points[:, :2], distance_upper_bound=_GAP)
    heights = other.points[np.isfinite(near), 2]
    if not len(heights):
        return covered, np.inf
    # The surface it stands on: the highest one that is not above its bottom by more than the gap.
    below = heights[heights <= low + _GAP]
    return covered, float(low - (np.quantile(below, _HIGH) if len(below) else heights.min()))


def _on(thing: LocatedObject, anchor: LocatedObject) -> float:
    covered, gap = _beneath(thing, anchor)
    if not np.isfinite(gap) or gap < -_GAP:
        return 0.0
    return min(1.0, 2 * covered) * _falling(abs(gap), _GAP)


def _under(thing: LocatedObject, anchor: LocatedObject) -> float:
    covered, _ = _beneath(thing, anchor)
    top, (low, high) = _extent(thing)[1], _extent(anchor)
    if top > high + _GAP:
        return 0.0
    # Under a table is lower than its top, not lower than its feet.
    clearance = max(high - top, 0.0)
    reaches = min(1.0, clearance / _GAP) if low < top else 1.0
    return min(1.0, 2 * covered) * reaches * _falling(max(low - top, 0.0), _ABOVE)


def _above(thing: LocatedObject, anchor: LocatedObject) -> float:
    covered, _ = _beneath(thing, anchor)
    height = _extent(thing)[0] - _extent(anchor)[1]
    if height < -_GAP / 2:
        return 0.0
    return min(1.0, 2 * covered) * _falling(height, 2 * _ABOVE) * (1 - _RATHER * _on(thing, anchor))


def _in(thing: LocatedObject, anchor: LocatedObject) -> float:
    """Share of its points inside the other's box, grown by half a gap; a shelf's box holds what stands on it."""
    local = (thing.points - anchor.box_pose[:3, 3]) @ anchor.box_pose[:3, :3]
    inside = (np.abs(local) <= anchor.size / 2 + _GAP / 2).all(1)
    return float(inside.mean()) if np.prod(thing.size + 0.01) < np.prod(anchor.size + 0.01) else 0.0


def _distance(thing: LocatedObject, anchor: LocatedObject) -> float:
    nearest = cKDTree(anchor.points).query(thing.points)[0]
    return float(np.quantile(nearest, _LOW))


def _next_to(thing: LocatedObject, anchor: LocatedObject) -> float:
    (low, high), (other_low, other_high) = _extent(thing), _extent(anchor)
    apart = max(low - other_high, other_low - high, 0.0)  # one above the other is not next to
    elsewhere = max(_on(thing, anchor), _under(thing, anchor), _in(thing, anchor))
    return _falling(_distance(thing, anchor), _NEXT) * _falling(apart, _NEXT) * (1 - _RATHER * elsewhere)


def _nearest(thing: LocatedObject, anchor: LocatedObject) -> float:
    return 1 / (1 + _distance(thing, anchor))


def _seen(thing: LocatedObject, anchor: LocatedObject, viewpoint) -> tuple[float, float, float]:
    """Offset of a thing from another one as a viewer sees it: metres to the right, away, and between them."""
    eye = thing.centroid if viewpoint is None else np.asarray(viewpoint, float)
    forward = anchor.centroid[:2] - eye[:2]
    if np.linalg.norm(forward) < 1e-3:
        forward = np.array([1.0, 0.0])
    forward = forward / np.linalg.norm(forward)
    offset = thing.centroid[:2] - anchor.centroid[:2]
    return float(offset @ [forward[1], -forward[0]]), float(offset @ forward), _distance(thing, anchor)


def _sideways(side: float) -> Callable[[float, float, float], float]:
    def score(right: float, away: float, gap: float) -> float:
        along = side * right
        share = along / (np.hypot(right, away) + 1e-6)
        return float(np.clip(2 * share, 0, 1)) * _falling(gap, 2 * _SIDE) if along > 0 else 0.0

    return score


def _depthwise(side: float) -> Callable[[float, float, float], float]:
    def score(right: float, away: float, gap: float) -> float:
        return _sideways(side)(away, right, gap)

    return score


def _falling(value: float, reach: float) -> float:
    """1 up to half of `reach`, 0 from one and a half of it on."""
    return float(np.clip(1.5 - value / reach, 0, 1))


_GEOMETRIC = {
    Relation.ON: _on, Relation.UNDER: _under, Relation.ABOVE: _above, Relation.IN: _in, Relation.NEXT_TO: _next_to,
    Relation.NEAREST: _nearest,
}  # fmt: skip
_VIEWED = {
    Relation.LEFT: _sideways(-1), Relation.RIGHT: _sideways(1), Relation.IN_FRONT: _depthwise(-1), Relation.BEHIND: _depthwise(1),
}  # fmt: skip
