"""A geometry model that knows the truth: it tests tracking and fusion apart from any network."""

import numpy as np
import torch

from sab3r_ros.geometry.projection import backproject, transform
from sab3r_ros.models.base import Backend, PairPrediction


class OracleTokens:
    """Stands for an encoded view: its number and something that tells views apart."""

    def __init__(self, index, count):
        self.index = index
        near = torch.exp(-0.5 * ((torch.arange(count) - index) / 1.5) ** 2)
        self.tokens = near[None, None]


class OracleGeometry:
    """Sees the views of a rendered sequence; `noise` is relative to depth, `bend` how much nearer the left of every second view
    is than its right, and the right of the others, `unit` scales each frame's metres."""

    device = "cpu"
    licence = "none"
    image_size, patch, square_ok = 128, 16, False

    def __init__(self, views, noise=0.0, unit=1.0, blind=(), bend=0.0):
        self.views, self.noise, self.unit, self.bend = views, noise, unit, bend
        self.blind = set(blind)  # views whose predictions are rubbish
        self.rng = np.random.default_rng(0)
        self.encoded = 0
        self.id = f"oracle-{len(views)}"  # its descriptors have a number for every view
        self._numbers = {view.rgb.tobytes(): k for k, view in enumerate(views)}

    def memory_mb(self):
        return 0

    def number(self, image):
        return self._numbers[np.ascontiguousarray(image).tobytes()]

    def encode(self, image):
        self.encoded += 1
        return OracleTokens(self.number(image), len(self.views))

    def _points(self, i, j):
        """View i's points in camera j."""
        a, b = self.views[i], self.views[j]
        points = transform(np.linalg.inv(b.cam2world) @ a.cam2world, backproject(a.depth.astype(float), a.intrinsics))
        factors = np.exp((-1) ** i * self.bend * np.linspace(-0.5, 0.5, a.depth.shape[1]))[:, None]
        points = points * factors * self.unit * (1 + self.noise * self.rng.normal(size=(*a.depth.shape, 1)))
        if i in self.blind or j in self.blind:
            points = self.rng.normal(size=points.shape) + [0, 0, 3]
        return torch.from_numpy(points).float()

    def predict_pairs(self, frame, keyframes, symmetric=False, match_step=0):
        me, others = frame.index, [k.index for k in keyframes]

        def stack(pairs):
            return torch.stack([self._points(i, j) for i, j in pairs])

        own = stack([(me, me)] * len(others))
        conf = torch.full(own.shape[:3], 5.0)
        backwards = {}
        if symmetric:
            backwards = {
                "frame_points_in_keyframe": stack([(me, k) for k in others]),
                "frame_conf_in_keyframe": conf,
                "keyframe_points": stack([(k, k) for k in others]),
            }
        return PairPrediction(own, conf, stack([(k, me) for k in others]), conf, **backwards)


class OracleFeatures:
    """Features (h,w,C) given per view."""

    id, licence = "oracle-features-1", "none"

    def __init__(self, geometry, features):
        self._geometry, self._features = geometry, features
        self.dim = features[0].shape[-1]

    def image_features(self, image, prediction):
        return self._features[self._geometry.number(image)]

    def text_encoder(self, name="", pretrained=""):
        raise ValueError("the oracle knows no words")


def oracle(views, features=None, **options):
    """A backend of oracles."""
    geometry = OracleGeometry(views, **options)
    return Backend(geometry, OracleFeatures(geometry, features) if features is not None else None)
