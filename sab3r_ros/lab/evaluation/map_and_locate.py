"""Map and Locate (arXiv 2506.02112): every true point takes the label of the nearest predicted one; labels' points lie on the truth's."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.geometry.projection import backproject, transform
from sab3r_ros.lab.evaluation.metrics import finite_mean
from sab3r_ros.lab.evaluation.stream import VOID, GroundTruthView
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import Run
from sab3r_ros.models.base import GeometryModel
from sab3r_ros.models.preprocess import fitted_nearest
from sab3r_ros.query.map_query import MapQuery

_NEAR = 0.1  # metres: the radius of `near`


class LabelScore:
    """Counts true and predicted labels over any number of scenes; labels are numbers below `count`, VOID is left out."""

    def __init__(self, count: int):
        self._confusion = np.zeros((count, count + 1), np.int64)  # the last column: no label predicted

    def add(self, true: np.ndarray, predicted: np.ndarray) -> None:
        """True labels (N,) and predicted ones (N,); a predicted label out of range counts as none."""
        count = len(self._confusion)
        known = (true >= 0) & (true < count)
        guess = np.where((predicted >= 0) & (predicted < count), predicted, count)[known]
        np.add.at(self._confusion, (true[known], guess), 1)

    def merge(self, other: "LabelScore") -> None:
        """Add what another one of the same labels counted."""
        self._confusion += other._confusion

    def iou(self) -> np.ndarray:
        """Per label: correct points over the union of true and predicted ones; nan for a label in neither."""
        hits = np.diagonal(self._confusion).astype(float)
        union = self._confusion.sum(1) + self._confusion[:, :-1].sum(0) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    def metrics(self) -> dict[str, float]:
        """miou over the labels that occur in the truth or the prediction, and acc over all points, in percent."""
        total = self._confusion.sum()
        if not total:
            return {"miou": float("nan"), "acc": float("nan")}
        return {
            "miou": 100 * float(np.nanmean(self.iou())),
            "acc": 100 * float(np.trace(self._confusion[:, :-1]) / total),
        }


class CompletenessScore:
    """How far the points that were given a label lie from the true points of that label, over any number of scenes.

    A label that the scene does not have, or that no point was given, says nothing here: mIoU counts it.
    """

    def __init__(self) -> None:
        self._means: list[float] = []
        self._medians: list[float] = []
        self._near: list[float] = []

    def add(self, truth: np.ndarray, true: np.ndarray, points: np.ndarray, labels: np.ndarray) -> None:
        """True points (N,3) with labels (N,), predicted points (M,3) with labels (M,); one frame, metres."""
        for label in np.unique(true[true != VOID]):
            mine = points[labels == label]
            if len(mine):
                distance = cKDTree(truth[true == label]).query(mine)[0]
                self._means.append(float(distance.mean()))
                self._medians.append(float(np.median(distance)))
                self._near.append(float((distance <= _NEAR).mean()))

    def merge(self, other: "CompletenessScore") -> None:
        """Add what another one measured."""
        self._means += other._means
        self._medians += other._medians
        self._near += other._near

    def metrics(self) -> dict[str, float]:
        """mcomp and mdcomp: mean and median distance (m), less is better; near: percent within 0.1 m, more is better.

        All are means over labels and scenes. The paper prints mComp and mdComp as if more were better, without saying how
        they were turned round: `near` is such a form.
        """
        return {
            "mcomp": finite_mean(self._means),
            "mdcomp": finite_mean(self._medians),
            "near": 100 * finite_mean(self._near),
        }


def true_points(
    views: Sequence[GroundTruthView], labels: Sequence[np.ndarray], step: int = 4, max_depth: float = np.inf
):
    """World points (N,3) and labels (N,) of every `step`-th pixel that has depth and a label other than VOID."""
    points, names = [], []
    for view, label in zip(views, labels, strict=True):
        cloud = transform(view.cam2world, backproject(np.nan_to_num(view.depth.astype(np.float64)), view.intrinsics))
        depth, label = view.depth[step // 2 :: step, step // 2 :: step], label[step // 2 :: step, step // 2 :: step]
        kept = (depth > 0) & (depth <= max_depth) & (label != VOID)
        points.append(cloud[step // 2 :: step, step // 2 :: step][kept])
        names.append(label[kept])
    return np.concatenate(points), np.concatenate(names).astype(np.int64)


def align_by_first_view(run: Run, views: Sequence[GroundTruthView], geometry: GeometryModel) -> np.ndarray | None:
    """The similarity (4,4) from the map to the world given by ONE true view's depth and pose: the first tracked one.

    None where no view was tracked.
    """
    for result, view in zip(run.results, views, strict=True):
        if result is None or result.pose is None or result.depth is None:
            continue
        truth = fitted_nearest(view.depth.astype(np.float32), geometry)
        valid = np.isfinite(truth) & (truth > 0) & (result.depth > 0)
        if not valid.any():
            continue
        scale = np.diag([*[float(np.median(truth[valid]) / np.median(result.depth[valid]))] * 3, 1.0])
        return view.cam2world @ scale @ np.linalg.inv(result.pose)
    return None


def nearest_labels(points: np.ndarray, map_points: np.ndarray, map_labels: np.ndarray) -> np.ndarray:
    """Labels (N,) of the map points nearest to `points` (N,3); VOID where the map is empty."""
    if not len(map_points):
        return np.full(len(points), VOID)
    return map_labels[cKDTree(map_points).query(points)[1]].astype(np.int64)


def located_points(
    mapper: Mapper, query: MapQuery, run: Run, views: Sequence[GroundTruthView]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The map's points (N,3) in the world's frame and their labels (N,); None where no view was tracked."""
    to_world = align_by_first_view(run, views, mapper.geometry)
    if to_world is None:
        return None
    snapshot = mapper.snapshot()
    predicted, _ = query.classify(snapshot)
    return transform(to_world, snapshot.points.astype(np.float64)), predicted.astype(np.int64)


