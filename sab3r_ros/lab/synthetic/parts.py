"""Primitive shapes and the labelled parts that objects are assembled from."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from sab3r_ros.lab.synthetic.materials import FaceColours, Material

# The affordances of 3D AffordanceNet under LASO's names.
AFFORDANCES = (
    "lay", "sit", "support", "grasp", "lift", "contain", "open", "wrap_grasp", "pour",
    "move", "display", "push", "pull", "listen", "wear", "press", "cut", "stab",
)  # fmt: skip

_SIDES = 20  # segments of round shapes


@dataclass
class Part:
    """One primitive of an object.

    name: what the part is called (handle, body, seat ...). shape: a name of `SHAPES`. size (3,): full extents in
    metres before turning. centre (3,) in the object's frame. turn (3,): rotation about x, y, z in radians, in this order.
    affordances: what can be done with this part, names of AFFORDANCES.
    """

    name: str
    shape: str
    size: np.ndarray
    centre: np.ndarray
    material: Material
    affordances: tuple[str, ...] = ()
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def mesh(self) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (V,3) in the object's frame and triangles (F,3)."""
        vertices, faces = unit_mesh(self.shape)
        vertices = vertices * self.size
        if any(self.turn):
            vertices = Rotation.from_euler("xyz", self.turn).apply(vertices)
        return vertices + self.centre, faces

    @property
    def flat_top(self) -> np.ndarray | None:
        """Lower and upper corner (2,3) of a flat top that carries things, where the part knows of one."""
        return None

    def face_colours(self) -> FaceColours | None:
        """Colours of the triangles themselves, where the part has such; else the material paints them."""
        return None


def box_part(name, size, centre, material, *affordances) -> Part:
    """A box; size and centre in metres."""
    return Part(name, "box", np.asarray(size, float), np.asarray(centre, float), material, affordances)


def shape_part(name, shape, size, centre, material, *affordances, turn=(0.0, 0.0, 0.0)) -> Part:
    """Any other shape of SHAPES."""
    return Part(name, shape, np.asarray(size, float), np.asarray(centre, float), material, affordances, turn)


@cache
def unit_mesh(shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a shape inside the unit cube around the origin, its axis along z."""
    mesh = SHAPES[shape]()
    return np.asarray(mesh.vertices, float), np.asarray(mesh.faces)


def _lathe(*profile):
    """Turn a profile of (radius, height) points, from the axis at the bottom to the axis at the top."""
    return trimesh.creation.revolve(np.array(profile, float), sections=_SIDES)


def _hollow(*outside):
    """A vessel: the outside profile from the bottom's middle to the rim, and back down inside a wall."""
    rim = outside[-1]
    inside = [(max(r - 0.05, 0.0), min(z + 0.06, rim[1])) for r, z in reversed(outside)]
    return _lathe(*outside, *inside)


def _arch():
    """Half a ring in the plane of y and z, open towards -y: the handle of a mug."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, 13)
    path = np.stack([np.zeros_like(angles), np.cos(angles) * 0.86 - 0.5, np.sin(angles) * 0.43], 1)
    ring = np.stack(
        [np.cos(np.linspace(0, 2 * np.pi, 8, endpoint=False)), np.sin(np.linspace(0, 2 * np.pi, 8, endpoint=False))], 1
    )
    vertices = np.concatenate([
        p + 0.07 * np.outer(ring[:, 1], [0, np.cos(a), np.sin(a)]) + 0.5 * np.outer(ring[:, 0], [1.0, 0, 0])
        for p, a in zip(path, angles, strict=True)
    ])  # fmt: skip
    k, n = np.meshgrid(np.arange(12) * 8, np.arange(8), indexing="ij")
    a, b, c, d = k + n, k + (n + 1) % 8, k + 8 + n, k + 8 + (n + 1) % 8
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    return trimesh.Trimesh(vertices, faces, process=False)


def _wedge():
    """A blade: a box whose upper edge along x is a line and whose far end (+x) is pointed."""
    v = np.array([[-.5, -.5, -.5], [-.5, .5, -.5], [-.5, 0, .5], [.3, -.5, -.5], [.3, .5, -.5], [.3, 0, .5], [.5, 0, -.3]])  # fmt: skip
    f = [[0, 2, 1], [0, 1, 4], [0, 4, 3], [0, 3, 5], [0, 5, 2], [1, 2, 5], [1, 5, 4], [3, 4, 6], [4, 5, 6], [5, 3, 6]]
    return trimesh.Trimesh(v, f, process=False)


SHAPES = {
    "box": lambda: trimesh.creation.box(),
    "cylinder": lambda: trimesh.creation.cylinder(radius=0.5, height=1.0, sections=_SIDES),
    "sphere": lambda: trimesh.creation.icosphere(subdivisions=2, radius=0.5),
    "cone": lambda: _lathe((0, -0.5), (0.5, -0.5), (0, 0.5)),
    "tapered": lambda: _lathe((0, -0.5), (0.5, -0.5), (0.3, 0.5), (0, 0.5)),
    "flared": lambda: _lathe((0, -0.5), (0.32, -0.5), (0.5, 0.5), (0, 0.5)),
    "dome": lambda: _lathe((0, -0.5), (0.5, -0.5), (0.47, 0.0), (0.34, 0.33), (0.16, 0.47), (0, 0.5)),
    "cup": lambda: _hollow((0, -0.5), (0.46, -0.5), (0.5, 0.5)),
    "bowl": lambda: _hollow((0, -0.5), (0.2, -0.5), (0.4, -0.2), (0.48, 0.15), (0.5, 0.5)),
    "tray": lambda: _hollow((0, -0.5), (0.32, -0.5), (0.5, 0.5)),
    "vase": lambda: _hollow((0, -0.5), (0.3, -0.5), (0.48, -0.15), (0.42, 0.12), (0.22, 0.34), (0.32, 0.5)),
    "shade": lambda: _lathe((0.5, -0.5), (0.32, 0.5), (0.3, 0.5), (0.48, -0.5), (0.5, -0.5)),
    "ring": lambda: _scaled(trimesh.creation.torus(0.41, 0.09, major_sections=_SIDES, minor_sections=8)),
    "arch": _arch,
    "wedge": _wedge,
}  # fmt: skip


def _scaled(mesh):
    mesh.vertices = mesh.vertices / np.ptp(mesh.vertices, axis=0)
    return mesh
