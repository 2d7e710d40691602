"""Affordance figures on scanned objects: whole, and as seen from twelve sides."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sab3r_ros.affordance.pipeline import AffordanceAnswer, RegionRequest, affordance_regions
from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.geometry.groups import perpendicular
from sab3r_ros.lab.evaluation.affordance import laso_metrics
from sab3r_ros.lab.evaluation.affordance_shapes import part_first
from sab3r_ros.lab.evaluation.metrics import finite_mean
from sab3r_ros.lab.synthetic.object_renderer import directions_around
from sab3r_ros.lab.synthetic.questions import question
from sab3r_ros.lab.training.affordance_data import LEAST_POINTS, POINTS

VIEWS = 12


@dataclass
class Scan:
    """points, normals (N,3) metres, z up; affordances: name to (N,) bool."""

    name: str
    points: np.ndarray
    normals: np.ndarray
    affordances: dict[str, np.ndarray]


def read_scan(path: Path) -> Scan:
    """An .npz file with `points`, `normals` and one array `affordance/NAME` per affordance. Raises ValueError."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            marks = {k.removeprefix("affordance/"): arrays[k] for k in arrays.files if k.startswith("affordance/")}
            scan = Scan(
                path.stem.replace("_", " "), arrays["points"].astype(float), arrays["normals"].astype(float), marks
            )
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"cannot read a scan from {path}: {error}") from error
    if not marks or any(len(m) != len(scan.points) for m in marks.values()):
        raise ValueError(f"{path} has no affordance/NAME array of the length of its points")
    return scan


def visible_from(points: np.ndarray, normals: np.ndarray, direction: np.ndarray, cells: int = 90) -> np.ndarray:
    """Which points (N,3) a far camera in `direction` (3,) sees: rows, by a depth buffer of `cells` along the longest side."""
    x = perpendicular(direction)
    flat = np.stack([points @ x, points @ np.cross(direction, x)], 1)
    cell = max(float(np.ptp(flat, axis=0).max()) / cells, 1e-9)
    _, inverse = np.unique(np.floor(flat / cell).astype(int), axis=0, return_inverse=True)
    height = points @ direction
    front = np.full(inverse.max() + 1, -np.inf)
    np.maximum.at(front, inverse.ravel(), height)
    return np.flatnonzero((height > front[inverse.ravel()] - 2 * cell) & (normals @ direction > 0.05))


def evaluate_scan(
    segmenter: AffordanceSegmenter,
    scan: Scan,
    seed: int = 0,
    draw: Callable[[str, np.ndarray, AffordanceAnswer, str], None] = lambda *_: None,
) -> dict[str, dict[str, float]]:
    """Figures by the peers' protocol per affordance: aiou, auc (percent) and top1_part (percent), *_whole and *_partial.

    *_partial are means over the `views` of the twelve sides that show the part at all. Questions are of wordings that
    no training has seen. draw gets a name, points, the answer and a title for every cloud.
    """  # fmt: skip
    rng = np.random.default_rng([seed, 59])
    clouds = [("whole", np.arange(len(scan.points)), None)]
    far = 10 * np.linalg.norm(np.ptp(scan.points, axis=0))
    for k, direction in enumerate(directions_around(VIEWS, rng)):
        clouds.append((f"view{k:02d}", visible_from(scan.points, scan.normals, direction), far * direction))
    clouds = [(name, rng.permutation(rows)[:POINTS], eye) for name, rows, eye in clouds]
    out = {}
    for affordance, mask in scan.affordances.items():
        asked = question(scan.name, affordance, rng, held_out=True)
        scores, targets, right = [], [], []
        for name, rows, eye in clouds:
            target = mask[rows].astype(float)
            if target.sum() < LEAST_POINTS:
                continue
            points = scan.points[rows]
            answer = affordance_regions(segmenter, points, asked, RegionRequest(max_grasps=0), eye)
            draw(f"{scan.name}_{affordance}_{name}".replace(" ", "_"), points, answer, asked)
            scores.append(answer.scores.astype(float))
            targets.append(target)
            right.append(part_first(points, answer.regions, target))
        whole, partial = laso_metrics(scores[:1], targets[:1]), laso_metrics(scores[1:], targets[1:])
        out[affordance] = {
            **{f"{k}_whole": whole[k] for k in ("aiou", "auc")}, "top1_part_whole": 100.0 * right[0],
            **{f"{k}_partial": partial[k] for k in ("aiou", "auc")}, "top1_part_partial": 100 * finite_mean(right[1:]),
            "views": len(right) - 1,
        }  # fmt: skip
    return out
