"""Time and memory of a frame for every backend, each in a process of its own; random weights at full size but for the shipped ones.

Steps: encode one image; predict it against a window of keyframes; features of a keyframe. The ratio compares keeping tokens
(encode once) with encoding both images of every pair anew, as MASt3R's own interface does.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import torch
from common import maskclip, random_network, report

from sab3r_ros.config import Settings
from sab3r_ros.models.base import EncodedView
from sab3r_ros.models.preprocess import to_input
from sab3r_ros.models.sab3r import PRESETS, Sab3rConfig
from sab3r_ros.models.two_view import OnePassFeatures, TwoViewModel
from sab3r_ros.models.weights import Checkpoint, load_checkpoint

LARGE = PRESETS["vit_large_512"]
DUNE = dict(encoder="dune", patch=14, enc_table_side=32, enc_registers=4, enc_depth=12, image_size=518)
BACKENDS = {
    "sab3r_small": None,
    "mast3r": LARGE,
    "mast3r_maskclip": LARGE,
    "sab3r": replace(LARGE, clip_head="linear", dino_head="linear"),
    "dune_small": Sab3rConfig(**DUNE, enc_dim=384, enc_heads=6),
    "dune_base": Sab3rConfig(**DUNE, enc_dim=768, enc_heads=12),
}


def timed(call, rounds):
    """Median milliseconds after a warm-up round."""
    samples = []
    for k in range(rounds + 1):
        started = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if k:
            samples.append(1e3 * (time.perf_counter() - started))
    return sorted(samples)[len(samples) // 2]


def measure(name, rounds):
    """Figures of one backend in this process."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cfg = BACKENDS[name]
    if cfg is None:
        checkpoint = load_checkpoint(name, device)
    else:
        checkpoint = Checkpoint(random_network(cfg, device), "random", "none", None)
    model = TwoViewModel(checkpoint, device)
    width = model.image_size
    height = width * 3 // 4 // model.patch * model.patch
    images = [np.random.default_rng(k).integers(0, 256, (height, width, 3)).astype(np.uint8) for k in range(4)]
    window, step = Settings().window.size, Settings().tracking.match_step
    tokens = [model.encode(image) for image in images[: window + 1]]
    encode = timed(lambda: model.encode(images[0]), rounds)
    predict = timed(lambda: model.predict_pairs(tokens[0], tokens[1:], False, step), rounds)
    prediction = model.predict_pairs(tokens[0], tokens[1:], False, 0)
    out = {
        "image": [width, height],
        "window": window,
        "encode_ms": encode,
        "predict_ms": predict,
        "frame_ms": encode + predict,
    }
    if name == "mast3r_maskclip":
        (_, features), pixels = maskclip(device), to_input(images[0]).to(device)
        out["features_ms"] = timed(lambda: features(pixels), rounds)
    elif model.network.cfg.clip_head:
        own = OnePassFeatures(checkpoint)
        out["features_ms"] = timed(lambda: own.image_features(images[0], prediction), rounds)

    def uncached():
        fresh = [model.encode(image) for image in images[: window + 1]]
        for other in fresh[1:]:
            model.network.predict(EncodedView.stack([fresh[0]]), other, features=False)

    with torch.inference_mode():
        out["pairwise_without_kept_tokens_ms"] = timed(uncached, 1)
    out["ratio"] = (encode + predict) / out["pairwise_without_kept_tokens_ms"]
    out["parameters_m"] = sum(p.numel() for p in model.network.parameters()) / 1e6
    out["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    out["gpu_mb"] = torch.cuda.max_memory_allocated() >> 20 if device == "cuda" else 0
    return out


def main():
    """All backends, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(BACKENDS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.names or list(BACKENDS)
    if given.inside:
        print(json.dumps(measure(names[0], given.rounds)))
        return
    figures = {}
    for name in names:
        command = [sys.executable, __file__, name, "--rounds", str(given.rounds), "--inside"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{name}: {figures[name]}", file=sys.stderr)
    report("network", **figures)


if __name__ == "__main__":
    main()
