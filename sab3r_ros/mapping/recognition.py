"""Whether a camera that may be anywhere is where it seems to be.

A network makes some geometry of any two images, also of different rooms: of 162 views of other rooms most were placed somewhere,
while none had more than 12 keypoints in common with the keyframes it was placed beside; of 49 true ones 46 had 15 or more.
"""

from collections.abc import Sequence

from torch import Tensor

from sab3r_ros.geometry.sim3 import rigid_part
from sab3r_ros.mapping.adjustment.tracks import MIN_INLIERS, verified_match
from sab3r_ros.mapping.keypoints import Keypoints
from sab3r_ros.types import Keyframe, PoseEstimate

_NEAR, _NEAR_COSINE = 0.75, 0.75  # metres, and of the angle between views
_BLANK, _HALF = (
    10,
    0.5,
)  # keypoints, and share of the confidence that agrees, below both of which an image shows nothing to go by


def shares_a_place(keypoints: Keypoints | None, keyframes: Sequence[Keyframe], least: int = MIN_INLIERS) -> bool:
    """Whether an image has `least` keypoints in common with one of the keyframes, in agreement with one epipolar geometry.

    True where there are none to tell.
    """
    theirs = [k.keypoints for k in keyframes if k.keypoints is not None]
    if keypoints is None or not theirs:
        return True
    return any(verified_match(other, keypoints, least) is not None for other in theirs)


def is_near(pose: Tensor, other: Tensor) -> bool:
    """Whether cameras (4,4) are at nearly the same place and look the same way: one of them was lost only for a moment."""
    one, two = rigid_part(pose).cpu(), rigid_part(other).cpu()
    return bool((one[:3, 3] - two[:3, 3]).norm() < _NEAR and one[:3, 2] @ two[:3, 2] > _NEAR_COSINE)


def is_blank(keypoints: Keypoints | None, estimate: PoseEstimate) -> bool:
    """Whether an image shows nothing to go by: a white wall, darkness. The network then believes half of what it says and errs by any amount."""
    return keypoints is not None and len(keypoints) < _BLANK and estimate.inliers < _HALF
