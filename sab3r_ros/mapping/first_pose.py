"""Where a map begins: the first camera's pose in a z-up frame, from how the camera is mounted or from gravity."""

import numpy as np

# Optical axes (x right, y down, z forward) seen from a level z-up frame (x forward, y left, z up): REP-103.
LEVEL_FROM_OPTICAL = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def mounted_pose(pitch: float, roll: float) -> np.ndarray:
    """The first camera's pose (4,4) in a z-up map from its downward pitch and its roll in radians."""
    about_y = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]])
    pose = LEVEL_FROM_OPTICAL.copy()
    pose[:3, :3] = about_y @ about_x @ pose[:3, :3]
    return pose


def level_first_pose(rotation: np.ndarray) -> np.ndarray:
    """A first pose (4,4) from the camera's orientation (3,3) in a z-up frame, such as TF gives it."""
    pose = np.eye(4)
    pose[:3, :3] = rotation
    return pose
