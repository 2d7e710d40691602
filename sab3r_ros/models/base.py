"""The interfaces between networks and the rest of the system.

A `GeometryModel` turns images into pointmaps, a `FeatureModel` into features that can be compared with text. One network
may be both (SAB3R), or two may stand beside each other (MASt3R with MaskCLIP): mapper, nodes and commands know these
protocols only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from sab3r_ros.models.text import TextEncoder


@dataclass(frozen=True)
class EncodedView:
    """A batch of encoded images: everything that later decodes need.

    tokens (B,N,C); positions (B,N,2): row and column of every token; shape (H,W): size of the stored images in pixels;
    patch: pixels per token and side; portrait (B,) bool: samples that are stored transposed (None: none of them);
    pyramid: finer maps (B,C_i,h_i,w_i) of the encoder for the heads, coarsest first, where it has them.
    """

    tokens: Tensor
    positions: Tensor
    shape: tuple[int, int]
    portrait: Tensor | None = None
    patch: int = 16
    pyramid: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens of the stored images."""
        return self.shape[0] // self.patch, self.shape[1] // self.patch

    def __getitem__(self, index) -> "EncodedView":
        portrait = None if self.portrait is None else self.portrait[index]
        pyramid = tuple(level[index] for level in self.pyramid)
        return replace(
            self, tokens=self.tokens[index], positions=self.positions[index], portrait=portrait, pyramid=pyramid
        )

    @staticmethod
    def stack(views: Sequence["EncodedView"]) -> "EncodedView":
        """One batch from several of the same shape."""
        portrait = None
        if any(v.portrait is not None for v in views):
            none = [torch.zeros(len(v), dtype=torch.bool, device=v.tokens.device) for v in views]
            portrait = torch.cat([n if v.portrait is None else v.portrait for v, n in zip(views, none, strict=True)])
        return replace(
            views[0],
            tokens=torch.cat([v.tokens for v in views]),
            positions=torch.cat([v.positions for v in views]),
            portrait=portrait,
            pyramid=tuple(torch.cat(levels) for levels in zip(*(v.pyramid for v in views), strict=True)),
        )


class Encoder(Protocol):
    """Images to tokens.

    patch: pixels per token and side; dim: width C of the tokens; pyramid_dims: channels C_i of the finer maps that it
    also gives, coarsest first, () for none.
    """

    patch: int
    dim: int
    pyramid_dims: tuple[int, ...]

    def __call__(self, images: Tensor, true_shape: Tensor | None = None) -> EncodedView:
        """Images (B,3,H,W) in [-1, 1], sides multiples of the patch. Raises ValueError for other sides.

        true_shape (B,2): true (height, width) of each sample where a landscape batch holds transposed portraits, as in
        training; encoders that cannot do it raise ValueError.
        """


@dataclass(frozen=True)
class PixelMatches:
    """Matched pixels of two images: frame (M,2) and keyframe (M,2) as integer (x, y), confidence (M,)."""

    frame: Tensor
    keyframe: Tensor
    confidence: Tensor

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class PairPrediction:
    """What a geometry model predicts of one frame against K keyframes. Points are in metres as the network sees them.

    frame_points (K,h,w,3) and frame_conf (K,h,w): the frame's points in its own camera (X_ff);
    keyframe_points_in_frame (K,h,w,3) and keyframe_conf (K,h,w): each keyframe's points in the frame's camera (X_kf);
    and, of the pairs in the other order, where they were asked for, frame_points_in_keyframe (X_fk) with
    frame_conf_in_keyframe, and keyframe_points (X_kk).
    matches: per keyframe, mutually nearest descriptors, where they were asked for.
    decoded: what a feature model that is part of the same network goes on from; opaque to everyone else.
    """

    frame_points: Tensor
    frame_conf: Tensor
    keyframe_points_in_frame: Tensor
    keyframe_conf: Tensor
    frame_points_in_keyframe: Tensor | None = None
    frame_conf_in_keyframe: Tensor | None = None
    keyframe_points: Tensor | None = None
    matches: tuple[PixelMatches, ...] | None = None
    decoded: Any = field(default=None, repr=False)

    def with_more(self, other: "PairPrediction") -> "PairPrediction":
        """This prediction and that of the same frame against further keyframes."""

        def joined(a: Tensor | None, b: Tensor | None) -> Tensor | None:
            return None if a is None or b is None else torch.cat([a, b])

        matches = None if self.matches is None or other.matches is None else self.matches + other.matches
        return PairPrediction(
            torch.cat([self.frame_points, other.frame_points]), torch.cat([self.frame_conf, other.frame_conf]),
            torch.cat([self.keyframe_points_in_frame, other.keyframe_points_in_frame]),
            torch.cat([self.keyframe_conf, other.keyframe_conf]),
            joined(self.frame_points_in_keyframe, other.frame_points_in_keyframe),
            joined(self.frame_conf_in_keyframe, other.frame_conf_in_keyframe),
            joined(self.keyframe_points, other.keyframe_points), matches, self.decoded,
        )  # fmt: skip


class GeometryModel(Protocol):
    """A two-view network: encode one frame, predict against references.

    id: name and fingerprint of the weights, recorded in maps; licence: of the weights; device: torch's name of it;
    image_size: long side of its images in pixels; patch: sides are multiples of it; square_ok: square images are kept
    (else they are cropped to 4:3).
    """

    id: str
    licence: str
    device: str
    image_size: int
    patch: int
    square_ok: bool

    def encode(self, image: np.ndarray) -> EncodedView:
        """Tokens of an image (h,w,3) uint8 of the network's size; made once and kept while it is in the window."""

    def predict_pairs(
        self, frame: EncodedView, keyframes: Sequence[EncodedView], symmetric: bool = False, match_step: int = 0
    ) -> PairPrediction:
        """Decode a frame against K keyframes, and back where `symmetric`.

        match_step: also match descriptors, from a grid of seeds this many pixels apart; 0 = no matching.
        """

    def memory_mb(self) -> int:
        """GPU memory held in MiB; 0 on a CPU."""


class FeatureModel(Protocol):
    """Dense image features and text embeddings of one space.

    id: name and fingerprint of the weights, recorded in maps; licence: of the weights; dim: length C of the features;
    folder: where its files lie, and what was measured about them, None where there is no such place.
    """

    id: str
    licence: str
    dim: int
    folder: Path | None

    def image_features(self, image: np.ndarray, prediction: PairPrediction) -> Tensor:
        """Features (h,w,C), not normalised, of an image (h,w,3) uint8 that the geometry model has just predicted."""

    def text_encoder(self, name: str = "", pretrained: str = "") -> "TextEncoder":
        """What embeds words in the same space; name and pretrained (open_clip) replace the one that belongs to it.

        Raises ValueError where it cannot be loaded.
        """


@dataclass(frozen=True)
class Backend:
    """The models that a mapper runs: geometry, and features where there are any."""

    geometry: GeometryModel
    features: FeatureModel | None = None

    @property
    def feature_dim(self) -> int:
        """Length of the features; 0 where there are none."""
        return self.features.dim if self.features else 0

    @property
    def licence(self) -> str:
        """Licences of all weights."""
        licences = [self.geometry.licence, *([self.features.licence] if self.features else [])]
        return "; ".join(dict.fromkeys(licences))
