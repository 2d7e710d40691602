"""How likely an object comes up in a hand that fits: a logistic model of what the hand holds, learnt in physics."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

_FILE = Path(__file__).resolve().parents[1] / "assets" / "grasp_score.json"
_CONE = 0.8  # cosine: surfaces turned farther from the closing direction slip
CONTACT = 0.005  # metres: points this near to the outermost ones are touched
_STRIPS = 4  # of a finger's face along each of its sides, in which the surface that it meets is looked for
_MET = 2  # points of a strip that tell where the surface is
_FLATTEST, _STEEPEST = 3, 3.0  # strips that tell a slope; the largest slope that is told apart
_SLIPS = 0.7  # slope of a surface against a finger's face from which on it slips: the friction of rubber on most things
FEATURES = (
    "cone", "facing", "facing_worse", "depth", "patch", "cover", "count", "met", "touched", "wedge_across", "wedge_along", "narrows",
    "turn_across", "turn_along", "steepest", "slips", "bumps", "arm", "arm_squared", "arm_across", "arm_along", "down", "side", "width",
    "width_squared", "tight", "thin", "extent", "height", "above", "filled", "noise", "size", "facing_squared",
)  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """What hands are looked at for: middle (3,) and sides (3,) of the object in metres, z up; foot: height of what it stands on;
    noise: standard deviation of its points across the surface, metres."""

    middle: np.ndarray
    sides: np.ndarray
    foot: float
    noise: float


def features_of(
    own: np.ndarray, normals: np.ndarray, filled: int, width: float, depth: float, rotation: np.ndarray, tips: np.ndarray, spare: float,
    thing: Thing, finger: tuple[float, float],
) -> np.ndarray:  # fmt: skip
    """What is known of a hand with points between its fingers, (len(FEATURES),).

    own (N,3): these points in the hand's frame, y about the middle; normals (N,): their component along the closing direction;
    filled: points between them that are inside the object; rotation (3,3) and tips (3,): the hand's; spare: metres that it opens
    beyond the width; finger: width and length of its face, metres.
    """
    left, right = own[:, 1] < -width / 2 + CONTACT, own[:, 1] > width / 2 - CONTACT
    faces, cones = [], []
    for sign, side in ((-1, left), (1, right)):
        towards = sign * normals[side] if side.any() else np.zeros(1)
        faces.append(float(np.clip(towards, 0, 1).mean()))
        cones.append(float((towards > _CONE).mean()))
    slopes = np.array([_met_surface(own, sign, width, finger) for sign in (-1, 1)])  # (2,5)
    # Left and right slopes are of y: faces that are parallel have the same. A wedge along is wider towards the tips.
    across, along = slopes[1, :2] - slopes[0, :2]
    turn_across, turn_along = np.abs(slopes[:, :2].mean(0))
    steepest = float(np.hypot(slopes[:, 0], slopes[:, 1]).max())
    off = (thing.middle - tips) @ rotation
    arm, down = min(float(np.hypot(off[0], off[1])) / 0.08, 2), -rotation[2, 2]
    patch, cover = (min(_spread(own[left, k]), _spread(own[right, k])) for k in (2, 0))
    size = float(np.cbrt(np.prod(np.maximum(thing.sides, 1e-3))))
    facing = float(np.mean(faces))
    return np.array(
        [
            min(cones), facing, min(faces), min(depth / 0.04, 1), min(patch / 0.02, 1), min(cover / 0.02, 1),
            min(left.sum(), right.sum(), 20) / 20, slopes[:, 3].min(), slopes[:, 4].min(), min(abs(across), 1.5), np.clip(along, -1, 1),
            np.clip(-along, 0, 1), min(turn_across, 1), min(turn_along, 1), min(steepest, 1.5), np.clip(steepest - _SLIPS, 0, 1),
            min(slopes[:, 2].max() / 0.005, 2), arm, arm**2, min(abs(off[0]) / 0.08, 2), min(abs(off[2]) / 0.08, 2), down, float(down < 0.3),
            width / 0.085, (width / 0.085) ** 2, max(0, 1 - spare / 0.012), float(width < 0.006),
            min(float(np.linalg.norm(thing.sides)) / 0.3, 1.5), np.clip((tips[2] - thing.foot) / 0.02, 0, 1),
            np.clip((thing.middle[2] - tips[2]) / 0.05, -1, 1.5), min(filled, 20) / 20, min(thing.noise / 0.003, 1.5), min(size / 0.1, 1.5),
            facing**2,
        ]
    )  # fmt: skip


def _met_surface(own: np.ndarray, sign: int, width: float, finger: tuple[float, float]) -> np.ndarray:
    """The surface that one finger meets: slopes of y over x and over z (z grows towards the tips), root mean square distance in
    metres from the plane with these slopes, share of the finger's face that meets anything, and share that is touched.

    The plane goes through the outermost points of strips of the finger's face: normals of single points tell nothing where they
    scatter by millimetres.
    """
    across = np.clip(((own[:, 0] / finger[0] + 0.5) * _STRIPS).astype(int), 0, _STRIPS - 1)
    along = np.clip((-own[:, 2] / finger[1] * _STRIPS).astype(int), 0, _STRIPS - 1)
    strip = across * _STRIPS + along
    outward = sign * own[:, 1]
    order = np.lexsort((-outward, strip))
    starts = np.searchsorted(strip[order], np.arange(_STRIPS**2))
    counts = np.bincount(strip, minlength=_STRIPS**2)
    # The second outermost: one stray point is no surface. Strips that the other side alone reaches are not met.
    rows = order[np.minimum(starts + _MET - 1, len(order) - 1)]
    met = (counts >= _MET) & (outward[rows] > 0)
    rows = rows[met]
    if len(rows) < _FLATTEST:
        return np.array([0.0, 0.0, 0.02, len(rows) / _STRIPS**2, 0.0])
    flat = np.column_stack([own[rows, 0], own[rows, 2], np.ones(len(rows))])
    # Little is known of a slope that few strips tell: it is held towards zero.
    held = np.diag([1e-5, 1e-5, 0])
    plane = np.linalg.solve(flat.T @ flat + held, flat.T @ own[rows, 1])
    bumps = float(np.sqrt(np.square(flat @ plane - own[rows, 1]).mean()))
    slopes = np.clip(plane[:2], -_STEEPEST, _STEEPEST)
    touched = float((outward[rows] > width / 2 - CONTACT).sum() / _STRIPS**2)
    return np.array([*slopes, bumps, len(rows) / _STRIPS**2, touched])


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
