"""Things with an identity: ids that stay, move with the map, come apart, are saved and are gone."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sab3r_ros.config import QuerySettings
from sab3r_ros.models.catalogue import ASSETS
from sab3r_ros.models.text import TextEncoder
from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.object_store import FILE, load_objects, new_registry, save_objects
from sab3r_ros.query.registry import ObjectRegistry, ObjectState, _assign
from sab3r_ros.query.segments import segments_of
from sab3r_ros.query.visibility import Sight, View, best_view, look_at
from sab3r_ros.types import Keyframe, MapSnapshot

FOCAL, SHAPE = 120.0, (120, 160)


@pytest.fixture(scope="module")
def query():
    return MapQuery(QuerySettings(), TextEncoder(f"local-dir:{ASSETS / 'sab3r_small' / 'text'}"))


def room(query, things, uid=5, stamp=100):
    """A map of a floor and of boxes: (label, centre, half size)."""
    rng = np.random.default_rng(0)
    parts = [("floor", (0, 0, 0), (2, 2, 0.01), 2000), *((n, c, h, 300) for n, c, h in things)]
    xyz = np.concatenate([rng.uniform(-1, 1, (n, 3)) * half + centre for _, centre, half, n in parts])
    feature = torch.cat([query.embed([name]).expand(count, -1) for name, _, _, count in parts])
    count = len(xyz)
    return MapSnapshot(
        0.04, torch.arange(count), torch.eye(48), True, map_uid=uid, xyz=torch.from_numpy(xyz).float(), feature=feature,
        rgb=torch.full((count, 3), 100.0), weight=torch.ones(count), hits=torch.ones(count, dtype=torch.int32),
        stamp=torch.full((count,), stamp),
    )  # fmt: skip


MUG, OTHER, CHAIR = (
    ("mug", (1, 1, 0.5), (0.06,) * 3),
    ("mug", (1, 0.6, 0.5), (0.06,) * 3),
    ("chair", (-1, 0, 0.4), (0.2, 0.2, 0.4)),
)


def names(objects):
    return {o.id: (o.label, tuple(np.round(o.centroid, 1))) for o in objects}


def test_a_map_is_cut_into_things(query):
    found = segments_of(query, room(query, [MUG, OTHER, CHAIR]), 15)
    assert sorted(s.labels[0][0] for s in found) == ["chair", "mug", "mug"]
    assert all(abs(sum(share for _, share in s.labels)) <= 1 for s in found)


def test_things_that_touch_come_apart(query):
    table = ("table", (0.0, 0, 0.7), (0.5, 0.4, 0.02))
    on_it = ("mug", (0.0, 0, 0.78), (0.05, 0.05, 0.06))
    assert sorted(s.labels[0][0] for s in segments_of(query, room(query, [table, on_it]), 15)) == ["mug", "table"]


def test_ids_stay_over_growth_and_never_swap(query):
    registry = ObjectRegistry()
    first = names(registry.update(query, room(query, [MUG, OTHER]), []))
    for k in range(20):  # both drift towards where the other one was, and others come
        shift = 0.01 * k
        near, far = ("mug", (1, 1 - shift, 0.5), MUG[2]), ("mug", (1, 0.6 - shift, 0.5), MUG[2])
        found = names(registry.update(query, room(query, [far, CHAIR, near]), []))
        assert {i for i, (label, _) in found.items() if label == "mug"} == set(first)
    upper = max(first, key=lambda i: first[i][1][1])
    assert found[upper][1][1] == max(v[1][1] for v in found.values() if v[0] == "mug")


def test_another_map_begins_anew(query):
    registry = ObjectRegistry()
    registry.update(query, room(query, [MUG]), [])
    assert list(names(registry.update(query, room(query, [CHAIR], uid=6), []))) == ["object-0"]


def test_things_move_with_the_keyframe_that_saw_them(query):
    registry = ObjectRegistry()
    before = keyframe(0, depth=3.0)
    (item,) = registry.update(query, room(query, [MUG]), [replace_points(before, MUG)])
    assert item.keyframe == 0
    moved = torch.eye(4, dtype=torch.float64)
    moved[:3, 3] = torch.tensor([0.5, 0.0, 0.0])
    pose = moved @ before.pose
    shifted = ("mug", (1.5, 1, 0.5), MUG[2])
    found = registry.update(query, room(query, [shifted]), [replace_points(replace(before, pose=pose), shifted)])
    assert [o.id for o in found] == [item.id]
    assert len(registry.objects) == 1


def view(depth, stamp=200):
    """A camera at (1, -1, 0.5) that looks along y at a wall `depth` metres away."""
    pose = np.eye(4)
    pose[:3, :3] = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    pose[:3, 3] = 1, -1, 0.5
    return View(-1, stamp, pose, FOCAL, np.full(SHAPE, depth, np.float32))


def keyframe(number, depth):
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    rays = np.stack([(u - (SHAPE[1] - 1) / 2) / FOCAL, (v - (SHAPE[0] - 1) / 2) / FOCAL, np.ones(SHAPE)], -1)
    points = torch.from_numpy(rays * depth).float()
    return Keyframe(
        number,
        50,
        torch.from_numpy(view(depth).pose),
        points,
        torch.ones(SHAPE),
        np.zeros((*SHAPE, 3), np.uint8),
        torch.zeros(0),
    )


def replace_points(frame, thing):
    """The same with a surface at the depth of a thing that stands 2 m before the camera."""
    return replace(frame, points=frame.points * (2.0 / 3.0))


def test_what_views_say_of_a_place():
    points = np.random.default_rng(0).uniform(-0.06, 0.06, (300, 3)) + [1, 1, 0.5]
    assert look_at(points, view(2.0)) == Sight.SEEN
    assert look_at(points, view(4.0)) == Sight.SEEN_THROUGH
    assert look_at(points, view(1.0)) == Sight.NOTHING  # hidden
    assert look_at(points + [0, -9, 0], view(2.0)) == Sight.NOTHING
    near, box = best_view(points, [view(4.0), view(2.0)])
    assert near.depth[0, 0] == 2.0
    assert 0 < box[2] - box[0] < 20


def test_what_several_frames_look_through_is_gone_and_comes_back(query):
    registry = ObjectRegistry()
    (mug,) = registry.update(query, room(query, [MUG]), [])
    for k in range(10):
        registry.look(view(4.0, 200 + k))
    assert registry.objects[0].state == ObjectState.HERE, "nobody ever confirmed that it was there"
    for k in range(4):
        registry.look(view(2.0, 300 + k))
    for k in range(12):
        registry.look(view(4.0, 400 + k))
    assert registry.objects[0].state == ObjectState.GONE
    assert registry.update(query, room(query, [MUG]), []) == [], "the map still has its voxels"
    again = registry.update(query, room(query, [MUG], stamp=1000), [])
    assert [(o.id, o.state) for o in again] == [(mug.id, ObjectState.HERE)]


def test_a_thing_that_moved_keeps_its_id(query):
    registry = ObjectRegistry()
    (mug,) = registry.update(query, room(query, [MUG]), [])
    for depth, first in ((2.0, 300), (4.0, 400)):
        for k in range(8):
            registry.look(view(depth, first + k))
    elsewhere = ("mug", (-1, -1, 0.5), MUG[2])
    (found,) = registry.update(query, room(query, [elsewhere], stamp=1000), [])
    assert found.id == mug.id
    assert found.moved_from == pytest.approx(mug.centroid)


def test_things_are_saved_with_their_map(query, tmp_path):
    registry = ObjectRegistry()
    registry.update(query, room(query, [MUG, CHAIR]), [])
    save_objects(tmp_path, "mark", registry)
    stored = load_objects(tmp_path, "mark")
    again = new_registry(stored)
    assert [vars(o).keys() for o in again.objects] == [vars(o).keys() for o in registry.objects]
    assert names(again.objects) == names(registry.objects)
    found = again.update(query, room(query, [CHAIR, OTHER, MUG], uid=9), [])
    assert names(registry.objects).items() <= names(found).items()
    assert max(names(found)) == "object-2"
    assert load_objects(tmp_path, "another map") is None
    (tmp_path / FILE).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="found anew"):
        load_objects(tmp_path, "mark")


def test_a_speck_in_a_large_thing_does_not_take_its_id():
    grid = np.stack(np.meshgrid(*[np.arange(12) * 0.04] * 3), -1).reshape(-1, 3)
    speck, beside = grid[:10], grid[-8:] + [0.04, 0, 0]

    def thing(name, points):
        return SimpleNamespace(id=name, points=points, feature=np.array([1.0, 0.0]))

    known = [thing("shelves", grid), thing("scissors", speck)]
    found = [thing("", np.concatenate([grid, speck + 0.001])), thing("", beside)]
    assert _assign(known, found, 0.06)["shelves"] == 0
