"""Objects with an identity: what was found in a map again and again is one thing with one id, until it is gone.

Every update cuts the map into things and joins each with the known one that it overlaps and looks like, all at once
(the assignment of least cost), so that two mugs never swap. Known things move with the keyframe that saw them best when the
map is adjusted. Where newer keyframes look through a thing, it is gone; where the same thing turns up elsewhere, it moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.objects import upright_box
from sab3r_ros.query.segments import Segment, segments_of
from sab3r_ros.query.visibility import Sight, View, best_view, look_at, view_of
from sab3r_ros.types import Keyframe, MapSnapshot

LEAST_POINTS = 15  # voxels of a thing
_OVERLAP = 0.25  # least share of the smaller one's voxels that two sights of a thing have in common
_NEAR = 1.5  # voxel edges within which voxels are the same place
_ALIKE = 0.5  # least cosine of two sights of one thing
_MOVED_ALIKE = 0.85  # least cosine of a thing and itself elsewhere
_MOVED_SIZE = 2.5  # largest ratio of their numbers of voxels
_SEEN_THROUGH = 5  # frames more than those that see a thing must look through it before it is gone
_CONFIRMED = 3  # frames that must have seen it there before: what was misplaced from the start is not gone
_FRESH = 0.7  # quantile of its voxels' stamps that is a thing's last sight: single voxels are hit by what stands behind
_RECENT = 60  # newest keyframes among which the best view is looked for
_FORGOTTEN = 5000  # things at most


class ObjectState(IntEnum):
    """Whether a thing is where it was seen last; the values are those of the message."""

    HERE = 0
    GONE = 1


@dataclass(frozen=True)
class MapObject:
    """A thing with an identity.

    id: "object-7", for as long as the map lives; labels: hypotheses with their shares, likeliest first; points (N,3) in the map,
    rgb (N,3) uint8; box_pose (4,4) rigid, z up, and size (3,) of its box in metres; feature (F,): mean, of length 1, in the
    space of text; first_seen, last_seen: stamps (ns); views: keyframes that saw it; keyframe: id of the one that saw it best,
    -1 for none; view_box: its pixels there as (left, top, right, bottom); moved_from (3,): where it was before, None where
    it never moved; anchor (4,4): pose of `keyframe` when the points were taken; gone_at: stamp (ns) of the frame that
    found it gone.
    """

    id: str
    labels: tuple[tuple[str, float], ...]
    state: ObjectState
    points: np.ndarray
    rgb: np.ndarray
    box_pose: np.ndarray
    size: np.ndarray
    feature: np.ndarray
    first_seen: int
    last_seen: int
    views: int
    keyframe: int
    view_box: tuple[int, int, int, int]
    moved_from: np.ndarray | None = None
    anchor: np.ndarray | None = None
    gone_at: int = 0

    @property
    def label(self) -> str:
        """The likeliest label."""
        return self.labels[0][0]

    @property
    def centroid(self) -> np.ndarray:
        """Mean of its points (3,)."""
        return self.points.mean(0)


class ObjectRegistry:
    """The things of one map. Not safe for several threads: who updates and who reads share a lock of the caller's."""

    def __init__(self) -> None:
        self._known: dict[str, MapObject] = {}
        self._next = 0
        self._map = -1
        self._focals: dict[int, float] = {}  # of the newest keyframes
        self._seen: dict[str, int] = {}  # frames that saw a surface where a thing is
        self._through: dict[str, int] = {}  # frames that looked through it, less those that saw it since

    @property
    def objects(self) -> list[MapObject]:
        """All that were ever found, those that are gone too, oldest first."""
        return list(self._known.values())

    def restore(self, objects: Sequence[MapObject], next_number: int) -> None:
        """Go on from the things of a saved map."""
        self._known, self._next, self._map = {o.id: o for o in objects}, next_number, -1
        self._seen, self._through = {}, {}

    @property
    def next_number(self) -> int:
        """Number of the id that the next new thing gets."""
        return self._next

    def look(self, view: View) -> None:
        """Tell what a tracked frame sees: what several look through, one after the other, is gone."""
        for name, item in self._known.items():
            if item.state == ObjectState.GONE or view.stamp <= item.last_seen:
                continue
            sight = look_at(item.points, view)
            if sight == Sight.SEEN:
                self._seen[name] = self._seen.get(name, 0) + 1
                self._through[name] = max(0, self._through.get(name, 0) - 1)
            elif sight == Sight.SEEN_THROUGH and self._seen.get(name, 0) >= _CONFIRMED:
                self._through[name] = self._through.get(name, 0) + 1
                if self._through[name] >= _SEEN_THROUGH:
                    self._known[name] = replace(item, state=ObjectState.GONE, gone_at=view.stamp)

    def update(self, query: MapQuery, snapshot: MapSnapshot, keyframes: Sequence[Keyframe]) -> list[MapObject]:
        """Look at a map once more: returns the things that are there. Another map than before forgets all, but those restored."""
        if snapshot.map_uid != self._map:
            if self._map >= 0:
                self._known, self._next, self._seen, self._through, self._focals = {}, 0, {}, {}, {}
            self._map = snapshot.map_uid
        self._follow({k.id: k for k in keyframes})
        views = [view_of(k, self._focals.get(k.id, 0.0)) for k in keyframes[-_RECENT:]]
        self._focals = {v.id: v.focal for v in views}
        segments = segments_of(query, snapshot, LEAST_POINTS)
        found = [_sight(s, query, snapshot, views) for s in segments]
        pairs = _assign(list(self._known.values()), found, _NEAR * snapshot.voxel_size)
        names = {k: name for name, k in pairs.items()}
        here = []
        for k, item in enumerate(found):
            old = self._known.get(names[k]) if k in names else None
            if old is not None and old.state == ObjectState.GONE and item.last_seen <= old.gone_at:
                continue  # the map still has its voxels
            moved = None if old is not None else self._moved(item, set(pairs))
            here.append(self._remember(item, old or moved, moved is not None))
            pairs.setdefault(here[-1].id, k)
        for name in list(self._known)[: max(0, len(self._known) - _FORGOTTEN)]:
            del self._known[name]
        return here

    def _follow(self, keyframes: dict[int, Keyframe]) -> None:
        """Move what is known with the keyframe that saw it best."""
        for name, item in self._known.items():
            frame = keyframes.get(item.keyframe)
            if frame is None or item.anchor is None:
                continue
            pose = frame.host_pose.numpy()
            change = pose @ np.linalg.inv(item.anchor)
            if np.abs(change - np.eye(4)).max() > 1e-6:
                points = item.points @ change[:3, :3].T + change[:3, 3]
                box, size = upright_box(points)
                self._known[name] = replace(item, points=points, box_pose=box, size=size, anchor=pose)

    def _moved(self, item: MapObject, taken: set[str]) -> MapObject | None:
        """The known thing that is gone from where it was, and that this new one looks like."""
        best, found = _MOVED_ALIKE, None
        for other in self._known.values():
            ratio = len(other.points) / len(item.points)
            if other.id in taken or other.state != ObjectState.GONE or not 1 / _MOVED_SIZE < ratio < _MOVED_SIZE:
                continue
            alike = float(other.feature @ item.feature)
            if alike > best and other.label == item.label:
                best, found = alike, other
        return found

    def _remember(self, item: MapObject, old: MapObject | None, moved: bool) -> MapObject:
        """Keep what was found, under the id of the known thing that it is."""
        if old is None:
            name, self._next = f"object-{self._next}", self._next + 1
        else:
            name = old.id
            del self._known[name]  # the newest last, so that the oldest are forgotten first
            before = old.centroid if moved else old.moved_from
            item = replace(item, first_seen=min(old.first_seen, item.first_seen), moved_from=before)
        if old is not None and item.last_seen > old.last_seen:
            self._through.pop(name, None)
        self._known[name] = replace(item, id=name)
        return self._known[name]


