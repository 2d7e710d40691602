"""Frames that move in each other over time: what TF's topics tell, kept and looked up by moment. Not for several threads."""

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

KEPT = 30 * 10**9  # ns of transforms kept per frame: longer than any frame takes to map
_MOST = 10_000  # transforms kept per frame, whatever their stamps say


class NotKnown(LookupError):
    """Two frames are not connected, or not at that moment; the message says what is missing.

    may_come: whether a later transform may connect them.
    """

    def __init__(self, text: str, may_come: bool):
        super().__init__(text)
        self.may_come = may_come


class TransformTree:
    """Transforms (4,4), child to parent, with stamps in ns: between two of a frame they are interpolated."""

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}

    def add(self, parent: str, child: str, stamp: int, pose: np.ndarray, static: bool = False) -> None:
        """Remember where a frame was in its parent at `stamp`; a static one is there always. Names without a frame are passed over."""
        child, parent = child.lstrip("/"), parent.lstrip("/")
        if not child or not parent:  # tf2 ignores such transforms too
            return
        link = self._links.get(child)
        if link is None or link.parent != parent or link.static != static:
            link = self._links[child] = _Link(parent, static)
        link.add(stamp, pose)

    def lookup(self, target: str, source: str, stamp: int | None = None) -> np.ndarray:
        """Source-to-target (4,4) at `stamp`, the newest one where that is None. Raises NotKnown."""
        from_source, from_target = self.ancestors(source), self.ancestors(target)
        shared = next((frame for frame in from_source if frame in from_target), None)
        if shared is None:
            raise NotKnown("they have no common ancestor on /tf", True)
        return np.linalg.inv(self._chain(from_target, shared, stamp)) @ self._chain(from_source, shared, stamp)

    def ancestors(self, frame: str) -> list[str]:
        """A frame, its parent, and so on up to the root."""
        chain = [frame.lstrip("/")]
        while (link := self._links.get(chain[-1])) is not None and link.parent not in chain:
            chain.append(link.parent)
        return chain

    def _chain(self, frames: list[str], end: str, stamp: int | None) -> np.ndarray:
        pose = np.eye(4)
        for frame in frames[: frames.index(end)]:
            pose = self._links[frame].at(stamp, frame) @ pose
        return pose


@dataclass
class _Link:
    """Where a frame was in its parent: (stamp, pose) in the order of their stamps; one that is static holds always."""

    parent: str
    static: bool
    poses: deque = field(default_factory=lambda: deque(maxlen=_MOST))

    def add(self, stamp: int, pose: np.ndarray) -> None:
        if self.static:
            self.poses.clear()
        elif self.poses and stamp <= self.poses[-1][0]:
            if self.poses[-1][0] - stamp > KEPT // 3:  # time began anew: a bag was started again
                self.poses.clear()
            else:
                before = [p for p in self.poses if p[0] < stamp]
                after = [p for p in self.poses if p[0] > stamp]
                self.poses = deque([*before, (stamp, pose), *after], maxlen=_MOST)
                return
        self.poses.append((stamp, pose))
        while self.poses[-1][0] - self.poses[0][0] > KEPT:
            self.poses.popleft()

    def at(self, stamp: int | None, frame: str) -> np.ndarray:
        if self.static or stamp is None:
            return self.poses[-1][1]
        oldest, newest = self.poses[0][0], self.poses[-1][0]
        if not oldest <= stamp <= newest:
            which, by = ("after", stamp - newest) if stamp > newest else ("before", oldest - stamp)
            end = "newest" if stamp > newest else "oldest"
            raise NotKnown(
                f"{frame} in {self.parent} is wanted {by * 1e-9:.3f} s {which} its {end} transform", stamp > newest
            )
        for (t0, first), (t1, second) in pairwise(self.poses):
            if t0 <= stamp <= t1:
                return interpolated(first, second, (stamp - t0) / (t1 - t0))
        return self.poses[-1][1]


def interpolated(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """The rigid pose (4,4) at `share` in [0, 1] of the way: position linear, orientation along the shortest turn."""
    out = np.eye(4)
    out[:3, 3] = (1 - share) * first[:3, 3] + share * second[:3, 3]
    both = Rotation.from_matrix(np.stack([first[:3, :3], second[:3, :3]]))
    out[:3, :3] = Slerp([0, 1], both)(share).as_matrix()
    return out
