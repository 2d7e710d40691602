"""Affordance figures on household shapes that no training has seen, whole and from one side."""

import time
from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.affordance.regions import find_regions
from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.affordance.surface import estimate_normals
from sab3r_ros.evaluation.affordance import peer_figures
from sab3r_ros.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.training.affordance_data import HouseholdShapes


def right_part_first(points: np.ndarray, scores: np.ndarray, target: np.ndarray, min_score: float = 0.4) -> bool:
    """Whether the best region's centroid lies on the affording part: the object's point nearest to it is one of that part.

    False where no region is found.
    """
    regions = find_regions(points, estimate_normals(points), scores, min_score)
    return bool(regions) and bool(target[cKDTree(points).query(regions[0].centroid)[1]] >= 0.5)


def evaluate_affordance(
    segmenter: AffordanceSegmenter, shapes: int = 200, report: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Figures by the peers' protocol over `shapes` held-out shapes whole, and as many seen from one side.

    *_whole, *_partial: aiou, auc (percent), sim, mae (fractions); right_part_* (percent). Questions are of wordings
    that no training has seen; half of the clouds have a map's noise and holes.
    """
    started = time.perf_counter()
    figures: dict[str, float] = {}
    for name, one_sided in (("whole", 0.0), ("partial", 1.0)):
        source = HouseholdShapes(shapes, HELD_OUT_SEEDS.start + (50_000 if one_sided else 0), one_sided)
        scores, targets, right = [], [], []
        for k in range(shapes):
            sample = source.sample(k, np.random.default_rng([k, 47]))
            scores.append(segmenter.score(sample.points, sample.question).astype(np.float64))
            targets.append(sample.target.astype(np.float64))
            right.append(right_part_first(sample.points, scores[-1], sample.target))
            report()
        figures |= {f"{k}_{name}": v for k, v in peer_figures(scores, targets).items()}
        figures[f"right_part_{name}"] = 100 * float(np.mean(right))
    return figures | {"shapes": shapes, "seconds": time.perf_counter() - started}
