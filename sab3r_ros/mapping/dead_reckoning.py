"""Where the camera is by odometry, for frames whose keypoints tell too little: blank walls, darkness, what passes close by.

A network makes some geometry of any two images, also of two parts of one white wall: of 250 frames along walks with and without
blank walls those with 50 agreeing keypoints or more were placed within 0.03 m and 2 degrees of the step before, those with fewer erred by
0.05 to 1.5 m and 2 to 50 degrees.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from sab3r_ros.geometry.sim3 import make_sim3, rigid_part, rotation_angle, split_sim3
from sab3r_ros.mapping.keypoints import Keypoints
from sab3r_ros.mapping.tracker import share_seen
from sab3r_ros.types import Frame, Keyframe, PoseEstimate

_TELL, _SHARE = 50, 0.3  # agreeing keypoints, and of all matched ones, from which they are believed more than odometry
_FASTEST = 3.0, 6.0  # metres and radians a second, beyond which odometry has jumped
_SLACK = 0.1  # metres and radians that a step may be longer, for stamps that are not exact
# By which odometry may differ from sure keypoints: metres and share of the step, radians and share of the turn.
_APART, _OF_STEP, _TURNED, _OF_TURN = 0.06, 0.25, 0.06, 0.25
_COMPARED, _FEWEST_COMPARED, _MOST_DIFFERENT = 12, 4, 0.34
# Of what keypoints say beyond odometry: single frames err by centimetres, steps of odometry by millimetres.
_GAIN = 0.25
_MANY = 200  # keypoints of an image that is not blank
_HARDLY_ANY = 8  # agreeing ones, where many should
_SHARED = 0.5  # overlap with a keyframe from which they should


@dataclass
class DeadReckoning:
    """Odometry at the newest placed frame, and how well it agreed with keypoints lately."""

    _last: Frame | None = None
    _sure: bool = False  # whether keypoints placed that frame
    _differed: deque[bool] = field(default_factory=lambda: deque(maxlen=_COMPARED))

    @property
    def is_trusted(self) -> bool:
        """Whether odometry agreed with the steps that keypoints were sure of; True before there are enough of them."""
        return len(self._differed) < _FEWEST_COMPARED or float(np.mean(self._differed)) <= _MOST_DIFFERENT

    def predict(self, last_pose: Tensor | None, frame: Frame, metres: float) -> Tensor | None:
        """The rigid pose (4,4) of a frame's camera, from the newest placed one's.

        metres: one unit of the map. None without odometry at both frames, where it jumped, or where it disagreed with the camera before.
        """
        step = self._step(frame, metres)
        if last_pose is None or step is None or not self.is_trusted:
            return None
        return rigid_part(last_pose.cpu()) @ step

    def placed(self, frame: Frame, last_pose: Tensor | None, estimate: PoseEstimate, metres: float) -> None:
        """Note that a frame was placed; last_pose (4,4): of the newest one before it. Where keypoints are sure of both, odometry is compared."""
        sure = are_sure(estimate) and not estimate.by_odometry
        step = self._step(frame, metres)
        if step is not None and last_pose is not None and sure and self._sure:
            seen = torch.linalg.inv(rigid_part(last_pose.cpu())) @ rigid_part(estimate.pose.cpu())
            self._differed.append(_differ(step, seen))
        self._last, self._sure = frame, sure

    def forget(self) -> None:
        """Forget how well odometry agreed: the map has another unit now."""
        self._differed.clear()

    def _step(self, frame: Frame, metres: float) -> Tensor | None:
        """Motion (4,4) of the camera since the newest placed frame, in the map's unit, in that camera; None where it is not known."""
        last = self._last
        if last is None or last.odometry is None or frame.odometry is None or not np.isfinite(frame.odometry).all():
            return None
        step = torch.from_numpy(np.linalg.inv(last.odometry) @ frame.odometry)
        seconds = abs(frame.stamp - last.stamp) * 1e-9
        length, turn = _length_and_turn(step)
        if length > _FASTEST[0] * seconds + _SLACK or turn > _FASTEST[1] * seconds + _SLACK:
            return None
        step[:3, 3] /= metres
        return step


def _agreeing(estimate: PoseEstimate) -> tuple[int, int]:
    """How many matched keypoints agree with a pose, and how many there are."""
    edges = [e for e in estimate.edges if e.kind == "keypoints"]
    return sum(int(e.agreeing.sum()) for e in edges), sum(map(len, edges))


def are_sure(estimate: PoseEstimate) -> bool:
    """Whether keypoints tell a pose for sure: enough of them, and not only the best of many that contradict each other (a chequered floor)."""
    found, matched = _agreeing(estimate)
    return found >= max(_TELL, _SHARE * matched)


def steadied(
    estimate: PoseEstimate, predicted: Tensor | None, own: Keypoints | None, references: Sequence[Keyframe],
    expected_scale: float, believed: bool,
) -> PoseEstimate:  # fmt: skip
    """An estimate at the `predicted` rigid pose (4,4), where keypoints tell too little; else between the two, or as it is where they contradict
    each other: wheels slip.

    own: the frame's keypoints, None where none are used; references: the keyframes that its overlap is told for; expected_scale: the
    map's unit over the network's; believed: whether the estimate would be believed without odometry. It stays as it is, too, where
    images with many keypoints should show the same and do not: the camera was carried elsewhere, or something stands before it.
    """
    if predicted is None or not references or (own is None and believed):
        return estimate
    if are_sure(estimate):
        return replace(estimate, pose=_between(predicted, estimate.pose))
    _, rotation, translation = split_sim3(predicted)
    pose = make_sim3(expected_scale, rotation, translation).to(estimate.pose)
    size = references[0].points.shape[1], references[0].points.shape[0]
    overlap = tuple(share_seen(k, pose, size, estimate.focal) for k in references)
    rich = [o for k, o in zip(references, overlap, strict=True) if len(k.keypoints or ()) >= _MANY]
    should_match = len(own or ()) >= _MANY and max(rich, default=0.0) > _SHARED
    if should_match and _agreeing(estimate)[0] < _HARDLY_ANY:
        return estimate
    return replace(estimate, pose=pose, overlap=overlap, relative_scale=expected_scale, edges=(), by_odometry=True)


def _between(predicted: Tensor, pose: Tensor) -> Tensor:
    """The similarity (4,4) between a rigid pose that odometry predicts and one that keypoints tell; the latter where they contradict each other."""
    here = rigid_part(pose.cpu())
    rest = torch.linalg.inv(predicted) @ here
    if _differ(torch.eye(4, dtype=rest.dtype), rest):
        return pose
    turn = cv2.Rodrigues(rest[:3, :3].numpy())[0] * _GAIN
    scale = split_sim3(pose.cpu())[0]
    part = make_sim3(float(scale), torch.from_numpy(cv2.Rodrigues(turn)[0]), rest[:3, 3] * _GAIN)
    return (predicted @ part).to(pose)


def _differ(one: Tensor, other: Tensor) -> bool:
    """Whether two motions (4,4) differ by more than odometry and keypoints err."""
    length, turn = _length_and_turn(one)
    apart = float((one[:3, 3] - other[:3, 3]).norm())
    turned = _length_and_turn(torch.linalg.inv(one) @ other)[1]
    return apart > _APART + _OF_STEP * length or turned > _TURNED + _OF_TURN * turn


def _length_and_turn(motion: Tensor) -> tuple[float, float]:
    """Units, and radians, of a rigid motion (4,4)."""
    return float(motion[:3, 3].norm()), rotation_angle(motion[:3, :3])
