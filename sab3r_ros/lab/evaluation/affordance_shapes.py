"""Affordance figures on household shapes that no training has seen, whole and from one side."""

import time
from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.affordance.pipeline import RegionRequest, affordance_regions
from sab3r_ros.affordance.regions import AffordanceRegion
from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.lab.evaluation.affordance import laso_metrics
from sab3r_ros.lab.evaluation.metrics import percent
from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.lab.training.affordance_data import HouseholdShapes

_REQUEST = RegionRequest(max_regions=3, max_grasps=1)
_ON_OBJECT = 0.005  # metres


def part_first(points: np.ndarray, regions: list[AffordanceRegion], target: np.ndarray) -> bool:
    """Whether the best region's centroid lies on the affording part: the object's point nearest to it is one of that part.

    points (N,3), target (N,) in [0, 1]; False where there is no region.
    """
    asked = [region for region in regions if not region.fallback]  # what holds better is another question
    return bool(asked) and bool(target[cKDTree(points).query(asked[0].centroid)[1]] >= 0.5)


def evaluate_affordance(
    segmenter: AffordanceSegmenter, shapes: int = 200, first: int = 0, report: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Figures by the peers' protocol over `shapes` held-out shapes from number `first` on, whole, and as many from one side.

    *_whole, *_partial: aiou, auc (percent), sim, mae (fractions); top1_part_* (percent); grasp_* (percent of answers
    with a grasp that fits the gripper); grasp_on_object_* (percent of these whose contacts lie within 5 mm of the true
    surface). Questions are of wordings that no training has seen; half of the clouds have a map's noise and holes.
    *_image: whole shapes asked by an image alone, where the checkpoint takes one.
    """
    started = time.perf_counter()
    seed = HELD_OUT_SEEDS[first]
    sources = {"whole": HouseholdShapes(shapes, seed, 0.0), "partial": HouseholdShapes(shapes, seed + 50_000, 1.0)}
    if segmenter.checkpoint.image is not None:
        sources["image"] = HouseholdShapes(shapes, seed, 0.0, with_image=1.0)
    figures: dict[str, float] = {}
    for name, source in sources.items():
        figures |= {f"{k}_{name}": v for k, v in _metrics(segmenter, source, report).items()}
    return figures | {"shapes": shapes, "seconds": time.perf_counter() - started}


def _metrics(segmenter, source: HouseholdShapes, report) -> dict[str, float]:
    scores, targets, right, on_object = [], [], [], []
    for k in range(len(source)):
        report()
        shape, cloud = source.object_and_cloud(k)
        sample = source.questions_about(cloud, np.random.default_rng([k, 47]))[0]
        image = sample.image if isinstance(sample.image, np.ndarray) else None
        if source.with_image and image is None:
            continue
        asked = "" if source.with_image else sample.question
        answer = affordance_regions(segmenter, cloud.points, asked, _REQUEST, cloud.viewpoint, image=image)
        scores.append(answer.scores.astype(np.float64))
        targets.append(sample.target.astype(np.float64))
        right.append(part_first(cloud.points, answer.regions, sample.target))
        grasps = [grasp for region in answer.regions for grasp in region.grasps]
        if grasps:
            best = max(grasps, key=lambda g: g.score)
            on_object.append(bool(shape.distance(best.contacts).max() <= _ON_OBJECT))
    return laso_metrics(scores, targets) | {
        "top1_part": percent(right), "grasp": 100 * len(on_object) / max(len(scores), 1), "grasp_on_object": percent(on_object),
    }  # fmt: skip
