"""Keypoints of the camera's own image (SIFT, Lowe 2004) and their matches.

A network that sees 128 pixels places a match to within two of them; the camera's own image has more of them.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from sab3r_ros.models.preprocess import Framing

_LONG_SIDE = 480  # pixels at which keypoints are detected; smaller images are enlarged
_CONTRAST = 0.02
RATIO = 0.8  # the best match must be nearer than this share of the second best
_RATIO_GUIDED = 0.9  # the same in guided matching, where few candidates are left
_MAX_DISTANCE = 0.7  # of unit descriptors; beyond it nothing is a match
_KEYPOINT_SIGMA = 1.2  # pixels, of the camera's image or of the one keypoints are detected in
_MIN_MATCHES = 15


@dataclass
class Keypoints:
    """pixels (N,2) float64 as (x, y) in the network's image; descriptors (N,128) float32 of unit length; sigma: standard
    deviation of the pixels, in pixels of the network's image."""

    pixels: np.ndarray
    descriptors: np.ndarray
    sigma: float

    def __len__(self):
        return len(self.pixels)


@dataclass
class KeypointMatch:
    """Matched pixels (M,2) of a frame and of a keyframe, some of them wrong, and the standard deviation of the others."""

    frame: np.ndarray
    keyframe: np.ndarray
    sigma: float

    def __len__(self):
        return len(self.frame)


def detect_keypoints(rgb: np.ndarray, framing: Framing, limit: int) -> Keypoints:
    """At most `limit` keypoints of an image (H,W,3) uint8 that the network sees as `framing` says."""
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    scale = _LONG_SIDE / max(grey.shape)
    resized = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    found, histograms = cv2.SIFT.create(limit, contrastThreshold=_CONTRAST).detectAndCompute(resized, None)
    shrunk = np.array(framing.resized) / np.array(framing.size)
    sigma = _KEYPOINT_SIGMA * float(shrunk.max()) / min(scale, 1.0)
    if not found:
        return Keypoints(np.zeros((0, 2)), np.zeros((0, 128), np.float32), sigma)
    pixels = (np.array([k.pt for k in found], np.float64) + 0.5) / (np.array(resized.shape[::-1]) / framing.size)
    pixels = pixels * shrunk - 0.5 - np.array(framing.crop_offset)
    inside = ((pixels >= 0) & (pixels <= np.array(framing.cropped) - 1)).all(1)
    # The root of the normalised histogram compares better than the histogram (RootSIFT, Arandjelovic 2012).
    histograms = np.sqrt(histograms / np.maximum(histograms.sum(1, keepdims=True), 1e-6))
    return Keypoints(pixels[inside], histograms[inside].astype(np.float32), sigma)


def match_keypoints(new: Keypoints, old: Keypoints) -> KeypointMatch | None:
    """Matches that pass Lowe's ratio test; None where fewer than 15 do."""
    if min(len(new), len(old)) < _MIN_MATCHES:
        return None
    partners, distance = nearest_two(similarities(new, old))
    return _matched(new, old, partners, distance[:, 0] < RATIO * distance[:, 1])


def guided_match(
    new: Keypoints, old: Keypoints, near: np.ndarray, far: np.ndarray, radius: float
) -> KeypointMatch | None:
    """Matches among keypoints that lie in their epipolar band; None where fewer than 15 do.

    near, far (N,2): where the older image should have the new keypoints were they at the nearest and the farthest they may be;
    NaN for those it cannot see. radius: pixels from the line between the two within which they are searched.
    """
    if min(len(new), len(old)) < _MIN_MATCHES:
        return None
    similarity = torch.where(in_epipolar_bands(old.pixels, near, far, radius), similarities(new, old), -1.0)
    partners, distance = nearest_two(similarity)
    distinct = (distance[:, 0] < _RATIO_GUIDED * distance[:, 1]) & (distance[:, 0] < _MAX_DISTANCE)
    return _matched(new, old, partners, are_mutual(similarity, partners) & distinct)


def similarities(new: Keypoints, old: Keypoints) -> Tensor:
    """Cosines (N,M) of all pairs of descriptors."""
    return torch.from_numpy(new.descriptors) @ torch.from_numpy(old.descriptors).T


def nearest_two(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """The columns (N,) of the most similar, and the distances (N,2) of unit vectors to these and to the next best."""
    best = similarity.topk(2)
    return best.indices[:, 0], (2 - 2 * best.values).clamp(min=0).sqrt()


def are_mutual(similarity: Tensor, partners: Tensor) -> Tensor:
    """Which rows (N,) of a similarity (N,M) are in turn the most similar ones of their partners (N,)."""
    return similarity.max(0).indices[partners] == torch.arange(len(partners))


def _matched(new: Keypoints, old: Keypoints, partners: Tensor, distinct: Tensor) -> KeypointMatch | None:
    kept = distinct.numpy()
    if kept.sum() < _MIN_MATCHES:
        return None
    return KeypointMatch(new.pixels[kept], old.pixels[partners.numpy()[kept]], max(new.sigma, old.sigma))


def in_epipolar_bands(points: np.ndarray, starts: np.ndarray, ends: np.ndarray, radius: float) -> Tensor:
    """Which points (M,2) lie in the rectangles (N,M) that radius so far beyond the lines from starts (N,2) to ends (N,2) on all
    sides; none in those of NaN."""
    p, a, b = (torch.from_numpy(x).float() for x in (points, starts, ends))
    length = (b - a).norm(dim=-1, keepdim=True)
    along = torch.where(length > 1e-6, (b - a) / length, torch.tensor([1.0, 0.0]))
    across = torch.stack([-along[:, 1], along[:, 0]], -1)
    # Both coordinates in units of the rectangle's half sides, which two products of matrices give for all pairs at once.
    inside = []
    for axis, middle in ((along / (radius + length / 2), (a + b) / 2), (across / radius, a)):
        inside.append(torch.addmm(-(axis * middle).sum(-1, keepdim=True), axis, p.T).abs_())
    return torch.maximum(*inside) < 1


def relative_rotation(match: KeypointMatch, intrinsics: np.ndarray) -> np.ndarray | None:
    """The rotation (3,3), new camera to older, with which most matches agree (five points, MAGSAC); None without one.

    intrinsics (3,3): of the network's image.
    """
    try:
        essential, mask = cv2.findEssentialMat(
            match.frame, match.keyframe, intrinsics, method=cv2.USAC_MAGSAC, prob=0.999, threshold=match.sigma
        )
    except cv2.error:  # OpenCV gives up on some degenerate sets
        return None
    if essential is None or essential.shape != (3, 3) or mask.sum() < _MIN_MATCHES:
        return None
    agreeing = mask[:, 0] > 0
    return cv2.recoverPose(essential, match.frame[agreeing], match.keyframe[agreeing], intrinsics)[1]
