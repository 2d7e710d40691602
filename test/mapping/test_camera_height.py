"""The map's unit from a camera at a known height."""

import numpy as np
import pytest
import torch
from oracle import oracle

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.mapping.camera_height import unit_by_height
from sab3r_ros.mapping.first_pose import level_first_pose, mounted_pose
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.types import Frame, Keyframe, ScaleSource

HEIGHT, SIZE = 0.6, (48, 64)


def pointmap(unit, table=None, noise=0.0, seed=0):
    """What a level camera HEIGHT above a floor sees, 15 degrees down, in a map of this unit: floor, a wall 4 m ahead, perhaps a table top."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    rays = np.stack([(u - 31.5) / 50, (v - 23.5) / 50, np.ones(SIZE)], -1)
    world = rays @ mounted_pose(np.radians(15), 0)[:3, :3].T
    with np.errstate(divide="ignore"):
        depth = np.where(world[..., 2] < 0, -HEIGHT / world[..., 2], np.inf)
        depth = np.minimum(depth, 4.0 / world[..., 0])
        if table is not None:
            top = -table / world[..., 2]
            depth = np.where((world[..., 2] < 0) & (u > 40) & (top < depth), top, depth)
    depth *= np.exp(noise * np.random.default_rng(seed).normal(size=SIZE))
    return torch.from_numpy(rays * depth[..., None] / unit).float()


def keyframes(count, unit, **options):
    out = []
    for k in range(count):
        pose = torch.from_numpy(mounted_pose(np.radians(15), 0))
        pose[0, 3], pose[2, 3] = 0.1 * k, 0.02 * k  # the map leans a little
        points = pointmap(unit, seed=k, **options)
        out.append(Keyframe(k, k, pose, points, torch.ones(SIZE), np.zeros((*SIZE, 3), np.uint8), torch.zeros(1)))
    return out


@pytest.mark.parametrize("unit", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("options", [{}, {"noise": 0.02}, {"table": 0.25}])
def test_the_floor_tells_the_unit(unit, options):
    measured = unit_by_height(keyframes(8, unit, **options), HEIGHT)
    assert measured.metres == pytest.approx(unit, rel=0.05)
    assert 0.05 <= measured.stddev <= 0.2


def test_too_little_floor_tells_nothing():
    assert unit_by_height([], HEIGHT) is None
    assert unit_by_height(keyframes(3, 1.0), HEIGHT) is None
    assert unit_by_height(keyframes(8, 1.0), 3.0) is None  # what is seen is too near to be the floor
    assert unit_by_height(keyframes(8, 3.0), HEIGHT) is None  # nothing that the network's metres let expect


@pytest.mark.slow
def test_a_map_takes_its_unit_from_the_cameras_height(walk):
    mean = float(np.mean([v.cam2world[2, 3] for v in walk.views]))
    figures = {}
    for height in (0.0, mean):
        settings = settings_from_dotted({"camera.height": height, "tracking.use_intrinsics": False})
        mapper = Mapper(settings, oracle(walk.views, unit=0.7))
        mapper.first_pose, mapper.up_is_known = level_first_pose(walk.views[0].cam2world[:3, :3]), True
        for k, view in enumerate(walk.views):
            mapper.register(Frame(view.rgb, k * 10**8))
        mapper.settle()
        poses = np.array([p for _, p in mapper.trajectory])
        figures[height] = np.linalg.norm(poses[-1, :3, 3] - poses[0, :3, 3])
        assert (mapper.status().scale.source == ScaleSource.MEASURED) == bool(height)
    true = np.linalg.norm(walk.views[-1].cam2world[:3, 3] - walk.views[0].cam2world[:3, 3])
    assert figures[0.0] == pytest.approx(0.7 * true, rel=0.05)
    assert figures[mean] == pytest.approx(true, rel=0.15)
