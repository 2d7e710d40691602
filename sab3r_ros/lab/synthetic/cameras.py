"""Camera paths as a hand or a robot would carry a camera."""

import numpy as np
from scipy.interpolate import CubicSpline

from sab3r_ros.geometry.projection import pinhole


def look_at(position, target, roll=0.0):
    """Camera-to-world pose (4,4) of an optical frame (x right, y down, z forward) in a z-up world."""
    forward = np.asarray(target, float) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= max(np.linalg.norm(right), 1e-9)
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = c * right + s * down, c * down - s * right, forward
    pose[:3, 3] = position
    return pose


def intrinsics(width: int, height: int, horizontal_fov: float):
    """Pinhole matrix (3,3) with square pixels and OpenCV's pixel centres; the angle is in radians."""
    f = width / 2 / np.tan(horizontal_fov / 2)
    return pinhole(f, width, height)


def _camera_height(rng, target_height, radius):
    """A hand's or a head's height, or that of a low robot; never far above a near target."""
    height = rng.uniform(0.25, 0.9) if rng.random() < 0.2 else rng.uniform(0.9, 1.8)
    return min(height, target_height + 1.2 * radius)


def walk(size, rng: np.random.Generator, count: int, sweep: float, targets=None, nearness=(1.2, 3.2)):
    """A smooth walk of `count` poses (count,4,4) around something worth looking at.

    size (3,) of the room; `sweep` is the angle in radians that the camera travels around its target;
    targets (K,3) are candidate points to look at (default: the room's middle); nearness bounds the distance to it.
    """
    if targets is None or len(targets) == 0:
        targets = np.array([[size[0] / 2, size[1] / 2, 0.8]])
    target = targets[rng.integers(len(targets))] + rng.normal(0, 0.15, 3)
    start = rng.uniform(-np.pi, np.pi)
    radius = rng.uniform(*nearness)
    knots = np.linspace(0, 1, 5)
    angle = start + sweep * knots + rng.normal(0, 0.08 * abs(sweep), 5)
    r = radius * (1 + rng.normal(0, 0.12, 5))
    eye = np.stack([target[0] + r * np.cos(angle), target[1] + r * np.sin(angle)], 1)
    eye = np.clip(eye, 0.35, size[:2] - 0.35)
    height = _camera_height(rng, target[2], radius) + rng.normal(0, 0.06, 5)
    aim = target + rng.normal(0, 0.14 * min(radius, 2.5), (5, 3)) * [1, 1, 0.4]
    roll = rng.normal(0, 0.06, 5)
    s = np.linspace(0, 1, count)
    eye, aim, roll = (CubicSpline(knots, a)(s) for a in (np.column_stack([eye, height]), aim, roll))
    eye[:, :2] = np.clip(eye[:, :2], 0.25, size[:2] - 0.25)
    return np.stack([look_at(*pose) for pose in zip(eye, aim, roll, strict=True)])
