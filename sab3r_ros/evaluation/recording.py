"""Figures on a posed RGB-D recording in 7-Scenes' layout; the mapper gets its colour images alone."""

import time
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.config import Settings
from sab3r_ros.evaluation.stream import TruthView, geometry_figures, map_stream
from sab3r_ros.mapping.mapper import SemanticMapper
from sab3r_ros.mapping.perception import Perception
from sab3r_ros.sources.readers import FolderSource, SourceError


def read_truth(source: FolderSource, max_depth: float = 4.0) -> list[TruthView]:
    """Depth and poses beside a folder's pictures. Raises SourceError where one is missing."""
    if source.intrinsics is None:
        raise SourceError(f"{source.name} has no intrinsics.txt")
    views = []
    for picture in source.pictures:
        stem = picture.name.split(".color.")[0]
        depth = cv2.imread(str(picture.with_name(f"{stem}.depth.png")), cv2.IMREAD_UNCHANGED)
        pose = picture.with_name(f"{stem}.pose.txt")
        if depth is None or not pose.is_file():
            raise SourceError(f"{picture} has no depth or pose beside it (7-Scenes' layout is expected)")
        metres = depth.astype(np.float32) / 1000
        views.append(TruthView(np.where(metres <= max_depth, metres, 0), np.loadtxt(pose), source.intrinsics))
    return views


def evaluate_recording(
    settings: Settings, perception: Perception, path: Path, rate: float = 10.0
) -> tuple[dict, SemanticMapper]:
    """The recording's figures, and the mapper with its map."""
    source = FolderSource(path, rate)
    truth = read_truth(source)
    mapper = SemanticMapper(settings, perception)
    started = time.perf_counter()
    run = map_stream(mapper, source)
    figures = geometry_figures(run, truth, perception.image_size)
    latency = [r.inference_ms for r in run.results if r]
    figures |= {
        "fps": run.fps, "latency_ms_median": float(np.median(latency)), "latency_ms_p95": float(np.quantile(latency, 0.95)),
        "points": len(mapper.voxels), "seconds": time.perf_counter() - started,
    }  # fmt: skip
    return figures, mapper
