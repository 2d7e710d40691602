"""COLMAP on the same images, as a peer of our trajectories: structure from motion without metres, not live."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from sab3r_ros.lab.evaluation.poses import absolute_trajectory_error
from sab3r_ros.lab.evaluation.recordings import TrueRecording


def evaluate_colmap(recording: TrueRecording, limit: int = 0) -> dict:
    """COLMAP's figures on a recording's images at full size; its names begin with "colmap_".

    SIFT, sequential matching without a vocabulary tree, incremental mapping, one shared camera of unknown focal length and one radial
    term. The largest of its models counts; images outside of it are not registered. limit: images, 0 = all. Errors are None where
    fewer than three registered images have a true pose. Raises ModuleNotFoundError without pycolmap (extra `[peers]`, x86-64 only).
    """
    import pycolmap

    images = recording.source.images[: limit or None]
    base = Path(os.path.commonpath([image.parent for image in images]))
    names = [str(image.relative_to(base)) for image in images]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        database, quiet = Path(scratch) / "database.db", pycolmap.logging.minloglevel
        pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value
        try:
            reader = pycolmap.ImageReaderOptions(camera_model="SIMPLE_RADIAL")
            pycolmap.extract_features(database, base, names, pycolmap.CameraMode.SINGLE, reader)
            pycolmap.match_sequential(database)
            models = pycolmap.incremental_mapping(database, base, scratch)
        finally:
            pycolmap.logging.minloglevel = quiet
    seconds = time.perf_counter() - started
    largest = max(models.values(), key=lambda m: m.num_reg_images(), default=None)
    poses = {} if largest is None else {i.name: _camera_to_world(i) for i in largest.images.values() if i.has_pose}
    known = [(poses.get(n), p) for n, p in zip(names, recording.poses, strict=False) if p is not None]
    error, _ = absolute_trajectory_error([f for f, _ in known], [t for _, t in known])
    figures: dict = {
        "colmap_registered": len(poses), "colmap_models": len(models), "colmap_seconds": seconds,
        "colmap_ate_sim3": None, "colmap_focal_error_percent": None,
    }  # fmt: skip
    if largest is not None and np.isfinite(error):
        figures["colmap_ate_sim3"] = error
        if recording.intrinsics is not None:
            camera = next(iter(largest.cameras.values()))
            true = (recording.intrinsics[0, 0] + recording.intrinsics[1, 1]) / 2
            figures["colmap_focal_error_percent"] = float(100 * abs(camera.focal_length / true - 1))
    return figures


def _camera_to_world(image) -> np.ndarray:
    pose = np.eye(4)
    pose[:3] = image.cam_from_world().inverse().matrix()
    return pose
