"""The paper's Map and Locate over groups of views: of made-up rooms, or of recordings with true poses, depth and labels."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sab3r_ros.config import Settings
from sab3r_ros.faults import Faults
from sab3r_ros.files import finite, write_json
from sab3r_ros.lab.evaluation.depth import abs_rel
from sab3r_ros.lab.evaluation.map_and_locate import (
    CompletenessScore,
    LabelScore,
    label_pictures,
    located_points,
    score_map,
)
from sab3r_ros.lab.evaluation.metrics import finite_mean
from sab3r_ros.lab.evaluation.recordings import RecordedLabels, TrueRecording, scenes_of
from sab3r_ros.lab.evaluation.report import Report
from sab3r_ros.lab.evaluation.stream import GroundTruthView, keeping_every_view
from sab3r_ros.lab.evaluation.view_groups import Group, choose_groups, read_manifest, write_manifest
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.models.base import Backend
from sab3r_ros.models.preprocess import fitted_nearest
from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.vocabulary import label_colours
from sab3r_ros.sources.base import SourceError
from sab3r_ros.types import BadFrame, Frame, nth_stamp

VIEWS = (2, 3, 4)
FIRST_ROOM = 50_000  # among the held-out ones, away from those of `eval rooms`
_PICTURED = 30  # groups of which a page shows pictures
_POINTS_WIDE = 160  # true points across an image


@dataclass(frozen=True)
class LabelledViews:
    """A few views of one scene with their truth; labels: images (H,W) of numbers, VOID where unlabelled."""

    name: str
    images: list[np.ndarray]
    views: list[GroundTruthView]
    labels: list[np.ndarray]

    def frames(self) -> list[Frame]:
        """What a mapper gets: pictures alone."""
        return [Frame(image, nth_stamp(k, 10.0)) for k, image in enumerate(self.images)]


def room_views(number: int) -> LabelledViews:
    """2, 3 or 4 views, by turns, of a made-up room that no training has seen."""
    count = 2 + number % 3
    seed = HELD_OUT_SEEDS[FIRST_ROOM + number]
    sweep = float(np.random.default_rng([seed, 23]).uniform(0.3, 0.6)) * (count - 1)
    views = render_sequence(seed, count, 320, 240, sweep).views
    truth = [GroundTruthView(v.depth, v.cam2world, v.intrinsics) for v in views]
    return LabelledViews(f"room {number}", [v.rgb for v in views], truth, [v.label.astype(np.int64) for v in views])


def recorded_views(recording: TrueRecording, labels: RecordedLabels, group: Group) -> LabelledViews:
    """A group's pictures and truth. Raises SourceError, also where the recording is not the manifest's."""
    images = recording.source.images
    for number, name in zip(group.frames, group.names, strict=True):
        if not 0 <= number < len(images) or images[number].name != name:
            raise SourceError(f"{recording.path}: its image {number} is not {name}, as the manifest has it")
    pictures = [recording.image(k) for k in group.frames]
    if len({p.shape for p in pictures}) > 1:
        raise SourceError(f"{recording.path}: images {', '.join(group.names)} differ in size")
    found = [labels.image(k) for k in group.frames]
    for picture, image, name in zip(pictures, found, group.names, strict=True):
        if picture.shape[:2] != image.shape:
            raise SourceError(
                f"{recording.path / name} is {picture.shape[1]} x {picture.shape[0]}, its labels are {image.shape[1]} x {image.shape[0]}"
            )
    return LabelledViews(
        f"{group.scene} {'+'.join(map(str, group.frames))}", pictures, [recording.view(k) for k in group.frames], found
    )


@dataclass
class _Score:
    """Counts of the groups of one size, or of all."""

    labels: LabelScore
    completeness: CompletenessScore
    groups: int = 0
    lost: int = 0

    @classmethod
    def of(cls, count: int) -> "_Score":
        return cls(LabelScore(count), CompletenessScore())

    def merge(self, other: "_Score") -> None:
        self.labels.merge(other.labels)
        self.completeness.merge(other.completeness)
        self.groups += other.groups
        self.lost += other.lost

    def metrics(self) -> dict:
        return self.labels.metrics() | self.completeness.metrics()


class MapAndLocate:
    """Maps groups and counts, for every number of views and over all; a group that cannot be read costs itself."""

    def __init__(
        self, settings: Settings, backend: Backend, query: MapQuery, names: Sequence[str], page: Path | None = None
    ):
        self._settings, self._backend, self._query = keeping_every_view(settings), backend, query
        self._labels = list(names)
        self._rows: list[dict] = []
        self._page = None if page is None else Report(page, "Map and Locate")
        self.all = _Score.of(len(self._labels))
        self.by_count: dict[int, _Score] = {}
        self.depths: list[float] = []
        self.seconds: list[float] = []
        query.set_vocabulary(self._labels)

    def add(self, group: LabelledViews) -> dict:
        """Map a group; returns its own figures. Raises BadFrame for a picture that cannot be used."""
        mapper = Mapper(self._settings, self._backend)
        run = map_stream(mapper, group.frames())
        if all(r is None for r in run.results):
            raise BadFrame(f"none of its pictures can be used: {run.faults.lines[0]}")
        own = _Score(LabelScore(len(self._labels)), CompletenessScore(), 1, sum(p is None for p in run.poses))
        step = max(1, group.views[0].depth.shape[1] // _POINTS_WIDE)
        score_map(own.labels, mapper, self._query, run, group.views, group.labels, step, own.completeness)
        for score in (self.all, self.by_count.setdefault(len(group.views), _Score.of(len(self._labels)))):
            score.merge(own)
        for result, view in zip(run.results, group.views, strict=True):
            if result is not None and result.depth is not None:
                self.depths.append(abs_rel(result.depth, fitted_nearest(view.depth, self._backend.geometry)))
        self.seconds.append(run.seconds / len(group.views))
        row = {"group": group.name, "views": len(group.views), "lost": own.lost, **own.metrics()}
        self._rows.append(row)
        if self._page is not None and len(self._rows) <= _PICTURED:
            self._draw(group, located_points(mapper, self._query, run, group.views), step, self._page)
        return row

    def _draw(
        self, group: LabelledViews, located: tuple[np.ndarray, np.ndarray] | None, step: int, page: Report
    ) -> None:
        """Picture, truth and prediction of every view of a group."""
        page.heading(group.name)
        if located is None:
            page.text("No view was tracked.")
            return
        colours = label_colours(len(self._labels))
        there = sorted(
            {int(k) for image in group.labels for k in np.unique(image) if k >= 0}
            | {int(k) for k in np.unique(located[1]) if k < len(self._labels)}
        )
        page.legend([self._labels[k] for k in there], colours[there])
        for image, view, labels in zip(group.images, group.views, group.labels, strict=True):
            drawn = label_pictures(image, view, labels, located, colours, step)
            page.picture(drawn, "picture, true labels, labels of the nearest predicted points")

    def write_page(self) -> None:
        """The page, where one was asked for: figures, groups, IoU by label."""
        if self._page is None:
            return
        self._page.heading("Figures")
        self._page.figures(self.metrics())
        self._page.bars(
            dict(zip(self._labels, 100 * self.all.labels.iou(), strict=True)), "IoU of every label, percent"
        )
        self._page.heading("Groups")
        columns = list(self._rows[0]) if self._rows else []
        self._page.table(columns, [[row[c] for c in columns] for row in self._rows])
        self._page.write()

    def metrics(self) -> dict:
        """miou, acc, near (percent), mcomp, mdcomp (m) over all groups, and with _2, _3, _4 over those of so many views."""
        out = self.all.metrics() | {
            "groups": self.all.groups, "lost_views": self.all.lost, "abs_rel": finite_mean(self.depths),
            "seconds_a_view": finite_mean(self.seconds),
        }  # fmt: skip
        for count, score in sorted(self.by_count.items()):
            out |= {f"{k}_{count}": v for k, v in score.metrics().items()} | {f"groups_{count}": score.groups}
        return out


def evaluate_rooms_groups(
    settings: Settings, backend: Backend, query: MapQuery, groups: int, first: int, report: Callable[[], None],
    page: Path | None = None,
) -> dict:  # fmt: skip
    """Figures over made-up rooms that no training has seen. page: a folder for a page to look at."""
    started = time.perf_counter()
    scored = MapAndLocate(settings, backend, query, LABELS, page)
    for number in range(first, first + groups):
        scored.add(room_views(number))
        report()
    scored.write_page()
    return scored.metrics() | {"faults": [], "seconds": time.perf_counter() - started}


def evaluate_recorded_groups(
    settings: Settings, backend: Backend, query: MapQuery, folder: Path, each: int, seed: int, manifest: Path | None,
    out: Path | None, report: Callable[[int], None], page: Path | None = None,
) -> dict:  # fmt: skip
    """Figures over groups of a data set's scenes.

    manifest: groups to be used, or where they are written when there is no such file. out: a folder for the figures of
    every group; page: one for a page to look at. What cannot be read costs its group, is named in "faults", and the rest goes on. report: told how many
    groups there are, then 0 after each. Raises SourceError where nothing could be evaluated.
    """
    started = time.perf_counter()
    faults = Faults()
    recordings, groups = _chosen(folder, each, seed, manifest, faults)
    if not groups:
        raise SourceError(
            f"{folder}: no group of views could be made; {faults.lines[0] if faults.lines else 'it has no scenes'}"
        )
    report(len(groups))
    scored, rows = None, []
    for group, views, names in _read(recordings, groups, faults):
        scored = scored or MapAndLocate(settings, backend, query, names, page)
        try:
            rows.append(scored.add(views))
        except BadFrame as error:
            faults.add(f"{group.scene} {group.names}", error)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            write_json(out / "groups.json", finite(rows))
        report(0)
    if scored is None or not rows:
        raise SourceError(f"{folder}: no group could be evaluated; {faults.lines[0]}")
    scored.write_page()
    apart = [(g.translation, g.rotation) for g in groups]
    return scored.metrics() | {
        "translation": float(np.mean([t for t, _ in apart])), "rotation": float(np.mean([r for _, r in apart])),
        "failed": len(groups) - len(rows), "faults": list(faults.lines), "seconds": time.perf_counter() - started,
    }  # fmt: skip


_Scene = tuple[TrueRecording, RecordedLabels]


def _chosen(
    folder: Path, each: int, seed: int, manifest: Path | None, faults: Faults
) -> tuple[dict[str, _Scene], list[Group]]:
    """The data set's scenes that can be read, and groups: the manifest's, or newly chosen ones, which are written there."""
    recordings: dict[str, _Scene] = {}
    wanted = read_manifest(manifest) if manifest is not None and manifest.is_file() else None
    scenes = {p.name: p for p in scenes_of(folder)}
    for name in scenes if wanted is None else dict.fromkeys(g.scene for g in wanted):
        try:
            if name not in scenes:
                raise SourceError(f"{folder} has no scene {name}, which the manifest names")
            recording = TrueRecording(scenes[name])
            recordings[name] = recording, RecordedLabels(recording.source)
        except SourceError as error:
            faults.add(name, error)
    if wanted is not None:
        return recordings, [g for g in wanted if g.scene in recordings]
    groups: list[Group] = []
    for name, (recording, labels) in recordings.items():
        for count in VIEWS:
            try:
                groups += choose_groups(recording, labels, [count], each, seed)
            except SourceError as error:
                faults.add(name, error)
    if manifest is not None and groups:
        write_manifest(manifest, groups, seed)
    return recordings, groups


def _read(
    recordings: dict[str, _Scene], groups: Sequence[Group], faults: Faults
) -> Iterator[tuple[Group, LabelledViews, list[str]]]:
    """Groups one after the other; those that cannot be read, or whose labels are not the first scene's, are told."""
    names: list[str] | None = None
    for group in groups:
        recording, labels = recordings[group.scene]
        names = names or labels.names
        try:
            if labels.names != names:
                raise SourceError(f"{recording.path} has other labels than the scenes before it")
            yield group, recorded_views(recording, labels, group), names
        except SourceError as error:
            faults.add(group.scene, error)
