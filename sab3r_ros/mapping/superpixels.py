"""Superpixels, and features pooled over them.

A network's features change slowly over the image and err pixel by pixel; the edges of things are in the image itself. Pooling
over superpixels gives each of them one feature that ends where it ends. The superpixels are those of Felzenszwalb and
Huttenlocher (IJCV 2004): two regions A and B are joined over an edge of weight w, lightest edges first, where
w <= min(Int(A) + k / |A|, Int(B) + k / |B|), Int being the largest weight inside. Only edges of the minimum spanning tree are
looked at, which SciPy finds: all others lie within a region or are heavier than one that was refused before.
"""

import cv2
import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

_LONG_SIDE = 160  # pixels of the image that is segmented: superpixels need no finer edges than voxels have
_SCALE = 100.0 / 255  # k in grey levels of [0, 1]: larger superpixels the larger it is
_BLUR = 0.5  # pixels
_SMALLEST = 300  # superpixels of the smallest size that would fill the image
_LEAST_WEIGHT = 1e-6  # a sparse matrix takes zeros for missing edges


def segment_superpixels(rgb: np.ndarray) -> np.ndarray:
    """The superpixel's number (h,w) int64 of each pixel of an image (h,w,3) uint8, from 0 without gaps."""
    height, width = rgb.shape[:2]
    shrink = min(1.0, _LONG_SIDE / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = cv2.GaussianBlur(
        cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255, (0, 0), _BLUR
    )
    count = small[..., 0].size
    region = _join(*_spanning_edges(small), count, max(1, count // _SMALLEST)).reshape(small.shape[:2])
    return cv2.resize(region, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.int64)


def pool_over_superpixels(features: Tensor, superpixels: np.ndarray) -> Tensor:
    """Features (h,w,C) of pixels, brought to length 1, replaced by the mean of their superpixel; superpixels (h,w) int64."""
    unit = torch.nn.functional.normalize(features.float().flatten(0, 1), dim=-1)
    number = torch.from_numpy(superpixels).flatten().to(unit.device)
    total = torch.zeros(int(number.max()) + 1, unit.shape[1], device=unit.device).index_add_(0, number, unit)
    return torch.nn.functional.normalize(total, dim=-1)[number].reshape(features.shape)


def _spanning_edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges (E,2) of the minimum spanning tree of an image's pixels, eight neighbours to each, and their weights (E,): the
    distance in colour; by weight."""
    height, width = image.shape[:2]
    number = np.arange(height * width, dtype=np.int32).reshape(height, width)
    rows, columns, weights = [], [], []
    for a, b in (
        (np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:]), (np.s_[:-1, :-1], np.s_[1:, 1:]), (np.s_[1:, :-1], np.s_[:-1, 1:]),
    ):  # fmt: skip
        rows.append(number[a].ravel())
        columns.append(number[b].ravel())
        weights.append(np.sqrt(np.square(image[a] - image[b]).sum(-1)).ravel())
    weight = np.maximum(np.concatenate(weights), _LEAST_WEIGHT)
    graph = coo_matrix((weight, (np.concatenate(rows), np.concatenate(columns))), shape=(number.size, number.size))
    tree = minimum_spanning_tree(graph.tocsr()).tocoo()
    order = np.argsort(tree.data, kind="stable")
    return np.stack([tree.row, tree.col], 1)[order], tree.data[order]


def _join(edges: np.ndarray, weight: np.ndarray, count: int, smallest: int) -> np.ndarray:
    """The region (count,) int32 of each pixel, from 0: joined by the criterion, edge by edge; then small ones with their
    nearest."""
    parent, size = list(range(count)), [1] * count
    bound = [_SCALE] * count  # Int(A) + k / |A|

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = k = parent[parent[k]]
        return k

    left = []
    for a, b, w in zip(*edges.T.tolist(), weight.tolist(), strict=True):
        if parent[a] != a:  # most pixels are roots when they come, and a call costs more than the look
            a = root(a)
        if parent[b] != b:
            b = root(b)
        if w <= bound[a] and w <= bound[b]:
            parent[b] = a
            size[a] += size[b]
            bound[a] = w + _SCALE / size[a]  # edges come by weight: this one is the largest inside
        else:
            left.append((a, b))
    for a, b in left:
        a, b = root(a), root(b)
        if min(size[a], size[b]) < smallest:
            parent[b] = a
            size[a] += size[b]
    roots = np.array(parent)
    while (roots[roots] != roots).any():
        roots = roots[roots]
    number = np.cumsum(roots == np.arange(count), dtype=np.int32) - 1
    return number[roots]
