"""Candidates for a name and a colour: clusters of voxels, each with the probability that it is the thing."""

import weakref

import numpy as np
import torch

from sab3r_ros.config import QuerySettings
from sab3r_ros.geometry.groups import euclidean_clusters
from sab3r_ros.query.colours import colour_shares
from sab3r_ros.query.objects import LocatedObject, describe_object
from sab3r_ros.query.presence import (
    EVIDENCE,
    NULL_WORDS,
    RELATIVE,
    Calibration,
    map_evidence,
    object_evidence,
    relative_evidence,
)
from sab3r_ros.query.questions import Question
from sab3r_ros.query.relevancy import TextScorer, largest
from sab3r_ros.types import MapSnapshot

_RELATIVE_THRESHOLD = 0.25  # of the best voxels' score: less is not the same object
_BEST = 0.999  # quantile of the scores that stands for the best voxels
_LEAST_RELEVANCY = 0.04  # of a voxel: more than twice of what chance is among the canonical words
_CLUSTER_RADIUS = 2.5  # voxel edges within which voxels belong together
_NULL_VOXELS = 100_000  # of which the answers to words for absent things are taken


class CandidateFinder:
    """Finds what may be meant by a name. calibration: of the features' network, or None. Not safe for several threads."""

    def __init__(self, scorer: TextScorer, calibration: Calibration | None):
        self.scorer, self.calibration = scorer, calibration
        self._null: tuple[weakref.ref, str, np.ndarray] | None = None

    def find(self, snapshot: MapSnapshot, question: Question, settings: QuerySettings) -> list[LocatedObject]:
        """Clusters of voxels that answer a question's name and colour; its places and superlative are not looked at."""
        clusters, relevancy, fitting, evidence = self.evidence(snapshot, question, settings.min_points)
        if not clusters:
            return []
        probability = self._probability(snapshot, evidence, settings.prior)
        probability = probability * [float(fitting[c].mean()) for c in clusters]
        return [
            describe_object(snapshot, c, float(relevancy[c].mean()), float(p))
            for c, p in zip(clusters, probability, strict=True)
        ]

    def evidence(
        self, snapshot: MapSnapshot, question: Question, min_points: int
    ) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
        """Clusters as indices into the snapshot, every voxel's relevancy (N,) and fit to the colour (N,), and evidence (K,E)."""
        scores = self.scorer.scores(snapshot, question.name, question.negatives)
        relevancy, margin, cosine = (x.numpy() for x in (scores.relevancy, scores.margin, scores.cosine))
        fitting = np.ones(len(relevancy), np.float32)
        if question.colour:  # a voxel that is half of a colour may well be it, in this light
            likely = relevancy >= _LEAST_RELEVANCY  # no others can be candidates
            fitting[~likely] = 0
            fitting[likely] = np.minimum(1, 2 * colour_shares(snapshot.colours[likely], question.colour))
        wanted = relevancy * fitting
        if not len(relevancy):
            return [], relevancy, fitting, np.zeros((0, len(EVIDENCE)))
        threshold = max(_LEAST_RELEVANCY, _RELATIVE_THRESHOLD * _high_quantile(wanted, _BEST))
        rows = np.flatnonzero(wanted >= threshold)
        clusters = euclidean_clusters(snapshot.points, rows, _CLUSTER_RADIUS * snapshot.voxel_size, min_points)
        views = snapshot.column("hits").numpy()
        of_map = map_evidence(relevancy, margin, cosine)
        rows_of = [np.concatenate([of_map, object_evidence(relevancy[c], margin[c], views[c])]) for c in clusters]
        return clusters, relevancy, fitting, np.array(rows_of).reshape(-1, len(EVIDENCE))

    def _probability(self, snapshot: MapSnapshot, evidence: np.ndarray, prior: float) -> np.ndarray:
        if self.calibration is not None:
            return self.calibration.probability(evidence, prior)
        return RELATIVE.probability(relative_evidence(evidence, self.null_evidence(snapshot)), prior)

    def null_evidence(self, snapshot: MapSnapshot) -> np.ndarray:
        """`map_evidence` (W,3) of words for things that no room has; that of the newest snapshot is kept."""
        kept = self._null
        if kept is not None and kept[0]() is snapshot and kept[1] == self.scorer.template:
            return kept[2]
        some = slice(None, None, -(-len(snapshot) // _NULL_VOXELS))
        rows = []
        for word in NULL_WORDS:
            scores = self.scorer.scores(snapshot, word)
            rows.append(map_evidence(*(x.numpy()[some] for x in (scores.relevancy, scores.margin, scores.cosine))))
        made = np.stack(rows)
        self._null = weakref.ref(snapshot), self.scorer.template, made
        return made


def _high_quantile(values: np.ndarray, share: float) -> float:
    """`np.quantile` of values (N,) for a share near one, by looking at the largest alone."""
    place = share * (len(values) - 1)
    below = int(place)
    top = largest(torch.from_numpy(values), len(values) - below)
    low, high = float(top[-1]), float(top[max(len(top) - 2, 0)])
    return low + (place - below) * (high - low)
