"""One network for geometry and features against two: time and memory of mapping one window of pictures.

Arms, each in a process of its own, on the same pictures and with random weights of full size, without matching:
- single: SAB3R as the mapper runs it. A picture is encoded once, decoded against the ones before it, and gives its features.
- published: MASt3R and, beside it, MaskCLIP with FeatUp. Every ordered pair is encoded and decoded for itself (arXiv 2506.02112's baseline).
- cached: the same two models, MASt3R as the mapper runs it.
ratio_time and ratio_memory are published over single; ratio_time_cached is cached over single.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from itertools import permutations

import numpy as np
import torch
from common import maskclip, random_network, report

from sab3r_ros.models.base import EncodedView
from sab3r_ros.models.preprocess import to_input
from sab3r_ros.models.sab3r import PRESETS, Sab3r

ARMS = ("single", "published", "cached")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def half():
    """What encoder and decoder run in: bfloat16 on a GPU, as in the mapper; heads stay float32."""
    return torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda")


class Clock:
    """Seconds by stage; the work of a GPU is waited for."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str, call):
        """Run and time."""
        started = time.perf_counter()
        out = call()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
        return out

    def stretch(self, stage: str, factor: float) -> None:
        """Count what was sampled as the whole."""
        self.seconds[stage] *= factor


def decoded(network: Sab3r, frame: EncodedView, others: list[EncodedView]) -> list[torch.Tensor]:
    """Geometry and descriptors of both sides of every pair; the frame's decoder layers."""
    here, there = EncodedView.stack([frame] * len(others)), EncodedView.stack(others)
    with half():
        layers1, layers2 = network.decode(here, there)
    network.head(1, layers1, here, features=False)
    network.head(2, layers2, there, features=False)
    return [layer[:1] for layer in layers1]


def encoded(network: Sab3r, picture: torch.Tensor) -> EncodedView:
    """Tokens of one picture (1,3,H,W)."""
    with half():
        return network.encode(picture)


def streamed(network: Sab3r, pictures: list[torch.Tensor], clock: Clock, features, samples: int) -> None:
    """As the mapper: every picture encoded once, decoded against those before it, then its features."""
    tokens: list[EncodedView] = []
    for picture in pictures:
        tokens.append(clock("encode", lambda p=picture: encoded(network, p)))
        view = tokens[-1]
        layers = clock("decode", lambda v=view: decoded(network, v, tokens[:-1] or [v]))
        if len(tokens) <= (samples or len(pictures)):
            clock("features", lambda v=view, p=picture, q=layers: features(v, p, q))
    clock.stretch("features", len(pictures) / min(samples or len(pictures), len(pictures)))


def run_single(pictures, cfg, clock, samples):
    """The one network."""
    network = random_network(replace(cfg, clip_head=cfg.clip_head or "dpt", dino_head=None), DEVICE)
    streamed(network, pictures, clock, lambda view, _, layers: network.clip_features(layers, view), samples)
    return {"parameters_m": parameters(network)}


def run_cached(pictures, cfg, clock, samples):
    """Two networks, tokens kept."""
    network, (clip, features) = random_network(replace(cfg, clip_head=None, dino_head=None), DEVICE), maskclip(DEVICE)
    streamed(network, pictures, clock, lambda _, picture, __: features(picture), samples)
    return {"parameters_m": parameters(network) + parameters(clip)}


def run_published(pictures, cfg, clock, samples):
    """Two networks, every ordered pair for itself."""
    network, (clip, features) = random_network(replace(cfg, clip_head=None, dino_head=None), DEVICE), maskclip(DEVICE)
    ordered = list(permutations(range(len(pictures)), 2))
    timed = ordered[:: max(1, len(ordered) // samples)][:samples] if samples else ordered
    for a, b in timed:
        both = clock("encode", lambda i=a, j=b: [encoded(network, pictures[i]), encoded(network, pictures[j])])
        clock("decode", lambda v=both: decoded(network, v[0], v[1:]))
    for stage in ("encode", "decode"):
        clock.stretch(stage, len(ordered) / len(timed))
    shown = pictures[: samples or None]
    for picture in shown:
        clock("features", lambda p=picture: features(p))
    clock.stretch("features", len(pictures) / len(shown))
    return {
        "parameters_m": parameters(network) + parameters(clip), "ordered_pairs": len(ordered), "pairs_timed": len(timed)
    }  # fmt: skip


def parameters(module) -> float:
    """Millions."""
    return sum(p.numel() for p in module.parameters()) / 1e6


def measure(arm: str, preset: str, views: int, samples: int) -> dict:
    """One arm in this process."""
    cfg = PRESETS[preset]
    height = cfg.image_size * 3 // 4 // cfg.patch * cfg.patch
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (height, cfg.image_size, 3)).astype(np.uint8) for _ in range(views)]
    pictures = [to_input(image).to(DEVICE) for image in images]
    run = {"single": run_single, "published": run_published, "cached": run_cached}[arm]
    with torch.inference_mode():
        if DEVICE == "cuda":  # kernels are chosen and compiled in the first round
            run(pictures, cfg, Clock(), 1)
            torch.cuda.reset_peak_memory_stats()
        clock = Clock()
        out = run(pictures, cfg, clock, samples)
    out |= {f"{stage}_s": round(seconds, 3) for stage, seconds in clock.seconds.items()}
    out["seconds"] = sum(clock.seconds.values())
    memory = torch.cuda.max_memory_allocated() / 2**20 if DEVICE == "cuda" else rss_mb()
    return out | {"memory_mb": memory, "image": [cfg.image_size, height]}


def rss_mb() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    """All arms, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vit_large_512", choices=[n for n in PRESETS if n != "small"])
    parser.add_argument("--views", type=int, default=4, help="pictures of the window")
    parser.add_argument(
        "--samples", type=int, default=0 if DEVICE == "cuda" else 1,
        help="ordered pairs, and pictures' features, that are timed; the others count as these; 0 = all",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the one line alone; without, progress too")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.views < 2 or given.samples < 0:
        parser.error("a window has at least 2 views, and samples are not negative")
    if given.arm:
        print(json.dumps(measure(given.arm, given.preset, given.views, given.samples)))
        return
    arms = {}
    for arm in ARMS:
        command = [sys.executable, __file__, "--arm", arm, "--preset", given.preset]
        command += ["--views", str(given.views), "--samples", str(given.samples)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        arms[arm] = json.loads(done.stdout.splitlines()[-1])
        if not given.json:
            print(f"{arm}: {arms[arm]}", file=sys.stderr)
    single, published, cached = (arms[a] for a in ARMS)
    report(
        "baseline", preset=given.preset, views=given.views,
        ratio_time=published["seconds"] / single["seconds"], ratio_memory=published["memory_mb"] / single["memory_mb"],
        ratio_time_cached=cached["seconds"] / single["seconds"],
        arms=arms,
    )  # fmt: skip


if __name__ == "__main__":
    main()
