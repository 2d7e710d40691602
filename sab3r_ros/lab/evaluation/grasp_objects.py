"""Household objects of the made-up world as bodies for the physics bench."""

from dataclasses import replace

import cv2
import numpy as np

from sab3r_ros.lab.evaluation.grasp_physics import Body, placed
from sab3r_ros.lab.synthetic.objects import build_object

HELD = (
    "mug", "bottle", "bowl", "pan", "pot", "kettle", "teapot", "knife", "spoon", "scissors", "hammer", "drill", "screwdriver", "box",
    "book", "phone", "ball", "game controller", "vase", "clock", "bucket", "plate",
)  # fmt: skip
_PATCH = 0.03  # metres: side of the pieces that stand for a surface that is not convex
_THICKNESS = 0.003  # metres of such a piece
_CONVEX = 0.97  # share of its hull's volume that a part fills to count as convex
_DENSITY = 350.0  # kg per cubic metre of the hulls, hollow things and solid ones together
_MASS = (0.03, 0.8)  # kg
_DENSITIES, _MASSES = (200.0, 1500.0), (0.015, 1.2)  # of varied objects
_NARROW = (0.012, 0.09)  # metres: their narrowest side
_LONGEST = (0.07, 0.32)  # metres: their longest one, at least and at most
_RESTS = 0.1  # of the likeliest side's chance: sides that are as likely are rested on


def household_object(label: str, seed: int) -> Body:
    """An object of the made-up world, standing on a table at z = 0. Parts that are not convex become plates of their surface."""
    import trimesh

    item = build_object(label, np.random.default_rng(seed))
    vertices, faces, hulls, count = [], [], [], 0
    names = sorted({name for piece in item.parts for name in piece.affordances})
    affording: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for piece in item.parts:
        v, f = piece.mesh()
        vertices.append(np.asarray(v, float))
        faces.append(np.asarray(f) + count)
        for name in names:
            affording[name].append(np.full(len(f), name in piece.affordances))
        count += len(v)
        mesh = trimesh.Trimesh(v, f, process=True)
        hull = mesh.convex_hull
        if mesh.is_watertight and mesh.volume > _CONVEX * hull.volume:
            hulls.append(np.asarray(hull.vertices))
        else:
            hulls += _plates(mesh)
    corners = np.concatenate(vertices)
    down = corners.min(0)[2]
    middle = np.array([*(corners.min(0) + corners.max(0))[:2] / 2, down])
    volume = sum(trimesh.convex.convex_hull(h).volume for h in hulls)
    mass = float(np.clip(_DENSITY * volume, *_MASS))
    return Body(
        f"{label}-{seed}", corners - middle, np.concatenate(faces), [h - middle for h in hulls], mass,
        {name: np.concatenate(of_part) for name, of_part in affording.items()},
    )  # fmt: skip


def varied_object(label: str, seed: int) -> Body:
    """A household object of another size and weight, resting on any side that it can rest on: hands learn from more than what
    stands upright and is as large as it usually is."""
    import trimesh

    item = household_object(label, seed)
    rng = np.random.default_rng([seed, 7, sum(label.encode())])
    hull = trimesh.convex.convex_hull(item.vertices)
    poses, shares = trimesh.poses.compute_stable_poses(hull, n_samples=1, seed=seed)
    likely = shares > _RESTS * shares.max()
    pose = poses[likely][int(rng.integers(likely.sum()))]
    turned = placed(item, pose[:3, :3], np.zeros(3))
    (_, sides, _) = cv2.minAreaRect(np.ascontiguousarray(turned.vertices[:, :2], np.float32))
    narrow = min(*sides, float(np.ptp(turned.vertices[:, 2])))
    longest = float(np.ptp(turned.vertices, axis=0).max())
    scale = float(rng.uniform(*_NARROW)) / max(narrow, 1e-3)
    scale = min(max(scale, _LONGEST[0] / longest), _LONGEST[1] / longest)
    low, high = scale * turned.vertices.min(0), scale * turned.vertices.max(0)
    standing = placed(turned, np.eye(3), -np.array([*(low + high)[:2] / 2, low[2]]), scale)
    volume = sum(trimesh.convex.convex_hull(h).volume for h in standing.hulls)
    mass = float(np.clip(np.exp(rng.uniform(*np.log(_DENSITIES))) * volume, *_MASSES))
    return replace(standing, name=f"{item.name} varied", mass=mass)


def _plates(mesh) -> list[np.ndarray]:
    """Convex plates (N,3) that cover a surface."""
    middles, normals = mesh.triangles_center, mesh.face_normals
    cells = np.floor(middles / _PATCH).astype(int)
    facing = np.abs(normals).argmax(1) * 2 + (
        np.take_along_axis(normals, np.abs(normals).argmax(1)[:, None], 1)[:, 0] > 0
    )
    _, group = np.unique(np.column_stack([cells, facing]), axis=0, return_inverse=True)
    plates = []
    for k in range(group.max() + 1):
        rows = np.flatnonzero(group == k)
        outer = mesh.triangles[rows].reshape(-1, 3)
        inner = (mesh.triangles[rows] - _THICKNESS * normals[rows, None]).reshape(-1, 3)
        plates.append(np.concatenate([outer, inner]))
    return plates
