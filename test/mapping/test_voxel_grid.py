"""The voxel grid: weighted sums that can be taken out again, blocks, snapshots."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.mapping.feature_codec import FeatureCodec
from sab3r_ros.mapping.voxel_grid import VoxelGrid, surface_mask
from sab3r_ros.types import COLUMNS, Region


def cloud(seed, count=500, extent=2.0):
    g = torch.Generator().manual_seed(seed)
    xyz = (torch.rand(count, 3, generator=g) - 0.5) * extent
    return (
        xyz,
        torch.rand(count, 3, generator=g) * 255,
        torch.rand(count, generator=g) + 0.1,
        torch.randn(count, 4, generator=g),
    )


def taken(grid, **options):
    return grid.snapshot(torch.eye(4), True, **options)


def by_row(snapshot):
    """Columns in the order of rows, to compare snapshots of grids that have the same rows."""
    order = snapshot.rows.argsort()
    return {name: getattr(snapshot, name)[order] for name in COLUMNS}


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.2, 0.7]))
def test_every_voxel_is_the_weighted_mean_of_its_points(seed, size):
    xyz, rgb, weight, feature = cloud(seed)
    grid = VoxelGrid(size, 4, 10**6)
    for part in torch.arange(500).split(180):  # in several updates
        grid.add_points(xyz[part], rgb[part], weight[part], feature[part], stamp=7)
    cells = torch.floor(xyz.double() / size).long()
    unique, member = cells.unique(dim=0, return_inverse=True)
    assert len(grid) == len(unique)
    snapshot = taken(grid)
    place = {row: k for k, row in enumerate(snapshot.rows.tolist())}
    rows = grid.rows_at(xyz)
    for cell in range(0, len(unique), 17):
        inside = member == cell
        k = place[int(rows[inside][0])]
        share = weight[inside] / weight[inside].sum()
        assert torch.allclose(snapshot.xyz[k], share @ xyz[inside], atol=1e-5)
        assert torch.allclose(snapshot.rgb[k], share @ rgb[inside], atol=0.01)
        assert torch.allclose(snapshot.feature[k], share @ feature[inside], atol=5e-3)
        assert float(snapshot.weight[k]) == pytest.approx(float(weight[inside].sum()), rel=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.2, 0.7]), st.integers(1, 4))
def test_what_was_added_and_removed_leaves_the_grid_as_it_was(seed, size, count):
    grid = VoxelGrid(size, 4, 10**6)
    for k in range(count):
        grid.add_points(*cloud(seed + k), stamp=10 + k)
    before = by_row(taken(grid))
    contribution, _ = grid.add_points(*cloud(seed + 99), stamp=5)
    grid.remove(contribution)
    after = by_row(taken(grid))
    assert len(grid) == len(before["xyz"])
    for name in ("xyz", "weight", "hits", "feature"):
        assert torch.allclose(after[name].double(), before[name].double(), atol=1e-5, rtol=1e-5), name
    assert torch.allclose(after["rgb"], before["rgb"], atol=255e-5)
    assert torch.equal(after["stamp"], before["stamp"])


def test_rows_that_became_empty_are_used_again_and_memory_does_not_grow():
    grid = VoxelGrid(0.1, 4, 10**6)
    grid.add_points(*cloud(0), stamp=1)
    size = len(grid), grid.megabytes()
    for k in range(20):
        contribution, added = grid.add_points(*cloud(1 + k), stamp=2)
        assert added > 0
        grid.remove(contribution)
    assert len(grid) == size[0]
    assert grid.megabytes() < 2 * size[1]


def test_points_that_are_not_finite_or_far_too_far_are_left_out():
    grid = VoxelGrid(0.1, 0, 100)
    xyz = torch.tensor([[0.0, 0, 0], [float("nan"), 0, 0], [float("inf"), 0, 0], [1e9, 0, 0]])
    assert grid.add_points(xyz, torch.zeros(4, 3), torch.ones(4), None, 0)[1] == 1
    assert grid.add_points(xyz[1:], torch.zeros(3, 3), torch.ones(3), None, 0) == (None, 0)


def test_a_full_grid_stops_growing_counts_and_still_updates():
    grid = VoxelGrid(0.1, 4, 50)
    grid.add_points(*cloud(1), stamp=0)
    assert len(grid) == 50
    assert grid.full
    assert grid.rejected > 100
    hits = taken(grid).hits.sum().item()
    grid.add_points(*cloud(1), stamp=1)
    assert len(grid) == 50
    assert taken(grid).hits.sum().item() == hits + 50


def test_a_snapshot_restores_the_same_grid():
    grid = VoxelGrid(0.1, 4, 10**6)
    grid.add_points(*cloud(2), stamp=5)
    grid.add_points(*cloud(3), stamp=9)
    first = taken(grid)
    again = VoxelGrid(0.1, 4, 10**6)
    again.restore(first)
    second = taken(again)
    order = again.rows_at(first.xyz)
    place = torch.empty(len(second), dtype=torch.long)
    place[second.rows] = torch.arange(len(second))
    assert len(again) == len(grid)
    for name in ("xyz", "rgb", "weight", "hits", "stamp"):
        assert torch.allclose(
            getattr(second, name)[place[order]].double(), getattr(first, name).double(), atol=1e-4, rtol=1e-5
        ), name


def test_growth_keeps_what_is_there():
    grid = VoxelGrid(0.01, 4, 10**6)
    for seed in range(6):
        grid.add_points(*cloud(seed, 2000), stamp=seed)
    assert len(grid) > 10_000
    assert (grid.rows_at(cloud(0, 2000)[0]) >= 0).all()
    assert grid.megabytes() > 0.5


def test_snapshots_are_cropped_thinned_and_hold_only_what_was_asked_for():
    grid = VoxelGrid(0.1, 4, 10**6)
    grid.add_points(*cloud(4, 4000), stamp=1)
    pose = np.eye(4)
    pose[:3, 3] = 0.5, 0.0, 0.0
    region = Region(pose, np.array([0.6, 0.8, 0.4]))
    inside = taken(grid, region=region, columns=("xyz",))
    whole = taken(grid)
    expected = region.contains(whole.points)
    assert 20 < len(inside) == expected.sum() < len(whole)
    assert set(inside.rows.tolist()) == set(whole.rows[torch.from_numpy(expected)].tolist())
    assert inside.rgb is None
    with pytest.raises(ValueError, match="without its column 'rgb'"):
        inside.column("rgb")
    assert len(taken(grid, max_points=100)) <= 100


def test_blocks_say_when_they_changed_last():
    grid = VoxelGrid(0.1, 0, 10**6)
    grid.add_points(torch.tensor([[0.05, 0.05, 0.05]]), torch.zeros(1, 3), torch.ones(1), None, 1)
    before = grid.version
    grid.add_points(torch.tensor([[5.05, 0.05, 0.05]]), torch.zeros(1, 3), torch.ones(1), None, 2)
    rows = taken(grid).rows
    changed = rows[grid.changed(rows) > before]
    assert taken(grid, rows=changed).points[:, 0] == pytest.approx([5.05])


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


def test_short_features_are_kept_as_they_are():
    codec = FeatureCodec(16, 64)
    features = torch.nn.functional.normalize(torch.randn(100, 16), dim=-1)
    codec.partial_fit(features)
    assert torch.equal(codec.encode(features), features)


def test_long_features_keep_their_similarities_and_what_was_compressed_earlier_stays_valid():
    torch.manual_seed(0)
    scenes = [torch.linalg.qr(torch.randn(256, 8)).Q for _ in range(2)]
    first, second = (torch.nn.functional.normalize(torch.randn(3000, 8) @ q.T, dim=-1) for q in scenes)
    codec = FeatureCodec(256, 32)
    codec.partial_fit(first)
    early = codec.encode(first)
    codec.partial_fit(second)
    assert torch.allclose(codec.encode(first)[:, : early.shape[1]][:, :8], early[:, :8], atol=1e-5)
    text = torch.cat([first[:5], second[:5]])
    for features in (first, second):
        exact = features @ text.T
        coded = codec.encode(features) @ codec.encode(text).T
        assert (exact - coded).abs().max() < 0.15
        assert (exact - coded).abs().mean() < 0.02


def test_points_without_weight_still_have_a_position():
    grid = VoxelGrid(0.1, 0, 1000, "cpu")
    xyz = torch.tensor([[0.01, 0.01, 0.01], [5.0, 5.0, 5.0]])
    grid.add_points(xyz, torch.full((2, 3), 9.0), torch.zeros(2), None, 1)
    snapshot = grid.snapshot(torch.eye(1), False)
    assert torch.allclose(snapshot.xyz, xyz, atol=1e-3)
    assert torch.isfinite(snapshot.rgb).all()
