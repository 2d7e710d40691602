"""Cost per frame as the map grows: frame 1000 against frame 100, with synthetic pointmaps.

The camera walks along an endless corridor, so every frame adds as much new surface as the one before and a cost that
depended on the map's size would show.
"""

import resource
import statistics
import time

import numpy as np
import torch
from common import report

from sab3r_ros.config import Settings
from sab3r_ros.mapping.feature_codec import FeatureCodec
from sab3r_ros.mapping.voxel_map import VoxelMap, surface_mask

HEIGHT, WIDTH, DIM = 96, 128, 48
FRAMES, SPAN = 1050, 50
STEP = 0.04  # metres the camera moves from frame to frame


def corridor(index, generator):
    """World points (h,w,3), confidence (h,w), colour and unit features of one frame."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([np.ones((HEIGHT, WIDTH)), (WIDTH / 2 - x) / 110, (HEIGHT / 2 - y) / 110], -1)
    with np.errstate(divide="ignore"):
        depth = np.minimum(np.minimum(1.2 / np.abs(rays[..., 1]), 1.2 / np.abs(rays[..., 2])), 4.0)
    local = torch.from_numpy(rays * depth[..., None]).float()
    points = local + torch.tensor([index * STEP, 0.0, 0.0]) + 0.002 * torch.randn(local.shape, generator=generator)
    optical = torch.stack([-local[..., 1], -local[..., 2], local[..., 0]], -1)
    conf = 1.5 + torch.rand(HEIGHT, WIDTH, generator=generator)
    features = torch.nn.functional.normalize(torch.randn(HEIGHT, WIDTH, DIM, generator=generator), dim=-1)
    return points, optical, conf, torch.rand(HEIGHT, WIDTH, 3, generator=generator) * 255, features


def main():
    """Fuse every frame as the mapper does, and publishers' snapshots are left out: they are not per frame."""
    cfg = Settings().map
    generator = torch.Generator().manual_seed(0)
    codec = FeatureCodec(DIM, cfg.feature_dim)
    voxels = VoxelMap(cfg.voxel_size, codec.rank, 10 * cfg.max_voxels)
    scenes = [corridor(k, generator) for k in range(8)]
    seconds, sizes = [], []
    for k in range(FRAMES):
        points, optical, conf, rgb, features = scenes[k % 8]
        points = points + torch.tensor([(k - k % 8) * STEP, 0.0, 0.0])
        started = time.perf_counter()
        keep = surface_mask(optical, conf, cfg.min_confidence, cfg.drop_lowest, cfg.edge_ratio, cfg.max_range)
        codec.observe(features[keep])
        voxels.integrate(points[keep], rgb[keep], conf[keep] - 1, codec.encode(features[keep]), k)
        seconds.append(time.perf_counter() - started)
        sizes.append(len(voxels))

    def typical(middle):  # the median is not moved by the few frames in which the arrays double
        return statistics.median(seconds[middle - SPAN : middle + SPAN])

    early, late = typical(100), typical(1000)
    report(
        "map_growth",
        ms_at_100=1e3 * early,
        ms_at_1000=1e3 * late,
        ratio=late / early,
        voxels_at_100=sizes[100],
        voxels_at_1000=sizes[1000],
        mean_ms_900_to_1000=1e3 * statistics.mean(seconds[900:1000]),
        slowest_ms=1e3 * max(seconds),
        map_mb=voxels.megabytes(),
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


if __name__ == "__main__":
    main()
