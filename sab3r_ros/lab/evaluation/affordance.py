"""Affordance metrics by two protocols: the peers' (IAGNet, GREAT, LASO), per shape, and the CMAT repository's, over all points.

Their SIM are different quantities and must not be compared with each other.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from sab3r_ros.lab.evaluation.metrics import finite_mean

_THRESHOLDS = np.linspace(0, 1, 20)


def roc_auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve, ties counted half; nan when one class is missing."""
    count = int(positive.sum())
    if not 0 < count < len(positive):
        return float("nan")
    ranks = rankdata(score)[positive].sum()
    return float((ranks - count * (count + 1) / 2) / (count * (len(positive) - count)))


def shape_figures(score: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """The peers' figures of one shape, scores and targets (N,) in [0, 1]: auc and aiou in percent, sim, mae.

    auc and aiou are nan without a point of target 0.5 or more.
    """
    positive = target >= 0.5
    iou = float("nan")
    if positive.any():
        iou = float(np.mean([_iou(score >= t, positive) for t in _THRESHOLDS]))
    p, y = score / (score.sum() + 1e-12), target / (target.sum() + 1e-12)
    return {
        "auc": 100 * roc_auc(score, positive), "aiou": 100 * iou, "sim": float(np.minimum(p, y).sum()),
        "mae": float(np.abs(score - target).mean()),
    }  # fmt: skip


def laso_metrics(scores: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> dict[str, float]:
    """Means of `shape_figures` over shapes; shapes without positives are left out of auc and aiou."""
    each = [shape_figures(s, t) for s, t in zip(scores, targets, strict=True)]
    return {k: finite_mean([f[k] for f in each]) for k in ("auc", "aiou", "sim", "mae")}


def repository_figures(scores: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> dict[str, float]:
    """The repository's figures over all points of all shapes; sim is a cosine, thresholds are strict."""
    score, target = np.concatenate(list(scores)), np.concatenate(list(targets))
    positive = target > 0.5
    auc = roc_auc(score, positive)
    similarity = score @ target / ((np.linalg.norm(score) + 1e-8) * (np.linalg.norm(target) + 1e-8))
    return {
        "auc": 100 * (0.5 if np.isnan(auc) else auc), "aiou": 100 * float(np.mean([_iou(score > t, positive) for t in _THRESHOLDS])),
        "sim": float(similarity), "mae": float(np.abs(score - target).mean()),
    }  # fmt: skip


def _iou(predicted, positive) -> float:
    union = (predicted | positive).sum()
    return float((predicted & positive).sum() / union) if union else 1.0
