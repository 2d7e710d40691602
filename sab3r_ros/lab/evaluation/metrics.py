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
