"""The voxel map and the feature codec."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.mapping.feature_codec import FeatureCodec
from sab3r_ros.mapping.voxel_map import VoxelMap, packed_rgb, surface_mask


def cloud(seed, count=500, extent=2.0):
    g = torch.Generator().manual_seed(seed)
    xyz = (torch.rand(count, 3, generator=g) - 0.5) * extent
    return (
        xyz,
        torch.rand(count, 3, generator=g) * 255,
        torch.rand(count, generator=g) + 0.1,
        torch.randn(count, 4, generator=g),
    )


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.2, 0.7]))
def test_every_voxel_is_the_weighted_mean_of_its_points(seed, size):
    xyz, rgb, weight, feature = cloud(seed)
    voxels = VoxelMap(size, 4, 10**6)
    for part in torch.arange(500).split(180):  # in several updates
        voxels.integrate(xyz[part], rgb[part], weight[part], feature[part], stamp=7)
    cells = torch.floor(xyz.double() / size).long()
    unique, member = cells.unique(dim=0, return_inverse=True)
    assert len(voxels) == len(unique)
    rows = voxels.rows_at(xyz)
    for cell in range(0, len(unique), 17):
        inside = member == cell
        row = rows[inside][0]
        share = weight[inside] / weight[inside].sum()
        assert torch.allclose(voxels.xyz[row], share @ xyz[inside], atol=1e-4)
        assert torch.allclose(voxels.rgb[row], share @ rgb[inside], atol=0.05)
        assert torch.allclose(voxels.feature[row].float(), share @ feature[inside], atol=0.02)
        assert float(voxels.weight[row]) == pytest.approx(float(weight[inside].sum()), rel=1e-4)


def test_points_that_are_not_finite_or_far_too_far_are_left_out():
    voxels = VoxelMap(0.1, 0, 100)
    xyz = torch.tensor([[0.0, 0, 0], [float("nan"), 0, 0], [float("inf"), 0, 0], [1e9, 0, 0]])
    assert voxels.integrate(xyz, torch.zeros(4, 3), torch.ones(4), None, 0) == 1
    assert voxels.integrate(xyz[1:], torch.zeros(3, 3), torch.ones(3), None, 0) == 0


def test_a_full_map_stops_growing_counts_and_still_updates():
    voxels = VoxelMap(0.1, 4, 50)
    xyz, rgb, weight, feature = cloud(1)
    voxels.integrate(xyz, rgb, weight, feature, 0)
    assert len(voxels) == 50
    assert voxels.full
    assert voxels.refused > 100
    hits = voxels.hits.sum().item()
    voxels.integrate(xyz, rgb, weight, feature, 1)
    assert len(voxels) == 50
    assert voxels.hits.sum().item() == hits + 50


def test_state_rebuilds_the_same_map():
    voxels = VoxelMap(0.1, 4, 10**6)
    voxels.integrate(*cloud(2)[:3], cloud(2)[3], 5)
    voxels.integrate(*cloud(3)[:3], cloud(3)[3], 9)
    state = voxels.state()
    again = VoxelMap.from_state(state, 0.1, 10**6)
    rows = again.rows_at(state["xyz"])
    assert len(again) == len(voxels)
    for name in ("xyz", "rgb", "weight", "hits", "stamp"):
        assert torch.allclose(getattr(again, name)[rows].double(), state[name].double(), atol=1e-4)


def test_growth_keeps_what_is_there():
    voxels = VoxelMap(0.01, 4, 10**6)
    for seed in range(6):
        voxels.integrate(*cloud(seed, 2000), stamp=seed)
    assert len(voxels) > 10_000
    rows = voxels.rows_at(cloud(0, 2000)[0])
    assert (rows >= 0).all()
    assert (voxels.stamp >= 0).all()
    assert voxels.megabytes() > 0.5


def test_surface_mask_drops_edges_far_and_doubtful_pixels():
    points = torch.zeros(8, 8, 3)
    points[..., 2] = 2.0
    points[:, 4:, 2] = 4.0
    conf = torch.full((8, 8), 3.0)
    conf[0] = 1.0
    keep = surface_mask(points, conf, min_confidence=1.5, drop_lowest=0.0, edge_ratio=0.1, max_range=10)
    assert not keep[0].any()
    assert not keep[:, 3:5].any()
    assert keep[2:, :3].all()
    assert not surface_mask(points, conf, 1.5, 0.0, 0.1, max_range=3.0)[:, 5:].any()


def test_packed_colours_are_what_rviz_reads():
    packed = packed_rgb(np.array([[255, 128, 1]], np.uint8))
    assert packed.view(np.uint32)[0] == 0xFF8001


def test_short_features_are_kept_as_they_are():
    codec = FeatureCodec(16, 64)
    features = torch.nn.functional.normalize(torch.randn(100, 16), dim=-1)
    codec.observe(features)
    assert torch.equal(codec.encode(features), features)


def test_long_features_keep_their_similarities_and_old_codes_stay_valid():
    torch.manual_seed(0)
    scenes = [torch.linalg.qr(torch.randn(256, 8)).Q for _ in range(2)]
    first, second = (torch.nn.functional.normalize(torch.randn(3000, 8) @ q.T, dim=-1) for q in scenes)
    codec = FeatureCodec(256, 32)
    codec.observe(first)
    early = codec.encode(first)
    codec.observe(second)
    assert torch.allclose(codec.encode(first)[:, : early.shape[1]][:, :8], early[:, :8], atol=1e-5)
    text = torch.cat([first[:5], second[:5]])
    for features in (first, second):
        exact = features @ text.T
        coded = codec.encode(features) @ codec.encode(text).T
        assert (exact - coded).abs().max() < 0.15
        assert (exact - coded).abs().mean() < 0.02


def test_points_without_weight_still_have_a_place():
    voxels = VoxelMap(0.1, 0, 1000, "cpu")
    xyz = torch.tensor([[0.01, 0.01, 0.01], [5.0, 5.0, 5.0]])
    voxels.integrate(xyz, torch.full((2, 3), 9.0), torch.zeros(2), None, 1)
    state = voxels.state()
    assert torch.allclose(state["xyz"].float(), xyz, atol=1e-3)
    assert torch.isfinite(state["rgb"]).all()
