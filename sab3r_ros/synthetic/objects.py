"""Household objects assembled from boxes, cylinders and spheres."""

from dataclasses import dataclass, field

import numpy as np

from sab3r_ros.synthetic.materials import COLOUR_NAMES, Material, random_material

LABELS = (
    "wall", "floor", "ceiling", "table", "chair", "cabinet", "shelves", "sofa",
    "box", "ball", "mug", "bottle", "lamp", "plant", "television", "door",
)  # fmt: skip
STRUCTURE = ("wall", "floor", "ceiling")


@dataclass
class Part:
    """One primitive: `shape` is box, cylinder or sphere; `size` (3,) full extents in metres, `centre` (3,)."""

    shape: str
    size: np.ndarray
    centre: np.ndarray
    material: Material


@dataclass
class SceneObject:
    """Parts in the object's frame (z up, origin on the floor below its middle) and where it stands."""

    label: str
    colour: str
    parts: list[Part]
    position: np.ndarray = field(default_factory=lambda: np.zeros(3))
    yaw: float = 0.0

    def extents(self):
        """Lower and upper corner (3,), (3,) of the parts in the object's own frame."""
        low = np.min([p.centre - p.size / 2 for p in self.parts], axis=0)
        high = np.max([p.centre + p.size / 2 for p in self.parts], axis=0)
        return low, high


def _part(shape, size, centre, material):
    return Part(shape, np.asarray(size, float), np.asarray(centre, float), material)


def _legs(width, depth, height, thickness, material):
    return [
        _part("box", (thickness, thickness, height),
              (sx * (width - thickness) / 2, sy * (depth - thickness) / 2, height / 2), material)
        for sx in (-1, 1) for sy in (-1, 1)
    ]  # fmt: skip


def _table(rng, paint):
    w, d, h = rng.uniform(0.8, 1.6), rng.uniform(0.6, 0.9), rng.uniform(0.68, 0.78)
    top = [_part("box", (w, d, 0.05), (0, 0, h - 0.025), paint())]
    return top + _legs(w, d, h - 0.05, rng.uniform(0.04, 0.08), paint())


def _chair(rng, paint):
    w, h, back = rng.uniform(0.38, 0.5), rng.uniform(0.42, 0.48), rng.uniform(0.35, 0.55)
    material = paint()
    seat = _part("box", (w, w, 0.05), (0, 0, h), material)
    rest = _part("box", (0.05, w, back), (-w / 2, 0, h + back / 2), material)
    return [seat, rest] + _legs(w, w, h, 0.04, paint())


def _cabinet(rng, paint):
    w, d, h = rng.uniform(0.6, 1.6), rng.uniform(0.4, 0.6), rng.uniform(0.8, 1.1)
    parts = [_part("box", (d, w, h), (0, 0, h / 2), paint())]
    doors = int(rng.integers(1, 4))
    for k in range(doors):
        y = (k + 0.5) / doors * w - w / 2
        parts.append(_part("box", (0.02, w / doors - 0.04, h - 0.1), (d / 2 + 0.01, y, h / 2), paint()))
        parts.append(_part("box", (0.03, 0.02, 0.12), (d / 2 + 0.03, y + w / doors / 3, h * 0.7), paint("grey")))
    return parts


def _shelves(rng, paint):
    w, d, h = rng.uniform(0.6, 1.2), rng.uniform(0.25, 0.4), rng.uniform(1.4, 2.0)
    material = paint()
    sides = [_part("box", (d, 0.03, h), (0, s * w / 2, h / 2), material) for s in (-1, 1)]
    back = [_part("box", (0.02, w, h), (-d / 2, 0, h / 2), material)]
    boards = [_part("box", (d, w, 0.03), (0, 0, z), material) for z in np.linspace(0.05, h, rng.integers(4, 7))]
    return sides + back + boards


