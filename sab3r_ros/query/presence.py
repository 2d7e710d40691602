"""From scores to a probability that a thing is in the map, and to an answer one can act on.

A score of 0.06 means nothing to a planner, and another thing under another network. So what speaks for a candidate (its
`evidence`) goes through a logistic model that was fitted, for one checkpoint, on rooms where it is known what is there
(`sab3r calibrate`; scikit-learn's logistic regression). Without such a file the evidence is measured against words for things
that no room has: how far above the answers to those does this one lie?
"""

import json
import logging
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import torch

from sab3r_ros.files import write_json
from sab3r_ros.query.relevancy import largest

_log = logging.getLogger(__name__)
FILE = "presence.json"
FORMAT = "sab3r_presence"
# What speaks for a candidate: `evidence` gives them in this order.
EVIDENCE = ("map_margin", "map_relevancy", "map_cosine", "relevancy", "best_relevancy", "margin", "views", "size")
_LARGE = 300  # voxels: more of them speak no louder
_TOP = 20  # voxels whose mean stands for the best of a map
# Things that no room has, and whose words are far from those for what rooms have.
NULL_WORDS = (
    "volcano", "giraffe", "submarine", "glacier", "helicopter", "waterfall", "steam locomotive", "elephant", "lighthouse",
    "skyscraper", "roller coaster", "whale", "desert", "space shuttle", "castle", "tractor", "crocodile", "coral reef",
    "wind turbine", "suspension bridge", "penguin", "oil rig", "cathedral", "fighter jet",
)  # fmt: skip


class Verdict(IntEnum):
    """Whether a thing is in the map; the values are those of the message."""

    PRESENT = 0
    ABSENT = 1
    UNSEEN = 2


@dataclass(frozen=True)
class Presence:
    """Whether a thing is in the map.

    probability: that it is among what was seen; explored: share of the room that was looked at, in [0, 1], nan where nobody
    knows; calibrated: whether `probability` was fitted for this network.
    """

    prompt: str
    verdict: Verdict
    probability: float
    explored: float
    calibrated: bool

    def in_words(self) -> str:
        """One sentence."""
        if self.verdict == Verdict.PRESENT:
            return f"{self.prompt}: present ({self.probability:.0%})"
        seen = (
            f"{self.explored:.0%} of the room was looked at"
            if np.isfinite(self.explored)
            else "nobody knows how much was seen"
        )
        if self.verdict == Verdict.UNSEEN:
            return f"{self.prompt}: not seen so far ({self.probability:.0%}); {seen}"
        return f"{self.prompt}: absent ({self.probability:.0%} that it is there); {seen}"


@dataclass(frozen=True)
class Calibration:
    """A logistic model of presence.

    mean, scale, weights (E,): of EVIDENCE; bias; prior: share of the questions it was fitted on whose thing was there.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float
    prior: float

    def probability(self, evidence: np.ndarray, prior: float = 0.0) -> np.ndarray:
        """Probabilities (K,) of candidates with evidence (K,E). prior: of the questions asked; 0 = that of the fit."""
        logit = ((evidence - self.mean) / self.scale) @ self.weights + self.bias
        if prior:
            logit = logit + _logit(prior) - _logit(self.prior)
        return 1 / (1 + np.exp(-np.clip(logit, -30, 30)))

    def save(self, folder: Path, model: str, notes: dict) -> Path:
        """Write it beside the weights of a model, named by its id."""
        path = Path(folder) / FILE
        content = {
            "format": FORMAT,
            "version": 1,
            "model": model,
            "evidence": list(EVIDENCE),
            "prior": self.prior,
            "bias": self.bias,
        }
        content |= {name: [round(float(v), 6) for v in getattr(self, name)] for name in ("mean", "scale", "weights")}
        write_json(path, content | {"notes": notes})
        return path


def load_calibration(folder: Path | None, model: str) -> Calibration | None:
    """That of a checkpoint's folder; None where there is none, or one of another model than `model`.

    Raises ValueError for a file that cannot be used.
    """
    path = None if folder is None else Path(folder) / FILE
    if path is None or not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        mean, scale, weights = (np.array(content[name], float) for name in ("mean", "scale", "weights"))
        usable = content["format"] == FORMAT and content["evidence"] == list(EVIDENCE)
        made = Calibration(mean, scale, weights, float(content["bias"]), float(content["prior"]))
        of_model = str(content["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no calibration of presence: {type(error).__name__}: {error}; make it again with `sab3r calibrate`"
        ) from error
    if not usable or any(a.shape != (len(EVIDENCE),) for a in (mean, scale, weights)):
        raise ValueError(f"{path} is of another version; make it again with `sab3r calibrate`")
    if of_model != model:
        _log.warning("%s was fitted for %s, not for %s: probabilities are not calibrated", path, of_model, model)
        return None
    return made


def relative_evidence(evidence: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Evidence (K,E) in standard deviations above the `map_evidence` (W,3) of NULL_WORDS on the same map."""
    mean, spread = null.mean(0), np.maximum(null.std(0), 1e-3)
    reference = [0, 1, 2, 1, 1, 0]  # an object's relevancy against the map's best, its margin likewise
    out = evidence.copy()
    out[:, :6] = (evidence[:, :6] - mean[reference]) / spread[reference]
    return out


def map_evidence(relevancy: np.ndarray, margin: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """The first three of EVIDENCE (3,), from the scores (N,) of all voxels for one prompt."""
    return np.array([_top_mean(margin), np.log(_top_mean(relevancy) + 1e-4), _top_mean(cosine)])


def object_evidence(relevancy: np.ndarray, margin: np.ndarray, views: np.ndarray) -> np.ndarray:
    """The other five of EVIDENCE (5,), from the scores (M,) and the number of views (M,) of a candidate's voxels."""
    return np.array([
        np.log(relevancy.mean() + 1e-4), np.log(np.quantile(relevancy, 0.9) + 1e-4), margin.mean(), np.log(views.mean() + 0.5),
        np.log(min(len(views), _LARGE)),
    ])  # fmt: skip


def decide(
    prompt: str, probability: float, found: bool, explored: float, calibrated: bool, least_explored: float
) -> Presence:
    """PRESENT where something was found; else ABSENT where at least `least_explored` of the room was looked at, else UNSEEN."""
    missing = Verdict.ABSENT if explored >= least_explored else Verdict.UNSEEN  # nan is never enough
    verdict = Verdict.PRESENT if found else missing
    return Presence(prompt, verdict, float(probability), float(explored), calibrated)


def _top_mean(values: np.ndarray) -> float:
    count = min(_TOP, len(values))
    return float(largest(torch.from_numpy(values), count).double().mean()) if count else 0.0


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


# What evidence relative to NULL_WORDS is worth, for networks that nobody calibrated: `fit_presence(..., relative=True)` of
# the default weights' answers in the same rooms as presence.json.
RELATIVE = Calibration(
    np.array([4.039, 4.207, 4.670, 3.755, 4.136, 3.175, 0.605, 4.729]),
    np.array([3.567, 3.283, 5.834, 3.023, 3.248, 3.147, 0.207, 1.062]),
    np.array([0.385, -0.410, 0.089, 0.285, -0.082, 0.605, 0.055, 0.797]),
    -1.999, 0.163,
)  # fmt: skip
