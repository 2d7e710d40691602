"""Figures on groups of a few views of household rooms that no training has seen, and on words it was not given as labels."""

import time
from collections.abc import Callable

import numpy as np

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.depth import abs_rel
from sab3r_ros.lab.evaluation.map_and_locate import LabelScore, score_map
from sab3r_ros.lab.evaluation.map_and_locate_groups import room_views
from sab3r_ros.lab.evaluation.metrics import percent
from sab3r_ros.lab.evaluation.poses import relative_pose_hits, wide_baseline_pairs
from sab3r_ros.lab.evaluation.stream import keeping_every_view
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.models.base import Backend
from sab3r_ros.models.preprocess import fitted_nearest
from sab3r_ros.query.map_query import MapQuery

# Words for labelled things that are no labels themselves and stand in no table of the training.
SYNONYMS = {
    "couch": "sofa", "settee": "sofa", "loveseat": "sofa", "cup": "mug", "fridge": "refrigerator", "icebox": "refrigerator",
    "tap": "faucet", "tv": "television", "telly": "television", "bookshelf": "shelves", "dustbin": "trash can", "ashcan": "trash can",
    "carpet": "rug", "skillet": "pan", "saucepan": "pan", "handbag": "bag", "purse": "bag", "cap": "hat", "pail": "bucket",
    "cellphone": "phone", "painting": "picture", "armchair": "chair", "washbasin": "sink", "commode": "toilet", "earphone": "headphones",
    "shears": "scissors", "mallet": "hammer", "teakettle": "kettle", "wardrobe": "cabinet", "saucer": "plate", "urn": "vase",
    "drape": "curtain", "notebook computer": "laptop", "office chair": "chair", "coffee mug": "mug", "desk lamp": "lamp",
    "kitchen table": "table", "cardboard box": "box", "potted plant": "plant", "wine bottle": "bottle",
}  # fmt: skip


def synonym_accuracy(query: MapQuery) -> float:
    """Percent of SYNONYMS whose nearest label, among all of the household's, is the right one."""
    labels = query.embed(LABELS)
    nearest = (query.embed(list(SYNONYMS)) @ labels.T).argmax(1).tolist()
    return 100 * float(np.mean([LABELS[k] == label for k, label in zip(nearest, SYNONYMS.values(), strict=True)]))


def evaluate_household(
    settings: Settings,
    backend: Backend,
    query: MapQuery,
    groups: int = 48,
    first: int = 0,
    report: Callable[[], None] = lambda: None,
) -> dict:
    """Figures over `groups` groups, from number `first` on, of 2, 3 and 4 views in turn, each of a room of its own.

    rra15, rta15 (percent, over all pairs at least 15 degrees or 0.25 m apart with 30 % overlap), abs_rel (median-scaled,
    mean over views), miou and acc (percent; Map and Locate, aligned by the first view), synonym_top1 (percent).
    """
    started = time.perf_counter()
    every = keeping_every_view(settings)
    query.set_vocabulary(LABELS)
    score, rotation, direction, depths = LabelScore(len(LABELS)), [], [], []
    lost = 0
    for k in range(first, first + groups):
        group = room_views(k)
        mapper = Mapper(every, backend)
        run = map_stream(mapper, group.frames())
        lost += sum(p is None for p in run.poses)
        hits = relative_pose_hits(run.poses, [v.cam2world for v in group.views], wide_baseline_pairs(group.views))
        rotation += hits[0]
        direction += hits[1]
        for result, view in zip(run.results, group.views, strict=True):
            if result is not None and result.depth is not None:
                depths.append(abs_rel(result.depth, fitted_nearest(view.depth, backend.geometry)))
        score_map(score, mapper, query, run, group.views, group.labels)
        report()
    return {
        "rra15": percent(rotation), "rta15": percent(direction), "abs_rel": float(np.nanmean(depths)), **score.metrics(),
        "synonym_top1": synonym_accuracy(query), "pairs": len(rotation), "lost_views": lost, "seeds": groups,
        "seconds": time.perf_counter() - started,
    }  # fmt: skip
