"""Fusing prompt and points at patch level against at point level: time and memory of one question, and accuracy.

The ratios are point level over patch level. `--train STEPS` trains a small network of either layout on the same clouds of
512 points and compares them on held-out shapes; without it there are no accuracy figures.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import report

from sab3r_ros.lab.evaluation.affordance import laso_metrics
from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.models.cast import CAST_PRESETS, Cast, Prompt, unit_sphere

_POINTS, _WORDS = 2048, 16
_TRAINED_POINTS, _HELD_OUT = 512, 60


def measure(preset: str, layout: str) -> dict:
    """Median milliseconds of one cloud's forward pass, and by how much it raises this process's peak memory."""
    cfg = replace(CAST_PRESETS[preset], layout=layout)
    torch.manual_seed(0)
    network = Cast(cfg).eval()
    points = unit_sphere(torch.rand(1, _POINTS, 3))
    prompt = Prompt(torch.rand(1, _WORDS, cfg.text_dim))
    before, times = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    with torch.inference_mode():
        for _ in range(6):
            started = time.perf_counter()
            network(points, prompt)
            times.append(1e3 * (time.perf_counter() - started))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"ms": sorted(times[1:])[2], "peak_mb": peak / 1024}


def trained(layout: str, steps: int) -> dict:
    """The peers' figures on held-out shapes after a short training."""
    from sab3r_ros.lab.training.affordance_data import AffordanceSamples, HouseholdShapes
    from sab3r_ros.lab.training.cast import CastTraining, Segmenter
    from sab3r_ros.lab.training.trainer import RunConfig, fit

    cfg = replace(CAST_PRESETS["cast_tiny"], layout=layout, image_dim=0)
    torch.manual_seed(0)
    network = Segmenter(cfg)
    run = RunConfig(steps=steps, batch=8, lr=5e-4, warmup=steps // 5, decay=0.4, workers=1)
    with tempfile.TemporaryDirectory() as folder:
        samples = AffordanceSamples(HouseholdShapes(steps * run.batch), points=_TRAINED_POINTS, questions=4)
        fit(CastTraining(network, run), samples, Path(folder))
    network.eval()
    held_out = AffordanceSamples(
        HouseholdShapes(_HELD_OUT, HELD_OUT_SEEDS.start), augment=False, points=_TRAINED_POINTS
    )
    scores, targets = [], []
    with torch.inference_mode():
        for k in range(_HELD_OUT):
            sample = held_out[k]
            logits = network(sample["points"][None], Prompt(*network.text(sample["question"])))
            scores.append(logits.sigmoid()[0, :, 0].numpy().astype(np.float64))
            targets.append(sample["target"][:, 0].numpy().astype(np.float64))
    figures = laso_metrics(scores, targets)
    return {"aiou": figures["aiou"], "auc": figures["auc"], "steps": steps, "points": _TRAINED_POINTS}


def main() -> None:
    """Measure every pair in a process of its own, so that their peaks do not mix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=0, metavar="STEPS")
    parser.add_argument("--one", nargs=2, metavar=("PRESET", "LAYOUT"), help="measure this alone")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    figures: dict = {}
    for preset in CAST_PRESETS:
        for layout in ("patch", "point"):
            command = [sys.executable, __file__, "--one", preset, layout]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            figures.setdefault(preset, {})[layout] = json.loads(done.stdout.splitlines()[-1])
        patch, point = figures[preset]["patch"], figures[preset]["point"]
        figures[preset]["ratio"] = {k: point[k] / max(patch[k], 1e-9) for k in patch}
    if arguments.train:
        figures["trained"] = {layout: trained(layout, arguments.train) for layout in ("patch", "point")}
    report("fusion_layout", **figures)


if __name__ == "__main__":
    main()
