"""Which way is up in a recording, by its own labelled floor, and how far a map's own idea is off."""

from collections.abc import Sequence

import numpy as np

from sab3r_ros.geometry.projection import backproject, transform
from sab3r_ros.lab.evaluation.recordings import RecordedLabels, TrueRecording

_LEVEL = ("floor", "table")  # labels of what is level, the first one that is seen enough
_STEP, _EVERY = 4, 2  # pixels, and images, between the points that tell
_ENOUGH = 1000  # points
_TRIES, _THICK = 300, 0.015  # planes through three points; metres about one within which points are of it


def true_up(recording: TrueRecording, labels: RecordedLabels | None) -> np.ndarray | None:
    """The unit vector (3,) that points up in the frame of the true poses; None without labels or depth, or with too little
    floor or table in sight."""
    if labels is None or not recording.has_depth:
        return None
    for name in _LEVEL:
        points = _labelled(recording, labels, name)
        if len(points) >= _ENOUGH:
            normal, middle = _plane(points)
            cameras = np.mean([p[:3, 3] for p in recording.poses if p is not None], axis=0)
            return normal * np.sign((cameras - middle) @ normal)
    return None


def _labelled(recording: TrueRecording, labels: RecordedLabels, name: str) -> np.ndarray:
    """Points (N,3) of a label, in the frame of the true poses."""
    parts = [np.empty((0, 3))]
    if name in labels.names:
        for k in range(0, len(recording), _EVERY):
            pose = recording.poses[k]
            if pose is not None:
                depth = recording.depth(k)
                points = backproject(depth, recording.intrinsics)[::_STEP, ::_STEP]
                own = (labels.image(k) == labels.names.index(name)) & (depth > 0)
                parts.append(transform(pose, points[own[::_STEP, ::_STEP]]))
    return np.concatenate(parts)


def _plane(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal (3,) and a point (3,) of the plane that most points (N,3) are near (RANSAC, then a fit to these)."""
    rng = np.random.default_rng(0)
    three = points[rng.integers(len(points), size=(_TRIES, 3))]
    normals = np.cross(three[:, 1] - three[:, 0], three[:, 2] - three[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    some = points[:: -(-len(points) // 5000)]
    off = np.abs(some @ normals.T - (three[:, 0] * normals).sum(1))
    best = int((off < _THICK).sum(0).argmax())
    near = points[np.abs((points - three[best, 0]) @ normals[best]) < _THICK]
    middle = near.mean(0)
    return np.linalg.svd(near - middle, full_matrices=False)[2][2], middle


def up_error(found: Sequence[np.ndarray], truth: Sequence[np.ndarray], up: np.ndarray) -> float:
    """Degrees, median over cameras, between up as a map has it (its z axis) and as it is, both seen from the camera.

    found, truth: poses (4,4) of the same cameras in the map and in the frame of `up` (3,). Seen from the cameras, no alignment of
    the two frames is needed, which a nearly straight path would leave open.
    """
    mapped = np.array([p[2, :3] for p in found])
    true = np.array([up @ p[:3, :3] for p in truth])
    return float(np.degrees(np.median(np.arccos(np.clip((mapped * true).sum(1), -1, 1)))))
