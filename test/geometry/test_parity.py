"""Matching, focal lengths, poses, canonical views, graphs and crops equal recorded reference values."""

import numpy as np
import pytest
import torch

from sab3r_ros.geometry import graphs, matching, pointmaps, sim3
from sab3r_ros.models import preprocess


@pytest.fixture(scope="module")
def recorded(data_dir):
    return np.load(data_dir / "mast3r_geometry.npz")


@pytest.fixture(scope="module")
def matches(data_dir):
    return np.load(data_dir / "mast3r_matching.npz")


def tensors(archive, *keys):
    return [torch.from_numpy(archive[k]) for k in keys]


@pytest.mark.parametrize(
    ("prefix", "case", "step"),
    [("", "s8", 8), ("", "s2", 2), ("hard/", "s1", 1), ("hard/", "s2", 2), ("hard/", "s4", 4)],
)
def test_reciprocal_matches(matches, prefix, case, step):
    xy1, xy2 = matching.reciprocal_matches(*tensors(matches, f"{prefix}desc1", f"{prefix}desc2"), subsample=step)
    np.testing.assert_array_equal(xy1, matches[f"{prefix}{case}/xy1"])
    np.testing.assert_array_equal(xy2, matches[f"{prefix}{case}/xy2"])


def test_brute_force_neighbours(matches):
    d1, d2 = (d.flatten(0, 1) for d in tensors(matches, "hard/desc1", "hard/desc2"))
    np.testing.assert_array_equal(matching.nearest(d1, d2), matches["hard/brute_nn12"])
    np.testing.assert_array_equal(matching.nearest(d2, d1), matches["hard/brute_nn21"])


def test_given_points(matches):
    points, d1, d2 = tensors(matches, "hard/points/init_xy", "hard/desc1", "hard/desc2")
    xy1, xy2 = matching.match_points(points, d1, d2, tolerance=5)
    np.testing.assert_array_equal(xy1, matches["hard/points/xy1"])
    np.testing.assert_array_equal(xy2, matches["hard/points/xy2"])


def test_seeds_from_both_views(matches):
    xy1, xy2, conf = matching.matches_both_ways(
        *tensors(matches, "hard/desc1", "hard/desc2", "hard/conf1", "hard/conf2"), subsample=4
    )
    np.testing.assert_array_equal(xy1, matches["hard/nonsym/xy1"])
    np.testing.assert_array_equal(xy2, matches["hard/nonsym/xy2"])
    np.testing.assert_allclose(conf, matches["hard/nonsym/conf"], atol=1e-6)


def test_both_orders_of_a_pair(matches):
    pair12 = tensors(matches, "hard/desc1", "hard/desc2", "sym/qonf11", "sym/qonf21")
    pair21 = tensors(matches, "sym/desc12", "sym/desc22", "sym/qonf12", "sym/qonf22")
    for step in (8, 4, 2):
        xy1, xy2, conf = matching.symmetric_matches(pair12, pair21, subsample=step)
        if len(xy1) == len(matches["sym/xy1"]):
            break
    np.testing.assert_array_equal(xy1, matches["sym/xy1"])
    np.testing.assert_array_equal(xy2, matches["sym/xy2"])
    np.testing.assert_allclose(conf, matches["sym/conf"], atol=1e-6)


@pytest.mark.parametrize(
    ("key", "options"),
    [("weiszfeld", {}), ("median", {"method": "median"}), ("weiszfeld_clipped", {"clip": (3.5, 3.5)})],
)
def test_focal(recorded, key, options):
    (points,) = tensors(recorded, "focal/pts3d")
    assert pointmaps.focal_from_pointmap(points, **options) == pytest.approx(
        float(recorded[f"focal/{key}"][0]), abs=1e-3
    )


