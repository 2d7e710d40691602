"""Superpixels, and features pooled over them."""

import numpy as np
import pytest
import torch

from sab3r_ros.mapping.superpixels import pool_over_superpixels, segment_superpixels


def halves(height, width, edge):
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, :edge] = 200, 60, 40
    rgb[:, edge:] = 40, 90, 210
    return rgb


@pytest.mark.parametrize("size", [(120, 160), (96, 41), (480, 640)])
def test_superpixels_end_where_colours_do(size):
    height, width = size
    edge = width * 5 // 8
    noise = np.random.default_rng(0).integers(-6, 7, (*size, 3))
    superpixels = segment_superpixels((halves(height, width, edge) + noise).clip(0, 255).astype(np.uint8))
    assert superpixels.shape == size
    assert set(np.unique(superpixels)) == set(range(superpixels.max() + 1))
    left = np.bincount(superpixels[:, :edge].ravel(), minlength=superpixels.max() + 1)
    right = np.bincount(superpixels[:, edge:].ravel(), minlength=superpixels.max() + 1)
    assert np.minimum(left, right).sum() < 0.4 * height * -(
        -max(size) // 160
    )  # less than half a pixel of the segmented image along the edge


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (17, 2)])
def test_odd_pictures_are_cut_too(size):
    superpixels = segment_superpixels(np.full((*size, 3), 90, np.uint8))
    assert superpixels.shape == size
    assert not superpixels.any()


def test_a_piece_has_one_feature_and_noise_averages_out():
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(60, 80, 8)
    truth[:, :50, 0] = 1
    truth[:, 50:, 1] = 1
    noisy = torch.nn.functional.normalize(truth + 0.5 * torch.randn(60, 80, 8, generator=generator), dim=-1)
    superpixels = segment_superpixels(halves(60, 80, 50))
    smooth = pool_over_superpixels(noisy, superpixels)
    for number in np.unique(superpixels):
        inside = smooth[torch.from_numpy(superpixels == number)]
        assert torch.allclose(inside, inside[:1].expand_as(inside))
    assert float((smooth * truth).sum(-1).min()) > 0.9
    assert float((noisy * truth).sum(-1).median()) < 0.8


def test_pixels_without_a_feature_count_for_nothing():
    features = torch.zeros(4, 6, 3)
    features[0, 0] = torch.tensor([0.0, 5.0, 0.0])
    superpixels = np.zeros((4, 6), np.int64)
    superpixels[:, 3:] = 1
    smooth = pool_over_superpixels(features, superpixels)
    assert torch.equal(smooth[:, :3], torch.tensor([0.0, 1.0, 0.0]).expand(4, 3, 3))
    assert not smooth[:, 3:].any()
