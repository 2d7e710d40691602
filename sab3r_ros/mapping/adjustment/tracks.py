"""Tracks: one point of the scene, seen as a keypoint in several views."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from sab3r_ros.mapping.keypoints import RATIO, Keypoints, are_mutual, nearest_two, similarities

MIN_INLIERS = 15  # matches of a pair that the map expects to look at the same place
_THRESHOLD = 1.0  # standard deviations of a keypoint, from its epipolar line
_MAX_ROUNDS = 2000


@dataclass(frozen=True)
class Tracks:
    """Observations (N,) in the order of tracks: number of the track, of the view, and of the keypoint within the view."""

    track: np.ndarray
    view: np.ndarray
    keypoint: np.ndarray

    def __len__(self) -> int:
        """Number of tracks."""
        return int(self.track[-1]) + 1 if len(self.track) else 0

    def where(self, keep: np.ndarray) -> "Tracks":
        """The kept observations (N,) bool, of tracks that still have two; tracks are numbered anew."""
        track, view, keypoint = self.track[keep], self.view[keep], self.keypoint[keep]
        _, number, count = np.unique(track, return_inverse=True, return_counts=True)
        several = count[number] >= 2
        _, number = np.unique(number[several], return_inverse=True)
        return Tracks(number, view[several], keypoint[several])


def verified_match(a: Keypoints, b: Keypoints, least: int = MIN_INLIERS) -> np.ndarray | None:
    """Mutual nearest keypoints (M,2) of two images that agree on one fundamental matrix (MAGSAC); None below `least`."""
    if min(len(a), len(b)) < least:
        return None
    similarity = similarities(a, b)
    partner, distance = nearest_two(similarity)
    kept = are_mutual(similarity, partner) & (distance[:, 0] < RATIO * distance[:, 1])
    pairs = torch.stack([torch.arange(len(a)), partner], 1)[kept].numpy()
    if len(pairs) < least:
        return None
    try:
        _, mask = cv2.findFundamentalMat(
            a.pixels[pairs[:, 0]], b.pixels[pairs[:, 1]], cv2.USAC_MAGSAC, _THRESHOLD * max(a.sigma, b.sigma), 0.999, _MAX_ROUNDS
        )  # fmt: skip
    except cv2.error:  # OpenCV gives up on some degenerate sets: a wall's points in two views from one place
        return None
    if mask is None or mask.sum() < least:
        return None
    return pairs[mask[:, 0] > 0]


def build_tracks(sizes: Sequence[int], matches: Mapping[tuple[int, int], np.ndarray], least: int = 3) -> Tracks:
    """Tracks of at least `least` views from matches (M,2) of pairs of views; sizes: keypoints of every view.

    A view that a track would enter at two keypoints is left out of that track.
    """
    start = np.cumsum([0, *sizes])
    nodes = [(start[i] + m[:, 0], start[j] + m[:, 1]) for (i, j), m in matches.items()]
    if not nodes:
        empty = np.zeros(0, np.int64)
        return Tracks(empty, empty, empty)
    a, b = (np.concatenate(column) for column in zip(*nodes, strict=True))
    linked = coo_matrix((np.ones(len(a), bool), (a, b)), shape=(start[-1], start[-1]))
    _, label = connected_components(linked, directed=False)
    node = np.unique(np.concatenate([a, b]))
    view = np.searchsorted(start, node, "right") - 1
    label, keypoint = label[node].astype(np.int64), node - start[view]
    _, entry, count = np.unique(label * len(sizes) + view, return_inverse=True, return_counts=True)
    once = count[entry] == 1
    label, view, keypoint = label[once], view[once], keypoint[once]
    _, number, count = np.unique(label, return_inverse=True, return_counts=True)
    long = count[number] >= least
    order = np.argsort(number[long], kind="stable")
    _, number = np.unique(number[long][order], return_inverse=True)
    return Tracks(number, view[long][order], keypoint[long][order])


def thinned(tracks: Tracks, views: int, wanted: int) -> np.ndarray:
    """Which tracks (T,) bool to keep so that every view has `wanted` of them where it can: the longest first."""
    length = np.bincount(tracks.track, minlength=len(tracks))
    first = np.searchsorted(tracks.track, np.arange(len(tracks) + 1))
    have = np.zeros(views, int)
    kept = np.zeros(len(tracks), bool)
    for track in np.argsort(-length, kind="stable"):
        seen = tracks.view[first[track] : first[track + 1]]
        if (have[seen] < wanted).any():
            kept[track] = True
            have[seen] += 1
    return kept
