"""Rendered walks through a room, and the overlap of their views."""

from dataclasses import dataclass

import numpy as np

from sab3r_ros.synthetic.cameras import intrinsics, walk
from sab3r_ros.synthetic.objects import STRUCTURE
from sab3r_ros.synthetic.render import Renderer, View
from sab3r_ros.synthetic.rooms import Room, build_room

_CLEARANCE = 0.35  # metres a camera keeps from what is in front of it


@dataclass
class Sequence:
    """A room and the views of one walk through it."""

    room: Room
    views: list[View]


def render_sequence(seed: int, count: int, width: int, height: int, sweep: float | None = None) -> Sequence:
    """The walk of a seed: `count` views of width x height pixels; `sweep` in radians (default: random)."""
    rng = np.random.default_rng([seed, 11])
    room = build_room(seed)
    renderer = Renderer(room)
    targets = np.array([o.position + [0, 0, 0.6] for o in room.objects if o.label not in STRUCTURE])
    matrix = intrinsics(width, height, np.deg2rad(rng.uniform(56, 70)))
    for _ in range(20):
        angle = sweep if sweep is not None else rng.uniform(0.5, 1.6)
        poses = walk(room.size, rng, count, angle * (1 if rng.random() < 0.5 else -1), targets)
        checked = poses[:: max(1, count // 12)]
        if min(renderer.nearest(p) for p in checked) > _CLEARANCE:
            break
    return Sequence(room, [renderer.render(p, matrix, width, height) for p in poses])


def overlap(a: View, b: View, stride: int = 4, tolerance: float = 0.05) -> float:
    """Share of view a's pixels whose 3D point is visible in view b (relative depth tolerance)."""
    h, w = a.depth.shape
    y, x = np.mgrid[stride // 2 : h : stride, stride // 2 : w : stride]
    z = a.depth[y, x].astype(np.float64)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(a.intrinsics).T
    points = (rays * z[..., None]).reshape(-1, 3)[z.reshape(-1) > 0]
    if len(points) == 0:
        return 0.0
    b_from_a = np.linalg.inv(b.cam2world) @ a.cam2world
    points = points @ b_from_a[:3, :3].T + b_from_a[:3, 3]
    front = points[:, 2] > 1e-3
    pixel = points @ b.intrinsics.T
    u, v = (np.round(pixel[:, k] / np.where(front, pixel[:, 2], 1)).astype(int) for k in (0, 1))
    hb, wb = b.depth.shape
    inside = front & (u >= 0) & (u < wb) & (v >= 0) & (v < hb)
    surface = b.depth[v.clip(0, hb - 1), u.clip(0, wb - 1)]
    visible = inside & (np.abs(surface - points[:, 2]) < tolerance * points[:, 2] + 0.02)
    return float(visible.sum() / ((z > 0).sum()))
