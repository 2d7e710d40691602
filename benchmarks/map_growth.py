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
from sab3r_ros.mapping.scene import SceneMap
from sab3r_ros.types import Keyframe, Observation

HEIGHT, WIDTH, DIM = 96, 128, 48
FRAMES, SPAN = 1050, 50
STEP = 0.04  # metres the camera moves from frame to frame


def corridor(index, generator):
    """What a frame sees, and how far along the corridor it stands."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([np.ones((HEIGHT, WIDTH)), (WIDTH / 2 - x) / 110, (HEIGHT / 2 - y) / 110], -1)
    with np.errstate(divide="ignore"):
        depth = np.minimum(np.minimum(1.2 / np.abs(rays[..., 1]), 1.2 / np.abs(rays[..., 2])), 4.0)
    local = torch.from_numpy(rays * depth[..., None]).float()
    optical = torch.stack([-local[..., 1], -local[..., 2], local[..., 0]], -1)
    optical = optical + 0.002 * torch.randn(local.shape, generator=generator)
    conf = 1.5 + torch.rand(HEIGHT, WIDTH, generator=generator)
    features = torch.nn.functional.normalize(torch.randn(HEIGHT, WIDTH, DIM, generator=generator), dim=-1)
    image = np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    return Observation(optical, conf, image, features)


def keyframe(index):
    """A keyframe that stands `index` steps along the corridor and looks along it."""
    pose = torch.tensor([[0, 0, 1.0, index * STEP], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
    nothing = torch.zeros(0)
    return Keyframe(index, index, pose, nothing, nothing, np.zeros((0, 0, 3), np.uint8), nothing)


def main():
    """Fuse every frame as the mapper does, and publishers' snapshots are left out: they are not per frame."""
    cfg = Settings().map
    generator = torch.Generator().manual_seed(0)
    scene = SceneMap(cfg.model_copy(update={"max_voxels": 10 * cfg.max_voxels}), DIM)
    scenes = [corridor(k, generator) for k in range(8)]
    seconds, sizes = [], []
    for k in range(FRAMES):
        frame = keyframe(k)
        started = time.perf_counter()
        scene.integrate(frame, scenes[k % 8])
        seconds.append(time.perf_counter() - started)
        sizes.append(len(scene))
    started = time.perf_counter()
    scene.remove(500)
    removal = time.perf_counter() - started

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
        removal_ms=1e3 * removal,
        voxels_mb=scene.grid.megabytes(),
        map_mb=scene.megabytes(),
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


if __name__ == "__main__":
    main()
