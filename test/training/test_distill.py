"""Training: it starts alike on both sides, learns, resumes exactly, and never touches held-out rooms."""

import csv

import pytest
import torch

from sab3r_ros.models.sab3r import Sab3r, Sab3rConfig
from sab3r_ros.models.weights import ASSETS
from sab3r_ros.training.distill import (
    HELD_OUT_SEEDS,
    network_from_training_checkpoint,
    start_alike,
    train_distill,
)

SMALL = Sab3rConfig(
    enc_dim=24, enc_depth=1, enc_heads=1, dec_dim=24, dec_depth=4, dec_heads=1, image_size=64, dpt_dim=8,
    dpt_last_dim=8, dpt_layer_dims=(8, 8, 8, 8), desc_dim=8, desc_hidden_factor=1.0, clip_head="linear", clip_dim=48,
)  # fmt: skip
TEXT = f"local-dir:{ASSETS / 'sab3r_tiny' / 'text'}"


def losses(folder):
    rows = {}
    for file in sorted(folder.glob("log/version_*/metrics.csv")):
        rows |= {int(r["step"]): float(r["loss"]) for r in csv.DictReader(file.open()) if r.get("loss")}
    return rows


def test_matching_pixels_start_with_matching_descriptors():
    torch.manual_seed(0)
    network = Sab3r(SMALL).eval()
    start_alike(network)
    image = torch.rand(1, 3, 48, 64) * 2 - 1
    with torch.no_grad():
        one, two = network(image, image)
    assert torch.allclose(one.desc, two.desc, atol=1e-5)
    patch = one.desc[0, :16, :16].flatten(0, 1)
    assert torch.allclose(patch, patch[:1].expand_as(patch), atol=1e-5)
    assert not torch.allclose(one.desc[0, 0, 0], one.desc[0, 20, 40], atol=1e-3)


@pytest.mark.slow
def test_a_resumed_run_reaches_bit_equal_weights(tmp_path):
    """The same four steps in one go and with a stop in the middle."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    options = {"groups": 1, "lr": 1e-3, "workers": 0, "log_every": 1}
    train_distill(tmp_path / "whole", SMALL, TEXT, steps=4, **options)
    train_distill(tmp_path / "parts", SMALL, TEXT, steps=4, stop_at=2, **options)
    assert sorted(losses(tmp_path / "parts")) == [0, 1]
    train_distill(tmp_path / "parts", SMALL, TEXT, steps=4, **options)
    whole, parts = losses(tmp_path / "whole"), losses(tmp_path / "parts")
    assert whole == parts
    assert sorted(whole) == [0, 1, 2, 3]
    nets = [
        network_from_training_checkpoint(tmp_path / n / "last.ckpt", SMALL).state_dict() for n in ("whole", "parts")
    ]
    assert all(torch.equal(nets[0][k], nets[1][k]) for k in nets[0])
    torch.use_deterministic_algorithms(False)


def test_seeds_never_reach_the_held_out_rooms(tmp_path):
    with pytest.raises(ValueError, match="held-out"):
        train_distill(tmp_path, SMALL, TEXT, steps=10, groups=1, first_seed=HELD_OUT_SEEDS.start - 5)


def test_not_a_number_stops_with_the_last_checkpoint_intact(tmp_path):
    with pytest.raises(FloatingPointError, match="the last checkpoint is intact"):
        train_distill(tmp_path, SMALL, TEXT, steps=2, groups=1, lr=float("inf"), workers=0)
