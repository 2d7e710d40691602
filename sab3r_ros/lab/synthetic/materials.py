"""Procedural surface colours: a pattern of two colours evaluated at points on a surface, with gloss and glow."""

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
PATTERNS = ("plain", "stripes", "checker", "blocks", "grain", "speckle")
_PATTERN_ODDS = np.array([0.45, 0.1, 0.08, 0.1, 0.17, 0.1])


@dataclass(frozen=True)
class Material:
    """Two colours (linear RGB in [0, 1]) mixed by a pattern with `frequency` cells per metre.

    gloss: strength of the highlight, 0 = matt. glow: how much of its own colour it sends out.
    """

    pattern: str
    first: np.ndarray
    second: np.ndarray
    frequency: float
    phase: float
    gloss: float = 0.0
    glow: float = 0.0


def random_material(rng: np.random.Generator, colour: str, contrast: float = 0.35, glow: float = 0.0) -> Material:
    """A material whose dominant colour is called `colour`; `contrast` bounds how far the pattern strays."""
    first = np.clip(np.array(COLOURS[colour]) * rng.uniform(0.75, 1.2) + rng.normal(0, 0.03, 3), 0.02, 0.98)
    second = np.clip(first + rng.uniform(-contrast, contrast) + rng.normal(0, 0.04, 3), 0.02, 0.98)
    pattern = PATTERNS[rng.choice(len(PATTERNS), p=_PATTERN_ODDS)]
    gloss = float(rng.uniform(0.1, 0.7)) if rng.random() < 0.4 else 0.0
    return Material(pattern, first, second, float(rng.uniform(1.5, 14.0)), float(rng.uniform(0, 50)), gloss, glow)


def _cell_hash(u, v, salt):
    """A repeatable pseudo-random number in [0, 1) for integer cells."""
    return np.modf(np.abs(np.sin(u * 12.9898 + v * 78.233 + salt * 37.719) * 43758.5453))[0]


class Palette:
    """The materials of a scene as arrays, looked up by number."""

    def __init__(self, materials: list[Material]):
        self._frequency = np.array([m.frequency for m in materials])
        self._phase = np.array([m.phase for m in materials])
        self._pattern = np.array([PATTERNS.index(m.pattern) for m in materials])
        self._first = np.stack([m.first for m in materials])
        self._second = np.stack([m.second for m in materials])
        self.gloss = np.array([m.gloss for m in materials])
        self.glow = np.array([m.glow for m in materials])

    def colour(self, index, points, normals):
        """Colour (N,3) in [0, 1] at surface points.

        index (N,) of the materials; points (N,3) metres and normals (N,3) in the object's own frame. The two
        coordinates across the dominant normal axis serve as texture coordinates.
        """
        frequency, phase, pattern = self._frequency[index], self._phase[index], self._pattern[index]
        axis = np.abs(normals).argmax(-1)
        rows = np.arange(len(points))
        u = points[rows, (axis + 1) % 3] * frequency + phase
        v = points[rows, (axis + 2) % 3] * frequency + phase * 0.7
        cell_u, cell_v = np.floor(u), np.floor(v)
        mix = np.select(
            [pattern == k for k in range(1, 6)],
            [
                (cell_u % 2),
                ((cell_u + cell_v) % 2),
                _cell_hash(cell_u, cell_v, phase),
                0.5 + 0.25 * np.sin(u * 2.1 + 2 * np.sin(v * 0.6)) + 0.25 * np.sin(u * 7.3 + v),
                (_cell_hash(np.floor(u * 5), np.floor(v * 5), phase) > 0.75),
            ],
            default=0.0,
        )
        return self._first[index] + (self._second[index] - self._first[index]) * mix[:, None]