def test_similarity_between_pointmaps(recorded):
    src, dst, weights = tensors(recorded, "rigid/src", "rigid/dst", "rigid/weights")
    pose = sim3.fit_sim3(src.reshape(-1, 3), dst.reshape(-1, 3), weights.flatten())
    scale, rotation, translation = sim3.split_sim3(pose)
    assert float(scale) == pytest.approx(float(recorded["rigid/scale"]), abs=1e-5)
    np.testing.assert_allclose(rotation, recorded["rigid/R"], atol=1e-5)
    np.testing.assert_allclose(translation, recorded["rigid/T"], atol=1e-5)


def test_pose_from_pnp(recorded):
    points, weights = recorded["rigid/dst"], recorded["rigid/weights"]
    y, x = np.nonzero(weights > 2)
    pose = pointmaps.pose_from_pnp(points[y, x], np.stack([x, y], 1), 58.0, (32, 24))
    np.testing.assert_allclose(pose, recorded["pnp/cam2world"], atol=5e-3)


@pytest.mark.parametrize("gamma", [0.5, 1.1, 1.5])
def test_robust_power(recorded, gamma):
    (x,) = tensors(recorded, "gamma/x")
    np.testing.assert_allclose(pointmaps.robust_power(x, gamma), recorded[f"gamma/{gamma}"], atol=1e-4, rtol=1e-4)


def test_canonical_view_and_anchors(recorded):
    maps, confs, pixels = tensors(recorded, "canon/ptmaps", "canon/confs", "canon/pixels")
    canon, relative, conf = pointmaps.canonical_view(maps, confs)
    np.testing.assert_allclose(canon, recorded["canon/canon"], atol=1e-4)
    np.testing.assert_allclose(relative, recorded["canon/canon2"], atol=1e-4)
    np.testing.assert_allclose(conf, recorded["canon/conf"], atol=1e-4)
    index, offset = pointmaps.block_anchors(relative, pixels)
    np.testing.assert_array_equal(index, recorded["canon/anchor_idx"])
    np.testing.assert_allclose(offset, recorded["canon/anchor_offset"], atol=1e-4)


@pytest.mark.parametrize(
    "case", ["5/complete", "6/swin-2", "6/swin-2-noncyclic", "9/logwin-3", "9/logwin-3-noncyclic", "5/oneref-2"]
)
def test_pair_lists(recorded, case):
    count, graph = case.split("/")
    assert graphs.view_pairs(int(count), graph) == [tuple(p) for p in recorded[f"pairs/{case}"]]


def test_spanning_tree(recorded):
    edges = graphs.maximum_spanning_tree(recorded["mst/scores"], int(recorded["mst/root"]))
    assert set(edges) == {tuple(e) for e in recorded["mst/edges"]}
    reached = {int(recorded["mst/root"])}
    for parent, child in edges:
        assert parent in reached
        reached.add(child)


def test_crop_sizes(recorded):
    for w, h, mode, rw, rh, cw, ch in recorded["prep/sizes"].tolist():
        frame = preprocess.framing(w, h, mode)
        assert (frame.resized, frame.cropped) == ((rw, rh), (cw, ch)), (w, h, mode)


def test_cropped_pixels(recorded):
    image = recorded["prep/image"]
    frame = preprocess.framing(image.shape[1], image.shape[0], 224)
    ours = preprocess.resize_and_crop(image, frame).astype(int)
    assert np.abs(ours - recorded["prep/image_224"]).max() <= 1


def test_a_pose_from_points_that_lie_together_is_none():
    assert pointmaps.pose_from_pnp(np.ones((20, 3)), np.full((20, 2), 7.0), 58.0, (32, 24)) is None


def test_some_pixels_tell_the_focal_length_of_all():
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    depth = 2 + 0.01 * x + 0.02 * y
    points = torch.stack([(x - 64) / 110 * depth, (y - 48) / 110 * depth, depth], -1)
    assert pointmaps.focal_from_pointmap(points, step=3) == pytest.approx(110, rel=1e-4)
