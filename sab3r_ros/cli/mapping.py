"""`sab3r map` and `sab3r locate`: from options to library calls, and what they print."""

import logging
import sys
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sab3r_ros.cli.errors import one_line
from sab3r_ros.cli.inputs import open_input
from sab3r_ros.cli.interrupts import Interrupts
from sab3r_ros.config import Settings
from sab3r_ros.files import finite, write_json
from sab3r_ros.mapping.map_file import EmptyMap, MapFileError, check_target, map_mark, saved_voxel_size
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.session import load_map
from sab3r_ros.mapping.stream import Run, map_stream
from sab3r_ros.maps import Map
from sab3r_ros.models.backends import load_backend
from sab3r_ros.models.base import Backend
from sab3r_ros.outputs import write_outputs
from sab3r_ros.query.map_query import MapQuery, query_for, ranked
from sab3r_ros.query.object_store import load_objects, new_registry
from sab3r_ros.query.objects import LocatedObject
from sab3r_ros.query.registry import MapObject, ObjectRegistry
from sab3r_ros.sources.base import Source
from sab3r_ros.viewer.preview import draw_preview

log = logging.getLogger(__name__)


def map_source(
    source: Source, settings: Settings, backend: Backend, limit: int = 0, onto: Path | None = None,
    watch: Callable[[Mapper], None] | None = None,
) -> tuple[Mapper, Run]:  # fmt: skip
    """Map every frame of a source, with a progress bar; what was mapped is kept whatever ends it, `Run.ended` says what.

    onto: a saved map that is continued; watch: called with the mapper before the first frame. Raises as `load_map` where there is
    a map to continue.
    """
    mapper, run = Mapper(settings, backend), Run()
    if onto is not None:
        load_map(mapper, onto)
    if watch is not None:
        watch(mapper)
    total = min(limit, len(source)) if limit and len(source) else limit or len(source) or None
    frames = islice(source, limit) if limit else source
    with Interrupts() as interrupts, tqdm(total=total, unit="frame", desc=source.name[-40:]) as bar:
        try:
            wanted = interrupts.until_asked(frames)
            map_stream(mapper, wanted, bar.update, run, lambda: bar.set_postfix_str("adjusting all keyframes"))
        except KeyboardInterrupt:  # a live camera is ended this way; SIGTERM counts as the same
            run.ended = "interrupted"
        except Exception as error:
            run.ended = one_line(error)
            log.debug("mapping ended early", exc_info=error)
    if run.ended:
        print(f"sab3r: {run.ended}: what was mapped so far is kept", file=sys.stderr)
    return mapper, run


def summarise(mapper: Mapper, run: Run, source: Source) -> dict:
    """What `summary.json` holds for any input."""
    status, features = mapper.status(), mapper.backend.features
    return {
        "input": source.name, "geometry_model": mapper.geometry.id, "feature_model": features.id if features else "",
        "frames": status.frames, "tracked": mapper.state.graph.tracked, "keyframes": status.keyframes, "points": status.points,
        "fps": run.fps, "scale": status.scale.source.name.lower(),
        "scale_stddev": status.scale.stddev if np.isfinite(status.scale.stddev) else None, "map_mb": status.megabytes,
        "adjustment": None if mapper.adjusted is None else asdict(mapper.adjusted), "ended": run.ended or "complete",
        "notes": [*source.notes, *(f"{n} x {text}" for text, n in run.notes.items())],
        "left_out": len(source.faults) + len(run.faults), "skipped": source.skipped + run.faults.lines,
    }  # fmt: skip


