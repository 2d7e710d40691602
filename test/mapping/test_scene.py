"""The scene map: keyframes go in, come out again, and move."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sab3r_ros.config import MapSettings
from sab3r_ros.mapping.scene import SceneMap
from sab3r_ros.types import COLUMNS, Keyframe, Observation

SETTINGS = MapSettings(voxel_size=0.05, drop_lowest=0.0)


def keyframe(number, pose=None, stamp=None):
    return Keyframe(
        number, 100 + number if stamp is None else stamp, torch.eye(4, dtype=torch.float64) if pose is None else pose,
        torch.zeros(0), torch.zeros(0), np.zeros((0, 0, 3), np.uint8), torch.zeros(1),
    )  # fmt: skip


def observation(seed, features=True):
    """A wavy wall two metres ahead."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-0.7, 0.7, 48), torch.linspace(-1, 1, 64), indexing="ij")
    z = 2 + 0.1 * torch.sin(3 * x + seed) + 0.1 * torch.cos(2 * y)
    points = torch.stack([x * z, y * z, z], -1)
    image = np.random.default_rng(seed).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    maps = torch.nn.functional.normalize(torch.randn(48, 64, 6, generator=g), dim=-1) if features else None
    return Observation(points, 1.5 + torch.rand(48, 64, generator=g), image, maps)


def rotation(angle):
    out = torch.eye(4, dtype=torch.float64)
    out[0, 0] = out[2, 2] = np.cos(angle)
    out[0, 2], out[2, 0] = np.sin(angle), -np.sin(angle)
    return out


def columns(scene):
    snapshot = scene.snapshot()
    order = snapshot.rows.argsort()
    return {name: getattr(snapshot, name)[order].double() for name in COLUMNS}


def test_integrate_and_remove_restores_the_map():
    scene = SceneMap(SETTINGS, 6)
    scene.integrate(keyframe(0), observation(0))
    scene.integrate(keyframe(1, rotation(0.1)), observation(1))
    before = columns(scene)
    scene.integrate(keyframe(2, rotation(0.2), stamp=999), observation(2))
    assert columns(scene)["stamp"].max() == 999
    assert scene.remove(2)
    after = columns(scene)
    for name in COLUMNS:
        scale = 255 if name == "rgb" else 1
        assert torch.allclose(after[name], before[name], atol=scale * 1e-5, rtol=1e-5), name
    assert not scene.remove(2)
    scene.remove(0)
    scene.remove(1)
    assert len(scene) == 0


def test_a_moved_keyframe_lies_where_it_would_have_been_fused():
    moved, fused = (SceneMap(SETTINGS, 6) for _ in range(2))
    target = rotation(0.3)
    target[:3, 3] = torch.tensor([0.4, -0.2, 0.1])
    moved.integrate(keyframe(0), observation(0))
    assert moved.move({0: target}) == 1
    fused.integrate(keyframe(0, target), observation(0))
    there = fused.grid.rows_at(moved.snapshot().xyz)
    assert (there >= 0).double().mean() > 0.97  # a voxel's mean may lie in a neighbour of the voxels its pixels lie in
    assert moved.move({7: target}) == 0
    moved.remove(0)
    assert len(moved) == 0


def test_depth_that_changed_lies_where_it_would_have_been_fused():
    moved, fused = (SceneMap(SETTINGS, 6) for _ in range(2))
    target = rotation(0.3)
    moved.integrate(keyframe(0), observation(0))
    assert moved.move({0: target}, {0: lambda points: 1.2 * points}) == 1
    seen = observation(0)
    fused.integrate(keyframe(0, target), replace(seen, points=1.2 * seen.points))
    there = fused.grid.rows_at(moved.snapshot().xyz)
    assert (there >= 0).double().mean() > 0.95


def test_parts_take_another_shape_unless_they_changed_meanwhile():
    scene = SceneMap(SETTINGS, 6)
    scene.integrate(keyframe(0), observation(0))
    scene.integrate(keyframe(1, rotation(0.2)), observation(1))
    parts = scene.parts()
    assert [p.keyframe for p in parts] == [0, 1]
    assert np.allclose(parts[1].pose, rotation(0.2))
    scene.move({1: rotation(0.4)})
    before = scene.parts()[1].xyz
    flat = [(p, np.c_[p.xyz[:, :2], np.full(len(p.xyz), 5.0)]) for p in parts]
    weight = scene.snapshot().column("weight").sum()
    scene.reshape(flat)
    after = scene.parts()
    order = {p.keyframe: p.xyz for p in after}
    assert np.allclose(order[0][:, 2], 5.0, atol=1e-5)
    assert np.allclose(np.sort(order[1], 0), np.sort(before, 0), atol=1e-5)
    assert scene.snapshot().column("weight").sum() == pytest.approx(float(weight), rel=1e-4)


def test_keyframes_that_move_together_leave_the_others_as_they_are():
    scene = SceneMap(SETTINGS, 6)
    scene.integrate(keyframe(0, stamp=5), observation(0))
    alone = columns(scene)
    scene.integrate(keyframe(1, rotation(0.1), stamp=70), observation(1))
    scene.integrate(keyframe(2, rotation(0.2), stamp=60), observation(2))
    away = torch.eye(4, dtype=torch.float64)
    away[:3, 3] = 50.0
    assert scene.move({1: away, 2: away @ rotation(0.1)}) == 2
    assert torch.allclose(scene.poses()[1], away)
    here = scene.snapshot()
    near = here.column("xyz").norm(dim=1) < 20
    assert near.sum() == len(alone["xyz"])
    assert set(here.column("stamp")[near].tolist()) == {5}
    assert set(here.column("stamp")[~near].tolist()) == {60, 70}
    assert torch.allclose(here.column("weight")[near].double(), alone["weight"], rtol=1e-4)
    scene.move({1: rotation(0.1), 2: rotation(0.2)})
    assert scene.snapshot().column("stamp").max() == 70


def test_a_keyframe_is_in_the_map_once():
    scene = SceneMap(SETTINGS, 0)
    scene.integrate(keyframe(0), observation(0, features=False))
    with pytest.raises(ValueError, match="keyframe 0 is in the map already"):
        scene.integrate(keyframe(0), observation(0, features=False))
    assert not scene.has_features
    assert scene.megabytes() > scene.grid.megabytes()
