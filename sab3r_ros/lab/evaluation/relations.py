"""Questions with relations to made-up rooms whose every voxel carries the text embedding of what it truly is.

So that grammar and geometry are judged apart from the network that names things.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from sab3r_ros.config import Settings
from sab3r_ros.lab.synthetic.objects import STRUCTURE, SceneObject
from sab3r_ros.lab.synthetic.rooms import build_room
from sab3r_ros.mapping.scene import SceneMap
from sab3r_ros.models.backends import load_feature_model
from sab3r_ros.query.map_query import MapQuery, query_for
from sab3r_ros.query.objects import LocatedObject
from sab3r_ros.types import MapSnapshot

_FIRST_ROOM = 900_071_000  # seeds that no training has seen
_DENSITY = 5000  # points a square metre
_FEWEST, _MOST = 400, 60_000  # points of a thing
_TOUCH = 0.02  # metres between a thing and what it stands on
_ON_FLOOR = 0.05
_COVERED = 0.7  # share of a thing's footprint that must lie on, or under, the other's
_CLEAR = 0.05  # metres between a thing's top and what it is under
_BESIDE = 0.3  # metres between what is next to each other
_ASIDE = 0.4  # metres that what is left or right of a thing lies aside of it, as its viewer sees it
_REACH = 1.5  # metres between things of which one is called left of the other


@dataclass(frozen=True)
class _Case:
    """A question, the numbers of the things that are a right answer, and how many things have the name that is asked for."""

    relation: str
    text: str
    right: frozenset[int]
    namesakes: int


def evaluate_relations(
    settings: Settings, rooms: int, first: int = 0, progress: Callable[[], object] | None = None
) -> dict:
    """Percent of the questions whose first answer is right: `right_percent` of all `questions`, `right_among_namesakes` of those
    (`among_namesakes`) where several things have the name; per relation in `by_relation`; `not_found`: the thing or the place
    was not found at all, which is not counted."""
    features = load_feature_model(settings.model)
    query = query_for(features, settings.query)
    assert query is not None
    assert features is not None
    outcomes: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    not_found = 0
    for number in range(rooms):
        seed = _FIRST_ROOM + first + number
        objects = build_room(seed).objects
        rng = np.random.default_rng(seed)
        points = [surface_points(item, rng) for item in objects]
        snapshot = true_map(query, settings, features.dim, [o.label for o in objects], points)
        eye = np.array([*np.mean([p.mean(0)[:2] for p in points], axis=0), 1.5])
        owner = _owners(points, snapshot)
        for case in _cases([o.label for o in objects], points, eye):
            if not all(query.ask(snapshot, name).objects for name in _names(case)):
                not_found += 1
                continue
            answer = query.ask(snapshot, case.text, viewpoint=eye).objects
            right = bool(answer) and _number_of(answer[0], owner) in case.right
            outcomes[case.relation].append((right, case.namesakes > 1))
        if progress:
            progress()
    everything = [outcome for some in outcomes.values() for outcome in some]
    hard = [right for right, among in everything if among]
    return {
        "rooms": rooms, "questions": len(everything), "right_percent": _percent([right for right, _ in everything]),
        "among_namesakes": len(hard), "right_among_namesakes": _percent(hard), "not_found": not_found,
        "by_relation": {
            name: {"questions": len(some), "right_percent": _percent([right for right, _ in some])}
            for name, some in sorted(outcomes.items())
        },
    }  # fmt: skip


def _percent(values: list[bool]) -> float | None:
    return round(100 * float(np.mean(values)), 1) if values else None


def surface_points(item: SceneObject, rng: np.random.Generator) -> np.ndarray:
    """Points (N,3) of a thing's surface in the room."""
    triangles = np.concatenate([vertices[faces] for vertices, faces in (part.mesh() for part in item.parts)])
    area = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1) / 2
    count = int(np.clip(area.sum() * _DENSITY, _FEWEST, _MOST))
    chosen = triangles[rng.choice(len(triangles), count, p=area / area.sum())]
    root, share = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    points = (1 - root) * chosen[:, 0] + root * (1 - share) * chosen[:, 1] + root * share * chosen[:, 2]
    return points @ item.rotation().T + item.position


