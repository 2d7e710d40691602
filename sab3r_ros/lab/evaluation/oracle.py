"""A geometry model that knows the true depth and errs as networks do: it judges tracking and back end apart from weights.

Every error is drawn from the seed and the numbers of the two views, so that a pair errs the same way whenever it is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from sab3r_ros.geometry.projection import backproject, project, transform
from sab3r_ros.lab.evaluation.stream import GroundTruthView
from sab3r_ros.models.base import EncodedView, PairPrediction, PixelMatches

_FIELD = (4, 5)  # rows and columns of the smooth fields of error, before they are enlarged
_THUMBNAIL = (8, 6)  # columns and rows of what stands for tokens
_CONFIDENT = 4.0  # confidence above 1 where nothing errs
_VISIBLE = 0.05  # of depth: what lies farther behind a surface is hidden


@dataclass(frozen=True)
class OracleErrors:
    """Standard deviations.

    view_scale, pair_scale: log of a view's and of a pair's unit; bend: log depth, a smooth field of which two thirds (of the
    variance) belong to the view and one third to the pair; grain: log depth of each pixel; turn: degrees between the two
    views; shift: of the other view, as a share of the median depth; doubt: log of the confidence, a smooth field that has
    nothing to do with the error; pixel: of matches, pixels; and the share of matches that are wrong.
    """

    view_scale: float = 0.05
    pair_scale: float = 0.03
    bend: float = 0.06
    grain: float = 0.01
    turn: float = 0.7
    shift: float = 0.02
    doubt: float = 0.5
    pixel: float = 0.8
    mismatched: float = 0.08


@dataclass(frozen=True)
class _SeenView(EncodedView):
    number: int = -1


class OracleGeometry:
    """A `GeometryModel` for the images of a known walk, which must have the model's size."""

    id, licence, device = "oracle", "none", "cpu"
    patch, square_ok = 16, False

    def __init__(
        self, images: Sequence[np.ndarray], views: Sequence[GroundTruthView], errors: OracleErrors, seed: int = 0
    ):
        self.image_size = images[0].shape[1]
        self._views, self._errors, self._seed = views, errors, seed
        self._numbers = {np.ascontiguousarray(image).tobytes(): k for k, image in enumerate(images)}

    def memory_mb(self) -> int:
        """See `GeometryModel`."""
        return 0

    def encode(self, image: np.ndarray) -> EncodedView:
        """A thumbnail in the place of tokens: retrieval has something to go by. Raises KeyError for an unknown image."""
        number = self._numbers[np.ascontiguousarray(image).tobytes()]
        small = cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        small = (small - small.mean()) / max(float(small.std()), 1e-6)
        tokens = torch.from_numpy(small.reshape(1, 1, -1))
        return _SeenView(tokens, torch.zeros(1, 1, 2, dtype=torch.long), image.shape[:2], number=number)

    def predict_pairs(
        self, frame: EncodedView, keyframes: Sequence[EncodedView], symmetric: bool = False, match_step: int = 0
    ) -> PairPrediction:
        """See `GeometryModel.predict_pairs`."""
        me, others = _number(frame), [_number(k) for k in keyframes]
        own, own_conf = _stack([self._seen(me, me, k) for k in others])
        theirs, their_conf = _stack([self._seen(k, me, k) for k in others])
        matches = tuple(self._matches(me, k, match_step) for k in others) if match_step else None
        if not symmetric:
            return PairPrediction(own, own_conf, theirs, their_conf, matches=matches)
        back, back_conf = _stack([self._seen(me, k, me) for k in others])
        away, _ = _stack([self._seen(k, k, me) for k in others])
        return PairPrediction(own, own_conf, theirs, their_conf, back, back_conf, away, matches)

    def _seen(self, subject: int, camera: int, partner: int) -> tuple[np.ndarray, np.ndarray]:
        """Points (h,w,3) of view `subject` in the camera of view `camera`, in one pass with `partner`; confidence (h,w)."""
        errors, view = self._errors, self._views[subject]
        pair = np.random.default_rng([self._seed, 1, camera, partner])  # common to both views of a pass
        of_view = np.random.default_rng([self._seed, 2, subject])
        own = np.random.default_rng([self._seed, 3, subject, camera, partner])
        shape = view.depth.shape
        unit = errors.pair_scale * pair.normal() + errors.view_scale * _first(self._seed, camera)
        bend = np.sqrt(2 / 3) * _smooth(of_view, shape) + np.sqrt(1 / 3) * _smooth(own, shape)
        wrong = errors.bend * bend + errors.grain * own.normal(size=shape).astype(np.float32)
        points = backproject(view.depth * np.exp(wrong), view.intrinsics)
        if subject != camera:
            relative = np.linalg.inv(self._views[camera].cam2world) @ view.cam2world
            known = view.depth[view.depth > 0]
            shift = errors.shift * (float(np.median(known)) if known.size else 1.0)
            turn = Rotation.from_rotvec(np.deg2rad(errors.turn) / np.sqrt(3) * pair.normal(size=3)).as_matrix()
            points = transform(relative, points) @ turn.T + shift / np.sqrt(3) * pair.normal(size=3)
        confidence = _CONFIDENT * np.exp(-np.abs(wrong) / max(errors.bend, 1e-3) + errors.doubt * _smooth(own, shape))
        return (points * np.exp(unit)).astype(np.float32), (1 + confidence * (view.depth > 0)).astype(np.float32)

    def _matches(self, frame: int, keyframe: int, step: int) -> PixelMatches:
        """Pixels of a grid of the frame and where the keyframe shows the same; some are wrong."""
        a, b = self._views[frame], self._views[keyframe]
        rng = np.random.default_rng([self._seed, 5, frame, keyframe])
        h, w = a.depth.shape
        grid = (slice(step // 2, None, step),) * 2
        points = transform(
            np.linalg.inv(b.cam2world) @ a.cam2world, backproject(a.depth, a.intrinsics)[grid].reshape(-1, 3)
        )
        rows, columns = np.mgrid[:h, :w]
        here = np.stack([columns, rows], -1)[grid].reshape(-1, 2)
        there = project(points, b.intrinsics) + self._errors.pixel * rng.normal(size=here.shape)
        there = np.where(
            rng.random(len(here))[:, None] < self._errors.mismatched, rng.uniform(0, [w, h], here.shape), there
        )
        known = a.depth[grid].reshape(-1) > 0
        inside = (
            known & np.isfinite(there).all(1) & (there >= 0).all(1) & (there[:, 0] < w - 0.5) & (there[:, 1] < h - 0.5)
        )
        here, there, distance = here[inside], np.round(there[inside]).astype(int), points[inside, 2]
        visible = np.abs(b.depth[there[:, 1], there[:, 0]] - distance) < _VISIBLE * distance
        visible |= rng.random(len(here)) < self._errors.mismatched
        confidence = torch.from_numpy(
            np.exp(self._errors.doubt * rng.normal(size=int(visible.sum()))).astype(np.float32)
        )
        return PixelMatches(torch.from_numpy(here[visible]), torch.from_numpy(there[visible]), confidence)


def _number(view: EncodedView) -> int:
    assert isinstance(view, _SeenView)
    return view.number


def _stack(seen: list[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    points, confidence = zip(*seen, strict=True)
    return torch.from_numpy(np.stack(points)), torch.from_numpy(np.stack(confidence))


def _first(seed: int, number: int) -> float:
    """What is a view's own in its unit."""
    return float(np.random.default_rng([seed, 4, number]).normal())


def _smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A smooth field (h,w) of unit variance, near enough."""
    coarse = rng.normal(size=_FIELD).astype(np.float32)
    return 1.25 * cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
