"""Which way is up in a map, from what it shows: floors, tables and walls, and that cameras are seldom rolled.

A direction u is scored by how many small patches of the keyframes are level (normal parallel to u) or upright (perpendicular
to it), times how level the cameras' horizontal axes are; among all directions that the images' upper sides agree with, the
best one is refined with ever narrower widths.
"""

from collections.abc import Sequence

import numpy as np

from sab3r_ros.geometry.sim3 import split_sim3
from sab3r_ros.types import Keyframe

_PATCH = 7  # patches along the long side of a pointmap: smaller ones follow its bends
_FLAT = 0.25  # smallest over middle axis of a patch's points, below which it has a normal
_WIDTHS = ((8.0, None), (6.0, 6.0), (5.0, 2.0), (4.0, 1.0))  # degrees: of a normal; around the best direction so far
_ROLL = 10.0  # degrees, standard deviation of a hand-held camera's roll
_FIRST, _NEXT = 6000, 400  # directions that are tried
_LEVEL_WEIGHT = 2.0  # of a level patch over an upright one: two directions are upright for every wrong u, but few level
_LEAST_KEYFRAMES = 5
_LEAST_LEVEL = 0.06  # share of patches that are level within 8 degrees
_LARGEST_ROLL = 12.0  # degrees, on average, beyond which a direction is not believed


def find_up(keyframes: Sequence[Keyframe]) -> np.ndarray | None:
    """The unit vector (3,) that points up in the map of these keyframes; None where too little says so."""
    if len(keyframes) < _LEAST_KEYFRAMES:
        return None
    rotations = [split_sim3(k.host_pose)[1].numpy() for k in keyframes]
    normals = np.concatenate([flat_patches(k)[1] @ r.T for k, r in zip(keyframes, rotations, strict=True)])
    across, upwards = np.stack([r[:, 0] for r in rotations]), -np.stack([r[:, 1] for r in rotations])
    if len(normals) < 20:
        return None
    rng = np.random.default_rng(0)
    tried = _unit(rng.normal(size=(_FIRST, 3)))
    tried = tried[(tried @ upwards.T > 0).mean(1) > 0.9]
    best = None
    for width, around in _WIDTHS:
        if best is not None and around is not None:
            tried = _unit(best + np.radians(around) * rng.normal(size=(_NEXT, 3)))
        if not len(tried):
            return None
        score = (_LEVEL_WEIGHT * _share(normals, tried, width, 0) + _share(normals, tried, width, 90)) * _level_cameras(
            across, tried
        )
        best = tried[score.argmax()]
    assert best is not None
    level = _share(normals, best[None], _WIDTHS[0][0], 0)[0]
    roll = np.degrees(np.arcsin(np.abs(across @ best).clip(0, 1))).mean()
    return best if level > _LEAST_LEVEL and roll < _LARGEST_ROLL else None


def rotation_to_z(up: np.ndarray) -> np.ndarray:
    """The smallest rotation (3,3) that brings a unit vector to the z axis (Rodrigues)."""
    axis = np.cross(up, [0, 0, 1.0])
    cosine = float(up[2])
    if cosine < -0.9999:
        return np.diag([1.0, -1.0, -1.0])
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)


def flat_patches(keyframe: Keyframe) -> tuple[np.ndarray, np.ndarray]:
    """Middles and normals (N,3) of the flat ones among the patches of a pointmap, in its camera."""
    points = keyframe.points.double().cpu().numpy()
    h, w = points.shape[:2]
    side = max(2, w // _PATCH)
    rows, columns = h // side, w // side
    patches = points[: rows * side, : columns * side].reshape(rows, side, columns, side, 3)
    patches = patches.transpose(0, 2, 1, 3, 4).reshape(rows * columns, side * side, 3)
    patches = patches[np.isfinite(patches).all((1, 2))]
    middles = patches.mean(1)
    centred = patches - middles[:, None]
    sizes, axes = np.linalg.eigh(np.einsum("kni,knj->kij", centred, centred))
    flat = sizes[:, 0] < _FLAT**2 * sizes[:, 1]
    return middles[flat], axes[flat, :, 0]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _share(normals: np.ndarray, directions: np.ndarray, width: float, angle: float) -> np.ndarray:
    """Share (D,) of normals that make this angle with directions (D,3), those within `width` degrees counting most."""
    between = np.degrees(np.arccos(np.abs(normals @ directions.T).clip(0, 1)))
    return np.exp(-0.5 * ((between - angle) / width) ** 2).mean(0)


def _level_cameras(across: np.ndarray, directions: np.ndarray) -> np.ndarray:
    roll = np.degrees(np.arcsin(np.abs(across @ directions.T).clip(0, 1)))
    return np.exp(-0.5 * (roll / _ROLL) ** 2).mean(0)
