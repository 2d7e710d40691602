"""How well a map's voxels answer words.

The relevancy of a prompt p for a unit feature f is a softmax over p and negatives n,

    exp(s f.p) / (exp(s f.p) + sum_n exp(s f.n)),

whose negatives are fixed canonical words (as in LERF, arXiv 2303.09553) and those of the caller's own, never the vocabulary in
force: scores would rise where it is small. The margin of p is f.p less the largest f.n.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sab3r_ros.models.text import TextEncoder
from sab3r_ros.types import MapSnapshot

# What indoor surfaces and things are otherwise, and words for none of them. Part of what a score means: changing the list
# changes every score.
CANONICAL_NEGATIVES = (
    "wall", "floor", "ceiling", "table", "desk", "chair", "stool", "sofa", "bed", "cabinet", "counter", "drawers", "shelves",
    "door", "window", "lamp", "television", "refrigerator", "oven", "microwave", "dishwasher", "sink", "toilet", "picture",
    "curtain", "rug", "trash can", "mug", "bottle", "bowl", "plate", "pan", "pot", "kettle", "teapot", "knife", "spoon",
    "scissors", "hammer", "drill", "screwdriver", "box", "book", "laptop", "keyboard", "headphones", "bag", "faucet", "vase",
    "plant", "ball", "hat", "clock", "phone", "game controller", "cushion", "bucket", "object", "thing", "surface", "background",
)  # fmt: skip
_LOGIT_SCALE = 10.0  # s; CLIP trains with 100, but features averaged over views and pixels are less sharp
_SYNONYM = 0.8  # canonical words closer to the prompt than this cosine are no negatives
_KEPT = 6  # canonical words per voxel whose cosine is kept for margins: more synonyms than that no prompt has
_LEAST_REST = 1e-6  # what rounding may leave of a sum of positive numbers
_GROUP = 64  # values whose largest one stands for them
_CHUNK = 4096  # voxels that are compared with all words at a time: what a cache holds


@dataclass(frozen=True)
class VoxelFeatures:
    """What every prompt needs of a snapshot's voxels, made once.

    unit (N,F): features of length 1; seen (N,) bool: which are features at all; rest (N,): sum of exp(s f.n) over the canonical
    words; top (K,N), top_word (K,N): the largest f.n and their words; words (Q,F): the canonical words in the features' basis.
    """

    unit: Tensor
    seen: Tensor
    rest: Tensor
    top: Tensor
    top_word: Tensor
    words: Tensor

    @cached_property
    def by_word(self) -> list[Tensor]:
        """Per canonical word the voxels that are nearest to it, (M,) int64."""
        nearest = self.top_word[0]
        order = nearest.argsort(stable=True)
        return list(order.split(nearest.long().bincount(minlength=len(self.words)).tolist()))

    @cached_property
    def log_rest(self) -> Tensor:
        """The logarithm (N,) of `rest`."""
        return self.rest.log()

    @cached_property
    def all_seen(self) -> bool:
        """Whether every voxel has a feature."""
        return bool(self.seen.all())


@dataclass(frozen=True)
class Scores:
    """Of every voxel for one prompt, all (N,) float32: relevancy in [0,1], margin and cosine in [-1,1]; 0, -1 and -1 without a feature."""

    relevancy: Tensor
    margin: Tensor
    cosine: Tensor


class TextScorer:
    """Embeds texts and scores voxels against them. template: a prompt with {} for the label, "" = CLIP's 80 averaged."""

    def __init__(self, text: TextEncoder, template: str = ""):
        self._text = text
        self.template = template
        self._latest: tuple[weakref.ref, str, VoxelFeatures] | None = None

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (T,C) of texts."""
        return self._text.encode_labels(texts, self.template or None)

    def prepare(self, snapshot: MapSnapshot) -> VoxelFeatures:
        """What every prompt needs of a snapshot; that of the newest one is kept."""
        latest = self._latest
        if latest is not None and latest[0]() is snapshot and latest[1] == self.template:
            return latest[2]
        unit, seen = unit_features(snapshot)
        # Each number's values lie together: a prompt's pass over all voxels is then twice as fast.
        unit = unit.T.contiguous().T
        words = in_basis(self.embed(CANONICAL_NEGATIVES), snapshot.basis, unit.shape[1])
        kept = min(_KEPT, len(words))
        rest, top = torch.zeros(len(unit)), torch.zeros(kept, len(unit))
        top_word = torch.zeros(kept, len(unit), dtype=torch.int16)
        for start in range(0, len(unit), _CHUNK):
            part = slice(start, start + _CHUNK)
            cosines = unit[part] @ words.T
            rest[part] = (cosines * _LOGIT_SCALE).exp_().sum(1)
            largest_ones, found = cosines.topk(kept, dim=1)
            top[:, part], top_word[:, part] = largest_ones.T, found.T.short()
        made = VoxelFeatures(unit, seen, rest, top, top_word, words)
        self._latest = weakref.ref(snapshot), self.template, made
        return made

    def scores(self, snapshot: MapSnapshot, prompt: str, negatives: Sequence[str] = ()) -> Scores:
        """How well every voxel answers a prompt; negatives compete with it beside the canonical words."""
        voxels = self.prepare(snapshot)
        if voxels.unit.shape[1] == 0 or not len(voxels.unit):
            none = torch.zeros(len(voxels.unit))
            return Scores(none, none, none)
        target = self.embed([prompt])
        synonyms = self._synonyms(target[0])
        given = in_basis(
            torch.cat([target, self.embed(list(negatives))]) if negatives else target,
            snapshot.basis,
            voxels.unit.shape[1],
        )
        alike = voxels.words[synonyms]
        cosines = torch.cat([given, alike]) @ voxels.unit.T  # one pass over the features, which is what takes the time
        cosine, own, same = cosines[0], cosines[1 : len(given)], cosines[len(given) :]
        nearest = _nearest_negative(voxels, synonyms)
        # p / (p + rest) with p = exp(s cosine) is a logistic function of the difference of logarithms.
        log_rest = voxels.log_rest
        if len(given) + len(alike) > 1:
            rest = voxels.rest.clone()
            for row in same:  # synonyms are no negatives
                rest -= (row * _LOGIT_SCALE).exp_()
            for row in own:
                rest += (row * _LOGIT_SCALE).exp_()
            log_rest = rest.clamp_(min=_LEAST_REST).log_()
        if len(own):
            nearest = torch.maximum(nearest, own.amax(0))
        relevancy = (cosine * _LOGIT_SCALE - log_rest).sigmoid_()
        margin = cosine - nearest
        if not voxels.all_seen:
            unknown = ~voxels.seen
            relevancy.masked_fill_(unknown, 0)
            margin.masked_fill_(unknown, -1)
            cosine.masked_fill_(unknown, -1)
        return Scores(relevancy, margin, cosine)

    def best_label(self, snapshot: MapSnapshot, labels: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """The nearest label (N,) int64 of every voxel, its relevancy (N,) float32, and which have a feature (N,) bool; 0 and 0
        where there is none. What only prompts need is not made."""
        unit, seen = unit_features(snapshot)
        texts = self.embed(labels)
        words = self.embed(CANONICAL_NEGATIVES)
        negative = (~self._synonyms(texts.T)).float().T.contiguous()  # (L,Q): every label has other synonyms
        both = in_basis(torch.cat([texts, words]), snapshot.basis, unit.shape[1]).T.contiguous()
        best, relevancy = torch.zeros(len(unit), dtype=torch.long), torch.zeros(len(unit))
        for start in range(0, len(unit), _CHUNK):
            part = slice(start, start + _CHUNK)
            cosines = unit[part] @ both
            score, best[part] = cosines[:, : len(texts)].max(1)
            rest = (cosines[:, len(texts) :] * _LOGIT_SCALE).exp_().mul_(negative[best[part]]).sum(1)
            positive = (score * _LOGIT_SCALE).exp_()
            relevancy[part] = positive / (positive + rest.clamp(min=_LEAST_REST))
        return torch.where(seen, best, 0), torch.where(seen, relevancy, 0.0), seen

    def nearest_label(self, snapshot: MapSnapshot, labels: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The first and the last of what `best_label` tells, in half its time."""
        unit, seen = unit_features(snapshot)
        texts = in_basis(self.embed(labels), snapshot.basis, unit.shape[1]).T.contiguous()
        best = torch.cat([(part @ texts).argmax(1) for part in unit.split(_CHUNK)])
        return torch.where(seen, best, 0), seen

    def _synonyms(self, target: Tensor) -> Tensor:
        """Which canonical words (Q,) are no negatives of a prompt's embedding (C,); (Q,T) of those of several (C,T)."""
        return self.embed(CANONICAL_NEGATIVES) @ target > _SYNONYM


