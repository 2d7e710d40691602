"""Fits the probability of presence of a checkpoint: a logistic model of the evidence, on maps of which it is known what is there."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from sab3r_ros.lab.evaluation.presence import Asked
from sab3r_ros.query.presence import Calibration

_LEAST_SEEN = 0.005  # share of the pixels: of what was seen less, nobody can say
_STRENGTH = 0.05  # inverse of the regularisation: the evidence is correlated, and other rooms are not these
_FEWEST = 20  # questions of either kind


def fit_presence(asked: Sequence[Asked], relative: bool = False, least_share: float = _LEAST_SEEN) -> Calibration:
    """The calibration of a network from questions to its maps.

    relative: to words for absent things, for networks without a calibration of their own. Questions without any candidate say
    nothing: they are answered with 0. Raises ValueError for too few questions.
    """
    mine = [a for a in asked if a.evidence is not None and (not a.there or a.share >= least_share)]
    true = np.array([a.there for a in mine], bool)
    if true.sum() < _FEWEST or (~true).sum() < _FEWEST:
        raise ValueError(
            f"{true.sum()} questions for things that are there and {(~true).sum()} for things that are not are too few: "
            f"at least {_FEWEST} of each are needed"
        )
    evidence = np.stack([a.relative if relative else a.evidence for a in mine])
    mean, scale = evidence.mean(0), np.maximum(evidence.std(0), 1e-6)
    model = LogisticRegression(C=_STRENGTH, max_iter=5000).fit((evidence - mean) / scale, true)
    return Calibration(mean, scale, model.coef_[0], float(model.intercept_[0]), float(true.mean()))
