"""A saved map, opened to be asked: what Python programs and the command line use."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sab3r_ros.config import Settings
from sab3r_ros.mapping.map_file import MapFile, MapFileError, read_map
from sab3r_ros.models.backends import load_feature_model
from sab3r_ros.query.exploration import Exploration
from sab3r_ros.query.map_query import Answer, MapQuery, query_for
from sab3r_ros.query.object_store import load_objects, new_registry
from sab3r_ros.query.objects import LocatedObject, surroundings
from sab3r_ros.query.places import here, thing_at, things_in_box, things_in_place, things_in_view
from sab3r_ros.query.registry import MapObject
from sab3r_ros.query.visibility import view_of_estimate
from sab3r_ros.types import Frame, Keyframe, Region

if TYPE_CHECKING:
    from sab3r_ros.affordance.pipeline import AffordanceAnswer, RegionRequest
    from sab3r_ros.affordance.segmenter import AffordanceSegmenter
    from sab3r_ros.mapping.mapper import Mapper


@dataclass(frozen=True)
class Whereabouts:
    """Where a picture was taken: pose (4,4), camera to map, rigid; and the things it shows, with their shares of it, largest first."""

    pose: np.ndarray
    things: list[tuple[MapObject, float]]


class Map:
    """A map read from disk. Made by `open_map`; models are loaded when the first question needs them."""

    def __init__(self, path: Path, content: MapFile, settings: Settings):
        self.path, self.content, self.settings = path, content, settings
        self._query: MapQuery | None = None
        self._exploration = Exploration()
        self._objects: list[MapObject] | None = None
        self._mapper: Mapper | None = None

    @property
    def points(self) -> np.ndarray:
        """Voxel positions (N,3) float32 in metres."""
        return self.content.snapshot.points

    @property
    def colours(self) -> np.ndarray:
        """Voxel colours (N,3) uint8."""
        return self.content.snapshot.colours

    @property
    def trajectory(self) -> list[tuple[int, np.ndarray]]:
        """Stamp (ns) and pose (4,4), camera to map, of every tracked frame."""
        return self.content.trajectory

    @property
    def keyframes(self) -> list[Keyframe]:
        """Keyframes with image and pointmap."""
        return self.content.keyframes

    @property
    def query(self) -> MapQuery:
        """What answers questions in words; loads the feature model.

        Raises MapFileError for a map without features, or with those of another model.
        """
        if self._query is None:
            if not self.content.feature_model:
                raise MapFileError(f"{self.path} was saved without features and cannot be searched")
            features = load_feature_model(self.settings.model)
            mine = features.id if features else "a model without features"
            if mine != self.content.feature_model:
                raise MapFileError(
                    f"{self.path} was made with {self.content.feature_model}, not {mine}: give its checkpoint"
                )
            self._query = query_for(features, self.settings.query)
            assert self._query is not None
        return self._query

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """The best label (N,) uint16 of every voxel, a number of the vocabulary, and its relevancy (N,) in [0,1]."""
        return self.query.classify(self.content.snapshot)

    def locate(
        self, prompt: str | Sequence[str], negatives: Sequence[str] = (), min_score: float | None = None, max_objects: int = 0
    ) -> list[LocatedObject]:  # fmt: skip
        """Objects that answer one or several prompts, best first; see `MapQuery.locate`. Raises ValueError as it does."""
        prompts = [prompt] if isinstance(prompt, str) else prompt
        return self.query.locate(self.content.snapshot, prompts, negatives, min_score, max_objects)

    def ask(self, question: str, negatives: Sequence[str] = (), min_score: float | None = None) -> Answer:
        """One question, such as "the red mug on the table": whether the thing is there, and where; see `MapQuery.ask`.

        Left and right are said from the last place of the camera.
        """
        return self.query.ask(self.content.snapshot, question, negatives, min_score, self.explored, self._viewpoint)

    @property
    def _viewpoint(self) -> np.ndarray | None:
        """The last place of the camera."""
        return self.trajectory[-1][1][:3, 3] if self.trajectory else None

    @property
    def objects(self) -> list[MapObject]:
        """Its things, each with an id: those saved with it, else found now (which loads the feature model)."""
        if self._objects is None:
            stored = load_objects(self.path, self.content.info["sha256"])
            registry = new_registry(stored)
            if stored is None:
                registry.update(self.query, self.content.snapshot, self.keyframes)
            self._objects = registry.objects
        return self._objects

    def what_is(self, where: str) -> list[tuple[MapObject, float]]:
        """Things in a place, such as "on the table" or "next to the door and in the shelves", and how far they are there in
        [0, 1], best first. Raises ValueError for words that do not say where, LookupError where a place is not found."""
        return things_in_place(self.query, self.content.snapshot, self.objects, where, self._viewpoint)

    def thing_at(self, point: Sequence[float], reach: float = 0.1) -> MapObject | None:
        """The thing nearest to a point (3,) of the map, at most `reach` metres away."""
        return thing_at(here(self.objects), np.asarray(point, float), reach)

    def things_in(self, box: Region) -> list[tuple[MapObject, float]]:
        """Things of which at least half lies in a box, with that share, most first."""
        return things_in_box(self.objects, box)

    def where_is(self, image: np.ndarray) -> "Whereabouts | None":
        """Where a picture (H,W,3) uint8 was taken, and what it shows; None where no place of the map is recognised in it.

        Loads the map's model. Raises BadFrame for a picture that cannot be used.
        """
        from sab3r_ros.mapping.mapper import Mapper
        from sab3r_ros.mapping.session import load_map

        if self._mapper is None:
            self._mapper = Mapper(self.settings.with_values(map={"voxel_size": self.content.info["voxel_size"]}))
            load_map(self._mapper, self.path)
        estimate = self._mapper.place_of(Frame(image, 0))
        if estimate is None:
            return None
        return Whereabouts(estimate.rigid_pose, things_in_view(self.objects, view_of_estimate(estimate)))

    @property
    def explored(self) -> float:
        """Share of the room that was looked at, in [0, 1]; nan where nobody knows."""
        return self._exploration.share(self.content.snapshot, self.keyframes)

    def affordance(
        self, item: str, prompt: str = "", image: np.ndarray | None = None, request: "RegionRequest | None" = None,
        segmenter: "AffordanceSegmenter | None" = None,
    ) -> "AffordanceAnswer":  # fmt: skip
        """Regions and grasps of the object that answers `item` best.

        prompt: "grasp", "pour", ... or a question; image (H,W,3) uint8: shows the action, beside the prompt or instead of it;
        segmenter: default the one of the shipped weights. Raises LookupError where nothing answers `item`, ValueError for a
        request that cannot be answered.
        """
        from sab3r_ros.affordance.pipeline import affordance_regions
        from sab3r_ros.affordance.segmenter import AffordanceSegmenter

        found = self.locate(item, max_objects=1)
        if not found:
            raise LookupError(f"nothing in {self.path} answers {item!r}; try other words")
        points = found[0].points.astype(np.float64)
        near = surroundings(points, self.points.astype(np.float64))
        return affordance_regions(
            segmenter or AffordanceSegmenter(), points, prompt, request, surroundings=near, image=image
        )

    def export(self, kind: str, out: str | Path, overwrite: bool = False) -> Path:
        """Write the map for other programs: "ply", "glb", "las", "copc", "rrd" (Rerun), "mcap" (Foxglove) or "3dtiles".

        Returns the file, for 3dtiles the folder. Raises as `exports.formats.export_map`.
        """
        from sab3r_ros.exports.formats import export_map

        return export_map(self, kind, Path(out), overwrite)


def open_map(path: str | Path, checkpoint: str = "", settings: Settings | None = None) -> Map:
    """Open a map that `Mapper` or the command line saved.

    checkpoint: of the models it was made with, where it is not the default. Raises FileNotFoundError where there is none,
    MapFileError (a ValueError) where it is damaged.
    """
    settings = settings or Settings()
    if checkpoint:
        settings = settings.with_values(model={"checkpoint": checkpoint})
    return Map(Path(path), read_map(Path(path)), settings)
