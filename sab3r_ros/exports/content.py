"""What of a map is written into files of other programs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sab3r_ros.query.map_query import label_voxels
from sab3r_ros.query.registry import MapObject

if TYPE_CHECKING:
    from sab3r_ros.maps import Map

_BRANCHES = 8


@dataclass(frozen=True)
class ExportContent:
    """points (N,3) float32 in metres, z up; colours (N,3) uint8; labels (N,) uint16, numbers of `names`, UNLABELLED for none; scores
    (N,) float32 in [0, 1]; confidence (N,) float32: summed over the images; trajectory: stamps (ns) and poses (4,4) of the
    camera's optical frame; objects: the map's things."""

    points: np.ndarray
    colours: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    confidence: np.ndarray
    names: tuple[str, ...] = ()
    trajectory: Sequence[tuple[int, np.ndarray]] = ()
    objects: Sequence[MapObject] = field(default_factory=list)


def content_of(saved: "Map") -> ExportContent:
    """A saved map's content; labels and things where it has features. Raises MapFileError as `Map.query`."""
    snapshot = saved.content.snapshot
    query = saved.query if saved.content.feature_model else None
    labels, scores = label_voxels(query, snapshot)
    return ExportContent(
        saved.points, saved.colours, labels, scores, snapshot.column("weight").numpy(),
        tuple(query.vocabulary.labels) if query else (), saved.trajectory, saved.objects if query else [],
    )  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A cell of an octree of points: level and place (x, y, z) in it; rows (M,) of the points that it shows itself."""

    level: int
    place: tuple[int, int, int]
    rows: np.ndarray


def octree(points: np.ndarray, least: int = 20_000) -> tuple[list[Cell], np.ndarray, float]:
    """Cells that show every point once, coarse ones first; the lower corner (3,) and the side of the root.

    A cell shows a random share of what it holds, at most `least` points, and its children show the rest: whoever draws the first
    levels sees the whole map thinned.
    """
    low = points.min(0).astype(np.float64)
    side = float(max((points.max(0) - low).max(), 1e-3)) * (1 + 1e-6)
    rng = np.random.default_rng(0)
    cells: list[Cell] = []
    waiting: list[tuple[int, np.ndarray, np.ndarray]] = [(0, np.zeros(3, np.int64), rng.permutation(len(points)))]
    while waiting:
        level, place, rows = waiting.pop(0)
        own, rest = rows[:least], rows[least:]
        cells.append(Cell(level, (int(place[0]), int(place[1]), int(place[2])), own))
        if not len(rest):
            continue
        child = np.floor((points[rest] - low) / side * 2 ** (level + 1)).astype(np.int64)
        child = np.clip(child, 2 * place, 2 * place + 1)  # a point on a border may be rounded out of its parent
        number = (child - 2 * place) @ [4, 2, 1]
        for k in range(_BRANCHES):
            mine = number == k
            if mine.any():
                waiting.append((level + 1, 2 * place + [k >> 2 & 1, k >> 1 & 1, k & 1], rest[mine]))
    return cells, low, side
