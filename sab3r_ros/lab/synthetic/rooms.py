"""A furnished room from a seed: the same seed always gives the same room."""

from dataclasses import dataclass, field, replace

import numpy as np

from sab3r_ros.lab.synthetic.catalogue import Catalogue
from sab3r_ros.lab.synthetic.layout import furnish
from sab3r_ros.lab.synthetic.materials import COLOUR_NAMES, FaceColours, random_material
from sab3r_ros.lab.synthetic.objects import LABELS, SceneObject, part_label
from sab3r_ros.lab.synthetic.parts import AFFORDANCES, Part, box_part

HELD_OUT_SEEDS = range(900_000_000, 900_100_000)  # evaluation and tests; training never draws from here
_WALL_COLOURS = (*["white"] * 10, "grey", "grey", "yellow", "blue", "brown", "green", "orange", "red")
_FLOOR_COLOURS = ("white", "black", "grey", "brown", "brown", "brown", "grey", "brown", "grey", "red")


def check_training_seeds(first: int, count: int, of: str = "rooms") -> None:
    """Raises ValueError when `count` seeds from `first` on would reach the held-out ones."""
    if first + count > HELD_OUT_SEEDS.start:
        raise ValueError(f"the training seeds would reach the held-out {of}; choose a smaller first one")


@dataclass
class Light:
    """A light: position (3,) in metres, colour (3,), and half its size in metres along each axis (3,), 0 = a point."""

    position: np.ndarray
    colour: np.ndarray
    spread: np.ndarray = field(default_factory=lambda: np.zeros(3))


def falloff(distance):
    """How much of a light's strength arrives at a distance in metres; softer than the square, as of a lamp's shade."""
    return 0.8 / (1 + 0.15 * distance**2)


@dataclass
class Room:
    """Triangles of a room in a z-up world (metres), the part each belongs to, and the lights.

    vertices (V,3), faces (F,3), face_part (F,) index into `parts`; part_object (P,) index into `objects`. Objects
    0..5 are four walls, floor, ceiling. ambient (3,) is the light that comes from everywhere. face_colours: of the triangles
    that have colours of their own; texture -2 marks those that are painted with their part's material.
    """

    seed: int
    kind: str
    size: np.ndarray
    objects: list[SceneObject]
    parts: list[Part]
    part_object: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray
    face_part: np.ndarray
    lights: list[Light]
    ambient: np.ndarray
    face_colours: FaceColours | None = None

    @property
    def object_label(self) -> np.ndarray:
        """(O,) index into LABELS of every object."""
        return np.array([LABELS.index(o.label) for o in self.objects])

    @property
    def part_label(self) -> np.ndarray:
        """(P,) index into LABELS of every part; see `objects.part_label`."""
        return np.array([
            LABELS.index(part_label(self.objects[k].label, part.name)) for k, part in zip(self.part_object, self.parts, strict=True)
        ])  # fmt: skip

    @property
    def part_affordances(self) -> np.ndarray:
        """(P, len(AFFORDANCES)) bool: what every part affords."""
        return np.array([[name in p.affordances for name in AFFORDANCES] for p in self.parts])


def build_room(seed: int, catalogue: Catalogue | None = None) -> Room:
    """Generate the room of a seed; about half of its things are models of the catalogue where one is given."""
    rng = np.random.default_rng([seed, 7])
    size = np.array([rng.uniform(2.8, 6.0), rng.uniform(2.8, 6.0), rng.uniform(2.3, 2.9)])
    shell = _shell(size, rng)
    kind, objects = furnish(size, rng, catalogue)
    ambient = _tint(rng) * rng.uniform(0.3, 0.6)
    lights = _lights(size, ambient.mean(), rng) + _daylight(objects, size, rng)
    return assemble(seed, kind, size, shell + objects, lights, ambient)


def _tint(rng):
    """The colour of a light between candle and sky."""
    warmth = rng.uniform(-1, 1)
    return np.array([1 + 0.15 * warmth, 1.0, 1 - 0.2 * warmth])


