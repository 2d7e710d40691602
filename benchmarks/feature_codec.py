"""What compressing voxel features costs in retrieval: labels and best answers before and after.

Features of 512 numbers, as CLIP's are, drawn around 60 concepts with the noise of pixels; compressed to the default
number of coordinates. The figure is the share of features whose best label stays the same.
"""

import time

import torch
from common import report

from sab3r_ros.config import Settings
from sab3r_ros.mapping.feature_codec import FeatureCodec

CONCEPTS, PIXELS, FRAMES = 60, 2000, 40


def main():
    """Frames see a few concepts each, so the basis grows as the walk goes on."""
    figures = {}
    for dim in (512, 768):
        generator = torch.Generator().manual_seed(0)
        # Text embeddings share a common direction, as CLIP's do: cosines between labels are about 0.7.
        text = torch.nn.functional.normalize(
            torch.randn(CONCEPTS, dim, generator=generator) + 1.5 * torch.randn(1, dim, generator=generator), dim=-1
        )
        for rank in (32, Settings().map.feature_dim, 128):
            codec = FeatureCodec(dim, rank)
            same = total = 0
            seconds = 0.0
            for k in range(FRAMES):
                seen = torch.randperm(CONCEPTS, generator=generator)[:8] if k else torch.arange(8)
                concept = seen[torch.randint(8, (PIXELS,), generator=generator)]
                noise = 0.4 * torch.randn(PIXELS, dim, generator=generator) / dim**0.5
                features = torch.nn.functional.normalize(text[concept] + noise, dim=-1)
                started = time.perf_counter()
                codec.observe(features)
                codes = codec.encode(features)
                seconds += time.perf_counter() - started
                exact = (features @ text.T).argmax(1)
                same += int((exact == (codes @ codec.encode(text).T).argmax(1)).sum())
                total += PIXELS
            figures[f"{dim}_to_{rank}"] = {
                "same_label": same / total,
                "bytes_per_voxel": 2 * rank,
                "ratio": rank / dim,
                "ms_per_frame": 1e3 * seconds / FRAMES,
            }
    report("feature_codec", **figures)


if __name__ == "__main__":
    main()
