"""Objects alone as labelled point clouds: whole, as seen from one side, and as a map would give them."""

from dataclasses import dataclass

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from trimesh.triangles import closest_point

from sab3r_ros.geometry.groups import perpendicular
from sab3r_ros.lab.synthetic.objects import SceneObject, build_object
from sab3r_ros.lab.synthetic.parts import AFFORDANCES

_GRID = 160  # rays along each side of a one-sided view


@dataclass
class ObjectCloud:
    """Points (N,3) metres in the object's frame (z up), normals (N,3) outward, part (N,) into `parts` (names),
    affordance (N, len(AFFORDANCES)) bool. viewpoint (3,): from where the points were seen, None for a whole object."""

    label: str
    points: np.ndarray
    normals: np.ndarray
    part: np.ndarray
    parts: list[str]
    affordance: np.ndarray
    viewpoint: np.ndarray | None = None

    def subset(self, rows) -> "ObjectCloud":
        """The points of some rows (indices or a mask)."""
        return ObjectCloud(
            self.label,
            self.points[rows],
            self.normals[rows],
            self.part[rows],
            self.parts,
            self.affordance[rows],
            self.viewpoint,
        )


class ObjectSampler:
    """Surface samples of one object; reuse it for many clouds."""

    def __init__(self, item: SceneObject):
        self.item = item
        vertices, faces, part = [], [], []
        count = 0
        for k, piece in enumerate(item.parts):
            v, f = piece.mesh()
            vertices.append(v)
            faces.append(f + count)
            part.append(np.full(len(f), k))
            count += len(v)
        self._triangles = np.concatenate(vertices)[np.concatenate(faces)]
        self._part = np.concatenate(part)
        cross = np.cross(self._triangles[:, 1] - self._triangles[:, 0], self._triangles[:, 2] - self._triangles[:, 0])
        area = np.linalg.norm(cross, axis=-1)
        self._normals = cross / np.maximum(area[:, None], 1e-15)
        self._area = area / area.sum()
        self._scene = rtcore_scene.EmbreeScene()
        self._mesh = TriangleMesh(self._scene, np.ascontiguousarray(self._triangles, np.float32))
        self.centre = (self._triangles.min((0, 1)) + self._triangles.max((0, 1))) / 2
        self.radius = float(np.linalg.norm(self._triangles - self.centre, axis=-1).max())

    def whole(self, count: int, rng: np.random.Generator) -> ObjectCloud:
        """`count` points spread evenly over the surface that can be seen from outside."""
        kept: list[np.ndarray] = []
        faces: list[np.ndarray] = []
        while sum(map(len, kept)) < count:
            face = rng.choice(len(self._area), 2 * count, p=self._area)
            a, b = np.sqrt(rng.random((2 * count, 1))), rng.random((2 * count, 1))
            t = self._triangles[face]
            points = (1 - a) * t[:, 0] + a * (1 - b) * t[:, 1] + a * b * t[:, 2]
            seen = self._exposed(points, self._normals[face], rng)
            kept.append(points[seen])
            faces.append(face[seen])
        points, face = np.concatenate(kept)[:count], np.concatenate(faces)[:count]
        return self._cloud(points, face, None)

    def one_sided(self, direction, rng: np.random.Generator, count: int | None = None) -> ObjectCloud:
        """What a camera sees that looks at the object from `direction` (3,), four radii away; at most `count` points."""
        direction = np.asarray(direction, float) / np.linalg.norm(direction)
        eye = self.centre + 4 * self.radius * direction
        side = perpendicular(direction)
        up = np.cross(side, direction)
        u, v = (g.ravel() for g in np.meshgrid(*[np.linspace(-self.radius, self.radius, _GRID)] * 2))
        jitter = rng.uniform(-0.5, 0.5, (2, len(u))) * (2 * self.radius / _GRID)
        aim = self.centre + (u + jitter[0])[:, None] * side + (v + jitter[1])[:, None] * up
        rays = aim - eye
        face, depth = self._cast(np.broadcast_to(eye, rays.shape), rays)
        hit = np.flatnonzero(face >= 0)
        if count is not None and len(hit) > count:
            hit = rng.choice(hit, count, replace=False)
        return self._cloud(eye + rays[hit] * depth[hit, None], face[hit], eye)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Metres from points (N,3) to the object's surface, (N,)."""
        triangles = self._triangles
        nearest = [closest_point(triangles, np.broadcast_to(p, (len(triangles), 3))) - p for p in points]
        return np.linalg.norm(nearest, axis=-1).min(1)

    def _cast(self, origins, directions):
        hit = self._scene.run(
            np.ascontiguousarray(origins, np.float32), np.ascontiguousarray(directions, np.float32), output=True
        )
        return hit["primID"], hit["tfar"]

    def _exposed(self, points, normals, rng):
        """Points from which a random ray leaves the object: surfaces buried inside other parts are none of these."""
        out = np.zeros(len(points), bool)
        for sign in (1, -1):  # open surfaces have no outside: try both
            away = normals * sign + 0.7 * rng.normal(size=normals.shape)
            away /= np.linalg.norm(away, axis=-1, keepdims=True)
            away *= np.sign((away * normals).sum(-1, keepdims=True)) * sign
            face, _ = self._cast(points + 1e-4 * normals * sign, away)
            out |= face < 0
        return out

    def _cloud(self, points, face, viewpoint):
        parts = self.item.parts
        table = np.array([[name in p.affordances for name in AFFORDANCES] for p in parts])
        part, normals = self._part[face], self._normals[face]
        if viewpoint is not None:
            normals = np.where(((viewpoint - points) * normals).sum(-1, keepdims=True) < 0, -normals, normals)
        return ObjectCloud(self.item.label, points, normals, part, [p.name for p in parts], table[part], viewpoint)


def simulate_map_noise(
    cloud: ObjectCloud, rng: np.random.Generator, noise: float = 0.004, holes: int = 2, voxel: float = 0.0
) -> ObjectCloud:
    """A cloud as a map gives it: depth noise, holes, and one point per voxel (metres; 0 = all of them)."""
    points = cloud.points + rng.normal(0, noise * rng.uniform(0.2, 1.0), cloud.points.shape)
    size = np.linalg.norm(np.ptp(cloud.points, axis=0))
    keep = np.ones(len(points), bool)
    for _ in range(int(rng.integers(0, holes + 1))):
        keep &= np.linalg.norm(points - points[rng.integers(len(points))], axis=-1) > rng.uniform(0.03, 0.1) * size
    if voxel > 0:
        _, first = np.unique(np.floor(points / voxel).astype(int), axis=0, return_index=True)
        mask = np.zeros(len(points), bool)
        mask[first] = True
        keep &= mask
    if keep.sum() < len(points) // 4:
        keep[:] = True
    noisy = cloud.subset(keep)
    noisy.points = points[keep]
    return noisy


def object_cloud(label: str, seed: int, count: int = 2048, direction=None) -> ObjectCloud:
    """The object of a label and seed: whole, or as seen from `direction` (3,). Raises ValueError for an unknown label."""
    rng = np.random.default_rng([seed, 31])
    sampler = ObjectSampler(build_object(label, rng))
    return sampler.whole(count, rng) if direction is None else sampler.one_sided(direction, rng, count)
