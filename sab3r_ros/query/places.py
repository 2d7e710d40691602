"""What is where: the things of a map that stand in a relation to others, lie at a point or in a box, or are seen in a view."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.objects import LocatedObject
from sab3r_ros.query.questions import Question, QuestionError, Relation, parse_question
from sab3r_ros.query.registry import MapObject, ObjectState
from sab3r_ros.query.relations import relation_score
from sab3r_ros.query.visibility import View
from sab3r_ros.types import MapSnapshot, Region

_ANYTHING = "thing"
_LEADS = ("what is ", "what's ", "what ", "everything ", "anything ")
_LEAST_RELATED = 0.3  # score of a relation from which on it holds
_SAME = 0.5  # share of the voxels of a thing that another one has too, from which on both are the same
_SAME_VOXEL = 0.01  # metres: one voxel's mean position in two answers
_INSIDE = 0.5  # share of a thing's points in a box from which on it is in it
_NEARER = 0.15  # of the depth: what hides a thing is nearer than it by more than this
_VISIBLE = 0.15  # share of a thing's points that a view must show
_SAMPLE = 400  # points of a thing that are looked at


def asks_for_contents(text: str) -> bool:
    """Whether a prompt asks what is in a place, such as "what is on the table" or "everything in the shelves"."""
    return text.strip().lower().startswith(_LEADS)


def parse_place(text: str) -> tuple[tuple[Relation, Question], ...]:
    """Relations such as "on the table" or "on the shelf and left of the door". Raises QuestionError for anything else."""
    words = text.strip(" ?!.")
    for lead in _LEADS:
        if words.lower().startswith(lead):
            words = words[len(lead) :]
    places = parse_question(f"{_ANYTHING} {words}").places
    if not places:
        raise QuestionError(
            f'{text!r} does not say where: "on the table", "next to the door", "in the shelves and left of the sink"'
        )
    return places


def things_in_place(
    query: MapQuery, snapshot: MapSnapshot, things: Sequence[MapObject], where: str, viewpoint: np.ndarray | None = None
) -> list[tuple[MapObject, float]]:  # fmt: skip
    """Things in a place, such as "on the table" or "next to the door and in the shelves", and how far they are there in [0, 1], best
    first. Raises QuestionError for words that do not say where, LookupError where a place is not found."""
    left: dict[str, tuple[MapObject, float]] = {o.id: (o, 1.0) for o in things}
    for relation, place in parse_place(where):
        anchors = query.find(snapshot, place, viewpoint=viewpoint)
        if not anchors:
            raise LookupError(f"nothing answers {str(place)!r}")
        related = things_related([o for o, _ in left.values()], relation, anchors, viewpoint)
        left = {o.id: (o, min(score, left[o.id][1])) for o, score in related}
    return sorted(left.values(), key=lambda pair: -pair[1])


def things_related(
    things: Sequence[MapObject], relation: Relation, anchors: Sequence[LocatedObject], viewpoint: np.ndarray | None = None
) -> list[tuple[MapObject, float]]:  # fmt: skip
    """Things that are in a relation to one of the anchors, and how far in [0, 1], best first; not the anchors themselves.

    viewpoint (3,): where left and right are said from.
    """
    found = []
    for number, thing in enumerate(here(things)):
        located = _located(thing, number)
        scores = [
            relation_score(relation, located, anchor, viewpoint) for anchor in anchors if not _is_same(thing, anchor)
        ]
        best = max(scores, default=0.0)
        if best >= _LEAST_RELATED and len(scores) == len(anchors):
            found.append((thing, best))
    return sorted(found, key=lambda pair: -pair[1])


def thing_at(things: Sequence[MapObject], point: np.ndarray, reach: float) -> MapObject | None:
    """The thing that has a point nearest to a place (3,), within `reach` metres; also one that is gone."""
    near = [(float(np.linalg.norm(thing.points - point, axis=1).min()), k) for k, thing in enumerate(things)]
    distance, number = min(near, default=(np.inf, -1))
    return things[number] if distance <= reach else None


def things_in_box(things: Sequence[MapObject], box: Region) -> list[tuple[MapObject, float]]:
    """Things of which at least half lies in a box, and which share of them, most first."""
    found = []
    for thing in here(things):
        local = (thing.points - box.pose[:3, 3]) @ box.pose[:3, :3]
        share = float((np.abs(local) <= np.asarray(box.size) / 2).all(1).mean())
        if share >= _INSIDE:
            found.append((thing, share))
    return sorted(found, key=lambda pair: -pair[1])


def things_in_view(things: Sequence[MapObject], view: View) -> list[tuple[MapObject, float]]:
    """Things that a view shows, not hidden by what is before them, and their shares of its image, largest first."""
    found = []
    height, width = view.depth.shape
    for thing in here(things):
        some = thing.points[:: -(-len(thing.points) // _SAMPLE)]
        inside, pixels, z = view.project(some)
        shown = inside & (view.depth[pixels[:, 1], pixels[:, 0]] > (1 - _NEARER) * z)
        if shown.mean() < _VISIBLE:
            continue
        extent = np.ptp(pixels[shown], axis=0) + 1
        found.append((thing, float(extent.prod() / (height * width))))
    return sorted(found, key=lambda pair: -pair[1])


def here(things: Sequence[MapObject]) -> list[MapObject]:
    """The things that are there now."""
    return [thing for thing in things if thing.state == ObjectState.HERE]


def _located(thing: MapObject, number: int) -> LocatedObject:
    """A thing as relations see it; its number stands for voxels of its own."""
    count = len(thing.points)
    return LocatedObject(
        thing.id, thing.label, 0, 1.0, 1.0, thing.centroid, thing.box_pose, thing.size, thing.points, thing.rgb,
        np.full(count, thing.views), thing.last_seen, np.zeros(0, int), np.array([-1 - number]),
    )  # fmt: skip


def _is_same(thing: MapObject, anchor: LocatedObject) -> bool:
    """Whether a thing is what an anchor is, or a part of it: made of the same voxels."""
    distance, _ = cKDTree(anchor.points).query(thing.points, distance_upper_bound=_SAME_VOXEL)
    return bool(np.isfinite(distance).mean() >= _SAME)
