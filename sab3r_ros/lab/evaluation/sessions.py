"""Saved maps that go on: two halves of a recording merged, the camera found in a map of before, and not found in one of elsewhere."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.poses import absolute_trajectory_error, align_positions
from sab3r_ros.lab.evaluation.recordings import TrueRecording
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.joining import PlaceNotRecognised
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.session import join_map, load_map, save_map
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.models.base import Backend
from sab3r_ros.sources.base import SourceError
from sab3r_ros.types import Frame, Tracking, nth_stamp

_SHARED = 0.08  # of a recording that both halves have
_TRIES = 5  # frames within which a camera should be found
_WRONG = 0.3  # metres from the truth from which on a place is wrong
_LATER = 10**15  # ns: stamps of a second pass
_FIRST_ROOM, _VIEWS = 900_070_000, 8  # seeds that no training has seen; views of a room


def evaluate_sessions(
    settings: Settings, backend: Backend, path: Path, rooms: int = 10, rate: float = 30.0, progress: Callable[[str], None] = print
) -> dict:  # fmt: skip
    """Figures of a recording with true poses; `rooms`: made-up rooms whose views must not be found in its map.

    ate_one, ate_merged: metres, of the whole recording in one map, and of its halves merged; found_percent: starts of a second
    pass (every second image is mapped, the others are looked for) found within five images; wrong_places: of `placed` images,
    those that were put farther than 0.3 m from the truth; foreign_found: of `foreign` views of other rooms, those that were
    found in the recording's map; foreign_joined: of as many maps of these rooms, those that were merged with it.
    Raises SourceError where the recording has no true poses.
    """
    started = time.perf_counter()
    recording = TrueRecording(path, rate)
    if sum(p is not None for p in recording.poses) < 8:
        raise SourceError(f"{path}: a recording with true poses of at least 8 images is needed")
    frames = list(recording.source)
    truth = {f.stamp: p for f, p in zip(frames, recording.poses, strict=False) if p is not None}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        progress("one map of all images")
        figures = {"frames": len(frames), "ate_one": _error(_mapped(settings, backend, frames), truth)}
        progress("two halves")
        middle, shared = len(frames) // 2, max(1, round(_SHARED / 2 * len(frames)))
        for name, part in (("a", frames[: middle + shared]), ("b", frames[middle - shared :])):
            save_map(_mapped(settings, backend, part), place / name)
        figures |= _merged(settings, backend, place / "a", place / "b", truth)
        progress("a second pass")
        save_map(_mapped(settings, backend, frames[::2]), place / "even")
        figures |= _second_pass(settings, backend, place / "even", frames[1::2], truth)
        figures |= _foreign(settings, backend, place / "even", rooms, progress)
    return figures | {"seconds": time.perf_counter() - started}


def _mapped(settings: Settings, backend: Backend, frames: Sequence[Frame]) -> Mapper:
    mapper = Mapper(settings, backend)
    map_stream(mapper, frames)
    return mapper


def _error(mapper: Mapper, truth: dict[int, np.ndarray]) -> float:
    known = [(pose, truth[stamp]) for stamp, pose in mapper.trajectory if stamp in truth]
    return absolute_trajectory_error([p for p, _ in known], [t for _, t in known])[0]


def _merged(settings: Settings, backend: Backend, first: Path, second: Path, truth: dict[int, np.ndarray]) -> dict:
    mapper = Mapper(settings, backend)
    load_map(mapper, first)
    started = time.perf_counter()
    try:
        join_map(mapper, second)
    except PlaceNotRecognised:
        return {"ate_joined": None, "ate_merged": None, "merge_seconds": None}
    joined = _error(mapper, truth)
    mapper.adjust()
    return {
        "ate_joined": joined, "ate_merged": _error(mapper, truth), "merge_seconds": time.perf_counter() - started,
    }  # fmt: skip


def _second_pass(
    settings: Settings, backend: Backend, path: Path, frames: Sequence[Frame], truth: dict[int, np.ndarray]
) -> dict:
    """Cameras that start anywhere in a map of before: how many are found, and whether where they are."""
    mapper = Mapper(settings, backend)
    load_map(mapper, path)
    known = [(pose, truth[stamp]) for stamp, pose in mapper.trajectory if stamp in truth]
    to_truth, _ = align_positions([p for p, _ in known], [t for _, t in known])
    starts = range(0, len(frames) - _TRIES, 2)
    found = placed = wrong = 0
    for start in starts:
        load_map(mapper, path)
        seen = False
        for n, frame in enumerate(frames[start : start + _TRIES]):
            result = mapper.register(replace(frame, stamp=_LATER + nth_stamp(n, 10)))
            if result.pose is None or frame.stamp not in truth:
                continue
            seen = True
            placed += 1
            at = (to_truth @ result.pose)[:3, 3]
            wrong += bool(np.linalg.norm(at - truth[frame.stamp][:3, 3]) > _WRONG)
        found += seen
    share = 100 * found / max(len(starts), 1)
    return {"starts": len(starts), "found_percent": share, "placed": placed, "wrong_places": wrong}


def _foreign(settings: Settings, backend: Backend, path: Path, rooms: int, progress: Callable[[str], None]) -> dict:
    """Views and maps of other rooms: none of them is in the map."""
    found = views = joined = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rooms):
            progress(f"room {number + 1} of {rooms}")
            size = backend.geometry.image_size
            walk = render_sequence(_FIRST_ROOM + number, _VIEWS, size, size * 3 // 4)
            frames = [Frame(v.rgb, nth_stamp(k, 10)) for k, v in enumerate(walk.views)]
            mapper = Mapper(settings, backend)
            for frame in frames:
                load_map(mapper, path)  # every one of them meets the map as it was
                views += 1
                found += mapper.register(frame).tracking == Tracking.OK
            other = Path(folder) / str(number)
            save_map(_mapped(settings, backend, frames), other)
            load_map(mapper, path)
            try:
                join_map(mapper, other)
                joined += 1
            except PlaceNotRecognised:
                pass
    return {"foreign": views, "foreign_found": found, "foreign_joined": joined}
