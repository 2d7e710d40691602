"""A robot that patrols the same room: cost per frame, memory and errors late against early.

`--frames 20000` takes about two hours; every thousand frames are told as they are done. The keyframes are adjusted beside the frames, as in the node. Figures of the machine's load fall out of
`cost_ratio`, which compares the frame thread's own CPU time; `p95_ratio_back_end` compares the clock's, with adjustment on and off
over the first frames.
"""

import argparse
import resource
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from common import report
from tqdm import tqdm

from sab3r_ros.config import Settings
from sab3r_ros.geometry.projection import transform
from sab3r_ros.lab.evaluation.poses import absolute_trajectory_error, align_positions
from sab3r_ros.lab.synthetic.long_walks import render_long_walk
from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.mapping.adjustment.background import BackgroundAdjustment
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.types import Frame, nth_stamp

WALK, LENGTH, STEP = 71_000, 12.0, 0.05  # among the held-out rooms; metres of a lap and from image to image
PART = 1000  # frames
RATE = 10.0
DOUBTS = 0.0, 0.05, 0.2, 0.5, 1.0, 100.0  # metres
NOISE = 3.0  # grey levels, so that no image comes twice


def patrol(views, frames: int):
    """Images of a walk's views, there and back again and again, with noise of their own; and their true poses."""
    rng = np.random.default_rng(0)
    turn = 2 * len(views) - 2
    for k in range(frames):
        step = k % turn
        view = views[step if step < len(views) else turn - step]
        noisy = view.rgb + rng.normal(0, NOISE, view.rgb.shape)
        yield Frame(noisy.clip(0, 255).astype(np.uint8), nth_stamp(k, RATE)), view.cam2world


def memory_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def tell(cpu, found, truth, memory: float, keyframes: int) -> None:
    """Say what the newest thousand frames cost, so that a run that is cut off is not lost."""
    newest = slice(-PART, None)
    tracked = sum(f is not None for f in found[newest])
    error = absolute_trajectory_error(found[newest], truth[newest])[0]
    tqdm.write(
        f"{len(cpu)} frames: {1e3 * statistics.mean(cpu[newest]):.0f} ms a frame, {tracked} tracked, live error {error:.3f} m, "
        f"{keyframes} keyframes, {memory:.0f} MB",
        file=sys.stderr,
    )


def by_doubt(found, truth, doubts) -> list[list[float]]:
    """Of frames by how far they said that they may be off (m): from, to, how many, median error (m), share within two deviations.

    Aligned by those that are sure; frames that are lost are left out.
    """
    kept = [k for k, pose in enumerate(found) if pose is not None]
    doubt = np.array(doubts)[kept]
    sure = [k for k in kept if doubts[k] < DOUBTS[1]]
    pose = align_positions([found[k] for k in sure], [truth[k] for k in sure])[0]
    position, true = (np.array([poses[k][:3, 3] for k in kept]) for poses in (found, truth))
    error = np.linalg.norm(transform(pose, position) - true, axis=1)
    rows = []
    for low, high in pairwise(DOUBTS):
        mine = (doubt >= low) & (doubt < high)
        if mine.any():
            within = error[mine] < 2 * 3**0.5 * doubt[mine]
            rows.append(
                [low, high, int(mine.sum()), round(float(np.median(error[mine])), 3), round(float(within.mean()), 2)]
            )
    return rows


def run(backend, views, frames: int, adjust: bool, keyframes: int):
    """Every frame's CPU time and clock time (s), found poses and true ones, what they said of their doubt, memory at the end of every part, and what the mapper says."""
    settings = Settings().with_values(adjustment={"enabled": adjust}, window={"max_keyframes": keyframes})
    mapper = Mapper(settings, backend)
    beside = BackgroundAdjustment(mapper) if adjust else None
    cpu, clock, found, truth, doubts, memory = [], [], [], [], [], []
    try:
        for k, (frame, pose) in enumerate(tqdm(patrol(views, frames), total=frames, unit="frame", disable=None)):
            began, thread = time.perf_counter(), time.thread_time()
            result = mapper.register(frame)
            cpu.append(time.thread_time() - thread)
            clock.append(time.perf_counter() - began)
            found.append(result.pose)
            truth.append(pose)
            doubts.append(result.position_std)
            if k % PART == PART - 1:
                memory.append(memory_mb())
                tell(cpu, found, truth, memory[-1], len(mapper.state.graph))
    finally:
        if beside is not None:
            beside.close()
    return cpu, clock, found, truth, doubts, memory, mapper.status()


def main():
    """Print one line of figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--keyframes", type=int, default=200, help="window.max_keyframes")
    asked = parser.parse_args()
    frames = asked.frames
    torch.set_num_threads(1)
    backend = Mapper().backend
    part = min(PART, frames // 2)
    views = list(render_long_walk(HELD_OUT_SEEDS[WALK], LENGTH, STEP))
    _, alone, *_ = run(backend, views, part, False, asked.keyframes)
    cpu, clock, found, truth, doubts, memory, status = run(backend, views, frames, True, asked.keyframes)
    early, late = slice(0, part), slice(-part, None)
    report(
        "long_stream",
        frames=frames,
        tracked=sum(f is not None for f in found),
        cost_ratio=statistics.mean(cpu[late]) / statistics.mean(cpu[early]),
        ms_first=1e3 * statistics.mean(cpu[early]),
        ms_last=1e3 * statistics.mean(cpu[late]),
        p95_ms_first=1e3 * float(np.percentile(clock[early], 95)),
        p95_ms_last=1e3 * float(np.percentile(clock[late], 95)),
        p95_ratio_back_end=float(np.percentile(clock[early], 95) / np.percentile(alone, 95)),
        live_error_first=absolute_trajectory_error(found[early], truth[early])[0],
        live_error_last=absolute_trajectory_error(found[late], truth[late])[0],
        error_by_doubt=by_doubt(found, truth, doubts),
        keyframes=status.keyframes,
        voxels=status.points,
        map_mb=status.megabytes,
        memory_mb_by_thousand=[round(m) for m in memory],
    )


if __name__ == "__main__":
    main()
