"""Losses and metrics of CMAT and LAS reproduce recorded values of the public code."""

import numpy as np
import pytest
import torch

from sab3r_ros.lab.evaluation.affordance import laso_metrics, repository_figures, roc_auc, shape_figures
from sab3r_ros.lab.training.affordance_losses import (
    affinity_loss,
    chamfer,
    dice_loss,
    diversity_loss,
    focal_loss,
    pooled_features,
    segmentation_loss,
)
from sab3r_ros.models.point_mae import group_points


@pytest.fixture(scope="module")
def recorded(data_dir):
    return {k: torch.from_numpy(np.asarray(v)) for k, v in np.load(data_dir / "las_losses.npz").items()}


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_segmentation_losses_and_gradients(recorded, kind):
    target = recorded[f"target_{kind}"]
    for focal, name in ((0.5, "w05_10"), (1.0, "w10_10")):
        logits = recorded["logits"].clone().requires_grad_()
        total = segmentation_loss(logits, target, focal, 1.0)
        total.backward()
        assert total.item() == pytest.approx(recorded[f"{kind}/total_{name}"].item(), rel=1e-5)
        assert torch.allclose(logits.grad, recorded[f"{kind}/grad_{name}"], atol=1e-7, rtol=1e-4)
    assert focal_loss(recorded["logits"], target).item() == pytest.approx(recorded[f"{kind}/focal"].item(), rel=1e-4)
    assert dice_loss(recorded["logits"], target).item() == pytest.approx(recorded[f"{kind}/dice"].item(), rel=1e-5)


def test_a_perfect_answer(recorded):
    target = recorded["target_hard"]
    logits = (target * 2 - 1) * 40
    assert dice_loss(logits, target).item() == pytest.approx(recorded["perfect/dice"].item(), abs=1e-5)
    assert focal_loss(logits, target).item() == pytest.approx(recorded["perfect/focal"].item(), abs=1e-6)


def test_pre_training_losses(recorded):
    r = {k[5:]: v for k, v in recorded.items() if k.startswith("cmat/")}
    start = torch.zeros(2, dtype=torch.long)
    centres, patches = group_points(r["points"], 16, 32, start)
    assert torch.equal(centres, r["centers"])
    assert torch.allclose(patches.sort(2).values, r["neighborhood"].sort(2).values, atol=1e-6)
    pooled = pooled_features(r["points"], r["point_feats"], r["centers"])
    assert torch.allclose(pooled, r["group_feats"], atol=1e-6)
    visible = pooled[~r["mask"]].unflatten(0, (2, -1))
    struct = affinity_loss(r["x_vis"], visible)
    rec = chamfer(r["rebuilt"], r["gt_patches"])
    assert rec.item() == pytest.approx(r["loss_cd_l2"].item(), rel=1e-5)
    assert chamfer(r["rebuilt"], r["gt_patches"], squared=False).item() == pytest.approx(
        r["loss_cd_l1"].item(), rel=1e-5
    )
    assert struct.item() == pytest.approx(r["loss_struct"].item(), rel=1e-5)
    assert (rec + 0.1 * struct).item() == pytest.approx(r["loss_total"].item(), rel=1e-5)
    assert torch.allclose(diversity_loss(r["x_vis"]).double(), r["koleo_per_cloud"], atol=1e-5)


def test_a_centre_without_points_pools_to_zero():
    points = torch.tensor([[[0.0, 0, 0], [0.1, 0, 0]]])
    pooled = pooled_features(points, torch.ones(1, 2, 3), torch.tensor([[[0.0, 0, 0], [5.0, 0, 0]]]))
    assert pooled.tolist() == [[[1, 1, 1], [0, 0, 0]]]


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_metrics_of_both_protocols(recorded, kind):
    scores = [s[:, 0].numpy().astype(np.float64) for s in recorded["logits"].double().sigmoid()]
    targets = [t[:, 0].numpy().astype(np.float64) for t in recorded[f"target_{kind}"]]
    for name, ours in (("repo", repository_figures(scores, targets)), ("peer", laso_metrics(scores, targets))):
        for key, value in ours.items():
            true = recorded[f"metric_{name}_{kind}/{key}"].item()
            percent = 100 if key in ("auc", "aiou") and true <= 1 else 1
            assert value == pytest.approx(true * percent, rel=1e-4), (name, key)


def test_shapes_without_positives_are_left_out():
    empty, half = np.zeros(10), np.array([0, 1] * 5, float)
    assert np.isnan(shape_figures(half, empty)["aiou"])
    assert laso_metrics([half, half], [empty, half])["auc"] == 100
    assert np.isnan(roc_auc(half, np.zeros(10, bool)))
    assert repository_figures([half], [empty])["auc"] == 50
