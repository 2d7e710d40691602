"""Open-vocabulary questions to a map: what is this voxel, and where is "the red mug on the table"?"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import QuerySettings
from sab3r_ros.models.base import FeatureModel
from sab3r_ros.models.text import TextEncoder
from sab3r_ros.query.candidates import CandidateFinder
from sab3r_ros.query.objects import LocatedObject, ObjectIds
from sab3r_ros.query.presence import Calibration, Presence, decide, load_calibration, relative_evidence
from sab3r_ros.query.questions import Question, QuestionError, Relation, parse_question
from sab3r_ros.query.relations import relation_score
from sab3r_ros.query.relevancy import TextScorer, in_basis
from sab3r_ros.query.vocabulary import UNLABELLED, Vocabulary, VocabularyError, checked_labels, label_colours
from sab3r_ros.types import MapSnapshot

_SPLINTER = 20  # voxels: a candidate of as few is half as likely as its score says
Pair = tuple[LocatedObject, tuple[LocatedObject, ...]]


@dataclass(frozen=True)
class Answer:
    """What a map answers to a question.

    prompt: the question as it was asked; question: as it was understood; presence: whether the thing is in the map; objects:
    best first, those that reach the least probability; anchors: per object the things that it stands in a relation to.
    """

    prompt: str
    question: Question
    presence: Presence
    objects: list[LocatedObject]
    anchors: list[tuple[LocatedObject, ...]]


class MapQuery:
    """Answers questions about snapshots of maps in words. Safe for several threads.

    calibration: of presence for the features' network; None = evidence relative to words for what no room has.
    """

    def __init__(self, settings: QuerySettings, text: TextEncoder, calibration: Calibration | None = None):
        self.settings = settings
        self._lock = threading.RLock()
        self._scorer = TextScorer(text, settings.prompt_template)
        self._finder = CandidateFinder(self._scorer, calibration)
        self._ids = ObjectIds()
        self.vocabulary = self._make_vocabulary(settings.labels)

    @property
    def is_calibrated(self) -> bool:
        """Whether probabilities were fitted for this network."""
        return self._finder.calibration is not None

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
        if not len(snapshot) or snapshot.column("feature").shape[1] == 0:
            return _unlabelled(len(snapshot))
        with self._lock:
            best, score, seen = self._scorer.best_label(snapshot, self.vocabulary.labels)
        return torch.where(seen, best, UNLABELLED).numpy().astype(np.uint16), score.numpy()

    def nearest_label(self, snapshot: MapSnapshot) -> np.ndarray:
        """The first of what `classify` tells, in half its time."""
        if not len(snapshot) or snapshot.column("feature").shape[1] == 0:
            return _unlabelled(len(snapshot))[0]
        with self._lock:
            best, seen = self._scorer.nearest_label(snapshot, self.vocabulary.labels)
        return torch.where(seen, best, UNLABELLED).numpy().astype(np.uint16)

    def relevance(self, snapshot: MapSnapshot, prompt: str, negatives: Sequence[str] = ()) -> np.ndarray:
        """How well every voxel answers a prompt, (N,) float32 in [0,1]; see `query.relevancy`."""
        with self._lock:
            return self._scorer.scores(snapshot, prompt, negatives).relevancy.numpy()

    def label_cosines(self, snapshot: MapSnapshot, feature: np.ndarray) -> np.ndarray:
        """Cosines (L,) of a unit feature (F,) of the snapshot's basis with the labels in force."""
        texts = in_basis(self.vocabulary.embeddings, snapshot.basis, len(feature))
        return (texts @ torch.from_numpy(feature)).numpy()

    @staticmethod
    def in_text_space(snapshot: MapSnapshot, feature: np.ndarray) -> np.ndarray:
        """A unit feature (F,) of the snapshot's basis in the space of text (C,), of length 1."""
        full = feature[: len(snapshot.basis)] @ snapshot.basis.numpy()
        return full / max(float(np.linalg.norm(full)), 1e-6)

    def locate(
        self,
        snapshot: MapSnapshot,
        prompts: Sequence[str],
        negatives: Sequence[str] = (),
        min_score: float | None = None,
        max_objects: int = 0,
    ) -> list[LocatedObject]:
        """Objects that answer the prompts, most probable first; each prompt is a question as in `query.questions`.

        min_score: least probability; default that of the settings. max_objects: 0 = no limit.
        Raises VocabularyError for an empty or contradictory prompt or a score out of range.
        """
        return ranked(self.ask_each(snapshot, prompts, negatives, min_score), max_objects)

    def ask_each(
        self,
        snapshot: MapSnapshot,
        prompts: Sequence[str],
        negatives: Sequence[str] = (),
        min_score: float | None = None,
        explored: float = float("nan"),
        viewpoint: np.ndarray | None = None,
    ) -> list[Answer]:
        """`ask` for every prompt of a list, in its order. Raises VocabularyError as it does, and for an empty list or twins."""
        prompts = checked_labels(prompts, "the list of prompts")
        return [
            self.ask(snapshot, prompt, negatives, min_score, explored, viewpoint, k) for k, prompt in enumerate(prompts)
        ]

    def ask(
        self,
        snapshot: MapSnapshot,
        prompt: str,
        negatives: Sequence[str] = (),
        min_score: float | None = None,
        explored: float = float("nan"),
        viewpoint: np.ndarray | None = None,
        number: int = 0,
    ) -> Answer:
        """Answer one question.

        negatives: what it is not; min_score: least probability, default that of the settings; explored: share of the room
        that was looked at (`explored_share`), nan = nobody knows; viewpoint (3,): where "left of" is said from; number: of the
        prompt in a list. Raises VocabularyError for a question that is empty or contradicts itself, or a score out of range.
        """
        least = self.settings.min_score if min_score is None else min_score
        if not 0 <= least <= 1:
            raise VocabularyError(f"min_score must lie in [0, 1], got {least}")
        question = parse_question(prompt)
        refused = (*negatives, *question.negatives)
        if refused:
            question = replace(question, negatives=tuple(checked_labels(refused, "the list of negatives")))
        with self._lock:
            pairs = self._answers(snapshot, question, least, viewpoint)
            best = max((o.probability for o, _ in pairs), default=0.0)
            pairs = [(o, a) for o, a in pairs if o.probability >= least]
            if question.superlative and pairs:
                pairs = [_most(pairs, question.superlative, viewpoint)]
            numbers = self._ids.assign(snapshot.map_uid, question.label, [o.rows for o, _ in pairs])
        objects = [
            replace(o, id=name, label=prompt, prompt_index=number) for (o, _), name in zip(pairs, numbers, strict=True)
        ]
        presence = decide(prompt, best, bool(objects), explored, self.is_calibrated, self.settings.min_explored)
        return Answer(prompt, question, presence, objects, [a for _, a in pairs])

    def find(
        self, snapshot: MapSnapshot, question: Question, least: float | None = None, viewpoint: np.ndarray | None = None
    ) -> list[LocatedObject]:
        """Objects that answer a question that was taken apart, most probable first; least: probability, default as settings say."""
        least = self.settings.min_score if least is None else least
        with self._lock:
            return [o for o, _ in self._answers(snapshot, question, least, viewpoint) if o.probability >= least]

    def evidence(self, snapshot: MapSnapshot, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """What speaks for the likeliest candidate for a name, as EVIDENCE (E,), and the same against words for absent things.

        None where there is no candidate. What calibrations are fitted to.
        """
        with self._lock:
            clusters, relevancy, _, evidence = self._finder.evidence(snapshot, Question(name), self.settings.min_points)
            if not clusters:
                return None
            best = int(np.argmax([relevancy[c].mean() * len(c) / (len(c) + _SPLINTER) for c in clusters]))
            null = self._finder.null_evidence(snapshot)
        return evidence[best], relative_evidence(evidence[best : best + 1], null)[0]

    def _answers(
        self, snapshot: MapSnapshot, question: Question, least: float, viewpoint: np.ndarray | None
    ) -> list[Pair]:
        """Candidates and the things they stand in relations to, most probable first."""
        pairs: list[Pair] = [(o, ()) for o in self._finder.find(snapshot, question, self.settings)]
        for relation, anchor in question.places:
            others = [o for o, _ in self._answers(snapshot, anchor, least, viewpoint) if o.probability >= least]
            pairs = _related(pairs, relation, others, least, viewpoint)
        return sorted(pairs, key=lambda pair: _rank(pair[0]))


def ranked(answers: Sequence[Answer], max_objects: int = 0) -> list[LocatedObject]:
    """The objects of several answers, most probable first; max_objects: 0 = all."""
    found = sorted((o for answer in answers for o in answer.objects), key=_rank)
    return found[:max_objects] if max_objects else found


def query_for(features: FeatureModel | None, settings: QuerySettings) -> MapQuery | None:
    """Questions in the words of a feature model; None where there is none. Raises ValueError as TextEncoder."""
    if features is None:
        return None
    text = features.text_encoder(settings.text_encoder, settings.text_pretrained)
    return MapQuery(settings, text, load_calibration(features.folder, features.id))


def label_voxels(query: MapQuery | None, snapshot: MapSnapshot) -> tuple[np.ndarray, np.ndarray]:
    """`MapQuery.classify`, or no labels at all without a query."""
    return query.classify(snapshot) if query else _unlabelled(len(snapshot))


def _unlabelled(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(count, UNLABELLED, np.uint16), np.zeros(count, np.float32)


def _related(
    pairs: list[Pair], relation: Relation, others: list[LocatedObject], least: float, viewpoint: np.ndarray | None
) -> list[Pair]:
    """Things with the one they are best in a relation to; their probability is that of all of it."""
    if relation == Relation.NEAREST:  # of the likely ones the nearest, not the likeliest of the near ones
        pairs = [pair for pair in pairs if pair[0].probability >= least]
    scores = np.array([[relation_score(relation, o, other, viewpoint) for other in others] for o, _ in pairs])
    if not scores.size:
        return []
    if relation == Relation.NEAREST:
        scores = np.where((scores == scores.max(0)) & (scores > 0), 1.0, 0.0)
    out = []
    for (item, anchors), row in zip(pairs, scores * [o.probability for o in others], strict=True):
        best = int(row.argmax())
        out.append((replace(item, probability=item.probability * float(row[best])), (*anchors, others[best])))
    return out


def _most(pairs: list[Pair], superlative: str, viewpoint: np.ndarray | None) -> Pair:
    """The largest, smallest, highest, lowest or, from a viewpoint, nearest of several."""

    def key(pair: Pair) -> float:
        item = pair[0]
        if superlative in ("largest", "smallest"):
            return float(np.prod(item.size + 1e-3)) * (1 if superlative == "largest" else -1)
        if superlative in ("highest", "lowest"):
            return float(item.centroid[2]) * (1 if superlative == "highest" else -1)
        if viewpoint is None:
            raise QuestionError('nearest to what? Say "nearest to the door", or ask where a viewpoint is known')
        return -float(np.linalg.norm(item.points - viewpoint, axis=1).min())

    return max(pairs, key=key)


def _rank(item: LocatedObject) -> float:
    """Most probable first, but a splinter not before what it broke from."""
    return -item.probability * len(item.rows) / (len(item.rows) + _SPLINTER)