def _lights(size, ambient, rng):
    """One to three lamps under the ceiling, together as bright as a camera's exposure would make the room's middle."""
    count = int(rng.integers(1, 4))
    places = rng.uniform([0.5, 0.5, size[2] - 0.5], size - [0.5, 0.5, 0.05], (count, 3))
    reach = falloff(np.linalg.norm(places - size / 2, axis=-1))
    strength = rng.uniform(0.3, 1.0, count)
    strength *= (rng.uniform(0.8, 1.15) - ambient) / (strength * reach).sum()
    return [
        Light(place, _tint(rng) * power, np.full(3, rng.uniform(0.02, 0.3)))
        for place, power in zip(places, strength, strict=True)
    ]


def _daylight(objects, size, rng):
    """What comes in through some of the windows: wide lights just before the panes."""
    lights = []
    for window in [o for o in objects if o.label == "window"][:2]:
        if rng.random() < 0.35:
            continue
        low, high = window.extents()
        across = window.rotation() @ [0.0, (high[1] - low[1]) / 2, 0.0]
        middle = window.position + window.rotation() @ [high[0] + 0.12, 0.0, (low[2] + high[2]) / 2]
        cold = np.array([0.92, 1.0, 1.1]) * rng.uniform(0.3, 1.1)
        lights.append(Light(middle, cold, np.abs(across) + [0.0, 0.0, (high[2] - low[2]) / 2]))
    return lights


def _shell(size, rng):
    wall_colour = _WALL_COLOURS[rng.integers(len(_WALL_COLOURS))]
    floor_colour = _FLOOR_COLOURS[rng.integers(len(_FLOOR_COLOURS))]
    sx, sy, sz = size
    t = 0.1
    plates = [
        ("wall", (t, sy, sz), (-t / 2, sy / 2, sz / 2)),
        ("wall", (t, sy, sz), (sx + t / 2, sy / 2, sz / 2)),
        ("wall", (sx, t, sz), (sx / 2, -t / 2, sz / 2)),
        ("wall", (sx, t, sz), (sx / 2, sy + t / 2, sz / 2)),
        ("floor", (sx, sy, t), (sx / 2, sy / 2, -t / 2)),
        ("ceiling", (sx, sy, t), (sx / 2, sy / 2, sz + t / 2)),
    ]
    accent = int(rng.integers(4)) if rng.random() < 0.3 else -1  # one wall of another colour
    shell = []
    for k, (label, extent, centre) in enumerate(plates):
        colour = {"wall": wall_colour, "ceiling": "white", "floor": floor_colour}[label]
        if k == accent:
            colour = COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))]
        material = random_material(rng, colour, contrast=0.25 if label == "floor" else 0.1)
        if label != "floor" and material.pattern not in ("plain", "noise") and rng.random() < 0.85:
            material = replace(material, pattern="noise")  # plaster; papers and panels are rare
        shell.append(SceneObject(label, colour, [box_part(label, extent, centre, material)]))
    return shell


def assemble(seed, kind, size, objects, lights, ambient) -> Room:
    """A room of these objects, in their places."""
    vertices, faces, face_part, part_object, colours = [], [], [], [], []
    parts: list[Part] = []
    count = 0
    for index, obj in enumerate(objects):
        rotation = obj.rotation()
        for part in obj.parts:
            v, f = part.mesh()
            vertices.append(v @ rotation.T + obj.position)
            faces.append(f + count)
            count += len(v)
            face_part.append(np.full(len(f), len(parts)))
            part_object.append(index)
            parts.append(part)
            colours.append(part.face_colours())
    return Room(
        seed, kind, size, objects, parts, np.array(part_object), np.concatenate(vertices), np.concatenate(faces),
        np.concatenate(face_part), lights, ambient, _join(colours, [np.shape(f)[0] for f in faces]),
    )  # fmt: skip


def _join(colours: list[FaceColours | None], counts: list[int]) -> FaceColours | None:
    """One table for all triangles; None where no part has colours of its own."""
    if not any(colours):
        return None
    total = sum(counts)
    colour, uv, texture = np.zeros((total, 3)), np.zeros((total, 3, 2)), np.full(total, -2)
    textures: list[np.ndarray] = []
    start = 0
    for own, count in zip(colours, counts, strict=True):
        if own is not None:
            here = slice(start, start + count)
            colour[here], uv[here] = own.colour, own.uv
            texture[here] = np.where(own.texture >= 0, own.texture + len(textures), -1)
            textures += own.textures
        start += count
    return FaceColours(colour, uv, texture, textures)
