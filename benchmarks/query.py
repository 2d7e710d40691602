"""Questions to a large map: milliseconds of a question, of taking in a changed map, and of a large vocabulary.

The map is made up: boxes of voxels on floors, each with the embedding of a word that it stands for, and noise. The limits are
150 ms a question at the 95th percentile among two million voxels, 3 s for 1,000 labels, and 200 ms for the things (with their
ids and boxes) of 200,000 voxels, which a node finds anew every second; ratios are to them.
"""

import argparse
import time

import numpy as np
import torch
from common import report

from sab3r_ros.config import Settings
from sab3r_ros.models.backends import load_feature_model
from sab3r_ros.query.map_query import query_for
from sab3r_ros.query.registry import ObjectRegistry
from sab3r_ros.types import MapSnapshot

QUESTION_LIMIT_MS, LABELS_LIMIT_S, THINGS_LIMIT_MS = 150.0, 3.0, 200.0
THINGS_VOXELS = 200_000
VOXEL, NOISE = 0.04, 0.05
WORDS = (
    "wall",
    "floor",
    "chair",
    "table",
    "mug",
    "door",
    "box",
    "shelves",
    "lamp",
    "plant",
    "television",
    "bottle",
    "bag",
    "sofa",
)
ASKED = (
    "mug",
    "chair",
    "the red mug",
    "television",
    "plant",
    "bottle",
    "bicycle",
    "sofa",
    "lamp",
    "door",
    "box",
    "elephant",
)


def made_up_map(query, count: int) -> MapSnapshot:
    """Boxes of 20 x 20 x 10 voxels, one in ten a thing, the others walls and floors."""
    rng = np.random.default_rng(0)
    box = np.stack(np.meshgrid(np.arange(20), np.arange(20), np.arange(10), indexing="ij"), -1).reshape(-1, 3)
    boxes = count // len(box)
    side = int(np.ceil(boxes**0.5))
    corner = np.stack([np.arange(boxes) % side, np.arange(boxes) // side, np.zeros(boxes)], 1) * [24, 24, 1]
    xyz = ((corner[:, None] + box) * VOXEL).reshape(-1, 3)
    word = np.where(rng.random(boxes) < 0.1, rng.integers(2, len(WORDS), boxes), rng.integers(0, 2, boxes))
    basis = torch.linalg.qr(query.embed(list(WORDS)).T)[0].T.contiguous()
    rank = 48
    centre = torch.nn.functional.pad(query.embed(list(WORDS)) @ basis.T, (0, rank - len(basis)))
    generator = torch.Generator().manual_seed(0)
    feature = centre[torch.from_numpy(np.repeat(word, len(box)))]
    feature += NOISE * torch.randn(feature.shape, generator=generator)
    size = len(xyz)
    return MapSnapshot(
        VOXEL, torch.arange(size), basis, True, xyz=torch.from_numpy(xyz).float(), rgb=torch.rand(size, 3, generator=generator) * 255,
        feature=feature, weight=torch.ones(size), hits=torch.full((size,), 5, dtype=torch.int32), stamp=torch.zeros(size, dtype=torch.int64),
    )  # fmt: skip


def update_things(query, rounds: int) -> float:
    """Median milliseconds in which the things of a map are found again."""
    snapshot, registry, times = made_up_map(query, THINGS_VOXELS), ObjectRegistry(), []
    for _ in range(rounds):
        started = time.perf_counter()
        registry.update(query, snapshot, [])
        times.append(1e3 * (time.perf_counter() - started))
    return float(np.median(times[1:]))


def main():
    """Ask, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    settings = Settings()
    query = query_for(load_feature_model(settings.model), settings.query)
    snapshot = made_up_map(query, given.voxels)
    started = time.perf_counter()
    query.ask(snapshot, "nothing of all this")
    first = time.perf_counter() - started
    times, found = [], {}
    for _ in range(given.rounds):
        for question in ASKED:
            started = time.perf_counter()
            found[question] = len(query.ask(snapshot, question).objects)
            times.append(1e3 * (time.perf_counter() - started))
    things_ms = update_things(query, given.rounds + 1)
    started = time.perf_counter()
    query.set_vocabulary([f"{word} number {k}" for k in range(1000 // len(WORDS) + 1) for word in WORDS][:1000])
    labels = time.perf_counter() - started
    started = time.perf_counter()
    query.classify(snapshot)
    p95 = float(np.quantile(times, 0.95))
    report(
        "query", voxels=len(snapshot), median_ms=float(np.median(times)), p95_ms=p95, ratio=p95 / QUESTION_LIMIT_MS,
        first_question_s=first, things_ms=things_ms, things_ratio=things_ms / THINGS_LIMIT_MS, thousand_labels_s=labels, labels_ratio=labels / LABELS_LIMIT_S,
        classify_thousand_labels_s=time.perf_counter() - started, found=found,
    )  # fmt: skip


if __name__ == "__main__":
    main()
