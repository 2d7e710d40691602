"""A perception that knows the truth: it tests tracking and fusion apart from any network."""

from types import SimpleNamespace

import numpy as np
import torch

from sab3r_ros.geometry.projection import backproject, transform
from sab3r_ros.mapping.frames import Frame, View
from sab3r_ros.mapping.perception import Comparison
from sab3r_ros.models.preprocess import framing


class OracleTokens:
    """Stands for an encoded view: its number and something that tells views apart."""

    def __init__(self, index, count):
        self.index = index
        near = torch.exp(-0.5 * ((torch.arange(count) - index) / 1.5) ** 2)
        self.tokens = near[None, None]


class OraclePerception:
    """Sees the views of a rendered sequence; `noise` is relative to depth, `bend` how much nearer the left of every second view
    is than its right, and the right of the others, `unit` scales each frame's metres."""

    device = "cpu"
    image_size = 128

    def __init__(self, views, noise=0.0, unit=1.0, features=None, blind=(), bend=0.0):
        self.views, self.noise, self.unit, self.features = views, noise, unit, features
        self.bend = bend
        self.blind = set(blind)  # views whose comparison is rubbish
        self.checkpoint = SimpleNamespace(id="oracle-1", licence="none", text_encoder=None)
        self.feature_dim = 0 if features is None else features[0].shape[-1]
        self.rng = np.random.default_rng(0)
        self._numbers = {view.rgb.tobytes(): k for k, view in enumerate(views)}

    def memory_mb(self):
        return 0

    def prepare(self, frame: Frame) -> View:
        plan = framing(frame.rgb.shape[1], frame.rgb.shape[0], self.image_size)
        depth = None if frame.depth is None else plan.apply_nearest(np.ascontiguousarray(frame.depth, np.float32))
        return View(frame.rgb, frame.stamp, plan, depth, None)

    def encode(self, rgb):
        return OracleTokens(self._numbers[np.ascontiguousarray(rgb).tobytes()], len(self.views))

    def _points(self, i, j):
        """View i's points in camera j."""
        a, b = self.views[i], self.views[j]
        points = transform(np.linalg.inv(b.cam2world) @ a.cam2world, backproject(a.depth.astype(float), a.intrinsics))
        factors = np.exp((-1) ** i * self.bend * np.linspace(-0.5, 0.5, a.depth.shape[1]))[:, None]
        points = points * factors * self.unit * (1 + self.noise * self.rng.normal(size=(*a.depth.shape, 1)))
        if i in self.blind or j in self.blind:
            points = self.rng.normal(size=points.shape) + [0, 0, 3]
        return torch.from_numpy(points).float()

    def compare(self, tokens, keyframes, symmetric, match_step=0):
        me, others = tokens.index, [k.index for k in keyframes]

        def stack(pairs):
            return torch.stack([self._points(i, j) for i, j in pairs])

        own = stack([(me, me)] * len(others))
        conf = torch.full(own.shape[:3], 5.0)
        feature = None if self.features is None else self.features[me]
        back = stack([(me, k) for k in others]) if symmetric else None
        back_own = stack([(k, k) for k in others]) if symmetric else None
        return Comparison(
            own,
            conf,
            stack([(k, me) for k in others]),
            conf,
            back,
            conf if symmetric else None,
            back_own,
            lambda: feature,
        )
