"""How likely an object comes up in a hand that fits: a logistic model of what the hand holds, learnt in physics."""

import json
from functools import cache
from pathlib import Path

import numpy as np

_FILE = Path(__file__).resolve().parents[1] / "assets" / "grasp_score.json"
_CONE = 0.8  # cosine: surfaces turned farther from the closing direction slip
FEATURES = (
    "cone", "facing", "facing_worse", "facing_squared", "depth", "patch", "cover", "arm", "arm_squared", "tilt", "side", "tight", "thin",
    "count", "extent", "width", "width_squared", "low",
)  # fmt: skip


def features_of(
    own: np.ndarray, normals: np.ndarray, width: float, depth: float, arm: float, down: float, max_width: float, extent: float,
    height: float, contact: float,
) -> np.ndarray:  # fmt: skip
    """What is known of a hand with points between its fingers, (len(FEATURES),).

    own (N,3): these points in the hand's frame, y about the middle; normals (N,): their component along the closing direction;
    down: of the approach, 1 = straight down; arm: metres between the approach's line and the middle of the object; extent: of
    the object, height: of the tips over the table or the object's foot, contact: depth of what a finger touches, metres.
    """
    left, right = own[:, 1] < -width / 2 + contact, own[:, 1] > width / 2 - contact
    faces = [
        float(np.clip(sign * normals[side], 0, 1).mean()) if side.any() else 0.0
        for sign, side in ((-1, left), (1, right))
    ]
    cones = [
        float((sign * normals[side] > _CONE).mean()) if side.any() else 0.0 for sign, side in ((-1, left), (1, right))
    ]
    patch = min(_spread(own[left, 2]), _spread(own[right, 2]))
    cover = min(_spread(own[left, 0]), _spread(own[right, 0]))
    facing = float(np.mean(faces))
    far = min(arm / 0.08, 2.0)
    return np.array(
        [
            min(cones), facing, min(faces), facing**2, min(depth / 0.04, 1.0), min(patch / 0.02, 1.0), min(cover / 0.02, 1.0), far, far**2, 1 - down,
            float(down < 0.3), max(0.0, 1 - (max_width - width) / 0.012), float(width < 0.006), min(min(left.sum(), right.sum()) / 20, 1.0),
            min(extent / 0.3, 1.5), width / 0.085, (width / 0.085) ** 2, float(np.clip(height / 0.02, 0, 1)),
        ]
    )  # fmt: skip


def _spread(values: np.ndarray) -> float:
    return float(np.ptp(values)) if len(values) else 0.0


def probability(features: np.ndarray) -> np.ndarray:
    """Estimated probability (F,) of lifting from features (F, len(FEATURES))."""
    weights, start = _model()
    return 1 / (1 + np.exp(-(features @ weights + start)))


@cache
def _model() -> tuple[np.ndarray, float]:
    content = json.loads(_FILE.read_text())
    if tuple(content["features"]) != FEATURES:
        raise ValueError(f"{_FILE} was made for other features")
    return np.array(content["weights"]), float(content["start"])
