"""Rendered walks through a room."""

from dataclasses import dataclass

import numpy as np

from sab3r_ros.lab.synthetic.cameras import intrinsics, walk
from sab3r_ros.lab.synthetic.catalogue import Catalogue
from sab3r_ros.lab.synthetic.objects import STRUCTURE, THINGS
from sab3r_ros.lab.synthetic.render import Renderer, View
from sab3r_ros.lab.synthetic.rooms import Room, build_room

_CLEARANCE = 0.35  # metres a camera keeps from what is in front of it
_ENOUGH = 0.4  # share of a view that furniture and things should fill; more is no better
_SEVERAL = 4  # objects in a view; more is no better either
_TRIES = 12


@dataclass
class Sequence:
    """A room and the views of one walk through it."""

    room: Room
    views: list[View]


def render_sequence(
    seed: int, count: int, width: int, height: int, sweep: float | None = None, catalogue: Catalogue | None = None
) -> Sequence:
    """The walk of a seed: `count` views of width x height pixels; `sweep` in radians (default: random).

    Two walks of three go round a piece of furniture, the third one looks at a thing from nearby.
    """
    rng = np.random.default_rng([seed, 11])
    room = build_room(seed, catalogue)
    renderer = Renderer(room)
    things = [o for o in room.objects if o.label in THINGS]
    close = bool(things) and rng.random() < 1 / 3
    pool = things if close else [o for o in room.objects if o.label not in STRUCTURE]
    targets = np.array([o.position + [0, 0, 0.1 if close else 0.6] for o in pool])
    matrix = intrinsics(width, height, np.deg2rad(rng.uniform(50, 75)))
    best, poses = -1.0, np.zeros((0, 4, 4))
    for _ in range(_TRIES):
        angle = sweep if sweep is not None else rng.uniform(0.5, 1.6)
        angle *= 1 if rng.random() < 0.5 else -1
        candidate = walk(room.size, rng, count, angle, targets, (0.5, 1.4) if close else (1.2, 3.2))
        probes = [renderer.visibility_probe(p) for p in candidate[:: max(1, count // 12)]]
        free = min(g[0] for g in probes) > (_CLEARANCE * 0.6 if close else _CLEARANCE)
        worth = free + float(np.mean([min(g[1] / _ENOUGH, 1) + min(g[2] / _SEVERAL, 1) for g in probes]))
        if worth > best:
            best, poses = worth, candidate
        if worth >= 2.9:
            break
    return Sequence(room, [renderer.render(p, matrix, width, height) for p in poses])