def map_input(
    source: str, out: Path, settings: Settings, rate: float, limit: int, depth: bool, topic: str, overwrite: bool,
    depth_scale: float = 0.0, onto: Path | None = None, odometry: str = "",
    watch: Callable[[Mapper, MapQuery | None], None] | None = None,
) -> dict:  # fmt: skip
    """`sab3r map`: returns the summary. Raises for unreadable inputs, a place that cannot be written, and nothing mapped.

    watch: called with the mapper, and what answers questions, before the first frame.
    """
    check_target(out, overwrite)
    if onto is not None:
        settings = with_voxels_of(onto, settings)
    opened = open_input(source, rate, depth or bool(depth_scale), topic, depth_scale, odometry)
    for note in opened.notes:
        print(note, file=sys.stderr)
    told = len(opened.notes)
    backend = load_backend(settings.model, settings.window.size)
    query = query_for(backend.features, settings.query)
    print(f"model {backend.geometry.id}, licence {backend.licence}", file=sys.stderr)
    mapper, run = map_source(opened, settings, backend, limit, onto, watch and (lambda made: watch(made, query)))
    for note in opened.notes[told:]:
        print(note, file=sys.stderr)
    for text, count in run.notes.most_common(3):
        print(f"{count} frames: {text}", file=sys.stderr)
    reasons = [text for faults in (opened.faults, run.faults) if (text := faults.summary())]
    if onto is not None and not any(pose is not None for pose in run.poses):
        raise MapFileError(f"the camera was not found in {onto}: begin where it has been; nothing was written")
    try:
        write_outputs(mapper, query, out, overwrite, registry=registry_of(onto))
    except EmptyMap as error:
        why = "; ".join(reasons) or run.ended or "it has no frames"
        raise MapFileError(f"nothing could be mapped from {source}: {why}") from error
    for text in reasons:
        print(text, file=sys.stderr)
    summary = summarise(mapper, run, opened)
    write_json(out / "summary.json", finite(summary))
    return summary


def with_voxels_of(path: Path, settings: Settings) -> Settings:
    """Settings with the voxel size of a saved map. Raises as `saved_voxel_size`."""
    return settings.with_values(map={"voxel_size": saved_voxel_size(path)})


def registry_of(path: Path | None) -> ObjectRegistry | None:
    """The things of a saved map, whose ids go on; None where there is no map or they were not saved with it."""
    if path is None:
        return None
    try:
        stored = load_objects(path, map_mark(path))
    except ValueError as error:
        log.warning("%s: its things get new ids", error)
        return None
    return None if stored is None else new_registry(stored)


def locate_in(
    opened: Map, text: str, min_score: float | None, max_objects: int, negatives: list[str], png: Path | None
) -> dict:
    """`sab3r locate`: whether a thing is in a saved map, and the objects, most probable first."""
    answer = opened.ask(text, negatives, min_score)
    found = ranked([answer], max_objects)
    if png is not None:
        draw_map(opened, png, found)
    presence = answer.presence
    return {
        "query": text, "understood": str(answer.question), "verdict": presence.verdict.name, "probability": round(presence.probability, 4),
        "explored": finite(presence.explored), "calibrated": presence.calibrated, "says": presence.in_words(),
        "objects": [describe(o) for o in found],
    }  # fmt: skip


def draw_map(opened: Map, png: Path, objects: list[LocatedObject]) -> None:
    """An image of a saved map with objects."""
    label, _ = opened.labels()
    draw_preview(png, opened.content.snapshot, label, opened.query.vocabulary, opened.trajectory, objects)


def describe(item: LocatedObject) -> dict:
    """A located object for JSON; lengths in metres in the map's frame."""
    return {
        "id": item.id, "label": item.label, "score": round(item.score, 4), "probability": round(item.probability, 4), "points": len(item.points),
        "centroid": [round(float(v), 3) for v in item.centroid], "size": [round(float(v), 3) for v in item.size],
        "box_pose": [[round(float(v), 4) for v in row] for row in item.box_pose], "last_seen": item.last_seen,
        "views": int(item.views.max()),
    }  # fmt: skip


def describe_thing(item: MapObject) -> dict:
    """A thing of a map for JSON; lengths in metres in the map's frame."""
    return {
        "id": item.id, "labels": [[name, round(share, 3)] for name, share in item.labels], "state": item.state.name,
        "points": len(item.points), "centroid": [round(float(v), 3) for v in item.centroid],
        "size": [round(float(v), 3) for v in item.size], "box_pose": [[round(float(v), 4) for v in row] for row in item.box_pose],
        "first_seen": item.first_seen, "last_seen": item.last_seen, "views": item.views, "keyframe": item.keyframe,
        "view_box": list(item.view_box), "moved_from": None if item.moved_from is None else [round(float(v), 3) for v in item.moved_from],
    }  # fmt: skip


def progress_of_files() -> Callable[[str, int, int], None]:
    """A progress bar per downloaded file, on standard error."""
    bars: dict[str, tqdm] = {}

    def report(name: str, done: int, total: int) -> None:
        if name not in bars:
            bars[name] = tqdm(total=total or None, unit="B", unit_scale=True, desc=name)
        bars[name].update(done - bars[name].n)

    return report
