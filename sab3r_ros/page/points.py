"""What a page shows of a map's voxels: which of them, and in which colours."""

from dataclasses import dataclass

import cv2
import numpy as np

from sab3r_ros.query.vocabulary import UNLABELLED, Vocabulary
from sab3r_ros.types import MapSnapshot

COLOURINGS = ("colour", "label", "confidence", "height", "session", "answer")
_NOTHING = (150, 150, 150)
# Okabe and Ito's colours, which are told apart by everyone.
_SESSIONS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (0, 114, 178), (213, 94, 0))
_CUT = 0.98  # quantile that bounds confidence and height


@dataclass
class Shown:
    """What of a map is looked at.

    colouring: one of COLOURINGS; top: largest height in metres above the lowest point; least_confidence: quantile below which
    voxels are hidden; until: newest stamp (ns) of a voxel's last sight; detail: share of the voxels; heat (N,): relevancy of
    the last question, or None; point_size: times that which closes the gaps.
    """

    colouring: str = "colour"
    top: float = np.inf
    least_confidence: float = 0.0
    until: float = np.inf
    detail: float = 1.0
    point_size: float = 1.0
    heat: np.ndarray | None = None


class MapPoints:
    """Positions and colours of a map's voxels for a page. label (N,) uint16: numbers of the vocabulary, or UNLABELLED; session
    (N,): of the recordings that were joined in the map, the one that told most of a voxel."""

    def __init__(
        self, snapshot: MapSnapshot, label: np.ndarray, vocabulary: Vocabulary | None, session: np.ndarray | None = None
    ):
        self.session = np.zeros(len(snapshot), int) if session is None else session
        self.snapshot, self.label, self.vocabulary = snapshot, label, vocabulary
        self.points, self.colours = snapshot.points, snapshot.colours
        self.weight = snapshot.column("weight").numpy()
        self.stamp = snapshot.column("stamp").numpy()
        self.floor = float(self.points[:, 2].min()) if len(self.points) else 0.0
        self.height = float(np.ptp(self.points[:, 2])) if len(self.points) else 0.0
        # One order for all levels of detail: every beginning of it is spread over the whole map.
        self._order = np.random.default_rng(0).permutation(len(self.points))

    def __len__(self) -> int:
        return len(self.points)

    def choose(self, shown: Shown, most: int) -> np.ndarray:
        """Indices of the voxels to show, at most `most`, in an order every beginning of which is spread over all of them."""
        keep = self.points[:, 2] <= self.floor + shown.top
        keep &= self.stamp <= shown.until
        if shown.least_confidence > 0 and len(self.weight):
            keep &= self.weight >= np.quantile(self.weight, shown.least_confidence)
        index = self._order[keep[self._order]]
        return index[: max(1, min(most, round(len(index) * shown.detail)))] if len(index) else index

    def paint(self, shown: Shown, index: np.ndarray) -> np.ndarray:
        """Colours (M,3) uint8 of chosen voxels."""
        if shown.colouring == "label":
            return self._labels(index)
        if shown.colouring == "confidence":
            return _scale(self.weight[index], self.weight)
        if shown.colouring == "session":
            return np.array(_SESSIONS, np.uint8)[self.session[index] % len(_SESSIONS)]
        if shown.colouring == "height":
            return _scale(self.points[index, 2], self.points[:, 2])
        if shown.colouring == "answer" and shown.heat is not None:
            return _heated(self.colours[index], shown.heat[index], shown.heat)
        return self.colours[index]

    def _labels(self, index: np.ndarray) -> np.ndarray:
        if self.vocabulary is None:
            return np.broadcast_to(np.array(_NOTHING, np.uint8), (len(index), 3)).copy()
        table = np.concatenate([self.vocabulary.colours, np.array([_NOTHING], np.uint8)])
        label = self.label[index].astype(int)
        return table[np.where(label == UNLABELLED, len(table) - 1, label)]

    def label_name(self, index: int) -> str:
        """The label of one voxel, "" where it has none."""
        number = int(self.label[index])
        return "" if self.vocabulary is None or number == UNLABELLED else self.vocabulary.labels[number]

    def nearest_to_ray(self, origin: np.ndarray, direction: np.ndarray, radius: float) -> int | None:
        """The first voxel that a ray from origin (3,) along direction (3,) passes within `radius` metres; None for none."""
        direction = direction / np.linalg.norm(direction)
        offset = self.points - origin
        along = offset @ direction
        across = np.linalg.norm(offset - along[:, None] * direction, axis=1)
        hit = np.flatnonzero((along > 0) & (across <= np.maximum(radius, 0.004 * along)))
        return int(hit[along[hit].argmin()]) if len(hit) else None


def _scale(values: np.ndarray, everything: np.ndarray) -> np.ndarray:
    low, high = np.quantile(everything, [1 - _CUT, _CUT])
    share = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    return cv2.applyColorMap((share * 255).astype(np.uint8).reshape(-1, 1), cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]


def _heated(colours: np.ndarray, heat: np.ndarray, everything: np.ndarray) -> np.ndarray:
    """Grey where a question has no answer, from yellow to red where it has."""
    share = np.clip(heat / max(float(np.quantile(everything, 0.999)), 1e-6), 0, 1)[:, None] ** 2
    grey = colours.astype(float).mean(1, keepdims=True) * 0.6 + 60
    warm = np.concatenate([np.full_like(share, 230), 220 * (1 - share), np.full_like(share, 20)], 1)
    return ((1 - share) * grey + share * warm).astype(np.uint8)
