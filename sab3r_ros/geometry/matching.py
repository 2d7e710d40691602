"""Reciprocal nearest neighbours of dense descriptors (MASt3R, arXiv 2406.09756, section 3.3)."""

import numpy as np
import torch
from torch import Tensor

_BLOCK = 2**13


def nearest(queries: Tensor, database: Tensor) -> Tensor:
    """Index (N,) of the row of database (M,D) with the largest dot product with each query (N,D)."""
    return torch.cat([(q @ database.T).argmax(1) for q in queries.split(_BLOCK)])


def _unflatten(index, width):
    return torch.stack([index % width, index // width], -1)


def reciprocal_matches(desc1: Tensor, desc2: Tensor, subsample: int = 8, rounds: int = 10) -> tuple[Tensor, Tensor]:
    """Mutual nearest neighbours found by walking back and forth from a grid of seeds in view 1.

    desc1 (H1,W1,D), desc2 (H2,W2,D). Returns integer pixels (K,2), (K,2) as (x, y), sorted by view 1's and
    then view 2's row-major index.
    """
    h, w, d = desc1.shape
    flat1, flat2 = desc1.reshape(-1, d), desc2.reshape(-1, d)
    ys = torch.arange(subsample // 2, h, subsample, device=desc1.device)
    xs = torch.arange(subsample // 2, w, subsample, device=desc1.device)
    i = (ys[:, None] * w + xs).flatten()
    j = torch.full_like(i, -1)
    settled1, settled2 = [], []
    for _ in range(rounds):
        found = nearest(flat1[i], flat2)
        walking = found != j
        settled1.append(i[~walking])
        settled2.append(found[~walking])
        i, j = i[walking], found[walking]
        back = nearest(flat2[j], flat1)
        walking = back != i
        settled1.append(back[~walking])
        settled2.append(j[~walking])
        i, j = back[walking], j[walking]
        if len(i) == 0:
            break
    pairs = torch.unique(torch.stack([torch.cat(settled1), torch.cat(settled2)], 1), dim=0)
    return _unflatten(pairs[:, 0], w), _unflatten(pairs[:, 1], desc2.shape[1])


def coarse_to_fine_matches(
    desc1: Tensor, desc2: Tensor, subsample: int = 8, rounds: int = 10, stride: int = 4
) -> tuple[Tensor, Tensor]:
    """`reciprocal_matches` among one pixel of every stride x stride, then the best pixel of view 2 around each partner.

    A full search costs stride^2 times as much, and descriptors vary smoothly. Shapes and order as there; pixels of view 1
    stay on the coarse grid, partners are any pixels.
    """
    if stride <= 1:
        return reciprocal_matches(desc1, desc2, subsample, rounds)
    start = stride // 2
    coarse1, coarse2 = desc1[start::stride, start::stride], desc2[start::stride, start::stride]
    here, there = (
        xy * stride + start for xy in reciprocal_matches(coarse1, coarse2, max(1, round(subsample / stride)), rounds)
    )
    reach = torch.arange(-stride + 1, stride, device=desc1.device)
    around = torch.cartesian_prod(reach, reach)  # row and column
    rows = (there[:, 1, None] + around[:, 0]).clamp(0, desc2.shape[0] - 1)
    columns = (there[:, 0, None] + around[:, 1]).clamp(0, desc2.shape[1] - 1)
    likeness = torch.einsum("nd,nkd->nk", desc1[here[:, 1], here[:, 0]], desc2[rows, columns])
    best = likeness.argmax(1, keepdim=True)
    return here, torch.cat([columns.gather(1, best), rows.gather(1, best)], 1)


def match_points(points: Tensor, desc1: Tensor, desc2: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Match given pixels (N,2) of view 1; kept where the way back lands nearer than `tolerance` pixels.

    Returns the kept pixels and their partners, in view 1's row-major order.
    """
    d, w1 = desc1.shape[-1], desc1.shape[1]
    flat1, flat2 = desc1.reshape(-1, d), desc2.reshape(-1, d)
    there = nearest(desc1[points[:, 1], points[:, 0]], flat2)
    back = _unflatten(nearest(flat2[there], flat1), w1)
    kept = (back - points).float().norm(dim=-1) < tolerance
    kept = kept.nonzero()[:, 0]
    kept = kept[(points[kept, 1] * w1 + points[kept, 0]).argsort(stable=True)]
    return points[kept], _unflatten(there[kept], desc2.shape[1])


def _at(conf, xy):
    return conf[xy[:, 1], xy[:, 0]]


def _merge(found, width1, width2):
    """Unique matches of several (xy1, xy2, conf) lists, sorted; the first list wins for the confidence."""
    xy1, xy2, conf = (torch.cat(part) for part in zip(*found, strict=True))
    key = torch.stack([xy1[:, 1] * width1 + xy1[:, 0], xy2[:, 1] * width2 + xy2[:, 0]], 1).cpu().numpy()
    first = torch.from_numpy(np.unique(key, axis=0, return_index=True)[1]).to(xy1.device)
    return xy1[first], xy2[first], conf[first]


def matches_both_ways(desc1: Tensor, desc2: Tensor, conf1: Tensor, conf2: Tensor, subsample: int = 8):
    """Reciprocal matches seeded from both views of one prediction; confidence = the smaller of the two.

    Returns pixels (K,2), (K,2) and confidence (K,).
    """
    return _merge(
        _seeded_both_ways(desc1, desc2, conf1, conf2, subsample, torch.minimum), desc1.shape[1], desc2.shape[1]
    )


def _seeded_both_ways(desc1, desc2, conf1, conf2, subsample, combine):
    forward = reciprocal_matches(desc1, desc2, subsample)
    backward = reciprocal_matches(desc2, desc1, subsample)[::-1]
    return [(a, b, combine(_at(conf1, a), _at(conf2, b))) for a, b in (forward, backward)]


def symmetric_matches(pair12, pair21, subsample: int = 8):
    """Matches of both orders of a pair, merged; confidence = geometric mean.

    pair12 and pair21: (desc of image 1, desc of image 2, conf of image 1, conf of image 2), as predicted with
    image 1 first and with image 2 first. Returns pixels (K,2), (K,2) and confidence (K,).
    """

    def mean(a, b):
        return (a * b).sqrt()

    found = [m for pair in (pair12, pair21) for m in _seeded_both_ways(*pair, subsample, mean)]
    return _merge(found, pair12[0].shape[1], pair12[1].shape[1])
