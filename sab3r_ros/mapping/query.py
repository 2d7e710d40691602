"""Open-vocabulary questions to the map: what is this voxel, and where is "a black office chair"?"""

import colorsys
import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import QuerySettings
from sab3r_ros.geometry.groups import linked_groups
from sab3r_ros.models.text import TextEncoder, text_encoder_for
from sab3r_ros.models.weights import Checkpoint

UNLABELLED = 65535
_LOGIT_SCALE = 10.0  # CLIP trains with 100; features averaged over views and pixels are less sharp
_SYNONYM = 0.8  # labels closer to the prompt than this cosine are not its competitors
_OF_BEST = 0.25  # of the best voxels' score: without a threshold of the caller's own, less is not the same thing
_LINK = 2.5  # voxels within this many edges of each other belong together
_SUPPORT = 20  # voxels: fewer rank lower, so that a splinter does not come before the object it broke from
_NEUTRAL = ("object", "thing", "surface", "background")  # what a prompt competes with beside the vocabulary


class VocabularyError(ValueError):
    """A list of labels that cannot be used; the message says why. The vocabulary in force stays."""


@dataclass
class LocatedObject:
    """A connected set of voxels that answers a prompt.

    id: stable while the map's revision is; label: the prompt; score in [0,1]: mean
    relevance of its voxels; centroid (3,); box_pose (4,4)
    rigid, z up, of the oriented box's middle, size (3,) along its axes in metres; points (N,3); rgb (N,3) uint8;
    last_seen: stamp (ns) of the newest picture that saw it; rows (N,) into the map's voxels.
    """

    id: str
    label: str
    prompt_index: int
    score: float
    centroid: np.ndarray
    box_pose: np.ndarray
    size: np.ndarray
    points: np.ndarray
    rgb: np.ndarray
    last_seen: int
    rows: np.ndarray


@dataclass
class Vocabulary:
    """Labels, their colours (L,3) uint8 and text embeddings (L,C)."""

    labels: list[str]
    colours: np.ndarray
    embeddings: Tensor


def checked_labels(labels: Sequence[str]) -> list[str]:
    """Labels without surrounding blanks. Raises VocabularyError for none, an empty one, or duplicates."""
    cleaned = [re.sub(r"\s+", " ", label).strip() for label in labels]
    if not cleaned or not all(cleaned):
        raise VocabularyError("the vocabulary needs at least one label, and none may be empty")
    lowered = [label.lower() for label in cleaned]
    if twice := sorted({label for label in lowered if lowered.count(label) > 1}):
        raise VocabularyError(f"the vocabulary has duplicates: {', '.join(twice)}")
    if len(cleaned) >= UNLABELLED:
        raise VocabularyError(f"the vocabulary may have at most {UNLABELLED - 1} labels, got {len(cleaned)}")
    return cleaned


def label_colours(count: int) -> np.ndarray:
    """(count,3) uint8 colours that tell neighbours in the list apart."""
    golden = 0.618034
    hues = [(0.1 + k * golden) % 1 for k in range(count)]
    rows = [colorsys.hsv_to_rgb(h, 0.55 + 0.4 * (k % 2), 0.95 - 0.25 * (k % 3 == 2)) for k, h in enumerate(hues)]
    return (np.array(rows).reshape(-1, 3) * 255).astype(np.uint8)


