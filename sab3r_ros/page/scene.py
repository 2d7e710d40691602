"""What stands in a page's scene beside the points: boxes, the camera's path, keyframes, edges, grippers."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from sab3r_ros.geometry.sim3 import rigid_part
from sab3r_ros.geometry.walks import walks
from sab3r_ros.query.objects import BOX_EDGES, box_corners
from sab3r_ros.types import Edge, Keyframe

_FINGER = 0.045  # metres from the finger tips to the palm
_FRUSTUMS = 80  # keyframes drawn at most
_THUMBNAIL = 96  # pixels, the longer side


def box_lines(pose: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The twelve edges (12,2,3) of a box with pose (4,4) and size (3,)."""
    return box_corners(pose, np.maximum(size, 0.01))[BOX_EDGES]


def path_lines(trajectory: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """The camera's ways (T,2,3), without lines between those of different recordings."""
    return np.concatenate([np.zeros((0, 2, 3)), *(np.stack([way[:-1], way[1:]], 1) for way in walks(trajectory))])


def edge_lines(edges: Sequence[Edge], keyframes: Sequence[Keyframe]) -> np.ndarray:
    """Lines (E,2,3) between keyframes that share matches."""
    places = {k.id: k.host_pose.numpy()[:3, 3] for k in keyframes}
    pairs = [(places[e.source], places[e.target]) for e in edges if e.source in places and e.target in places]
    return np.array(pairs).reshape(-1, 2, 3)


def gripper_lines(pose: np.ndarray, width: float) -> np.ndarray:
    """A parallel gripper (4,2,3): fingers, palm and wrist. pose (4,4): z approach, y closing, origin between the finger tips."""
    half = width / 2
    points = np.array([
        [0, half, 0], [0, half, -_FINGER], [0, -half, 0], [0, -half, -_FINGER], [0, half, -_FINGER], [0, -half, -_FINGER],
        [0, 0, -_FINGER], [0, 0, -2 * _FINGER],
    ])  # fmt: skip
    return (points @ pose[:3, :3].T + pose[:3, 3]).reshape(4, 2, 3)


def quaternion(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """(w, x, y, z) of a rotation (3,3)."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return float(w), float(x), float(y), float(z)


def shown_keyframes(keyframes: Sequence[Keyframe]) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Id, rigid pose (4,4) and thumbnail (h,w,3) of some keyframes, evenly chosen."""
    some = keyframes[:: -(-len(keyframes) // _FRUSTUMS)] if keyframes else []
    return [(k.id, rigid_part(k.pose).cpu().numpy(), thumbnail(k.image)) for k in some]


def thumbnail(image: np.ndarray, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """A small picture; box: the part (left, top, right, bottom) that is shown, with a margin."""
    if box is not None:
        left, top, right, bottom = box
        margin = max(8, (right - left) // 4, (bottom - top) // 4)
        image = image[max(0, top - margin) : bottom + margin + 1, max(0, left - margin) : right + margin + 1]
    step = max(1, -(-max(image.shape[:2]) // (_THUMBNAIL if box is None else 2 * _THUMBNAIL)))
    return np.ascontiguousarray(image[::step, ::step])
