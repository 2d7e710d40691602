"""Figures on a posed RGB-D recording in 7-Scenes' layout; the mapper gets its colour images alone."""

import json
import time
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.map_and_locate import VOID, LabelScore, score_map
from sab3r_ros.lab.evaluation.stream import GroundTruthView, geometry_metrics
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import Run, map_stream
from sab3r_ros.models.base import Backend
from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.folders import FolderSource


def read_truth(source: FolderSource, max_depth: float = 4.0) -> list[GroundTruthView]:
    """Depth and poses beside a folder's images. Raises SourceError where one is missing."""
    if source.intrinsics is None:
        raise SourceError(f"{source.name} has no intrinsics.txt")
    views = []
    for colour in source.images:
        stem = colour.name.split(".color.")[0]
        depth = cv2.imread(str(colour.with_name(f"{stem}.depth.png")), cv2.IMREAD_UNCHANGED)
        pose = colour.with_name(f"{stem}.pose.txt")
        if depth is None or not pose.is_file():
            raise SourceError(f"{colour} has no depth or pose beside it (7-Scenes' layout is expected)")
        metres = depth.astype(np.float32) / 1000
        views.append(GroundTruthView(np.where(metres <= max_depth, metres, 0), np.loadtxt(pose), source.intrinsics))
    return views


def read_labels(source: FolderSource) -> tuple[list[str], list[np.ndarray]] | None:
    """Names and label images (H,W), VOID where unlabelled, of a folder with labels.json and *.label.png; None without.

    Raises SourceError when a label image is missing or names a label that labels.json has not.
    """
    names_file = source.images[0].with_name("labels.json")
    if not names_file.is_file():
        return None
    ids = {int(k): name for k, name in json.loads(names_file.read_text()).items() if int(k) != 0}
    table = np.full(256, -2)
    table[0] = VOID
    table[list(ids)] = range(len(ids))
    images = []
    for colour in source.images:
        path = colour.with_name(colour.name.split(".color.")[0] + ".label.png")
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 2 or (table[image] == -2).any():
            raise SourceError(f"{path} is missing or has labels that labels.json does not name")
        images.append(table[image])
    return list(ids.values()), images


def label_metrics(
    mapper: Mapper,
    query: MapQuery,
    run: Run,
    truth: list[GroundTruthView],
    labels: tuple[list[str], list[np.ndarray]],
) -> dict:
    """Map and Locate over the recording's own labels: miou, acc (percent) and the IoU of every label."""
    names, images = labels
    query.set_vocabulary(names)
    score = LabelScore(len(names))
    score_map(score, mapper, query, run, truth, images, step=8)
    return score.metrics() | {"iou": [[n, round(100 * float(v), 1)] for n, v in zip(names, score.iou(), strict=True)]}


def evaluate_recording(
    settings: Settings, backend: Backend, path: Path, rate: float = 10.0, query: MapQuery | None = None
) -> tuple[dict, Mapper]:
    """The recording's figures, and the mapper with its map; with a query, where it has labels, also Map and Locate."""
    source = FolderSource(path, rate)
    truth = read_truth(source)
    mapper = Mapper(settings, backend)
    started = time.perf_counter()
    run = map_stream(mapper, source)
    figures = geometry_metrics(run, truth, backend.geometry)
    labels = read_labels(source) if query is not None else None
    if query is not None and labels is not None:
        figures |= label_metrics(mapper, query, run, truth, labels)
    latency = [r.inference_ms for r in run.results if r]
    figures |= {
        "fps": run.fps, "latency_ms_median": float(np.median(latency)), "latency_ms_p95": float(np.quantile(latency, 0.95)),
        "points": mapper.status().points, "seconds": time.perf_counter() - started,
    }  # fmt: skip
    return figures, mapper
