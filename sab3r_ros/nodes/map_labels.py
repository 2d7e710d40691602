"""Labels of a map that grows: what did not change since it was labelled is not labelled again."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.query.map_query import MapQuery, label_voxels
from sab3r_ros.query.vocabulary import UNLABELLED, Vocabulary
from sab3r_ros.types import MapSnapshot

_NEVER = -1  # a version before all


@dataclass(frozen=True)
class LabelledVoxels:
    """Voxels (N) with positions and colours, the best label (N,) uint16 of each and its relevancy (N,) float32."""

    snapshot: MapSnapshot
    label: np.ndarray
    score: np.ndarray


class MapLabels:
    """The newest labels of a map's voxels, by their row. Not safe for several threads."""

    def __init__(self) -> None:
        self._map_uid = -1
        self._vocabulary: Vocabulary | None = None
        self._at = torch.zeros(0, dtype=torch.long)  # the version of the map at which a row was labelled
        self._label, self._score = np.zeros(0, np.uint16), np.zeros(0, np.float32)

    def __call__(self, mapper: Mapper, query: MapQuery | None, max_points: int = 0) -> LabelledVoxels:
        """At most `max_points` voxels, 0 = all, with their labels; those of the unlabelled without a query."""
        vocabulary = query.vocabulary if query else None
        with mapper.lock:
            scene = mapper.state.scene
            shown = scene.snapshot(columns=("xyz", "rgb"), max_points=max_points)
            if self._map_uid != shown.map_uid or self._vocabulary is not vocabulary:
                self._map_uid, self._vocabulary = shown.map_uid, vocabulary
                self._at[:] = _NEVER
            self._grow(shown.rows)
            stale = shown.rows[self._at[shown.rows] < scene.grid.changed(shown.rows)]
            changed = scene.snapshot(columns=("feature",), rows=stale)
        anew, rows = changed.rows.numpy(), shown.rows.numpy()
        self._label[anew], self._score[anew] = label_voxels(query, changed)
        self._at[anew] = changed.version
        return LabelledVoxels(shown, self._label[rows], self._score[rows])

    def _grow(self, rows: Tensor) -> None:
        """Room for rows."""
        count = int(rows.max()) + 1 if len(rows) else 0
        if count > len(self._at):
            known, count = len(self._at), 2 * count
            at = torch.full((count,), _NEVER, dtype=torch.long)
            label, score = np.full(count, UNLABELLED, np.uint16), np.zeros(count, np.float32)
            at[:known], label[:known], score[:known] = self._at, self._label[:known], self._score[:known]
            self._at, self._label, self._score = at, label, score
