"""Smooth corrections of depth: bilinear between the nodes of a coarse grid over the image, as logarithms of factors."""

import numpy as np

ROWS, COLUMNS = 6, 8  # nodes


def basis(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Weights (N, ROWS * COLUMNS) of the nodes at pixels (N,2) as (x, y) of an image of size (width, height)."""
    across, down = (_hats(x, n, nodes) for x, n, nodes in zip(np.transpose(pixels), size, (COLUMNS, ROWS), strict=True))
    return (down[:, :, None] * across[:, None, :]).reshape(len(pixels), ROWS * COLUMNS)


def correction_factors(correction: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Factors (h,w) float32 of depth from a correction (ROWS, COLUMNS)."""
    h, w = shape
    down, across = _hats(np.arange(h), h, ROWS), _hats(np.arange(w), w, COLUMNS)
    return np.exp(down @ correction @ across.T).astype(np.float32)


def _hats(places: np.ndarray, pixels: int, nodes: int) -> np.ndarray:
    """Weights (N, nodes) of nodes that stand evenly from the first pixel to the last; beyond these, of the outermost one."""
    place = np.clip(places / max(pixels - 1, 1), 0, 1) * (nodes - 1)
    return np.clip(1 - np.abs(place[:, None] - np.arange(nodes)), 0, None)
