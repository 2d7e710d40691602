"""What odometry tells of a map: its unit, and motions between keyframes.

Its unit: how far the robot says that it moved against how far the camera did in the map.
"""

from dataclasses import dataclass

import numpy as np
import torch

from sab3r_ros.geometry.sim3 import rotation_angle
from sab3r_ros.mapping.graph import KeyframeGraph

_BASELINE = 0.4  # metres of odometry between two keyframes that are compared
_SHORTEST = 0.1  # of it, in the map: a camera that hardly moved tells nothing
_FEWEST, _LEAST_PATH = 4, 1.5  # pairs, and metres of odometry, before the unit is believed
_DISAGREEMENT = 0.25  # of the log of the ratio: wheels that slip, a wrong transform, or a camera that is lost
_FLOOR = 0.01  # relative error of good odometry
_FARTHEST = 2.0  # metres between keyframes that follow each other, beyond which odometry has jumped
# By which a motion errs, of wheels and of visual odometry alike.
_TURN_STD, _OF_TURN = 0.005, 0.04  # radians, and share of the turn
_STEP_STD, _OF_STEP = 0.01, 0.04  # metres, and share of the step


@dataclass(frozen=True)
class MeasuredUnit:
    """Metres of odometry a unit of the map, its relative standard error, and the pairs of keyframes that tell it."""

    metres: float
    stddev: float
    pairs: int


@dataclass(frozen=True)
class Motion:
    """From one keyframe's camera to another's by odometry: pose (4,4) of the second in the first, in the map's unit; standard deviations
    in radians and in that unit."""

    pose: np.ndarray
    std: tuple[float, float]


class Odometry:
    """Cameras' poses in a frame of odometry, and what they tell about the map. metres: one unit of it, as odometry measured it.

    at: those poses, by keyframe. For the unit only distances are used, not directions.
    """

    def __init__(self) -> None:
        self.at: dict[int, np.ndarray] = {}
        self.metres = 1.0
        self._measured = False
        self.doubt = ""  # why odometry is not used, "" where it is or has too little to say

    def copy(self) -> "Odometry":
        """As it is now, for another thread."""
        copy = Odometry()
        copy.at, copy.metres, copy._measured, copy.doubt = dict(self.at), self.metres, self._measured, self.doubt
        return copy

    def add(self, keyframe: int, pose: np.ndarray) -> None:
        """A keyframe's camera (4,4) in the frame of odometry; ignored where it is not finite."""
        if np.isfinite(pose).all():
            self.at[keyframe] = np.asarray(pose, np.float64)

    def motion(self, older: int, newer: int) -> Motion | None:
        """The motion between two keyframes that follow each other; None where odometry is not known at both, where it is
        doubted or jumped, and before it has measured the map's unit."""
        if self.doubt or not self._measured or older not in self.at or newer not in self.at:
            return None
        pose = np.linalg.inv(self.at[older]) @ self.at[newer]
        turn = rotation_angle(torch.from_numpy(pose[:3, :3]))
        length = float(np.linalg.norm(pose[:3, 3]))
        if length > _FARTHEST:
            return None
        pose[:3, 3] /= self.metres
        return Motion(pose, (_TURN_STD + _OF_TURN * turn, (_STEP_STD + _OF_STEP * length) / self.metres))

    def measure(self, graph: KeyframeGraph) -> MeasuredUnit | None:
        """The unit of a graph's map; None where too little is known, or where odometry and camera do not fit each other.

        The median over pairs of keyframes that lie at least 0.4 m of odometry apart: single slips and jumps do not count.
        """
        numbers = sorted(self.at)
        here = np.array([self.at[n][:3, 3] for n in numbers]).reshape(-1, 3)
        there = np.array([graph[n].host_pose[:3, 3].numpy() for n in numbers]).reshape(-1, 3)
        logs = []
        for first in range(len(numbers)):
            apart = np.linalg.norm(here[first + 1 :] - here[first], axis=1)
            far = np.flatnonzero(apart >= _BASELINE)
            if not len(far):
                continue
            second = first + 1 + far[0]
            moved = float(np.linalg.norm(there[second] - there[first]))
            if moved > _SHORTEST * _BASELINE:
                logs.append(np.log(apart[far[0]] / moved))
        path = float(np.linalg.norm(np.diff(here, axis=0), axis=1).sum()) if len(here) > 1 else 0.0
        self.doubt = ""
        if len(logs) < _FEWEST or path < _LEAST_PATH:
            return None
        middle = float(np.median(logs))
        spread = 1.4826 * float(np.median(np.abs(np.array(logs) - middle)))
        if spread > _DISAGREEMENT:
            self.doubt = "odometry and camera disagree about how far the robot moved: do the wheels slip, is its transform right?"
            return None
        independent = max(path / _BASELINE, 1.0)
        self.metres, self._measured = float(np.exp(middle)), True
        return MeasuredUnit(self.metres, max(_FLOOR, spread / independent**0.5), len(logs))