def _sight(segment: Segment, query: MapQuery, snapshot: MapSnapshot, views: Sequence[View]) -> MapObject:
    points = snapshot.points[segment.index]
    pose, size = upright_box(points)
    stamps = snapshot.column("stamp").numpy()[segment.index]
    seen = best_view(points, views)
    return MapObject(
        "", segment.labels, ObjectState.HERE, points, snapshot.colours[segment.index], pose, size,
        query.in_text_space(snapshot, segment.feature), int(stamps.min()),
        int(np.quantile(stamps, _FRESH, method="lower")),
        int(snapshot.column("hits").numpy()[segment.index].max()),
        *((-1, (0, 0, 0, 0)) if seen is None else (seen[0].id, seen[1])),
        anchor=None if seen is None else seen[0].pose,
    )  # fmt: skip


def _assign(known: Sequence[MapObject], found: Sequence[MapObject], reach: float) -> dict[str, int]:
    """Which known thing is which found one: the assignment of the largest summed IoU among those that overlap and look alike."""
    if not known or not found:
        return {}
    score = np.zeros((len(known), len(found)))
    bounds = [(o.points.min(0) - reach, o.points.max(0) + reach) for o in found]
    trees = [cKDTree(o.points) for o in found]
    for i, old in enumerate(known):
        low, high = old.points.min(0), old.points.max(0)
        for j, new in enumerate(found):
            if (low > bounds[j][1]).any() or (high < bounds[j][0]).any() or old.feature @ new.feature < _ALIKE:
                continue
            common = np.isfinite(trees[j].query(old.points, distance_upper_bound=reach)[0]).sum()
            common = min(common, len(old.points), len(new.points))
            share = common / min(len(old.points), len(new.points))
            # Over the union: a speck that lies in a large thing must not take its id, nor give it its own.
            union = len(old.points) + len(new.points) - common
            score[i, j] = common / union if share >= _OVERLAP else 0.0
    rows, columns = linear_sum_assignment(-score)
    return {known[i].id: int(j) for i, j in zip(rows, columns, strict=True) if score[i, j] > 0}