def _sofa(rng, paint):
    w, d, h = rng.uniform(1.2, 2.0), rng.uniform(0.75, 0.9), rng.uniform(0.38, 0.46)
    material, cushion = paint(), paint()
    arms = [_part("box", (d, 0.18, h + 0.2), (0, s * (w / 2 - 0.09), (h + 0.2) / 2), material) for s in (-1, 1)]
    return arms + [
        _part("box", (d, w, h), (0, 0, h / 2), cushion),
        _part("box", (0.2, w, h + 0.4), (-d / 2 + 0.1, 0, (h + 0.4) / 2), material),
    ]


def _box(rng, paint):
    size = rng.uniform(0.15, 0.45, 3)
    return [_part("box", size, (0, 0, size[2] / 2), paint())]


def _ball(rng, paint):
    d = rng.uniform(0.14, 0.4)
    return [_part("sphere", (d, d, d), (0, 0, d / 2), paint())]


def _mug(rng, paint):
    d, h = rng.uniform(0.08, 0.13), rng.uniform(0.1, 0.15)
    material = paint()
    handle = _part("box", (0.02, d * 0.5, h * 0.6), (0, d * 0.65, h / 2), material)
    return [_part("cylinder", (d, d, h), (0, 0, h / 2), material), handle]


def _bottle(rng, paint):
    d, h = rng.uniform(0.08, 0.14), rng.uniform(0.22, 0.36)
    neck = _part("cylinder", (d * 0.4, d * 0.4, h * 0.35), (0, 0, h * 0.8), paint())
    return [_part("cylinder", (d, d, h * 0.65), (0, 0, h * 0.325), paint()), neck]


def _lamp(rng, paint):
    h, d = rng.uniform(1.2, 1.7), rng.uniform(0.3, 0.5)
    stand = [
        _part("cylinder", (0.3, 0.3, 0.03), (0, 0, 0.015), paint("grey")),
        _part("cylinder", (0.05, 0.05, h), (0, 0, h / 2), paint("grey")),
    ]
    return stand + [_part("cylinder", (d, d, d * 0.8), (0, 0, h), paint())]


def _plant(rng, paint):
    d, h = rng.uniform(0.2, 0.35), rng.uniform(0.2, 0.35)
    parts = [_part("cylinder", (d, d, h), (0, 0, h / 2), paint(COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))]))]
    for _ in range(int(rng.integers(2, 6))):
        r = rng.uniform(0.15, 0.35)
        offset = rng.uniform(-0.12, 0.12, 2)
        parts.append(_part("sphere", (r, r, r * 1.2), (*offset, h + rng.uniform(0.05, 0.4)), paint("green")))
    return parts


def _television(rng, paint):
    w = rng.uniform(0.6, 1.2)
    return [
        _part("box", (0.05, w, w * 0.58), (0, 0, w * 0.29 + 0.08), paint("black")),
        _part("box", (0.2, w * 0.4, 0.08), (0, 0, 0.04), paint("black")),
    ]


def _door(rng, paint):
    w, h = rng.uniform(0.75, 0.95), rng.uniform(1.95, 2.1)
    material = paint()
    return [
        _part("box", (0.05, w, h), (0, 0, h / 2), material),
        _part("sphere", (0.07, 0.07, 0.07), (0.05, w * 0.38, 1.0), paint("grey")),
    ]


_BUILDERS = {
    "table": _table, "chair": _chair, "cabinet": _cabinet, "shelves": _shelves, "sofa": _sofa,
    "box": _box, "ball": _ball, "mug": _mug, "bottle": _bottle, "lamp": _lamp, "plant": _plant,
    "television": _television, "door": _door,
}  # fmt: skip
_FIXED_COLOUR = {"plant": "green", "television": "black"}


def build_object(label: str, rng: np.random.Generator) -> SceneObject:
    """A random instance of a labelled object; its front faces +x."""
    colour = _FIXED_COLOUR.get(label) or COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))]

    def paint(name=colour):
        return random_material(rng, name)

    return SceneObject(label, colour, _BUILDERS[label](rng, paint))
