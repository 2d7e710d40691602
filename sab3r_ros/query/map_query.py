"""Open-vocabulary questions to a map: what is this voxel, and where is "a black office chair"?"""

import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import QuerySettings
from sab3r_ros.geometry.groups import euclidean_clusters
from sab3r_ros.models.base import FeatureModel
from sab3r_ros.models.text import TextEncoder
from sab3r_ros.query.objects import LocatedObject, ObjectIds, describe_object
from sab3r_ros.query.relevancy import TextScorer, in_basis, unit_features
from sab3r_ros.query.vocabulary import UNLABELLED, Vocabulary, VocabularyError, checked_labels, label_colours
from sab3r_ros.types import MapSnapshot

_RELATIVE_THRESHOLD = (
    0.25  # of the best voxels' score: without a threshold of the caller's own, less is not the same object
)
_BEST = 0.999  # quantile of the scores that stands for the best voxels
_CLUSTER_RADIUS = 2.5  # voxel edges within which voxels belong together
_SIZE_PRIOR = 20  # voxels: smaller objects rank lower, so that a splinter does not come before what it broke from


class MapQuery:
    """Answers questions about snapshots of maps in words. Safe for several threads."""

    def __init__(self, settings: QuerySettings, text: TextEncoder):
        self.settings = settings
        self._lock = threading.RLock()
        self._scorer = TextScorer(text, settings.prompt_template)
        self._ids = ObjectIds()
        self.vocabulary = self._make_vocabulary(settings.labels)

    @property
    def template(self) -> str:
        """The prompt template in force; "" = CLIP's 80, averaged."""
        return self._scorer.template

    def _make_vocabulary(self, labels: Sequence[str]) -> Vocabulary:
        labels = checked_labels(labels)
        return Vocabulary(labels, label_colours(len(labels)), self._scorer.embed(labels))

    def set_vocabulary(self, labels: Sequence[str], template: str = "") -> None:
        """Change the labels while running; on VocabularyError the old ones stay."""
        if template and template.count("{}") != 1:
            raise VocabularyError(f"a prompt template needs one {{}} where the label goes, got {template!r}")
        labels = checked_labels(labels)
        with self._lock:
            self._scorer.template = template
            self.vocabulary = self._make_vocabulary(labels)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit text embeddings (T,C), with the template in force."""
        with self._lock:
            return self._scorer.embed(texts)

    def classify(self, snapshot: MapSnapshot) -> tuple[np.ndarray, np.ndarray]:
        """The best label (N,) uint16 of every voxel and this label's relevancy (N,) float32 in [0,1]."""
        unit, seen = unit_features(snapshot)
        if unit.shape[1] == 0 or not len(unit):
            return _unlabelled(len(unit))
        with self._lock:
            vocabulary = self.vocabulary
            best = (unit @ in_basis(vocabulary.embeddings, snapshot.basis, unit.shape[1]).T).argmax(-1)
            scores = self._scorer.scores(snapshot, vocabulary.labels)
        score = scores[np.arange(len(best)), best.numpy()]
        return torch.where(seen, best, UNLABELLED).numpy().astype(np.uint16), score

    def relevance(self, snapshot: MapSnapshot, prompt: str, negatives: Sequence[str] = ()) -> np.ndarray:
        """How well every voxel answers a prompt, (N,) float32 in [0,1]; see `query.relevancy`."""
        with self._lock:
            return self._scorer.scores(snapshot, [prompt], negatives)[:, 0]

    def locate(
        self,
        snapshot: MapSnapshot,
        prompts: Sequence[str],
        negatives: Sequence[str] = (),
        min_score: float | None = None,
        max_objects: int = 0,
    ) -> list[LocatedObject]:
        """Objects that answer the prompts, best first: by score, and among similar scores by size.

        min_score: of every voxel; default that of the settings and a quarter of what the best voxels score, and for an object's
        mean `min_object_score`. max_objects: 0 = no limit.
        Raises VocabularyError for an empty prompt or a score out of range.
        """
        prompts = checked_labels(prompts, "the list of prompts")
        negatives = checked_labels(negatives, "the list of negatives") if negatives else []
        floor = self.settings.min_score if min_score is None else min_score
        least = self.settings.min_object_score if min_score is None else floor
        if not 0 <= floor <= 1:
            raise VocabularyError(f"min_score must lie in [0, 1], got {floor}")
        with self._lock:
            scores = self._scorer.scores(snapshot, prompts, negatives)
            found = []
            for k, prompt in enumerate(prompts):
                threshold = floor
                if min_score is None and len(scores):
                    threshold = max(floor, _RELATIVE_THRESHOLD * float(np.quantile(scores[:, k], _BEST)))
                found += self._objects(snapshot, scores[:, k], threshold, least, prompt, k)
        found.sort(key=_rank)
        return found[:max_objects] if max_objects else found

    def _objects(
        self, snapshot: MapSnapshot, score: np.ndarray, threshold: float, least: float, prompt: str, prompt_index: int
    ) -> list[LocatedObject]:  # fmt: skip
        """Clusters of voxels that reach the threshold, and on average `least`, best first."""
        rows = np.flatnonzero(score >= threshold)
        radius = _CLUSTER_RADIUS * snapshot.voxel_size
        clusters = euclidean_clusters(snapshot.points, rows, radius, self.settings.min_points)
        clusters = [c for c in clusters if score[c].mean() >= least]
        clusters.sort(key=lambda c: -_size_weighted(float(score[c].mean()), len(c)))
        numbers = self._ids.assign(snapshot.map_uid, prompt, [snapshot.rows.numpy()[c] for c in clusters])
        return [
            describe_object(snapshot, c, float(score[c].mean()), prompt, prompt_index, number)
            for c, number in zip(clusters, numbers, strict=True)
        ]


def query_for(features: FeatureModel | None, settings: QuerySettings) -> MapQuery | None:
    """Questions in the words of a feature model; None where there is none. Raises ValueError as TextEncoder."""
    if features is None:
        return None
    return MapQuery(settings, features.text_encoder(settings.text_encoder, settings.text_pretrained))


def label_voxels(query: MapQuery | None, snapshot: MapSnapshot) -> tuple[np.ndarray, np.ndarray]:
    """`MapQuery.classify`, or no labels at all without a query."""
    return query.classify(snapshot) if query else _unlabelled(len(snapshot))


def _unlabelled(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(count, UNLABELLED, np.uint16), np.zeros(count, np.float32)


def _size_weighted(score: float, voxels: int) -> float:
    return score * voxels / (voxels + _SIZE_PRIOR)


def _rank(item: LocatedObject) -> float:
    return -_size_weighted(item.score, len(item.rows))
