"""Rendered walks through a room."""

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
