"""Where things stand in a room: furniture along walls and in the middle, things on what can carry them."""

import numpy as np

from sab3r_ros.lab.synthetic.catalogue import Catalogue
from sab3r_ros.lab.synthetic.fitted import fitted_kitchen, hung, seat_at, wall_board
from sab3r_ros.lab.synthetic.objects import THINGS, SceneObject, build_object

# What a kind of room has along its walls, free in the middle, on its walls, and lying about.
_KINDS = {
    "kitchen": (
        ("counter", "counter", "cabinet", "refrigerator", "oven", "dishwasher", "sink", "shelves", "door", "trash can"),
        ("table", "chair", "chair", "chair", "stool", "trash can"),
        ("mug", "mug", "bottle", "bowl", "plate", "pan", "pot", "kettle", "teapot", "knife", "spoon", "microwave", "faucet", "box"),
    ),
    "living room": (
        ("sofa", "sofa", "shelves", "cabinet", "drawers", "television", "lamp", "door", "curtain", "plant"),
        ("table", "chair", "rug", "lamp", "plant", "stool", "table"),
        ("book", "vase", "television", "game controller", "phone", "mug", "bottle", "clock", "headphones", "cushion", "plant", "ball"),
    ),
    "bedroom": (
        ("bed", "bed", "drawers", "cabinet", "shelves", "desk", "lamp", "door", "curtain", "chair"),
        ("chair", "rug", "bag", "ball", "stool", "box", "plant"),
        ("book", "clock", "hat", "bag", "phone", "headphones", "laptop", "cushion", "vase", "mug", "box"),
    ),
    "office": (
        ("desk", "desk", "desk", "shelves", "cabinet", "drawers", "door", "trash can", "plant", "television"),
        ("chair", "chair", "table", "trash can", "plant", "lamp", "box"),
        ("laptop", "keyboard", "television", "book", "phone", "mug", "headphones", "bottle", "clock", "scissors", "box", "bag"),
    ),
    "workshop": (
        ("table", "table", "shelves", "cabinet", "drawers", "door", "bucket", "trash can", "box"),
        ("stool", "chair", "bucket", "box", "box", "table", "trash can"),
        ("hammer", "drill", "screwdriver", "scissors", "knife", "box", "bucket", "bottle", "hat", "ball", "headphones"),
    ),
    "bathroom": (
        ("sink", "toilet", "cabinet", "dishwasher", "drawers", "door", "trash can", "shelves"),
        ("stool", "rug", "trash can", "bucket", "plant"),
        ("bottle", "mug", "faucet", "vase", "box", "clock", "scissors", "plant", "hat"),
    ),
}  # fmt: skip
_ON_WALLS = ("window", "window", "picture", "picture", "picture", "clock", "television", "shelves")
_CARRIERS = ("table", "desk", "counter", "drawers", "cabinet", "stool", "shelves", "oven")
_FITTED = 0.6  # share of the kitchens that are fitted
_SEATED = 0.6  # share of the tables and desks with chairs at them
_CROWD = 0.3  # chance that a thing is of any kind instead of one that belongs into the room


def furnish(size, rng: np.random.Generator, catalogue: Catalogue | None = None) -> tuple[str, list[SceneObject]]:
    """The kind of room and its objects, for a room of `size` (3,) metres."""
    kind = list(_KINDS)[rng.integers(len(_KINDS))]
    along, free, small = _KINDS[kind]
    plan = _Plan(size, rng)
    if kind == "kitchen" and rng.random() < _FITTED:
        for unit in fitted_kitchen(size, rng):
            plan.put(unit)
    for _ in range(int(rng.integers(5, 11))):
        plan.against_wall(build_object(_pick(along, rng), rng, catalogue))
    for _ in range(int(rng.integers(1, 5))):
        label = _pick(_ON_WALLS, rng)
        thing = wall_board(rng) if label == "shelves" else build_object(label, rng, catalogue)
        plan.on_wall(hung(thing) if label == "television" else thing)
    for _ in range(int(rng.integers(3, 8))):
        plan.free(build_object(_pick(free, rng), rng, catalogue))
    for host in [o for o in plan.placed if o.label in ("table", "desk") and rng.random() < _SEATED]:
        for _ in range(int(rng.integers(1, 5))):
            plan.seat(host, build_object("chair", rng, catalogue))
    for _ in range(int(rng.integers(8, 45))):
        thing = build_object(_pick(THINGS, rng) if rng.random() < _CROWD else _pick(small, rng), rng, catalogue)
        if rng.random() < 0.85:
            plan.on_something(thing)
        else:
            plan.free(thing, tries=1)
    return kind, plan.placed


def _pick(names, rng):
    return names[rng.integers(len(names))]


