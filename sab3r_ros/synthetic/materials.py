"""Procedural surface colours: a pattern of two colours evaluated at points on a surface."""

from dataclasses import dataclass

import numpy as np

COLOURS = {
    "red": (0.75, 0.10, 0.10),
    "green": (0.15, 0.55, 0.20),
    "blue": (0.12, 0.25, 0.70),
    "yellow": (0.88, 0.78, 0.15),
    "orange": (0.90, 0.45, 0.08),
    "purple": (0.48, 0.18, 0.55),
    "white": (0.90, 0.90, 0.88),
    "black": (0.08, 0.08, 0.09),
    "grey": (0.50, 0.50, 0.50),
    "brown": (0.42, 0.26, 0.14),
}
COLOUR_NAMES = tuple(COLOURS)
PATTERNS = ("plain", "stripes", "checker", "blocks", "grain")


@dataclass(frozen=True)
class Material:
    """Two colours (linear RGB in [0, 1]) mixed by a pattern with `frequency` cells per metre."""

    pattern: str
    first: np.ndarray
    second: np.ndarray
    frequency: float
    phase: float


def random_material(rng: np.random.Generator, colour: str, patterns=PATTERNS, contrast=0.35) -> Material:
    """A material whose dominant colour is called `colour`; `contrast` bounds how far the pattern strays."""
    first = np.clip(np.array(COLOURS[colour]) * rng.uniform(0.8, 1.2) + rng.normal(0, 0.03, 3), 0.02, 0.98)
    second = np.clip(first + rng.uniform(-contrast, contrast) + rng.normal(0, 0.04, 3), 0.02, 0.98)
    pattern = patterns[rng.integers(len(patterns))]
    return Material(pattern, first, second, float(rng.uniform(1.5, 9.0)), float(rng.uniform(0, 50)))


def _cell_hash(u, v, salt):
    """A repeatable pseudo-random number in [0, 1) for integer cells."""
    return np.modf(np.abs(np.sin(u * 12.9898 + v * 78.233 + salt * 37.719) * 43758.5453))[0]


def surface_colour(materials: list[Material], index, points, normals):
    """Colour at surface points.

    index (N,) into `materials`; points (N,3) metres in the part's own frame; normals (N,3) in the same
    frame. Returns (N,3) in [0, 1]. The two coordinates across the dominant normal axis serve as texture
    coordinates.
    """
    frequency = np.array([m.frequency for m in materials])[index]
    phase = np.array([m.phase for m in materials])[index]
    pattern = np.array([PATTERNS.index(m.pattern) for m in materials])[index]
    first = np.stack([m.first for m in materials])[index]
    second = np.stack([m.second for m in materials])[index]

    axis = np.abs(normals).argmax(-1)
    rows = np.arange(len(points))
    u = points[rows, (axis + 1) % 3] * frequency + phase
    v = points[rows, (axis + 2) % 3] * frequency + phase * 0.7
    cell_u, cell_v = np.floor(u), np.floor(v)
    mix = np.select(
        [pattern == k for k in range(1, 5)],
        [
            (cell_u % 2),
            ((cell_u + cell_v) % 2),
            _cell_hash(cell_u, cell_v, phase),
            0.5 + 0.25 * np.sin(u * 2.1 + 2 * np.sin(v * 0.6)) + 0.25 * np.sin(u * 7.3 + v),
        ],
        default=0.0,
    )
    return first + (second - first) * mix[:, None]
