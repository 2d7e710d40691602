"""A two-view network on a device, as mapper and nodes use it: geometry, and features where the network has them."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.geometry.matching import coarse_to_fine_matches
from sab3r_ros.models.base import EncodedView, PairPrediction, PixelMatches
from sab3r_ros.models.preprocess import to_input
from sab3r_ros.models.runtimes import Runtimes
from sab3r_ros.models.sab3r import ViewPrediction
from sab3r_ros.models.text import TextEncoder, text_encoder_for
from sab3r_ros.models.weights import Checkpoint

_MATCH_ROUNDS = 5  # nearly all walks have come to rest by then
_MATCH_FULLY = 20_000  # pixels; larger maps are matched on every fourth pixel first


class TwoViewModel:
    """A `GeometryModel` around a checkpoint's network. Holds no state between calls.

    num_references: pairs are padded to this number by repeating the last one, so that shapes never change (a CUDA graph
    needs that); 0 = no padding. half_precision: bfloat16 in encoder and decoder on a GPU; heads stay float32. runtimes: what
    runs the network; PyTorch where not given.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: str = "cpu", image_size: int = 0, half_precision: bool = True, num_references: int = 0,
        runtimes: Runtimes | None = None,
    ):  # fmt: skip
        self._runtimes = runtimes or Runtimes(checkpoint)
        self.network, self.device = checkpoint.network, device
        self.id, self.licence = checkpoint.id, checkpoint.licence
        cfg = checkpoint.network.cfg
        self.image_size, self.patch = image_size or cfg.image_size, cfg.patch
        self.square_ok = cfg.encoder == "dune"
        self._half = half_precision and device.startswith("cuda")
        self._num_references = num_references

    def memory_mb(self) -> int:
        """GPU memory held by torch in MiB; 0 on a CPU."""
        return torch.cuda.memory_allocated() >> 20 if self.device.startswith("cuda") else 0

    def _autocast(self):
        return torch.autocast("cuda", torch.bfloat16) if self._half else nullcontext()

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> EncodedView:
        """See `GeometryModel.encode`."""
        with self._autocast():
            return self._runtimes(image.shape[:2]).encode(to_input(image).to(self.device))

    @torch.inference_mode()
    def predict_pairs(
        self, frame: EncodedView, keyframes: Sequence[EncodedView], symmetric: bool = False, match_step: int = 0
    ) -> PairPrediction:
        """See `GeometryModel.predict_pairs`. Each pair is decoded with the frame as view 1."""
        count = len(keyframes)
        padded = [*keyframes, *[keyframes[-1]] * (self._num_references - count)]
        others = EncodedView.stack(padded)
        repeated = EncodedView.stack([frame] * len(padded))
        runtime, match = self._runtimes(frame.shape), bool(match_step)
        with self._autocast():
            decoded = runtime.decode(repeated, others)
        of_frame, of_keyframe = runtime.heads(decoded, repeated, others, match)
        backwards: tuple[Tensor | None, ...] = (None, None, None)
        if symmetric:
            with self._autocast():
                back = runtime.decode(others, repeated)
            own, theirs = runtime.heads(back, others, repeated, False)
            backwards = (theirs.points[:count], theirs.conf[:count], own.points[:count])
        return PairPrediction(
            of_frame.points[:count], of_frame.conf[:count], of_keyframe.points[:count], of_keyframe.conf[:count], *backwards,
            matches=_match_descriptors(of_frame, of_keyframe, match_step, count) if match else None,
            decoded=([layer[:1] for layer in decoded[0]], frame),
        )  # fmt: skip


class OnePassFeatures:
    """The `FeatureModel` of a network that predicts features and geometry in one pass (SAB3R)."""

    def __init__(self, checkpoint: Checkpoint, runtimes: Runtimes | None = None):
        self._runtimes = runtimes or Runtimes(checkpoint)
        self.id, self.licence = checkpoint.id, checkpoint.licence
        self.dim, self.folder = checkpoint.network.cfg.clip_dim, checkpoint.folder
        self._text = checkpoint.text_encoder

    @torch.inference_mode()
    def image_features(self, image: np.ndarray, prediction: PairPrediction) -> Tensor:
        """See `FeatureModel.image_features`: from the pair with the first keyframe."""
        layers, frame = prediction.decoded
        features = self._runtimes(frame.shape).clip_features(layers, frame)
        assert features is not None
        return features[0]

    def text_encoder(self, name: str = "", pretrained: str = "") -> TextEncoder:
        """See `FeatureModel.text_encoder`."""
        encoder = text_encoder_for(self._text, name, pretrained)
        if encoder is None:
            raise ValueError(f"{self.id} names no text encoder: set query.text_encoder")
        return encoder


def _match_descriptors(
    frame: ViewPrediction, keyframes: ViewPrediction, step: int, count: int
) -> tuple[PixelMatches, ...]:
    """Mutually nearest descriptors of the first `count` pairs."""
    assert frame.desc is not None
    assert frame.desc_conf is not None
    assert keyframes.desc is not None
    assert keyframes.desc_conf is not None
    matches = []
    stride = 4 if frame.desc[0, ..., 0].numel() > _MATCH_FULLY else 1
    for k in range(count):
        here, there = coarse_to_fine_matches(frame.desc[k], keyframes.desc[k], step, _MATCH_ROUNDS, stride)
        confidence = torch.minimum(
            frame.desc_conf[k][here[:, 1], here[:, 0]], keyframes.desc_conf[k][there[:, 1], there[:, 0]]
        )
        matches.append(PixelMatches(here, there, confidence))
    return tuple(matches)
