"""Long walks: several rounds through a room, back to where they began."""

from collections.abc import Iterator

import numpy as np

from sab3r_ros.lab.synthetic.cameras import intrinsics, look_at
from sab3r_ros.lab.synthetic.render import Renderer, View
from sab3r_ros.lab.synthetic.rooms import build_room

_WALL = 0.8  # metres between the path and the walls
_CLEARANCE = 0.3  # metres that a camera keeps from what is in front of it
_TRIES = 20
_TURN = np.deg2rad(10.0)  # from view to view
_WAVES = 3  # of a round's radius and height


def long_walk_poses(size: np.ndarray, rng: np.random.Generator, length: float, step: float) -> np.ndarray:
    """Poses (N,4,4) of a walk of `length` metres through a room of `size` (3,) metres, at most `step` metres and 10 degrees apart.

    Rounds about the middle, each a little different, at a hand's height; the camera looks ahead and, by turns, to the side.
    """
    middle, reach = size[:2] / 2, size[:2] / 2 - _WALL
    rounds = length / (np.pi * (reach.sum()) * 0.85)
    turn = rng.choice([-1.0, 1.0])
    start = rng.uniform(-np.pi, np.pi)
    fine = np.linspace(0, 1, 4000)
    angle = start + turn * 2 * np.pi * rounds * fine

    def waves(scale: float) -> np.ndarray:
        """A smooth curve about 0 that does not repeat from round to round."""
        periods, phases = rng.uniform(0.6, 2.5, _WAVES) * rounds, rng.uniform(0, 2 * np.pi, _WAVES)
        return scale * np.sin(2 * np.pi * periods[:, None] * fine + phases[:, None]).mean(0)

    radius = 0.85 + waves(0.25)
    place = middle + reach * radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    height = rng.uniform(1.2, 1.6) + waves(0.2)
    heading, pitch, roll = _looks(place, turn, rng, waves)
    moved, turned = np.linalg.norm(np.diff(place, axis=0), axis=1), np.abs(np.diff(heading))
    within = np.cumsum(moved) <= length
    effort = np.cumsum(np.where(within, np.maximum(moved / step, turned / _TURN), 0.0))
    at = np.interp(np.arange(int(effort[-1]) + 1), np.concatenate([[0.0], effort]), fine)
    poses = []
    for s in at:
        x, y, z, h, p, r = (np.interp(s, fine, c) for c in (place[:, 0], place[:, 1], height, heading, pitch, roll))
        eye = np.array([x, y, z])
        poses.append(look_at(eye, eye + [np.cos(h) * np.cos(p), np.sin(h) * np.cos(p), np.sin(p)], r))
    return np.stack(poses)


def _looks(
    place: np.ndarray, turn: float, rng: np.random.Generator, waves
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heading, pitch and roll in radians along a path (N,2)."""
    ahead = np.unwrap(np.arctan2(*np.gradient(place, axis=0).T[::-1]))
    return ahead + turn * rng.uniform(0.2, 0.5) + waves(0.7), -0.15 + waves(0.2), waves(0.12)


def render_long_walk(
    seed: int, length: float = 30.0, step: float = 0.15, width: int = 320, height: int = 240
) -> Iterator[View]:
    """Views of the walk of a seed, one after the other."""
    rng = np.random.default_rng([seed, 29])
    room = build_room(seed)
    renderer = Renderer(room)
    matrix = intrinsics(width, height, np.deg2rad(rng.uniform(60, 75)))
    best, poses = -1.0, np.zeros((0, 4, 4))
    for _ in range(_TRIES):
        candidate = long_walk_poses(room.size, rng, length, step)
        free = np.array([renderer.visibility_probe(p)[0] for p in candidate[::3]]) > _CLEARANCE
        if free.mean() > best:
            best, poses = float(free.mean()), candidate
        if free.all():
            break
    return (renderer.render(pose, matrix, width, height) for pose in poses)
