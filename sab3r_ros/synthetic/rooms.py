"""A furnished room from a seed: the same seed always gives the same room."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import trimesh

from sab3r_ros.synthetic.materials import COLOUR_NAMES, Material, random_material
from sab3r_ros.synthetic.objects import LABELS, Part, SceneObject, build_object

_AGAINST_WALL = ("cabinet", "shelves", "sofa", "television", "door", "cabinet")
_FREE_STANDING = ("table", "chair", "lamp", "plant", "chair", "table")
_SMALL = ("box", "ball", "mug", "bottle", "box", "ball", "plant")


@dataclass
class Room:
    """Triangles of a room in a z-up world (metres), the part each belongs to, and the lights.

    vertices (V,3), faces (F,3), face_part (F,); per part: part_object (P,) index into `objects`,
    part_origin (P,3) and part_yaw (P,) of its object, materials. Objects 0..5 are four walls, floor, ceiling.
    """

    seed: int
    size: np.ndarray
    objects: list[SceneObject]
    vertices: np.ndarray
    faces: np.ndarray
    face_part: np.ndarray
    part_object: np.ndarray
    part_origin: np.ndarray
    part_yaw: np.ndarray
    materials: list[Material]
    lights: np.ndarray
    ambient: float

    @property
    def object_label(self) -> np.ndarray:
        """(O,) index into LABELS of every object."""
        return np.array([LABELS.index(o.label) for o in self.objects])


def build_room(seed: int) -> Room:
    """Generate the room of a seed."""
    rng = np.random.default_rng([seed, 7])
    size = np.array([rng.uniform(3.2, 6.0), rng.uniform(3.2, 6.0), rng.uniform(2.3, 2.9)])
    objects = _shell(size, rng) + _furniture(size, rng)
    lights = np.stack([rng.uniform([0.5, 0.5, size[2] - 0.3], size - [0.5, 0.5, 0.1]) for _ in range(2)])
    return _assemble(seed, size, objects, lights, float(rng.uniform(0.3, 0.6)))


def _shell(size, rng):
    wall_colour = ("white", "grey", "yellow", "blue", "brown", "white", "green", "orange")[rng.integers(8)]
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
    shell = []
    for label, extent, centre in plates:
        colour = {"wall": wall_colour, "ceiling": "white"}.get(label) or COLOUR_NAMES[rng.integers(6, 10)]
        material = random_material(rng, colour, contrast=0.25 if label == "floor" else 0.15)
        shell.append(SceneObject(label, colour, [Part("box", np.array(extent), np.array(centre), material)]))
    return shell


def _furniture(size, rng):
    placed, footprints, surfaces = [], [], []

    def try_place(obj, position, yaw):
        low, high = obj.extents()
        radius = np.abs(np.stack([low[:2], high[:2]])).max(0)
        c, s = abs(np.cos(yaw)), abs(np.sin(yaw))
        half = np.array([c * radius[0] + s * radius[1], s * radius[0] + c * radius[1]]) + 0.04
        box = np.concatenate([position[:2] - half, position[:2] + half])
        if (box[:2] < -0.06).any() or (box[2:] > size[:2] + 0.06).any():
            return False
        if any((box[:2] < f[2:]).all() and (box[2:] > f[:2]).all() for f in footprints):
            return False
        obj.position, obj.yaw = np.array([position[0], position[1], 0.0]), yaw
        footprints.append(box)
        placed.append(obj)
        if obj.label in ("table", "cabinet"):
            surfaces.append((obj, low, high))
        return True

    for _ in range(int(rng.integers(4, 9))):
        obj = build_object(_AGAINST_WALL[rng.integers(len(_AGAINST_WALL))], rng)
        low, _ = obj.extents()
        side = int(rng.integers(4))
        off = -low[0] + 0.005
        x, y = rng.uniform([0.5, 0.5], size[:2] - 0.5)
        position, yaw = (
            ((off, y), 0.0),
            ((x, off), np.pi / 2),
            ((size[0] - off, y), np.pi),
            ((x, size[1] - off), -np.pi / 2),
        )[side]
        try_place(obj, np.array(position), yaw)
    for _ in range(int(rng.integers(3, 8))):
        obj = build_object(_FREE_STANDING[rng.integers(len(_FREE_STANDING))], rng)
        for _ in range(4):
            if try_place(obj, rng.uniform([0.4, 0.4], size[:2] - 0.4), float(rng.uniform(-np.pi, np.pi))):
                break
    for _ in range(int(rng.integers(5, 11))):
        obj = build_object(_SMALL[rng.integers(len(_SMALL))], rng)
        yaw = float(rng.uniform(-np.pi, np.pi))
        if surfaces and rng.random() < 0.65:
            host, low, high = surfaces[rng.integers(len(surfaces))]
            spot = rng.uniform(low[:2] * 0.7, high[:2] * 0.7)
            c, s = np.cos(host.yaw), np.sin(host.yaw)
            xy = host.position[:2] + [c * spot[0] - s * spot[1], s * spot[0] + c * spot[1]]
            if any(np.linalg.norm(xy - o.position[:2]) < 0.3 for o in placed if o.position[2] > 0):
                continue
            obj.position, obj.yaw = np.array([*xy, high[2]]), yaw
            placed.append(obj)
        else:
            try_place(obj, rng.uniform([0.3, 0.3], size[:2] - 0.3), yaw)
    return placed


@cache
def _unit_mesh(shape):
    mesh = {
        "box": lambda: trimesh.creation.box(),
        "cylinder": lambda: trimesh.creation.cylinder(radius=0.5, height=1.0, sections=20),
        "sphere": lambda: trimesh.creation.icosphere(subdivisions=2, radius=0.5),
    }[shape]()
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def _assemble(seed, size, objects, lights, ambient):
    vertices, faces, face_part, part_object, origin, yaw, materials = [], [], [], [], [], [], []
    count = 0
    for index, obj in enumerate(objects):
        c, s = np.cos(obj.yaw), np.sin(obj.yaw)
        rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        for part in obj.parts:
            v, f = _unit_mesh(part.shape)
            vertices.append((v * part.size + part.centre) @ rotation.T + obj.position)
            faces.append(f + count)
            count += len(v)
            face_part.append(np.full(len(f), len(materials)))
            part_object.append(index)
            origin.append(obj.position)
            yaw.append(obj.yaw)
            materials.append(part.material)
    return Room(
        seed, size, objects, np.concatenate(vertices), np.concatenate(faces), np.concatenate(face_part),
        np.array(part_object), np.array(origin), np.array(yaw), materials, lights, ambient,
    )  # fmt: skip