def true_map(query: MapQuery, settings: Settings, dim: int, labels: list[str], points: list[np.ndarray]) -> MapSnapshot:
    """A map of things (N,3) each, whose voxels have the text embeddings of their labels."""
    scene = SceneMap(settings.map, dim)
    number = np.repeat(np.arange(len(points)), [len(p) for p in points])
    embeddings = query.embed(labels).float()
    scene.codec.partial_fit(embeddings)
    xyz = torch.from_numpy(np.concatenate(points)).float()
    features = scene.codec.encode(embeddings[torch.from_numpy(number)])
    scene.grid.add_points(xyz, torch.full_like(xyz, 128.0), torch.ones(len(xyz)), features, 1)
    scene.has_features = True
    return scene.snapshot()


def _owners(points: list[np.ndarray], snapshot: MapSnapshot) -> np.ndarray:
    """The thing (V,) that every voxel is of."""
    number = np.repeat(np.arange(len(points)), [len(p) for p in points])
    return number[cKDTree(np.concatenate(points)).query(snapshot.points)[1]]


def _number_of(item: LocatedObject, owner: np.ndarray) -> int:
    """The thing that most of an answer's voxels are of."""
    return int(np.bincount(owner[item.index]).argmax())


def _names(case: _Case) -> tuple[str, str]:
    thing, _, place = case.text.partition(f" {case.relation} ")
    return thing, place


def _cases(labels: list[str], points: list[np.ndarray], eye: np.ndarray) -> Iterator[_Case]:
    """Every question that a pair of labels and a relation make, with all right answers."""
    right: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    inside = [n for n, label in enumerate(labels) if label not in STRUCTURE]
    for a in inside:
        for b in inside:
            if a != b and labels[a] != labels[b]:
                for relation in _relations(points[a], points[b], eye):
                    right[labels[a], relation, labels[b]].add(a)
    for (thing, relation, place), numbers in sorted(right.items()):
        yield _Case(relation, f"the {thing} {relation} the {place}", frozenset(numbers), labels.count(thing))


def _relations(thing: np.ndarray, other: np.ndarray, eye: np.ndarray) -> Iterator[str]:
    """What a thing (N,3) is to another one (M,3), where that is beyond doubt."""
    (low, high), (other_low, other_high) = ((p.min(0), p.max(0)) for p in (thing, other))
    shared = np.minimum(high, other_high)[:2] - np.maximum(low, other_low)[:2]
    covered = float(shared.clip(0).prod() / max((high - low)[:2].prod(), 1e-6))
    gap = float(np.linalg.norm(np.maximum(np.maximum(low - other_high, other_low - high)[:2], 0)))
    around = other[((other[:, :2] > low[:2] - _TOUCH) & (other[:, :2] < high[:2] + _TOUCH)).all(1), 2]
    if covered > _COVERED and len(around):
        below = around[around < low[2] + _TOUCH]
        if len(below) and low[2] - below.max() < _TOUCH and low[2] > _ON_FLOOR:
            yield "on"
        elif low[2] < _ON_FLOOR and high[2] < around.max() - _CLEAR:
            yield "under"
    if 0 < gap < _BESIDE and max(low[2] - other_high[2], other_low[2] - high[2]) < 0:
        yield "next to"
    forward = (other.mean(0) - eye)[:2]
    offset = (thing.mean(0) - other.mean(0))[:2]
    forward /= max(float(np.linalg.norm(forward)), 1e-6)
    aside, away = float(offset @ [forward[1], -forward[0]]), float(offset @ forward)
    if abs(aside) > max(_ASIDE, 2 * abs(away)) and gap < _REACH:
        yield "right of" if aside > 0 else "left of"