def score_map(
    score: LabelScore,
    mapper: Mapper,
    query: MapQuery,
    run: Run,
    views: Sequence[GroundTruthView],
    labels: Sequence[np.ndarray],
    step: int = 4,
    completeness: CompletenessScore | None = None,
) -> None:
    """Count the labels that a map gives to the true points; where no view was tracked, all of them are missed.

    labels: one image (H,W) per view, numbers of the query's vocabulary; every `step`-th pixel counts.
    """
    points, true = true_points(views, labels, step)
    located = located_points(mapper, query, run, views)
    if located is None:
        score.add(true, np.full(true.shape, VOID))
        return
    score.add(true, nearest_labels(points, *located))
    if completeness is not None:
        completeness.add(points, true, *located)


def label_pictures(
    image: np.ndarray,
    view: GroundTruthView,
    labels: np.ndarray,
    located: tuple[np.ndarray, np.ndarray],
    colours: np.ndarray,
    step: int,
) -> np.ndarray:
    """An image (H,W,3), its true labels (H,W) and the predicted ones side by side, every `step`-th pixel; grey is void.

    located: as `located_points`; colours (L,3) uint8 of the labels.
    """
    grid = (slice(step // 2, None, step),) * 2
    cloud = transform(view.cam2world, backproject(np.nan_to_num(view.depth.astype(np.float64)), view.intrinsics))[grid]
    found = nearest_labels(cloud.reshape(-1, 3), *located).reshape(cloud.shape[:2])
    found[~(np.nan_to_num(view.depth[grid]) > 0)] = VOID
    table = np.concatenate([colours, np.full((1, 3), 128, np.uint8)])
    painted = [table[np.where((x >= 0) & (x < len(colours)), x, len(colours))] for x in (labels[grid], found)]
    return np.concatenate([image[grid], *painted], 1)
