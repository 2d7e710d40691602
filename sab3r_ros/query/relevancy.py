"""How well a map's voxels answer words.

The relevancy of a prompt p for a unit feature f is a softmax over p and negatives n,

    exp(s f.p) / (exp(s f.p) + sum_n exp(s f.n)),

whose negatives are fixed canonical words (as in LERF, arXiv 2303.09553) and those of the caller's own, never the vocabulary in
force: scores would rise where it is small.
"""

from collections.abc import Sequence

import numpy as np
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


class TextScorer:
    """Embeds texts and scores voxels against them. template: a prompt with {} for the label, "" = CLIP's 80 averaged."""

    def __init__(self, text: TextEncoder, template: str = ""):
        self._text = text
        self.template = template

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (T,C) of texts."""
        return self._text.encode_labels(texts, self.template or None)

    def scores(self, snapshot: MapSnapshot, prompts: Sequence[str], negatives: Sequence[str] = ()) -> np.ndarray:
        """Relevancy (N,P) float32 in [0,1] of every voxel for every prompt; 0 where a voxel has no feature."""
        unit, seen = unit_features(snapshot)
        if unit.shape[1] == 0 or not len(unit):
            return np.zeros((len(unit), len(prompts)), np.float32)
        targets, canonical = self.embed(prompts), self.embed(CANONICAL_NEGATIVES)
        counts = (canonical @ targets.T <= _SYNONYM).float()  # (Q,P): which are negatives of which prompt
        positive = self._exp_logits(unit, targets, snapshot)
        rest = self._exp_logits(unit, canonical, snapshot) @ counts
        if negatives:
            rest += self._exp_logits(unit, self.embed(list(negatives)), snapshot).sum(1, keepdim=True)
        return torch.where(seen[:, None], positive / (positive + rest), 0.0).numpy().astype(np.float32)

    @staticmethod
    def _exp_logits(unit: Tensor, texts: Tensor, snapshot: MapSnapshot) -> Tensor:
        return (unit @ in_basis(texts, snapshot.basis, unit.shape[1]).T * _LOGIT_SCALE).exp()


def unit_features(snapshot: MapSnapshot) -> tuple[Tensor, Tensor]:
    """Features (N,F) of length 1, and which of them are features at all (N,)."""
    feature = snapshot.column("feature")
    norm = feature.norm(dim=-1, keepdim=True)
    return feature / norm.clamp(min=1e-6), norm[:, 0] > 1e-3


def in_basis(embeddings: Tensor, basis: Tensor, rank: int) -> Tensor:
    """Text embeddings (T,C) in the coordinates of compressed features (T,rank)."""
    return torch.nn.functional.pad(embeddings @ basis.T, (0, rank - len(basis)))
