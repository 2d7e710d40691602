"""`sab3r map` and `sab3r locate`."""

import sys
from itertools import islice
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from sab3r_ros.config import Settings
from sab3r_ros.evaluation.stream import Run, map_stream
from sab3r_ros.files import write_json
from sab3r_ros.mapping.export import render_preview, write_ply, write_tum
from sab3r_ros.mapping.mapper import SemanticMapper
from sab3r_ros.mapping.perception import Perception
from sab3r_ros.mapping.query import LocatedObject, MapQuery, label_voxels, query_for
from sab3r_ros.mapping.storage import EmptyMap, MapFile, MapFileError, PathExists, read_map, save_map
from sab3r_ros.models.weights import load_checkpoint
from sab3r_ros.sources.readers import Source, open_source


def map_source(
    source: Source, settings: Settings, perception: Perception, limit: int = 0
) -> tuple[SemanticMapper, Run]:
    """Map every frame of a source, with a progress bar."""
    mapper = SemanticMapper(settings, perception)
    total = min(limit, len(source)) if limit and len(source) else limit or len(source) or None
    frames = islice(source, limit) if limit else source
    with tqdm(total=total, unit="frame", desc=source.name[-40:]) as bar:
        try:
            run = map_stream(mapper, frames, bar.update)
        except KeyboardInterrupt:  # a live camera is ended this way; what was mapped is kept
            run = Run([], 1.0)
    return mapper, run


def write_outputs(
    mapper: SemanticMapper,
    query: MapQuery | None,
    out: Path,
    overwrite: bool,
    objects: list[LocatedObject] | None = None,
) -> None:
    """The map's own format, map.ply, trajectory.txt and preview.png. Raises as `save_map`."""
    save_map(mapper, out, overwrite)
    snapshot = mapper.snapshot()
    label, score = label_voxels(query, snapshot)
    write_ply(out / "map.ply", snapshot["xyz"].numpy(), _rgb(snapshot), score, label)
    write_tum(out / "trajectory.txt", mapper.trajectory)
    _draw(out / "preview.png", snapshot, label, query, mapper.trajectory, objects)


def _rgb(snapshot: dict[str, Tensor]) -> np.ndarray:
    return snapshot["rgb"].clamp(0, 255).byte().numpy()


def _draw(path: Path, snapshot, label, query: MapQuery | None, trajectory, objects) -> None:
    names = query.vocabulary.labels if query else []
    colours = query.vocabulary.colours if query else np.zeros((0, 3), np.uint8)
    walked = np.array([pose[:3, 3] for _, pose in trajectory]).reshape(-1, 3)
    render_preview(path, snapshot["xyz"].numpy(), _rgb(snapshot), label, names, colours, walked, objects)


def summarise(mapper: SemanticMapper, run: Run, source: Source) -> dict:
    """What `summary.json` holds for any input."""
    return {
        "input": source.name, "model": mapper.perception.checkpoint.id, "frames": mapper.frames, "tracked": len(mapper.trajectory),
        "keyframes": mapper.num_keyframes, "points": len(mapper.voxels), "fps": run.fps,
        "scale": mapper.scale.source.name.lower(), "scale_stddev": mapper.scale.stddev if np.isfinite(mapper.scale.stddev) else None,
        "map_mb": mapper.voxels.megabytes(), "skipped": source.skipped + run.refused,
    }  # fmt: skip


def finite(value):
    """The same content with null for what is not a number: JSON has no NaN."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def map_input(
    source: str, out: Path, settings: Settings, rate: float, limit: int, depth: bool, topic: str, overwrite: bool
) -> dict:
    """`sab3r map`: returns the summary. Raises for unreadable inputs, an occupied OUT, and nothing mapped."""
    if (out / "map.json").exists() and not overwrite:
        raise PathExists(f"{out} holds a map already; give --overwrite or another --out")
    opened = open_source(source, rate, depth, topic)
    perception = Perception(settings.model)
    query = query_for(perception.checkpoint, settings.query)
    print(f"model {perception.checkpoint.id}, licence {perception.checkpoint.licence}", file=sys.stderr)
    mapper, run = map_source(opened, settings, perception, limit)
    try:
        write_outputs(mapper, query, out, overwrite)
    except EmptyMap as error:
        first = f" First problem: {run.refused[0]}" if run.refused else ""
        raise MapFileError(f"nothing could be mapped from {source}.{first}") from error
    summary = summarise(mapper, run, opened)
    write_json(out / "summary.json", finite(summary))
    return summary


def open_map(folder: Path, settings: Settings) -> tuple[MapFile, MapQuery]:
    """A saved map and what answers questions about it; the network itself is not run, only its text encoder.

    Raises MapFileError for a map of another model or without features.
    """
    content = read_map(folder)
    checkpoint = load_checkpoint(settings.model.checkpoint)
    if content.info["model"] != checkpoint.id:
        raise MapFileError(
            f"{folder} was made with {content.info['model']}, not {checkpoint.id}: give its --checkpoint"
        )
    if not content.info["features"]:
        raise MapFileError(f"{folder} was saved without features and cannot be searched")
    query = query_for(checkpoint, settings.query)
    if query is None:
        raise MapFileError(f"{checkpoint.id} has no text-aligned features to search")
    return content, query


def locate_in(
    folder: Path,
    text: str,
    settings: Settings,
    min_score: float | None,
    max_objects: int,
    negatives: list[str],
    png: Path | None,
) -> list[dict]:
    """`sab3r locate`: objects of a saved map, best first."""
    content, query = open_map(folder, settings)
    found = query.locate(content.snapshot, [text], content.info["voxel_size"], negatives, min_score, max_objects)
    if png is not None:
        label, _ = query.classify(content.snapshot)
        _draw(png, content.snapshot, label, query, content.trajectory, found)
    return [describe(o) for o in found]


def describe(item: LocatedObject) -> dict:
    """A located object for JSON; lengths in metres in the map's frame."""
    return {
        "id": item.id, "label": item.label, "score": round(item.score, 4), "points": len(item.points),
        "centroid": [round(float(v), 3) for v in item.centroid], "size": [round(float(v), 3) for v in item.size],
        "box_pose": [[round(float(v), 4) for v in row] for row in item.box_pose], "last_seen": item.last_seen,
    }  # fmt: skip
