"""Procedural surface colours: a pattern of two colours evaluated at points on a surface, with gloss and glow."""

from dataclasses import dataclass, replace

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
PATTERNS = ("plain", "stripes", "checker", "blocks", "grain", "speckle", "noise", "wood", "tiles", "print")
_PATTERN_ODDS = np.array([0.36, 0.03, 0.02, 0.02, 0.07, 0.06, 0.24, 0.14, 0.03, 0.03])


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


@dataclass(frozen=True)
class FaceColours:
    """Colours that triangles carry themselves, instead of a material: those of scanned or designed models.

    colour (F,3) in [0, 1]; uv (F,3,2) texture coordinates of the corners; texture (F,) number among `textures`
    (h,w,3) uint8, or -1 for a triangle of plain colour.
    """

    colour: np.ndarray
    uv: np.ndarray
    texture: np.ndarray
    textures: list[np.ndarray]


def colour_name(colour) -> str:
    """The name in COLOURS of a colour (3,) in [0, 1]: white, grey and black by brightness, others by hue."""
    colour = np.asarray(colour, float)
    spread, value = float(np.ptp(colour)), float(colour.max())
    if value < 0.16:
        return "black"
    if spread < 0.16 * value + 0.03:
        return "white" if value > 0.68 else "grey" if value > 0.22 else "black"
    names = [n for n in COLOURS if n not in ("white", "grey", "black")]
    table = np.array([COLOURS[n] for n in names])
    shades = np.concatenate([table * s for s in (0.6, 1.0, 1.3)])
    return names[int(np.square(shades - colour).sum(-1).argmin()) % len(names)]


def random_material(rng: np.random.Generator, colour: str, contrast: float = 0.35, glow: float = 0.0) -> Material:
    """A material whose dominant colour is called `colour`; `contrast` bounds how far the pattern strays."""
    first = np.array(COLOURS[colour]) * rng.uniform(0.75, 1.2) + rng.normal(0, 0.03, 3)
    first += (first.mean() - first) * rng.uniform(0, 0.45)  # real things are seldom as bright as names of colours
    first = np.clip(first, 0.02, 0.98)
    second = np.clip(first + rng.uniform(-contrast, contrast) + rng.normal(0, 0.04, 3), 0.02, 0.98)
    odds = _PATTERN_ODDS * np.where(np.array(PATTERNS) == "wood", 5.0 if colour == "brown" else 0.4, 1.0)
    pattern = PATTERNS[rng.choice(len(PATTERNS), p=odds / odds.sum())]
    if pattern == "wood":
        second = np.clip(first * rng.uniform(0.45, 0.85), 0.02, 0.98)
    gloss = float(rng.uniform(0.1, 0.7)) if rng.random() < 0.4 else 0.0
    return Material(pattern, first, second, float(rng.uniform(1.5, 14.0)), float(rng.uniform(0, 50)), gloss, glow)


def printed(material: Material, rng: np.random.Generator, cell: float) -> Material:
    """The material with something printed on it, in cells of about this many metres: a screen, a poster, a package."""
    first, second = rng.uniform(0.03, 0.95, (2, 3))
    return replace(material, pattern="print", first=first, second=second, frequency=1 / cell)


def _cell_hash(u, v, salt):
    """A repeatable pseudo-random number in [0, 1) for integer cells."""
    return np.modf(np.abs(np.sin(u * 12.9898 + v * 78.233 + salt * 37.719) * 43758.5453))[0]


class Palette:
    """The materials of a scene as arrays, looked up by number."""

    def __init__(self, materials: list[Material]):
        self._frequency = np.array([m.frequency for m in materials], np.float32)
        self._phase = np.array([m.phase for m in materials], np.float32)
        self._pattern = np.array([PATTERNS.index(m.pattern) for m in materials])
        self._first = np.stack([m.first for m in materials]).astype(np.float32)
        self._second = np.stack([m.second for m in materials]).astype(np.float32)
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
        mix = np.zeros(len(points), np.float32)
        for k, name in enumerate(PATTERNS[1:], 1):
            here = pattern == k
            if here.any():
                mix[here] = _PATTERN[name](u[here], v[here], cell_u[here], cell_v[here], phase[here])
        colour = self._first[index] + (self._second[index] - self._first[index]) * mix[:, None]
        shown = pattern == PATTERNS.index("print")
        if shown.any():
            colour[shown] = _print(u[shown], v[shown], phase[shown], colour[shown])
        return colour