class MapQuery:
    """Answers questions about snapshots of a map (`SemanticMapper.snapshot`) in words."""

    def __init__(self, settings: QuerySettings, text: TextEncoder):
        self.settings, self.text = settings, text
        self._cache: dict[str, Tensor] = {}
        self.template = settings.prompt_template
        self.vocabulary = self._make_vocabulary(settings.labels)

    def _make_vocabulary(self, labels: Sequence[str]) -> Vocabulary:
        labels = checked_labels(labels)
        return Vocabulary(labels, label_colours(len(labels)), self._embed(labels))

    def set_vocabulary(self, labels: Sequence[str], template: str = "") -> None:
        """Change the labels while running; on VocabularyError the old ones stay."""
        if template and template.count("{}") != 1:
            raise VocabularyError(f"a prompt template needs one {{}} where the label goes, got {template!r}")
        checked_labels(labels)
        previous, self.template = self.template, template
        if template != previous:
            self._cache.clear()
        self.vocabulary = self._make_vocabulary(labels)

    def _embed(self, texts: Sequence[str]) -> Tensor:
        new = [t for t in dict.fromkeys(texts) if t not in self._cache]
        if len(self._cache) > 10_000:
            self._cache.clear()
            new = list(dict.fromkeys(texts))
        if new:
            self._cache.update(zip(new, self.text.encode_labels(new, self.template or None), strict=True))
        return torch.stack([self._cache[t] for t in texts])

    def classify(self, snapshot: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """The best label (N,) uint16 of every voxel and its score (N,) float32 in [0,1] among all labels."""
        codes, seen = _unit(snapshot["feature"])
        if codes.shape[1] == 0 or not len(codes):
            return np.full(len(codes), UNLABELLED, np.uint16), np.zeros(len(codes), np.float32)
        cosine = codes @ _project(self.vocabulary.embeddings, snapshot["basis"], codes.shape[1]).T
        score, label = (cosine * _LOGIT_SCALE).softmax(-1).max(-1)
        label = torch.where(seen, label, UNLABELLED)
        return label.numpy().astype(np.uint16), torch.where(seen, score, 0.0).numpy().astype(np.float32)

    def relevance(self, snapshot: dict[str, Tensor], prompt: str, negatives: Sequence[str] = ()) -> np.ndarray:
        """How well every voxel answers a prompt, (N,) float32 in [0,1], against the vocabulary and `negatives`."""
        codes, seen = _unit(snapshot["feature"])
        if codes.shape[1] == 0 or not len(codes):
            return np.zeros(len(codes), np.float32)
        target = self._embed([prompt])
        near = (self.vocabulary.embeddings @ target[0]) > _SYNONYM
        rivals = [self.vocabulary.embeddings[~near], self._embed(_NEUTRAL)]
        if negatives:
            rivals.append(self._embed(list(negatives)))
        texts = _project(torch.cat([target, *rivals]), snapshot["basis"], codes.shape[1])
        cosine = codes @ texts.T
        score = (cosine * _LOGIT_SCALE).softmax(-1)[:, 0]
        return torch.where(seen, score, 0.0).numpy().astype(np.float32)

    def locate(
        self,
        snapshot: dict[str, Tensor],
        prompts: Sequence[str],
        voxel_size: float,
        negatives: Sequence[str] = (),
        min_score: float | None = None,
        max_objects: int = 0,
    ) -> list[LocatedObject]:
        """Objects that answer the prompts, best first: by score, and among similar scores by size.

        min_score: of every voxel; default that of the settings and a quarter of what the best voxels score, and for an object's
        mean `min_object_score`. max_objects: 0 = no limit.
        Raises VocabularyError for an empty prompt or score out of range.
        """  # fmt: skip
        prompts = checked_labels(prompts)
        negatives = checked_labels(negatives) if negatives else []
        floor = self.settings.min_score if min_score is None else min_score
        least = self.settings.min_object_score if min_score is None else floor
        if not 0 <= floor <= 1:
            raise VocabularyError(f"min_score must lie in [0, 1], got {floor}")
        found = []
        for index, prompt in enumerate(prompts):
            score = self.relevance(snapshot, prompt, negatives)
            best = np.quantile(score, 0.999) if min_score is None and len(score) else 0.0
            answering = np.flatnonzero(score >= max(floor, _OF_BEST * best))
            groups = linked_groups(snapshot["xyz"].numpy(), answering, _LINK * voxel_size, self.settings.min_points)
            groups = [rows for rows in groups if score[rows].mean() >= least]
            objects = [_describe(snapshot, rows, score[rows], prompt, index) for rows in groups]
            objects.sort(key=_rank)
            for k, item in enumerate(objects):
                item.id = f"{prompt}-{k}"
            found += objects
        found.sort(key=_rank)
        return found[:max_objects] if max_objects else found


def query_for(checkpoint: Checkpoint, settings: QuerySettings) -> MapQuery | None:
    """Text queries for a checkpoint; None where it has no text-aligned features. Raises ValueError as TextEncoder."""
    if not checkpoint.network.cfg.clip_head:
        return None
    text = text_encoder_for(checkpoint.text_encoder, settings.text_encoder, settings.text_pretrained)
    return MapQuery(settings, text) if text else None


def label_voxels(query: MapQuery | None, snapshot: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """`MapQuery.classify`, or no labels at all without a query."""
    if query:
        return query.classify(snapshot)
    count = len(snapshot["xyz"])
    return np.full(count, UNLABELLED, np.uint16), np.zeros(count, np.float32)


def _unit(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of length 1 in float32, and which of them are features at all."""
    norm = codes.float().norm(dim=-1, keepdim=True)
    return codes.float() / norm.clamp(min=1e-6), norm[:, 0] > 1e-3


def _project(embeddings: Tensor, basis: Tensor, rank: int) -> Tensor:
    """Text embeddings (T,C) in the codec's coordinates (T,rank)."""
    codes = embeddings @ basis.T
    return torch.nn.functional.pad(codes, (0, rank - codes.shape[1]))


def _rank(item: LocatedObject) -> float:
    return -item.score * len(item.rows) / (len(item.rows) + _SUPPORT)


def _describe(snapshot, rows, score, prompt, index) -> LocatedObject:
    points = snapshot["xyz"].numpy()[rows]
    pose, size = upright_box(points)
    rgb = snapshot["rgb"].numpy()[rows].clip(0, 255).astype(np.uint8)
    newest = int(snapshot["stamp"].numpy()[rows].max())
    return LocatedObject("", prompt, index, float(score.mean()), points.mean(0), pose, size, points, rgb, newest, rows)


def upright_box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest box (pose (4,4), size (3,)) around points (N,3) that stands upright in a z-up frame."""
    (cx, cy), (width, depth), angle = cv2.minAreaRect(points[:, :2].astype(np.float32))
    low, high = points[:, 2].min(), points[:, 2].max()
    yaw = np.deg2rad(angle)
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:3, 3] = cx, cy, (low + high) / 2
    return pose, np.array([width, depth, high - low])