def _nearest_negative(voxels: VoxelFeatures, synonyms: Tensor) -> Tensor:
    """The largest cosine (N,) with a canonical word that is no synonym (Q,).

    Where all kept words are synonyms, the last one is no nearer than the one beyond it.
    """
    if not synonyms.any():
        return voxels.top[0]
    nearest = voxels.top[0].clone()
    rows = torch.cat([voxels.by_word[k] for k in synonyms.nonzero()[:, 0].tolist()])
    usable = ~synonyms[voxels.top_word[:, rows].int()]
    usable[-1] = True
    nearest[rows] = voxels.top[:, rows].gather(0, usable.int().argmax(0, keepdim=True))[0]
    return nearest


def unit_features(snapshot: MapSnapshot) -> tuple[Tensor, Tensor]:
    """Features (N,F) of all voxels, of length 1, and which of them are features at all (N,)."""
    return unit_length(snapshot.column("feature"))


def unit_length(feature: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N,F) of length 1, and which of them are features at all (N,)."""
    norm = feature.norm(dim=-1, keepdim=True)
    return feature / norm.clamp(min=1e-6), norm[:, 0] > 1e-3


def in_basis(embeddings: Tensor, basis: Tensor, rank: int) -> Tensor:
    """Text embeddings (T,C) in the coordinates of compressed features (T,rank)."""
    return torch.nn.functional.pad(embeddings @ basis.T, (0, rank - len(basis)))


def largest(values: Tensor, count: int) -> Tensor:
    """The `count` largest of values (N,), largest first; of many, only the groups with the largest ones are looked at."""
    groups = len(values) // _GROUP
    if groups <= 2 * count:
        return values.topk(count).values
    whole, left = values[: groups * _GROUP].unflatten(0, (groups, _GROUP)), values[groups * _GROUP :]
    likely = whole.amax(1).topk(count).indices  # each of the others is below `count` values
    return torch.cat([whole[likely].flatten(), left]).topk(count).values
