"""Figures on a posed RGB-D recording; the mapper gets its colour images alone."""

import time
from pathlib import Path

import numpy as np

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.map_and_locate import LabelScore, score_map
from sab3r_ros.lab.evaluation.recordings import RecordedLabels, TrueRecording
from sab3r_ros.lab.evaluation.stream import GroundTruthView, geometry_metrics
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import Run, map_stream
from sab3r_ros.models.base import Backend
from sab3r_ros.query.map_query import MapQuery


def label_metrics(
    mapper: Mapper,
    query: MapQuery,
    run: Run,
    truth: list[GroundTruthView],
    labels: RecordedLabels,
) -> dict:
    """Map and Locate over the recording's own labels: miou, acc (percent) and the IoU of every label."""
    names = labels.names
    images = [labels.image(k) for k in range(len(truth))]
    query.set_vocabulary(names)
    score = LabelScore(len(names))
    score_map(score, mapper, query, run, truth, images, step=8)
    return score.metrics() | {"iou": [[n, round(100 * float(v), 1)] for n, v in zip(names, score.iou(), strict=True)]}


def evaluate_recording(
    settings: Settings, backend: Backend, path: Path, rate: float = 10.0, query: MapQuery | None = None
) -> tuple[dict, Mapper]:
    """The recording's figures, and the mapper with its map; with a query, where it has labels, also Map and Locate."""
    recording = TrueRecording(path, rate)
    truth = [recording.view(k) for k in range(len(recording))]
    mapper = Mapper(settings, backend)
    started = time.perf_counter()
    run = map_stream(mapper, recording.source)
    figures = geometry_metrics(run, truth, backend.geometry)
    labels = RecordedLabels.beside(recording.source) if query is not None else None
    if query is not None and labels is not None:
        figures |= label_metrics(mapper, query, run, truth, labels)
    latency = [r.inference_ms for r in run.results if r]
    figures |= {
        "fps": run.fps, "latency_ms_median": float(np.median(latency)), "latency_ms_p95": float(np.quantile(latency, 0.95)),
        "points": mapper.status().points, "seconds": time.perf_counter() - started,
    }  # fmt: skip
    return figures, mapper
