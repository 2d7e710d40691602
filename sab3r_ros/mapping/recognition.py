"""Whether a camera that may be anywhere is where it seems to be.

A network makes some geometry of any two images, also of different rooms: of 162 views of other rooms most were placed somewhere,
while none had more than 12 keypoints in common with the keyframes it was placed beside; of 49 true ones 46 had 15 or more.
"""

from collections.abc import Sequence

from torch import Tensor

from sab3r_ros.geometry.sim3 import rigid_part
from sab3r_ros.mapping.adjustment.tracks import verified_match
from sab3r_ros.mapping.keypoints import Keypoints
from sab3r_ros.types import Keyframe

_NEAR, _NEAR_COSINE = 0.75, 0.75  # metres, and of the angle between views


def shares_a_place(keypoints: Keypoints | None, keyframes: Sequence[Keyframe]) -> bool:
    """Whether an image has enough keypoints in common with one of the keyframes, in agreement with one epipolar geometry.

    True where there are none to tell.
    """
    theirs = [k.keypoints for k in keyframes if k.keypoints is not None]
    if keypoints is None or not theirs:
        return True
    return any(verified_match(other, keypoints) is not None for other in theirs)


def is_near(pose: Tensor, other: Tensor) -> bool:
    """Whether cameras (4,4) are at nearly the same place and look the same way: one of them was lost only for a moment."""
    one, two = rigid_part(pose).cpu(), rigid_part(other).cpu()
    return bool((one[:3, 3] - two[:3, 3]).norm() < _NEAR and one[:3, 2] @ two[:3, 2] > _NEAR_COSINE)
