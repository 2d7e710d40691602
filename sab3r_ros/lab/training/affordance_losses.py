"""Losses of CMAT and CAST (arXiv 2510.08316): reconstruction, affinity, diversity; focal and dice."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

_FOCAL_ALPHA, _FOCAL_GAMMA = 0.25, 2.0
_CLAMP = 1e-6


def chamfer(predicted: Tensor, true: Tensor, squared: bool = True) -> Tensor:
    """Chamfer distance of patches (M,K,3): the sum of both squared means, or half the sum of both means of distances."""
    distance = torch.cdist(predicted, true)
    if squared:
        distance = distance.square()
    total = distance.amin(2).mean() + distance.amin(1).mean()
    return total if squared else total / 2


def pooled_features(points: Tensor, features: Tensor, centres: Tensor) -> Tensor:
    """Point features (B,N,C) averaged over the points nearest to each centre: (B,G,C); 0 for a centre without points."""
    cell = torch.cdist(points, centres).argmin(-1)
    total = features.new_zeros(len(features), centres.shape[1], features.shape[-1])
    total.scatter_add_(1, cell[..., None].expand_as(features), features)
    count = torch.zeros_like(total[..., 0]).scatter_add_(1, cell, torch.ones_like(cell, dtype=total.dtype))
    return total / count.clamp(min=1)[..., None]


def affinity_loss(tokens: Tensor, features: Tensor) -> Tensor:
    """Mean squared difference of the cosine affinities of tokens (B,M,C) and of teacher features (B,M,E)."""
    ours, theirs = (normalize(x, dim=-1, eps=1e-12) for x in (tokens, features.detach()))
    return (ours @ ours.transpose(1, 2) - theirs @ theirs.transpose(1, 2)).square().mean()


def diversity_loss(tokens: Tensor, epsilon: float = 1e-8) -> Tensor:
    """KoLeo on unit tokens (B,M,C), within each cloud: minus the mean log distance to the nearest other token, (B,)."""
    unit = normalize(tokens, dim=-1)
    cosine = unit @ unit.transpose(1, 2)
    eye = torch.eye(unit.shape[1], dtype=torch.bool, device=unit.device)
    nearest = cosine.masked_fill(eye, -2).argmax(-1)
    other = unit.gather(1, nearest[..., None].expand_as(unit))
    return -((unit - other).norm(dim=-1) + epsilon).log().mean(1)


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary focal loss with alpha 0.25 and gamma 2; targets may be soft."""
    p = logits.sigmoid().clamp(_CLAMP, 1 - _CLAMP)
    positive = -_FOCAL_ALPHA * (1 - p) ** _FOCAL_GAMMA * target * p.log()
    negative = -(1 - _FOCAL_ALPHA) * p**_FOCAL_GAMMA * (1 - target) * (1 - p).log()
    return (positive + negative).mean()


def dice_loss(logits: Tensor, target: Tensor, epsilon: float = 1e-6) -> Tensor:
    """1.5 minus the dice of foreground and of background over the whole batch; -0.5 when perfect."""
    p, q = logits.sigmoid(), (-logits).sigmoid()
    positive = (2 * (p * target).sum() + epsilon) / (p.sum() + target.sum() + epsilon)
    negative = (2 * (q * (1 - target)).sum() + epsilon) / (q.sum() + (1 - target).sum() + epsilon)
    return 1.5 - positive - negative


def segmentation_loss(logits: Tensor, target: Tensor, focal_weight: float = 1.0, dice_weight: float = 1.0) -> Tensor:
    """Weighted sum of focal and dice loss; logits and targets (B,N,1)."""
    return focal_weight * focal_loss(logits, target) + dice_weight * dice_loss(logits, target)
