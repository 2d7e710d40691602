"""How far a pose may be off: keypoints tell it, or the network alone guesses it, and what was placed beside a guess is no surer.

Along walks with blank walls the position of frames whose keypoints do not tell it erred, since they told it last, by 0.3 to 0.55 of the way
that the camera went, and its orientation by 0.1 to 0.5 of its turn (runs of 3 to 62 frames, 0.3 to 3.3 m).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from sab3r_ros.geometry.sim3 import rigid_part, rotation_angle
from sab3r_ros.mapping.dead_reckoning import are_sure
from sab3r_ros.types import Keyframe, PoseEstimate

# Of poses that keypoints tell: what tracking errs by on held-out walks.
_POSITION, _ORIENTATION = 0.03, 0.03  # metres and radians
_OF_WAY, _OF_TURN = 0.4, 0.25  # that the camera went while they did not
_BY_ODOMETRY = 0.1  # of these: what odometry errs by beside a guess
_SPEEDS = 10  # steps whose median tells how fast the camera moves
_SLOWEST = 0.05, 0.05  # metres and radians a second: it may have set off meanwhile
_LONGEST = 10.0, np.pi  # metres and radians: more says no more
_TELL = 20  # agreeing keypoints with a keyframe beside which a frame is as sure as that is
_JOINED = 40  # matches of two keyframes that stand where they do because of each other
_GUESS = 0.3  # metres
_AGREES = 0.5  # of the confidence, where keypoints are not used


@dataclass(frozen=True)
class Certainty:
    """Standard deviations of a pose, in the map's unit and in radians, beside the scale's."""

    position: float = _POSITION
    orientation: float = _ORIENTATION

    @property
    def is_guess(self) -> bool:
        """Whether the position is worth a warning."""
        return self.position > _GUESS


@dataclass
class PoseCertainty:
    """Doubts about the newest frame and about keyframes (N,2), beyond what every pose errs by; keyframes without one are sure."""

    _now: np.ndarray = field(default_factory=lambda: np.zeros(2))
    _keyframes: dict[int, np.ndarray] = field(default_factory=dict)
    _speeds: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=_SPEEDS))
    _last: tuple[int, Tensor] | None = None

    @property
    def now(self) -> Certainty:
        """Of the newest frame's pose."""
        return Certainty(float(np.hypot(_POSITION, self._now[0])), float(np.hypot(_ORIENTATION, self._now[1])))

    def placed(
        self, stamp: int, estimate: PoseEstimate, references: Sequence[Keyframe], keyframe: int | None
    ) -> Certainty:
        """Note where a frame, the newest one, was placed beside keyframes (none: it begins the map), and which one it became."""
        before, self._last = self._last, (stamp, rigid_part(estimate.pose.cpu()).double())
        seconds = 0.0 if before is None else max(0.0, (stamp - before[0]) * 1e-9)
        beside = self._beside(estimate, references)
        if not references:
            self._now = np.zeros(2)
        elif beside is not None:
            self._now = beside
            if before is not None and seconds > 0:
                self._speeds.append(_motion(before[1], self._last[1]) / seconds)
        else:
            speed = np.median(self._speeds, axis=0) if self._speeds else np.zeros(2)
            grown = np.maximum(speed, _SLOWEST) * seconds * (_OF_WAY, _OF_TURN)
            self._now = np.minimum(self._now + grown * (_BY_ODOMETRY if estimate.by_odometry else 1.0), _LONGEST)
        if keyframe is not None and self._now.any():
            self._keyframes[keyframe] = self._now
        return self.now

    def _beside(self, estimate: PoseEstimate, references: Sequence[Keyframe]) -> np.ndarray | None:
        """The doubt (2,) about the surest keyframe that tells a frame's pose; None where none does."""
        if all(k.keypoints is None for k in references):
            return np.zeros(2) if estimate.inliers >= _AGREES and not estimate.by_odometry else None
        if not are_sure(estimate) or estimate.by_odometry:
            return None
        told = [e.target for e in estimate.edges if e.kind == "keypoints" and int(e.agreeing.sum()) >= _TELL]
        return min((self._keyframes.get(k, np.zeros(2)) for k in told), key=lambda d: float(d.sum()), default=None)

    def join(self, pairs: Iterable[tuple[int, int, int]]) -> None:
        """Keyframes were adjusted together: those that many matches join are as sure as the surest of them.

        pairs: ids of two keyframes, and how many matches they share.
        """
        if not self._keyframes:
            return
        strong = [(a, b) for a, b, matches in pairs if matches >= _JOINED]
        ids = sorted({k for pair in strong for k in pair})
        if not ids:
            return
        number = {k: n for n, k in enumerate(ids)}
        rows, columns = np.array([(number[a], number[b]) for a, b in strong]).T
        _, group = connected_components(coo_matrix((np.ones(len(rows)), (rows, columns)), [len(ids)] * 2), False)
        least: dict[int, np.ndarray] = {}
        for k, g in zip(ids, group.tolist(), strict=True):
            mine = self._keyframes.get(k, np.zeros(2))
            if g not in least or mine.sum() < least[g].sum():
                least[g] = mine
        for k, g in zip(ids, group.tolist(), strict=True):
            if k in self._keyframes:
                self._keyframes[k] = least[g]
        self._keyframes = {k: doubt for k, doubt in self._keyframes.items() if doubt.any()}

    def rescale(self, factor: float) -> None:
        """The map's unit changed: lengths are `factor` times as long."""
        by = np.array([factor, 1.0])
        self._now = self._now * by
        self._keyframes = {k: doubt * by for k, doubt in self._keyframes.items()}
        self._speeds = deque((s * by for s in self._speeds), _SPEEDS)

    def forget(self, keyframe: int) -> None:
        """Forget a keyframe that was let go."""
        self._keyframes.pop(keyframe, None)


def _motion(before: Tensor, after: Tensor) -> np.ndarray:
    """Length, and radians, (2,) of the motion between two rigid poses (4,4)."""
    step = torch.linalg.inv(before) @ after
    return np.array([float(step[:3, 3].norm()), rotation_angle(step[:3, :3])])