def _value_noise(u, v, salt):
    """Smooth noise in [0, 1] with one value per integer cell."""
    x, y = np.floor(u), np.floor(v)
    a, b = u - x, v - y
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    low = _cell_hash(x, y, salt) * (1 - a) + _cell_hash(x + 1, y, salt) * a
    high = _cell_hash(x, y + 1, salt) * (1 - a) + _cell_hash(x + 1, y + 1, salt) * a
    return low * (1 - b) + high * b


def _fractal(u, v, salt):
    """Three octaves of smooth noise in [0, 1]."""
    return sum(_value_noise(u * 2**k, v * 2**k, salt + k) / 2**k for k in range(3)) / 1.75


def _wood(u, v, cell_u, cell_v, salt):
    """Boards with grain along the second coordinate."""
    board = np.floor(u / 2)
    shift = _cell_hash(board, board, salt)
    grain = _value_noise(u * 9, v * 0.5 + 20 * shift, salt)
    rings = 0.5 + 0.5 * np.sin(12 * (u + 0.7 * _value_noise(u * 0.8, v * 0.3 + 9 * shift, salt)))
    gap = np.abs(u / 2 - board - 0.5) > 0.485
    return np.clip(0.35 * grain + 0.3 * rings + 0.5 * (shift - 0.5) + 0.6 * gap, 0, 1)


def _tiles(u, v, cell_u, cell_v, salt):
    """Tiles of slightly different shade with joints between them."""
    joint = (np.abs(u - cell_u - 0.5) > 0.47) | (np.abs(v - cell_v - 0.5) > 0.47)
    return np.where(joint, 1.0, 0.35 * _cell_hash(cell_u, cell_v, salt))


_PATTERN = {
    "stripes": lambda u, v, cell_u, cell_v, salt: cell_u % 2,
    "checker": lambda u, v, cell_u, cell_v, salt: (cell_u + cell_v) % 2,
    "blocks": lambda u, v, cell_u, cell_v, salt: _cell_hash(cell_u, cell_v, salt),
    "grain": lambda u, v, cell_u, cell_v, salt: 0.5 + 0.25 * np.sin(u * 2.1 + 2 * np.sin(v * 0.6)) + 0.25 * np.sin(u * 7.3 + v),
    "speckle": lambda u, v, cell_u, cell_v, salt: _cell_hash(np.floor(u * 5), np.floor(v * 5), salt) > 0.75,
    "noise": lambda u, v, cell_u, cell_v, salt: 0.5 * _fractal(u, v, salt),
    "wood": _wood,
    "tiles": _tiles,
    "print": lambda u, v, cell_u, cell_v, salt: _fractal(u * 0.5, v * 0.5, salt),
}  # fmt: skip


def _print(u, v, salt, background):
    """Fields of colour, gradients and lines of text over a background (N,3)."""
    out = background.copy()
    for layer in range(3):
        size = 1.0 / (1.4**layer)
        x, y = np.floor(u * size + layer * 0.37), np.floor(v * size + layer * 0.61)
        key = _cell_hash(x, y, salt + 3 * layer)
        shown = key < (0.45, 0.3, 0.25)[layer]
        tint = np.stack([_cell_hash(x, y, salt + 5 * layer + c) for c in range(1, 4)], -1)
        fade = 0.75 + 0.25 * (v * size + layer * 0.61 - y)
        out = np.where(shown[:, None], tint * fade[:, None], out)
    lines = (_cell_hash(np.floor(u), np.floor(v), salt + 11) < 0.3) & (np.mod(v * 7, 1) < 0.4)
    text = lines & (_cell_hash(np.floor(u * 12), np.floor(v * 7), salt) < 0.75)
    return np.where(text[:, None], np.where(out.mean(-1, keepdims=True) > 0.4, 0.08, 0.9), out)
