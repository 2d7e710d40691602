"""Walls, floors and ceilings of a map brought onto planes: which of its voxels they are, the features say."""

import logging
from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

from sab3r_ros.config import DEFAULT_LABELS
from sab3r_ros.mapping.planes import Kind, find_planes, onto_planes
from sab3r_ros.mapping.scene import ScenePart
from sab3r_ros.models.base import FeatureModel

_LOG = logging.getLogger("sab3r_ros")
_KINDS = {"wall": Kind.WALL, "floor": Kind.FLOOR, "ceiling": Kind.CEILING}
_KIND_OF_WORD = np.array([_KINDS.get(label, Kind.OTHER) for label in DEFAULT_LABELS])
_TEMPLATE = "a photo of a {}."
_NEAR = 0.1  # metres between a keypoint and the voxel that says what it is part of
_NOTICEABLE = 1e-3  # metres


class Straightener:
    """Knows what the features of walls, floors and ceilings are like, from the first time that it is asked."""

    def __init__(self, features: FeatureModel | None):
        self._features = features
        self._words: Tensor | None = None  # (L,C)

    def _known_words(self) -> Tensor | None:
        if self._words is None and self._features is not None:
            try:
                self._words = self._features.text_encoder().encode_labels(DEFAULT_LABELS, _TEMPLATE).float()
            except ValueError as error:
                _LOG.warning("walls are not straightened: %s", error)
                self._features = None
        return self._words

    def shapes(
        self, parts: Sequence[ScenePart], basis: Tensor, keypoints: np.ndarray
    ) -> tuple[list[tuple[ScenePart, np.ndarray]], int]:
        """Parts whose voxels lie elsewhere on planes, with where (M,3), and the number of planes.

        basis (r,C): of the parts' features; keypoints (K,3): triangulated points of the map.
        """
        words = self._known_words()
        parts = [p for p in parts if p.contribution.feature is not None]
        if words is None or not parts or basis.shape[1] != words.shape[1]:
            return [], 0
        directions = words @ basis.T.float().cpu()
        kinds = [_kinds(p, directions) for p in parts]
        points, kind = np.concatenate([p.xyz for p in parts]), np.concatenate(kinds)
        ranges = np.concatenate([np.linalg.norm(p.xyz - p.pose[:3, 3], axis=1) for p in parts])
        planes = find_planes(points, ranges, kind, keypoints, _kinds_near(keypoints, points, kind))
        moved = [(p, onto_planes(p.xyz, p.pose[:3, 3], k, planes)) for p, k in zip(parts, kinds, strict=True)]
        return [(p, xyz) for p, xyz in moved if np.abs(xyz - p.xyz).max(initial=0) > _NOTICEABLE], len(planes)


def _kinds(part: ScenePart, words: Tensor) -> np.ndarray:
    """The kind (M,) of a part's voxels, by the word (L,r) that their features are nearest to; OTHER without a feature."""
    feature = part.contribution.feature
    assert feature is not None
    cosine, best = (feature[:, : words.shape[1]].float().cpu() @ words.T).max(1)
    return np.where(cosine.numpy() != 0, _KIND_OF_WORD[best.numpy()], Kind.OTHER)


def _kinds_near(keypoints: np.ndarray, points: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """The kind (K,) of the voxel next to every keypoint; OTHER where there is none."""
    if not len(keypoints):
        return np.zeros(0, int)
    distance, nearest = cKDTree(points).query(keypoints, distance_upper_bound=_NEAR)
    return np.where(np.isfinite(distance), kinds[nearest.clip(max=len(points) - 1)], Kind.OTHER)
