"""Losses and gradients equal recorded values of the reference implementation."""

import numpy as np
import pytest
import torch

from sab3r_ros.lab.training.contrastive import average_precision, confidence_matching_loss, matching_losses
from sab3r_ros.lab.training.objective import ObjectiveConfig, sab3r_loss
from sab3r_ros.lab.training.regression import (
    RegressionConfig,
    ViewTarget,
    confidence_loss,
    normalise_pair,
    regression_loss,
)
from sab3r_ros.models.sab3r import ViewPrediction


@pytest.fixture
def recorded(data_dir):
    return np.load(data_dir / "mast3r_losses.npz")


@pytest.fixture
def pair(recorded):
    def tensor(key):
        return torch.from_numpy(recorded[key])

    targets, predictions = [], []
    for v in (1, 2):
        targets.append(
            ViewTarget(
                tensor(f"gt{v}/pts3d"), tensor(f"gt{v}/valid_mask"), tensor(f"gt{v}/camera_pose"),
                tensor(f"gt{v}/is_metric_scale"), tensor(f"gt{v}/sky_mask"), tensor(f"gt{v}/corres"),
                tensor(f"gt{v}/valid_corres"),
            )
        )  # fmt: skip
        points = tensor("pred1/pts3d" if v == 1 else "pred2/pts3d_in_other_view")
        predictions.append(ViewPrediction(points, *(tensor(f"pred{v}/{k}") for k in ("conf", "desc", "desc_conf"))))
    for p in predictions:
        for t in (p.points, p.conf, p.desc, p.desc_conf):
            t.requires_grad_()
    return (*targets, *predictions)


CONFIDENCE = {
    "conf_regr3d_metric": RegressionConfig(),
    "conf_regr3d_normalised": RegressionConfig(keep_metric=False),
    "conf_regr3d_metric_gtscale": RegressionConfig(gt_scale=True),
    "conf_regr3d_metric_maxscale9.1": RegressionConfig(max_metric_scale=9.1),
    "conf_regr3d_metric_log": RegressionConfig(log=True),
    "conf_regr3d_nosky": RegressionConfig(sky_loss=0),
}


@pytest.mark.parametrize("name", CONFIDENCE)
def test_confidence_weighted_regression(name, pair, recorded):
    assert confidence_loss(*pair, CONFIDENCE[name]).item() == pytest.approx(float(recorded[f"loss/{name}"]), abs=1e-4)


@pytest.mark.parametrize("gt_scale", [0, 1])
@pytest.mark.parametrize("name", ["regr3d", "shiftinv", "scaleinv", "scaleshiftinv"])
def test_evaluation_regression(name, gt_scale, pair, recorded):
    cfg = RegressionConfig(
        gt_scale=bool(gt_scale), sky_loss=0, shift_invariant="shift" in name, scale_invariant="scale" in name
    )
    expected = float(recorded[f"loss/eval_{name}_gtscale{gt_scale}"])
    assert regression_loss(*pair, cfg).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("mode", ["proper", "all", "dual"])
def test_info_nce(mode, pair, recorded):
    name = "matching" if mode == "proper" else f"matching_{mode}"
    assert matching_losses(*pair, mode=mode)[0].mean().item() == pytest.approx(
        float(recorded[f"loss/{name}"]), abs=1e-4
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("conf_matching", {}),
        ("conf_matching_prod", {"mode": "prod"}),
        ("conf_matching_negquantile", {"negative_quantile": 0.5}),
    ],
)
def test_confidence_weighted_matching(name, options, pair, recorded):
    assert confidence_matching_loss(*pair, **options).item() == pytest.approx(float(recorded[f"loss/{name}"]), abs=1e-4)


@pytest.mark.parametrize(("name", "padding"), [("ap", 0), ("ap_padded32", 32)])
def test_average_precision(name, padding, pair, recorded):
    assert average_precision(*pair, padding=padding).item() == pytest.approx(float(recorded[f"loss/{name}"]), abs=5e-3)


def test_total_and_its_gradients(pair, recorded):
    total, terms = sab3r_loss(*pair, ObjectiveConfig(matching_weight=0.075))
    assert set(terms) == {"points", "matching"}
    assert total.item() == pytest.approx(float(recorded["loss/total_mast3r"]), abs=1e-4)
    total.backward()
    for v, pred in enumerate(pair[2:], 1):
        for name in ("points", "conf", "desc", "desc_conf"):
            key = {"points": "pts3d" if v == 1 else "pts3d_in_other_view"}.get(name, name)
            np.testing.assert_allclose(
                getattr(pred, name).grad.numpy(), recorded[f"grad/total_mast3r/pred{v}/{key}"], atol=1e-5, rtol=1e-4
            )


@pytest.mark.parametrize("mode", ["avg_dis", "avg_log1p", "avg_warp-log1p", "median_dis", "sqrt_dis"])
def test_normalisation_factors(mode, data_dir):
    recorded = np.load(data_dir / "mast3r_geometry.npz")
    args = [torch.from_numpy(recorded[f"norm/{k}"]) for k in ("pts1", "pts2", "valid1", "valid2")]
    points1, _, factor = normalise_pair(*args, mode=mode)
    np.testing.assert_allclose(factor.flatten(), recorded[f"norm/{mode}/factor"], atol=1e-5)
    np.testing.assert_allclose(points1, recorded[f"norm/{mode}/pts1"], atol=1e-4)


def test_samples_without_valid_points_or_matches_give_a_finite_loss(pair):
    target1, target2, *predictions = pair
    for t in (target1, target2):
        t.valid[:] = False
        t.sky = None
        t.valid_corres[:] = False
    total, _ = sab3r_loss(target1, target2, *predictions, ObjectiveConfig())
    assert torch.isfinite(total)
