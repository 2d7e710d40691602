"""A map of ten million voxels: memory, and seconds to save it, open it, ask it and go on in it.

Every step is done by a process of its own, whose memory at its highest is its figure; the ratio is that to `LIMIT_MB`, of a machine with
24 GB. `--millions 1` takes half a minute.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import report
from tqdm import tqdm

import sab3r_ros
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.types import Keyframe, Observation

LIMIT_MB = 24_000
HEIGHT, WIDTH, CELL = 240, 320, 0.041  # of a keyframe, which sees a wall of its own, a voxel a pixel
ROOM, ROW = (14.0, 11.0), 20  # metres from wall to wall, and walls in a row
ASKED = "mug", "door"
STEPS = "build", "ask", "extend"


def fuse(mapper: Mapper, number: int, features: torch.Tensor) -> None:
    """Add a keyframe with what it sees, as the mapper does."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    points = np.stack([(x - WIDTH / 2) * CELL, (y - HEIGHT / 2) * CELL, 3 + 0.05 * ((x + y) % 3)], -1)
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3], pose[1, 3] = ROOM[0] * (number % ROW), ROOM[1] * (number // ROW)
    conf = torch.full((HEIGHT, WIDTH), 2.0)
    image = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    cloud = torch.from_numpy(points).float()
    keyframe = Keyframe(number, number * 10**8, pose, cloud, conf, image, torch.zeros(64))
    mapper.state.graph.add(keyframe)
    mapper.state.graph.track(keyframe.stamp, pose)
    mapper.state.scene.integrate(keyframe, Observation(cloud, conf, image, features))


def random_features(mapper: Mapper) -> torch.Tensor:
    """Unit vectors (HEIGHT,WIDTH,C)."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(HEIGHT, WIDTH, mapper.backend.feature_dim, generator=generator)
    return torch.nn.functional.normalize(values, dim=-1)


def build(path: Path, voxels: int) -> dict:
    """Fuse keyframes until there are so many voxels, and save."""
    mapper = Mapper.load(map__max_voxels=voxels + 1_000_000)
    features, number, began = random_features(mapper), 0, time.perf_counter()
    with tqdm(total=voxels, unit="voxel", unit_scale=True, disable=None) as bar:
        while len(mapper.state.scene) < voxels:
            fuse(mapper, number, features)
            number += 1
            bar.update(len(mapper.state.scene) - bar.n)
    fused, began = time.perf_counter() - began, time.perf_counter()
    sab3r_ros.save_map(mapper, path)
    return {
        "voxels": len(mapper.state.scene), "fuse_ms_a_keyframe": 1e3 * fused / number, "map_mb": mapper.state.scene.megabytes(),
        "save_s": time.perf_counter() - began,
    }  # fmt: skip


def ask(path: Path, _: int) -> dict:
    """Open, and ask twice: the first question classifies the voxels."""
    began = time.perf_counter()
    opened = sab3r_ros.open_map(path)
    figures = {"open_s": time.perf_counter() - began}
    for name, word in zip(("first_question_s", "question_s"), ASKED, strict=True):
        began = time.perf_counter()
        opened.locate(word)
        figures[name] = time.perf_counter() - began
    return figures


def extend(path: Path, voxels: int) -> dict:
    """Load the map into a mapper and add a keyframe."""
    mapper = Mapper.load(map__max_voxels=voxels + 1_000_000)
    began = time.perf_counter()
    sab3r_ros.load_map(mapper, path)
    figures, before = {"load_s": time.perf_counter() - began}, len(mapper.state.scene)
    began = time.perf_counter()
    fuse(mapper, mapper.state.graph.next_id, random_features(mapper))
    return figures | {"extend_s": time.perf_counter() - began, "added": len(mapper.state.scene) - before}


def main():
    """Run every step in a process of its own and print one line of figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, default=10.0)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.step:
        figures = {"build": build, "ask": ask, "extend": extend}[asked.step](asked.path, round(asked.millions * 1e6))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(figures | {f"{asked.step}_peak_mb": peak}))
        return
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map"
        for step in STEPS:
            command = [sys.executable, __file__, "--millions", str(asked.millions), "--step", step, "--path", str(path)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            figures |= json.loads(done.stdout.splitlines()[-1])
        figures["disk_mb"] = sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / 2**20
    highest = max(figures[f"{step}_peak_mb"] for step in STEPS)
    report("large_map", **figures, memory_ratio=highest / LIMIT_MB)


if __name__ == "__main__":
    main()
