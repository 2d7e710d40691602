"""Whether things keep their ids while a map grows, is adjusted, is saved and opened again: walks through made-up rooms."""

import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from sab3r_ros.config import Settings
from sab3r_ros.lab.synthetic.long_walks import render_long_walk
from sab3r_ros.lab.synthetic.objects import LABELS, STRUCTURE
from sab3r_ros.lab.synthetic.render import View as TrueView
from sab3r_ros.mapping.map_file import map_mark
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.session import load_map, save_map
from sab3r_ros.models.base import Backend
from sab3r_ros.query.map_query import MapQuery, query_for
from sab3r_ros.query.object_store import load_objects, new_registry, save_objects
from sab3r_ros.query.registry import MapObject, ObjectRegistry
from sab3r_ros.query.visibility import View, view_of, view_of_result
from sab3r_ros.types import BadFrame, Frame, nth_stamp

_FIRST_ROOM = 900_071_000  # seeds that no training has seen
_STEP, _RATE = 0.05, 10.0  # metres between images, and images a second
_EVERY = 10  # frames between two looks at the things
_SURE = 0.6  # share of a thing's points in its best view that must lie on one true thing
_SAME_SURFACE = 0.1  # of the depth

Look = dict[int, tuple[str, ...]]  # ids of what stands for a true thing, by its number, the one with most points first


def evaluate_identities(
    settings: Settings, backend: Backend, walks: int, first: int = 0, frames: int = 200, progress: Callable[[], object] | None = None
) -> dict:  # fmt: skip
    """Figures over all walks, in each of which the map is saved and opened anew in the middle, and adjusted as a node does it.

    things: true ones that were found at two looks at least; kept_percent: of them, those that have the same id at the last look as
    at the first; steps_kept_percent: of the times that one was found at two looks in a row, those in which its id stayed; swaps:
    pairs of true things that exchanged their ids; taken: ids that came to stand for another thing, which had none or another before.
    Raises ValueError for a model without features.
    """
    started = time.perf_counter()
    query = query_for(backend.features, settings.query)
    if query is None:
        raise ValueError("this model has no features that name things")
    totals = {"things": 0, "kept": 0, "steps": 0, "steps_kept": 0, "swaps": 0, "taken": 0, "ids": 0}
    for number in range(walks):
        looks, ids = _walk(settings, backend, query, _FIRST_ROOM + first + number, frames, progress)
        for name, count in (identity_counts(looks) | {"ids": ids}).items():
            totals[name] += count
    return {
        "walks": walks, "frames": frames, "things": totals["things"], "ids": totals["ids"],
        "kept_percent": _percent(totals["kept"], totals["things"]),
        "steps_kept_percent": _percent(totals["steps_kept"], totals["steps"]), "steps": totals["steps"], "swaps": totals["swaps"],
        "taken": totals["taken"], "seconds": time.perf_counter() - started,
    }  # fmt: skip


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else float("nan")


def identity_counts(looks: Sequence[Look]) -> dict[str, int]:
    """Counts for `evaluate_identities`. A true thing keeps its id as long as what has this id stands for it."""
    names: dict[int, list[str]] = {}
    steps = kept = swaps = taken = 0
    for before, after in zip([{}, *looks][:-1], looks, strict=True):
        stood = {names[thing][-1]: thing for thing in before}
        stolen = [
            (stood[name], thing) for thing, own in after.items() for name in own if stood.get(name, thing) != thing
        ]
        taken += len(stolen)
        swaps += sum((b, a) in stolen for a, b in stolen) // 2
        for thing, own in after.items():
            last = names.setdefault(thing, [])
            stays = bool(last) and last[-1] in own
            if thing in before:
                steps += 1
                kept += stays
            last.append(last[-1] if stays else own[0])
    several = [own for own in names.values() if len(own) > 1]
    return {
        "things": len(several), "kept": sum(own[0] == own[-1] for own in several), "steps": steps, "steps_kept": kept, "swaps": swaps,
        "taken": taken,
    }  # fmt: skip


def _walk(
    settings: Settings, backend: Backend, query: MapQuery, seed: int, frames: int, progress: Callable[[], object] | None
) -> tuple[list[Look], int]:
    """The ids of true things at every look of one walk, and how many ids there were in all."""
    width = backend.geometry.image_size
    mapper, registry = Mapper(settings, backend), ObjectRegistry()
    looks: list[Look] = []
    truth: dict[int, TrueView] = {}

    def look() -> None:
        registry.update(query, mapper.snapshot(), mapper.state.graph.keyframes)
        looks.append(_true_things(registry.objects, mapper, truth))

    walk = render_long_walk(seed, length=_STEP * (frames + 60), step=_STEP, width=width, height=width * 3 // 4)
    for k, view in enumerate(islice(walk, frames)):
        stamp = nth_stamp(k, _RATE)
        truth[stamp] = view
        try:
            result = mapper.register(Frame(view.rgb, stamp))
        except BadFrame:
            continue
        if result.is_keyframe and mapper.wants_adjustment():
            mapper.adjust(whole=False)
        seen = view_of_result(result)
        if seen is not None:
            registry.look(seen)
        if k % _EVERY == _EVERY - 1:
            look()
        if k == frames // 2:
            mapper, registry = _opened_again(settings, backend, mapper, registry)
        if progress:
            progress()
    mapper.settle()
    look()
    return looks, len(registry.objects)


def _opened_again(
    settings: Settings, backend: Backend, mapper: Mapper, registry: ObjectRegistry
) -> tuple[Mapper, ObjectRegistry]:
    """A map and its things, saved and opened by another mapper."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "map"
        save_map(mapper, place)
        save_objects(place, map_mark(place), registry)
        again = Mapper(settings, backend)
        load_map(again, place)
        return again, new_registry(load_objects(place, map_mark(place)))


def _true_things(objects: Sequence[MapObject], mapper: Mapper, truth: dict[int, TrueView]) -> Look:
    """The ids of what was found for every true thing."""
    keyframes = {k.id: k for k in mapper.state.graph.keyframes}
    views = {n: view_of(k) for n in {o.keyframe for o in objects} if (k := keyframes.get(n)) is not None}
    found: dict[int, list[MapObject]] = {}
    for item in objects:
        view = views.get(item.keyframe)
        true = truth.get(view.stamp) if view is not None else None
        thing = None if view is None or true is None else _true_thing(item, view, true)
        if thing is not None:
            found.setdefault(thing, []).append(item)
    return {thing: tuple(o.id for o in sorted(own, key=lambda o: -len(o.points))) for thing, own in found.items()}


def _true_thing(item: MapObject, view: View, true: TrueView) -> int | None:
    """The number of the true thing that most of a thing's points lie on in its best view; None for walls and mixtures."""
    inside, pixels, z = view.project(item.points)
    shown = inside & (np.abs(view.depth[pixels[:, 1], pixels[:, 0]] - z) <= _SAME_SURFACE * z)
    if not shown.any() or true.instance.shape != view.depth.shape:
        return None
    rows, columns = pixels[shown, 1], pixels[shown, 0]
    numbers, counts = np.unique(true.instance[rows, columns], return_counts=True)
    best = int(numbers[counts.argmax()])
    if best < 0 or counts.max() < _SURE * counts.sum():
        return None
    label = np.bincount(true.label[rows, columns][true.instance[rows, columns] == best]).argmax()
    return None if label >= len(LABELS) or LABELS[label] in STRUCTURE else best
