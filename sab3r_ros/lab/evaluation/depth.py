"""Depth accuracy."""

import numpy as np


def abs_rel(depth: np.ndarray, truth: np.ndarray, max_depth: float = np.inf, align: bool = True) -> float:
    """Mean of |d - t| / t over pixels with truth; both (H,W) metres, invalid = 0 or NaN.

    align: first scale the prediction so that the medians agree. nan where there is no truth.
    """
    valid = np.isfinite(truth) & (truth > 0) & (truth <= max_depth) & np.isfinite(depth) & (depth > 0)
    if not valid.any():
        return float("nan")
    d, t = depth[valid].astype(np.float64), truth[valid].astype(np.float64)
    if align:
        d = d * (np.median(t) / np.median(d))
    return float(np.mean(np.abs(d - t) / t))
