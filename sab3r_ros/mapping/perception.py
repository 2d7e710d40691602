"""The network as the mapper uses it: encode a view once, compare it with a window of encoded keyframes."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import ModelSettings
from sab3r_ros.geometry.matching import reciprocal_matches
from sab3r_ros.mapping.frames import Frame, View
from sab3r_ros.models.preprocess import framing, resize_and_crop, to_input
from sab3r_ros.models.sab3r import EncodedView, ViewPrediction
from sab3r_ros.models.weights import Checkpoint, load_checkpoint

_MATCH_ROUNDS = 5  # nearly all walks have come to rest by then


@dataclass
class Comparison:
    """What the network says of the newest view against K keyframes; every map is (K,h,w,...).

    own: the new view's points in its own camera, own_conf; seen: the keyframe's points in the new camera,
    seen_conf; back: the new view's points in the keyframe's camera and back_conf (None unless symmetric);
    features: computes the new view's (h,w,C), or None, when called; matches: per keyframe, pixels (M,2) of the new view, pixels (M,2) of
    the keyframe and confidence (M,) of mutually nearest descriptors, or None.
    """

    own: Tensor
    own_conf: Tensor
    seen: Tensor
    seen_conf: Tensor
    back: Tensor | None
    back_conf: Tensor | None
    back_own: Tensor | None
    features: Callable[[], Tensor | None]
    matches: list[tuple[Tensor, Tensor, Tensor]] | None = None


def choose_device(name: str) -> str:
    """Resolve "auto"; raises ValueError when a GPU is asked for and there is none."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device {name!r} was asked for, but torch finds no CUDA GPU; use device auto or cpu (`sab3r doctor` tells more)"
        )
    return name


class Perception:
    """A checkpoint on a device. Holds no state between calls."""

    def __init__(self, settings: ModelSettings, checkpoint: Checkpoint | None = None):
        self.device = choose_device(settings.device)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.checkpoint = checkpoint or load_checkpoint(settings.checkpoint, self.device)
        self.network = self.checkpoint.network
        self.image_size = settings.image_size or self.network.cfg.image_size
        self._half = settings.half_precision and self.device.startswith("cuda")

    @property
    def feature_dim(self) -> int:
        """Width of the language-aligned features; 0 where the checkpoint has none."""
        return self.network.cfg.clip_dim if self.network.cfg.clip_head else 0

    def memory_mb(self) -> int:
        """GPU memory held by torch in MiB; 0 on a CPU."""
        return torch.cuda.memory_allocated() >> 20 if self.device.startswith("cuda") else 0

    def prepare(self, frame: Frame) -> View:
        """Resize and crop a frame to the network's size, its depth and intrinsics with it."""
        height, width = frame.rgb.shape[:2]
        plan = framing(width, height, self.image_size)
        depth = None
        if frame.depth is not None:
            depth = plan.apply_nearest(np.ascontiguousarray(frame.depth, np.float32))
        intrinsics = None if frame.intrinsics is None else plan.intrinsics(frame.intrinsics)
        return View(resize_and_crop(frame.rgb, plan), frame.stamp, plan, depth, intrinsics)

    def _autocast(self):
        return torch.autocast("cuda", torch.bfloat16) if self._half else nullcontext()

    @torch.inference_mode()
    def encode(self, rgb: np.ndarray) -> EncodedView:
        """Tokens of one prepared picture (h,w,3) uint8, made once and kept while it is in the window."""
        with self._autocast():
            return self.network.encode(to_input(rgb).to(self.device))

    @torch.inference_mode()
    def compare(
        self, tokens: EncodedView, keyframes: list[EncodedView], symmetric: bool, match_step: int = 0
    ) -> Comparison:
        """Decode one view against K keyframes (as view 1 against view 2, and back when symmetric).

        match_step: also match descriptors, from a grid of seeds this many pixels apart; 0 = no matching.
        """
        others = EncodedView.stack(keyframes)
        repeated = EncodedView.stack([tokens] * len(keyframes))
        net = self.network
        with self._autocast():
            layers1, layers2 = net.decode(repeated, others)
        match = bool(match_step)
        own = net.head(1, layers1, repeated, features=False, descriptors=match)
        seen = net.head(2, layers2, others, features=False, descriptors=match)
        matches = _match(own, seen, match_step) if match else None
        features = self._features_of(layers1, tokens)
        back = back_conf = back_own = None
        if symmetric:
            with self._autocast():
                layers1, layers2 = net.decode(others, repeated)
            theirs = net.head(2, layers2, repeated, features=False, descriptors=False)
            back, back_conf = theirs.points, theirs.conf
            back_own = net.head(1, layers1, others, features=False, descriptors=False).points
        return Comparison(own.points, own.conf, seen.points, seen.conf, back, back_conf, back_own, features, matches)

    def _features_of(self, layers: list[Tensor], tokens: EncodedView) -> Callable[[], Tensor | None]:
        """The features of the newest view, from the pair with the first keyframe; computed when they are wanted."""
        first = [t[:1] for t in layers]

        @torch.inference_mode()
        def features():
            maps = self.network.language(first, tokens)
            return None if maps is None else maps[0]

        return features


def _match(own: ViewPrediction, seen: ViewPrediction, step: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Mutually nearest descriptors of every pair."""
    assert own.desc is not None
    assert own.desc_conf is not None
    assert seen.desc is not None
    assert seen.desc_conf is not None
    matches = []
    for one, two, conf_one, conf_two in zip(own.desc, seen.desc, own.desc_conf, seen.desc_conf, strict=True):
        here, there = reciprocal_matches(one, two, step, _MATCH_ROUNDS)
        confidence = torch.minimum(conf_one[here[:, 1], here[:, 0]], conf_two[there[:, 1], there[:, 0]])
        matches.append((here, there, confidence))
    return matches
