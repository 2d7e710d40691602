"""Depth accuracy."""

import numpy as np


def abs_rel(depth: np.ndarray, truth: np.ndarray, max_depth: float = np.inf, align: bool = True) -> float:
    """Mean of |d - t| / t over pixels with truth; both (H,W) metres, invalid = 0 or NaN.

    align: first scale the prediction so that the medians agree. nan where there is no truth.
    """
    pair = _compared(depth, truth, max_depth, align)
    return float("nan") if pair is None else float(np.mean(np.abs(pair[0] - pair[1]) / pair[1]))


def delta_1_25(depth: np.ndarray, truth: np.ndarray, max_depth: float = np.inf, align: bool = True) -> float:
    """Percent of pixels with truth whose depth is within a factor of 1.25 of it; otherwise as `abs_rel`."""
    pair = _compared(depth, truth, max_depth, align)
    return (
        float("nan") if pair is None else 100 * float(np.mean(np.maximum(pair[0] / pair[1], pair[1] / pair[0]) < 1.25))
    )


def _compared(
    depth: np.ndarray, truth: np.ndarray, max_depth: float, align: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Depths and truths (N,) of the pixels that have both; None where there is none."""
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(truth) & (truth > 0) & (truth <= max_depth) & np.isfinite(depth) & (depth > 0)
    if not valid.any():
        return None
    d, t = depth[valid].astype(np.float64), truth[valid].astype(np.float64)
    return (d * (np.median(t) / np.median(d)) if align else d), t
