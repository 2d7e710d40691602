"""Mapping whole recordings."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from sab3r_ros.faults import Faults
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.types import BadFrame, Frame, FrameResult, Tracking

_LONG = 200  # keyframes: a recording in which what drifts must be mended before its end


@dataclass
class Run:
    """What the mapper made of a stream; `results` has None for rejected frames, `faults` says why.

    Results are as the map has them at the end, after its keyframes were adjusted; `live`: poses (4,4) as they were at the time.

    seconds: of mapping, without the adjustment at the end. ended: "" when the stream was mapped to its end, else what ended it before.
    """

    results: list[FrameResult | None] = field(default_factory=list)
    live: list[np.ndarray | None] = field(default_factory=list)
    seconds: float = 0.0
    faults: Faults = field(default_factory=Faults)
    notes: Counter[str] = field(default_factory=Counter)
    ended: str = ""

    @property
    def poses(self) -> list[np.ndarray | None]:
        """Camera poses (4,4) in the map, None where lost or rejected."""
        return [r.pose if r else None for r in self.results]

    @property
    def fps(self) -> float:
        """Frames per second of mapping alone."""
        return len(self.results) / max(self.seconds, 1e-9)


def map_stream(
    mapper: Mapper,
    frames: Iterable[Frame],
    progress: Callable[[], None] | None = None,
    run: Run | None = None,
    before_adjustment: Callable[[], None] | None = None,
) -> Run:
    """Register every frame, adjust keyframes as the settings say, and turn the map upright in the end; images that cannot be used are noted and passed over.

    run: is filled as frames come, so that a caller who interrupts has what was done so far. before_adjustment: called before all
    keyframes are adjusted in the end, which takes a while.
    """
    run = run or Run()
    for frame in frames:
        started = time.perf_counter()
        try:
            result = mapper.register(frame)
            run.results.append(result)
        except BadFrame as error:
            run.results.append(None)
            run.faults.add(f"frame {len(run.results) - 1}", error)
        else:
            if result.message and result.tracking != Tracking.LOST:
                run.notes[result.message] += 1
            if result.is_keyframe and mapper.wants_settling(_LONG):
                mapper.settle()
            elif result.is_keyframe and mapper.wants_adjustment():
                mapper.adjust(whole=False)
        run.seconds += time.perf_counter() - started
        if progress:
            progress()
    run.live = [r.pose if r else None for r in run.results]
    if mapper.adjusts and before_adjustment:
        before_adjustment()
    mapper.settle()
    run.results = _as_mapped(run.results, mapper)
    return run


def _as_mapped(results: list[FrameResult | None], mapper: Mapper) -> list[FrameResult | None]:
    """The results with poses as the map has them now."""
    with mapper.lock:
        poses = dict(mapper.state.graph.similarities)
    out: list[FrameResult | None] = []
    for result in results:
        if result is not None and result.pose is not None and result.estimate is not None and result.stamp in poses:
            estimate = replace(result.estimate, pose=poses[result.stamp])
            result = replace(result, estimate=estimate, pose=estimate.rigid_pose)
        out.append(result)
    return out
