"""Time per frame of the network and of the whole mapper; large presets with random weights where there is a GPU.

The ratio compares keeping tokens (encode once) with encoding both pictures of every pair anew, as MASt3R's own
interface does.
"""

import time

import torch
from common import report

from sab3r_ros.config import Settings
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.models.sab3r import PRESETS, EncodedView, Sab3r
from sab3r_ros.models.weights import Checkpoint
from sab3r_ros.types import Frame


def timed(call, rounds):
    """Median milliseconds after two warm-up rounds."""
    samples = []
    for k in range(rounds + 2):
        started = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if k >= 2:
            samples.append(1e3 * (time.perf_counter() - started))
    return sorted(samples)[len(samples) // 2]


def measure(perception, rounds):
    """Milliseconds of the steps for one frame against a window."""
    size = backend.geometry
    sequence = render_sequence(900_070_000, 6, size, size * 3 // 4, 0.3)
    views = [v.rgb for v in sequence.views]
    window = Settings().window.size
    tokens = [perception.encode(rgb) for rgb in views[: window + 1]]
    step = Settings().tracking.match_step
    encode = timed(lambda: perception.encode(views[0]), rounds)
    compare = timed(lambda: perception.compare(tokens[0], tokens[1:], False, step), rounds)

    def uncached():
        fresh = [perception.encode(rgb) for rgb in views[: window + 1]]
        for other in fresh[1:]:
            perception.network.predict(EncodedView.stack([fresh[0]]), other)

    with torch.inference_mode():
        again = timed(uncached, rounds)
    mapper = Mapper(Settings(), perception)
    count = [0]

    def frame():
        mapper.register(Frame(views[count[0] % len(views)], count[0] * 10**8))
        count[0] += 1

    whole = timed(frame, max(rounds, 4))
    return {
        "picture": [size, size * 3 // 4],
        "window": window,
        "encode_ms": encode,
        "compare_ms": compare,
        "frame_ms": whole,
        "frames_per_s": 1e3 / whole,
        "pairwise_without_kept_tokens_ms": again,
        "ratio": (encode + compare) / again,
        "gpu_mb": perception.memory_mb(),
    }


def main():
    """The shipped weights always; the large network on a GPU."""
    settings = Settings().model
    figures = {"sab3r_tiny": measure(Perception(settings), 9)}
    if torch.cuda.is_available():
        network = Sab3r(PRESETS["vit_large_512"]).cuda().eval().requires_grad_(False)
        checkpoint = Checkpoint(network, "random", "none", None)
        figures["vit_large_512"] = measure(Perception(settings, checkpoint), 15)
    report("network", **figures)


if __name__ == "__main__":
    main()
