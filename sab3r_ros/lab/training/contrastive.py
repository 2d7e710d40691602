"""Matching losses on descriptors (MASt3R, arXiv 2406.09756, eq. 10) and average precision."""

import math

import torch
from torch import Tensor

from sab3r_ros.lab.training.regression import ViewTarget
from sab3r_ros.models.sab3r import ViewPrediction


def gather_pixels(maps: Tensor, pixels: Tensor) -> Tensor:
    """Values of maps (B,H,W,...) at integer pixels (B,N,2) given as (x, y)."""
    batch = torch.arange(len(maps), device=maps.device)[:, None]
    return maps[batch, pixels[..., 1], pixels[..., 0]]


def info_nce(
    desc1: Tensor,
    desc2: Tensor,
    valid: Tensor,
    temperature: float = 0.05,
    mode: str = "proper",
    extra2: Tensor | None = None,
) -> Tensor:
    """InfoNCE of N descriptor pairs per sample; invalid pairs serve as negatives only.

    desc1, desc2 (B,N,D), valid (B,N); extra2 (B,M,D): more negatives of view 2. mode: "proper", "all" or
    "dual". Returns the losses of the valid pairs (K,). Raises ValueError for an unknown mode.
    """
    return pair_losses(desc1, desc2, temperature, mode, extra2)[valid]


def pair_losses(
    desc1: Tensor, desc2: Tensor, temperature: float = 0.05, mode: str = "proper", extra2: Tensor | None = None
) -> Tensor:
    """The losses (B,N) of all pairs; see `info_nce`."""
    columns = desc2 if extra2 is None else torch.cat([desc2, extra2], 1)
    score = (desc1.float() @ columns.float().transpose(1, 2)) / temperature
    diagonal = score.diagonal(dim1=1, dim2=2)
    floor = math.log(1e-8)
    rows, cols = score.logsumexp(2), score[..., : desc2.shape[1]].logsumexp(1)
    if mode == "proper":
        return -(diagonal - cols).clamp(min=floor) - (diagonal - rows).clamp(min=floor)
    if mode == "all":
        return -(diagonal - score.flatten(1).logsumexp(1)[:, None]).clamp(min=floor)
    if mode == "dual":
        return -(2 * diagonal - rows - cols).clamp(min=floor)
    raise ValueError(f"unknown InfoNCE mode {mode!r}")


def matching_losses(
    target1: ViewTarget,
    target2: ViewTarget,
    pred1: ViewPrediction,
    pred2: ViewPrediction,
    temperature=0.05,
    mode="proper",
    block=8192,
):
    """InfoNCE at the target's correspondences, in shuffled blocks where there are more than `block`.

    Returns the losses (K,) and the two descriptor confidences (K,) of the valid pairs.
    """
    d1, d2 = gather_pixels(pred1.desc, target1.corres), gather_pixels(pred2.desc, target2.corres)
    c1, c2 = gather_pixels(pred1.desc_conf, target1.corres), gather_pixels(pred2.desc_conf, target2.corres)
    valid = target1.valid_corres
    n = d1.shape[1]
    order = torch.randperm(n, device=d1.device) if n > block else torch.arange(n, device=d1.device)
    losses, conf1, conf2 = [], [], []
    for index in order.split(block):
        losses.append(info_nce(d1[:, index], d2[:, index], valid[:, index], temperature, mode))
        conf1.append(c1[:, index][valid[:, index]])
        conf2.append(c2[:, index][valid[:, index]])
    return torch.cat(losses), torch.cat(conf1), torch.cat(conf2)


def confidence_matching_loss(
    target1,
    target2,
    pred1,
    pred2,
    alpha=10.0,
    mode="mean",
    negative_quantile: float | None = None,
    temperature=0.05,
    block=8192,
) -> Tensor:
    """Mean of l c - alpha log c over valid matches, c the mean or the product ("prod") of both confidences.

    negative_quantile q adds the same over invalid pairs with l = the q-quantile of the valid losses.
    """
    loss, c1, c2 = matching_losses(target1, target2, pred1, pred2, temperature, block=block)
    if len(loss) == 0:
        return pred1.desc.sum() * 0
    conf = 0.5 * (c1 + c2) if mode == "mean" else c1 * c2
    total = (loss * conf - alpha * conf.log()).mean()
    if negative_quantile is not None:
        invalid = ~target1.valid_corres
        negative = torch.cat(
            [gather_pixels(p.desc_conf, t.corres)[invalid] for p, t in ((pred1, target1), (pred2, target2))]
        )
        total = total + (torch.quantile(loss, negative_quantile) * negative - alpha * negative.log()).mean()
    return total


@torch.no_grad()
def average_precision(target1, target2, pred1, pred2, padding: int = 0) -> Tensor:
    """Mean of 1 / rank of the true partner among view 2's gathered descriptors and `padding` unmatched pixels."""
    d1, d2 = gather_pixels(pred1.desc, target1.corres), gather_pixels(pred2.desc, target2.corres)
    if padding:
        d2 = torch.cat([d2, _unmatched(pred2.desc, target2, padding)], 1)
    score = d1 @ d2.transpose(1, 2)
    true = score.diagonal(dim1=1, dim2=2)[..., None]
    rank = 1 + (score > true).sum(-1)
    return (1.0 / rank)[target1.valid_corres].mean()


def _unmatched(desc, target, count):
    h, w = desc.shape[1:3]
    out = []
    for sample, pixels, valid in zip(desc, target.corres, target.valid_corres, strict=True):
        free = torch.ones(h * w, dtype=torch.bool, device=desc.device)
        free[pixels[valid][:, 1] * w + pixels[valid][:, 0]] = False
        out.append(sample.flatten(0, 1)[free.nonzero()[:count, 0]])
    return torch.stack(out)
