"""Means of figures of which some may be missing."""

from collections.abc import Iterable, Sequence

import numpy as np


def finite_mean(values: Iterable[float]) -> float:
    """The mean of what is finite; nan where nothing is."""
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")


def root_mean_square(values: np.ndarray) -> float:
    """The root of the mean square of values (N,)."""
    return float(np.sqrt((values**2).mean()))


def percent(hits: Sequence[bool]) -> float:
    """Share of true ones in percent; nan of none."""
    return 100 * float(np.mean(hits)) if hits else float("nan")


def calibration_error(scored: Sequence[tuple[float, bool]], bins: int = 10) -> float:
    """Expected calibration error (Naeini et al. 2015) of (probability, whether it came true)."""
    scores, true = np.array([s for s, _ in scored]), np.array([float(o) for _, o in scored])
    index = np.minimum((scores * bins).astype(int), bins - 1)
    return float(
        sum(abs(true[index == k].mean() - scores[index == k].mean()) * (index == k).mean() for k in np.unique(index))
    )


def area_under_roc(scores: np.ndarray, true: np.ndarray) -> float:
    """Chance that a true one scores higher than a false one, ties counted half; nan where either kind is missing.

    scores (N,), true (N,) bool. Mann and Whitney's U over its maximum.
    """
    positive, negative = np.asarray(scores)[true], np.sort(np.asarray(scores)[~np.asarray(true)])
    if not len(positive) or not len(negative):
        return float("nan")
    below = np.searchsorted(negative, positive, "left")
    equal = np.searchsorted(negative, positive, "right") - below
    return float((below + equal / 2).mean() / len(negative))
