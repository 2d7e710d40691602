"""Pointmap regression: frames, normalisation and the confidence-weighted loss (DUSt3R, arXiv 2312.14132, eq. 2-4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sab3r_ros.models.sab3r import ViewPrediction


@dataclass
class ViewTarget:
    """Ground truth of one view of a pair.

    points (B,H,W,3) in the world, metres; valid (B,H,W); cam2world (B,4,4); metric (B,): whether the unit is
    the metre; sky (B,H,W) or None; corres (B,N,2) integer (x, y) pixels matched with the other view's row,
    valid_corres (B,N); clip and dino: teacher features (B,H,W,C) or None, clip_weight and dino_weight: how much
    each of their pixels counts (B,H,W), None: all alike.
    """

    points: Tensor
    valid: Tensor
    cam2world: Tensor
    metric: Tensor
    sky: Tensor | None = None
    corres: Tensor | None = None
    valid_corres: Tensor | None = None
    clip: Tensor | None = None
    dino: Tensor | None = None
    clip_weight: Tensor | None = None
    dino_weight: Tensor | None = None


@dataclass(frozen=True)
class RegressionConfig:
    """How prediction and truth are brought to a common scale.

    norm: "avg_dis", "avg_log1p", "avg_warp-log1p", "median_dis", "sqrt_dis"; keep_metric: samples in metres
    are compared at the truth's scale (the '?' of MASt3R); gt_scale: leave the truth alone (evaluation);
    max_metric_scale: metric samples reaching this distance count as non-metric; dist_clip: farther points are
    invalid; log: compress distances by log1p; shift_invariant, scale_invariant: take out the median depth and
    the median spread first; sky_loss: constant loss of sky pixels, 0 leaves them out.
    """

    norm: str = "avg_dis"
    keep_metric: bool = True
    gt_scale: bool = False
    max_metric_scale: float | None = None
    dist_clip: float | None = None
    log: bool = False
    shift_invariant: bool = False
    scale_invariant: bool = False
    sky_loss: float = 2.0


def normalise_pair(points1: Tensor, points2: Tensor, valid1: Tensor, valid2: Tensor, mode: str = "avg_dis"):
    """Scale a pair of pointmaps (B,H,W,3) by one factor per sample, taken over the valid points of both.

    Returns both scaled maps and the factor (B,1,1,1). Raises ValueError for an unknown mode.
    """
    valid = torch.cat([valid1.flatten(1), valid2.flatten(1)], 1)
    distance = torch.cat([points1.flatten(1, 2), points2.flatten(1, 2)], 1).norm(dim=-1)
    log = torch.log1p(distance)
    count = valid.sum(1) + 1e-8

    def mean(x):
        return torch.where(valid, x, 0).sum(1) / count

    if mode == "avg_dis":
        factor = mean(distance)
    elif mode in ("avg_log1p", "avg_warp-log1p"):
        factor = mean(log)
    elif mode == "median_dis":
        factor = torch.where(valid, distance, torch.nan).nanmedian(1).values.detach()
    elif mode == "sqrt_dis":
        factor = mean(distance.sqrt()) ** 2
    else:
        raise ValueError(f"unknown normalisation {mode!r}")
    if mode == "avg_warp-log1p":
        points1, points2 = (
            torch.where(v[..., None], p * _log_ratio(p), 0) for p, v in ((points1, valid1), (points2, valid2))
        )
    factor = factor.clamp(min=1e-8)[:, None, None, None]
    return points1 / factor, points2 / factor, factor


def _log_ratio(points):
    norm = points.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    return torch.log1p(norm) / norm


def _transform(pose, points):
    return torch.einsum("bij,bhwj->bhwi", pose[:, :3, :3], points) + pose[:, None, None, :3, 3]


def _joint(maps, masks):
    """Valid points of both views as (B,M,3), invalid ones NaN."""
    points = torch.cat([m.flatten(1, 2) for m in maps], 1)
    return torch.where(torch.cat([m.flatten(1) for m in masks], 1)[..., None], points, torch.nan)


def aligned_pairs(target1: ViewTarget, target2: ViewTarget, pred1: ViewPrediction, pred2: ViewPrediction, cfg):
    """Truth and prediction in view 1's frame at a common scale.

    Returns ((truth1, truth2), (points1, points2), (mask1, mask2)).
    """
    to_view1 = torch.linalg.inv(target1.cam2world)
    truth = [_transform(to_view1, t.points) for t in (target1, target2)]
    masks = [target1.valid.clone(), target2.valid.clone()]
    if cfg.dist_clip is not None:
        masks = [m & (t.norm(dim=-1) <= cfg.dist_clip) for m, t in zip(masks, truth, strict=True)]
    metric = target1.metric.clone()
    if cfg.max_metric_scale is not None:
        far = [
            torch.where(m, t.norm(dim=-1), 0).flatten(1).amax(1) >= cfg.max_metric_scale
            for m, t in zip(masks, truth, strict=True)
        ]
        metric &= ~(far[0] | far[1])
    if not cfg.keep_metric:
        metric = torch.zeros_like(metric)
    points = [pred1.points, pred2.points]
    own1, own2, _ = normalise_pair(*points, *masks, mode=cfg.norm)
    if cfg.gt_scale:
        kept = points
    else:
        *truth, factor = normalise_pair(*truth, *masks, mode=cfg.norm)
        kept = [p / factor for p in points]
    is_metric = metric[:, None, None, None]
    points = [torch.where(is_metric, k, o) for k, o in zip(kept, (own1, own2), strict=True)]
    if cfg.shift_invariant:
        truth, points = (_take_out_median_depth(p, masks) for p in (truth, points))
    if cfg.scale_invariant:
        true_scale, own_scale = (_median_spread(p, masks) for p in (truth, points))
        own_scale = own_scale.clamp(1e-3, 1e3)
        if cfg.gt_scale:
            points = [p * (true_scale / own_scale) for p in points]
        else:
            truth, points = [t / true_scale for t in truth], [p / own_scale for p in points]
    return truth, points, masks


def _take_out_median_depth(maps, masks):
    middle = _joint(maps, masks)[..., 2].nanmedian(1).values.detach()
    shift = torch.zeros(len(middle), 1, 1, 3, device=middle.device)
    shift[:, 0, 0, 2] = middle
    return [m - shift for m in maps]


def _median_spread(maps, masks):
    points = _joint(maps, masks)
    centre = points.nanmedian(1, keepdim=True).values
    return (points - centre).norm(dim=-1).nanmedian(1).values.detach()[:, None, None, None]


def regression_losses(target1, target2, pred1, pred2, cfg: RegressionConfig):
    """Per-pixel distances of both views: [(loss (M,), mask (B,H,W)), ...]; sky pixels carry `cfg.sky_loss`."""
    truth, points, masks = aligned_pairs(target1, target2, pred1, pred2, cfg)
    out = []
    for target, true, ours, mask in zip((target1, target2), truth, points, masks, strict=True):
        if cfg.log:
            true, ours = true * _log_ratio(true), ours * _log_ratio(ours)
        distance = (true - ours).norm(dim=-1)
        if cfg.sky_loss > 0 and target.sky is not None:
            sky = target.sky & ~target.valid
            distance = torch.where(sky, cfg.sky_loss, distance)
            mask = mask | sky
        out.append((distance[mask], mask))
    return out


def regression_loss(target1, target2, pred1, pred2, cfg: RegressionConfig) -> Tensor:
    """Mean distance per view, both views summed."""
    return sum(
        loss.mean() if len(loss) else loss.sum() for loss, _ in regression_losses(target1, target2, pred1, pred2, cfg)
    )


def confidence_loss(target1, target2, pred1, pred2, cfg: RegressionConfig, alpha: float = 0.2) -> Tensor:
    """Mean of l C - alpha log C per view, both views summed (DUSt3R eq. 4)."""
    total = pred1.conf.new_zeros(())
    for (loss, mask), pred in zip(regression_losses(target1, target2, pred1, pred2, cfg), (pred1, pred2), strict=True):
        if len(loss):
            conf = pred.conf[mask]
            total = total + (loss * conf - alpha * conf.log()).mean()
    return total