class _Plan:
    """Objects placed so far, and the boxes that they fill."""

    def __init__(self, size, rng):
        self.size, self.rng = size, rng
        self.placed: list[SceneObject] = []
        self._filled: list[np.ndarray] = []
        self._surfaces: list[tuple[SceneObject, np.ndarray, np.ndarray, float]] = []

    def put(self, obj: SceneObject) -> bool:
        """An object that knows its place."""
        return self._place(obj, obj.position, obj.yaw)

    def seat(self, host: SceneObject, chair: SceneObject) -> bool:
        seat_at(host, chair, self.rng)
        return self._place(chair, chair.position, chair.yaw, host)

    def against_wall(self, obj: SceneObject) -> bool:
        low, _ = obj.extents()
        off = -low[0] + 0.005
        position, yaw = self._at_wall(off)
        return self._place(obj, np.array([*position, 0.0]), yaw)

    def on_wall(self, obj: SceneObject) -> bool:
        low, high = obj.extents()
        position, yaw = self._at_wall(-low[0] + 0.002)
        lift = self.rng.uniform(1.3, 1.8) if high[2] < 0.6 else 0.0
        return self._place(obj, np.array([*position, lift]), yaw)

    def free(self, obj: SceneObject, tries: int = 4) -> bool:
        for _ in range(tries):
            place = np.array([*self.rng.uniform([0.4, 0.4], self.size[:2] - 0.4), 0.0])
            if self._place(obj, place, float(self.rng.uniform(-np.pi, np.pi))):
                return True
        return False

    def on_something(self, obj: SceneObject, tries: int = 3) -> bool:
        if not self._surfaces:
            return self.free(obj)
        low, high = obj.extents()
        for _ in range(tries):
            host, corner1, corner2, room = self._surfaces[self.rng.integers(len(self._surfaces))]
            if high[2] > room or (np.abs([low[:2], high[:2]]).max(0) * 1.2 > (corner2 - corner1)[:2]).any():
                continue
            margin = np.minimum(0.1, (corner2 - corner1)[:2] / 3)
            spot = self.rng.uniform(corner1[:2] + margin, corner2[:2] - margin)
            place = host.rotation() @ [*spot, corner2[2] + 0.001] + host.position
            turn = host.yaw + self.rng.normal(0, 0.4) + (np.pi if self.rng.random() < 0.15 else 0.0)
            if self._place(obj, place, float(turn), host):
                return True
        return False

    def _at_wall(self, off):
        x, y = self.rng.uniform([0.4, 0.4], self.size[:2] - 0.4)
        return (
            ((off, y), 0.0),
            ((x, off), np.pi / 2),
            ((self.size[0] - off, y), np.pi),
            ((x, self.size[1] - off), -np.pi / 2),
        )[int(self.rng.integers(4))]

    def _place(self, obj, position, yaw, host=None):
        obj.position, obj.yaw = position, yaw
        low, high = obj.extents()
        corners = np.array([[x, y] for x in (low[0], high[0]) for y in (low[1], high[1])])
        turned = corners @ obj.rotation()[:2, :2].T + position[:2]
        box = np.array([*turned.min(0), low[2] + position[2], *turned.max(0), high[2] + position[2]])
        if (box[:2] < -0.06).any() or (box[3:5] > self.size[:2] + 0.06).any() or box[5] > self.size[2]:
            return False
        flat = high[2] < 0.02 and host is None  # nothing stumbles over a rug
        for other, filled in zip(self.placed, self._filled, strict=True):
            if flat or other is host or filled[5] < 0.02:
                continue
            if (box[:3] < filled[3:] - 0.002).all() and (box[3:] > filled[:3] + 0.002).all():
                return False
        self.placed.append(obj)
        self._filled.append(box)
        self._add_surfaces(obj)
        return True

    def _add_surfaces(self, obj):
        flats = [
            p
            for p in obj.parts
            if "support" in p.affordances and p.shape in ("box", "cylinder") and min(p.size[:2]) > 0.15
        ]
        top = obj.parts[0].flat_top
        if top is not None and 0.2 < top[1, 2] < 1.5 and obj.label in _CARRIERS:
            self._add_surface(obj, *top, 0.7)
        heights = np.array([p.centre[2] for p in flats])
        for part in flats:
            if (
                part.centre[2] < 0.2
                or part.centre[2] > 1.9
                or any(part.turn)
                or obj.label in ("bed", "sofa", "chair", "plate")
            ):
                continue
            above = heights[heights > part.centre[2] + 0.02]
            room = above.min() - part.centre[2] - 0.05 if len(above) else 0.7
            low, high = part.centre - part.size / 2, part.centre + part.size / 2
            self._add_surface(obj, low, high, room)

    def _add_surface(self, obj, low, high, room):
        """Several entries for a wide surface, so that tables carry more than stools do."""
        for _ in range(1 + int(np.prod((high - low)[:2]) / 0.4)):
            self._surfaces.append((obj, low, high, room))
