"""SAB3R's full objective (arXiv 2506.02112, section 3): L_conf + beta L_match + gamma_1 L_clip + gamma_2 L_dino."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sab3r_ros.lab.training.contrastive import confidence_matching_loss
from sab3r_ros.lab.training.regression import RegressionConfig, ViewTarget, confidence_loss
from sab3r_ros.models.sab3r import ViewPrediction


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights of the terms; the defaults are the paper's recipe (CD) with MASt3R's alpha.

    label_weight, which the paper has not, is that of the cross entropy of labelled images' features against the
    label teacher's labels; it teaches a small network to tell labels apart where the squared error blurs them.
    """

    alpha: float = 0.2
    matching_weight: float = 0.75
    matching_alpha: float = 10.0
    clip_weight: float = 20.0
    dino_weight: float = 4.0
    label_weight: float = 0.0
    regression: RegressionConfig = field(default_factory=RegressionConfig)


def feature_loss(pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared error averaged over channels, then over the pixels of all views, weighted; maps are (B,H,W,C)."""
    error = (pred - target).square().mean(-1)
    return error.mean() if weight is None else (error * weight).sum() / weight.sum().clamp(min=1e-6)


def sab3r_loss(
    target1: ViewTarget, target2: ViewTarget, pred1: ViewPrediction, pred2: ViewPrediction, cfg: ObjectiveConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """The total and its terms."""
    terms = {"points": confidence_loss(target1, target2, pred1, pred2, cfg.regression, cfg.alpha)}
    total = terms["points"]
    if target1.corres is not None and pred1.desc is not None and cfg.matching_weight:
        terms["matching"] = confidence_matching_loss(target1, target2, pred1, pred2, cfg.matching_alpha)
        total = total + cfg.matching_weight * terms["matching"]
    features, more = feature_terms(target1, target2, pred1, pred2, cfg)
    return total + features, terms | more


def feature_terms(
    target1: ViewTarget, target2: ViewTarget, pred1: ViewPrediction, pred2: ViewPrediction, cfg: ObjectiveConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """The part of `sab3r_loss` that is about features, and its terms; these may be known at fewer pixels than the points."""
    terms = {}
    total = torch.zeros((), device=target1.valid.device)
    for name, weight in (("clip", cfg.clip_weight), ("dino", cfg.dino_weight)):
        if getattr(target1, name) is None or getattr(pred1, name) is None or not weight:
            continue
        terms[name] = torch.stack(
            [
                feature_loss(getattr(p, name), getattr(t, name), getattr(t, f"{name}_weight"))
                for p, t in ((pred1, target1), (pred2, target2))
            ]
        ).sum()
        total = total + weight * terms[name]
    return total, terms
