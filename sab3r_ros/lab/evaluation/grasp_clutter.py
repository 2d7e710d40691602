"""Objects close to each other on a table: where they stand, and what cameras see of the one that is asked for."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from sab3r_ros.lab.evaluation.grasp_physics import Body, placed

_GAP = (0.015, 0.04)  # metres between an object and its neighbour, seen from above
_APART = (100.0, 260.0)  # degrees between the two neighbours' directions
_OUTLINE = 1500  # points of a surface that tell how near it is
_NEARER = 0.004  # metres by which a neighbour comes nearer at a time


def moved(item: Body, shift: np.ndarray, turn: float) -> Body:
    """A body turned about the vertical axis by `turn` radians, then shifted by (2,) metres."""
    return placed(item, Rotation.from_euler("z", turn).as_matrix(), np.array([*shift, 0.0]))


def neighbours(item: Body, others: Sequence[Body], rng: np.random.Generator) -> list[Body]:
    """Others beside an object, 15 to 40 mm away from it, on different sides; touching neither it nor each other."""
    standing = [item]
    heading = rng.uniform(0, 2 * np.pi)
    for other in others:
        turn, gap = rng.uniform(0, 2 * np.pi), rng.uniform(*_GAP)
        direction = np.array([np.cos(heading), np.sin(heading)])
        outlines = [cKDTree(_outline(body, rng)) for body in standing]
        turned = moved(other, np.zeros(2), turn)
        outline, start = _outline(turned, rng), _middle(item) - _middle(turned)
        distance = 1.0  # between the middles, which are not where bodies have their origin
        while all(tree.query(outline + start + (distance - _NEARER) * direction)[0].min() > gap for tree in outlines):
            distance -= _NEARER
        standing.append(moved(turned, start + distance * direction, 0.0))
        heading += np.radians(rng.uniform(*_APART))
    return standing[1:]


def _middle(item: Body) -> np.ndarray:
    """The middle (2,) of a body seen from above."""
    return (item.vertices[:, :2].min(0) + item.vertices[:, :2].max(0)) / 2


def _outline(item: Body, rng: np.random.Generator) -> np.ndarray:
    """Points (N,2) of a body seen from above."""
    import trimesh

    mesh = trimesh.Trimesh(item.vertices, item.faces, process=False)
    points, _ = trimesh.sample.sample_surface(mesh, _OUTLINE, seed=int(rng.integers(2**31)))
    return np.asarray(points)[:, :2]


def together(bodies: Sequence[Body]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One mesh of several bodies: vertices (V,3), faces (F,3), and the number of each face's body (F,)."""
    starts = np.cumsum([0, *(len(b.vertices) for b in bodies)])
    faces = np.concatenate([b.faces + start for b, start in zip(bodies, starts, strict=False)])
    owner = np.repeat(np.arange(len(bodies)), [len(b.faces) for b in bodies])
    return np.concatenate([b.vertices for b in bodies]), faces, owner
