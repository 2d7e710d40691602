"""How far voxels have a colour that has a name."""

import cv2
import numpy as np

from sab3r_ros.query.questions import COLOURS

# Typical surfaces of each name under indoor light, as sRGB: several where one name covers several.
_PROTOTYPES = {
    "red": [(190, 40, 40), (140, 30, 35), (205, 75, 65)], "orange": [(225, 125, 40), (240, 150, 70)],
    "yellow": [(225, 200, 60), (240, 220, 120)], "green": [(60, 130, 60), (110, 150, 70), (40, 90, 50)],
    "blue": [(50, 80, 170), (90, 130, 190), (30, 50, 100)], "purple": [(110, 60, 140), (150, 110, 170)],
    "pink": [(230, 150, 170), (240, 180, 190)], "brown": [(120, 80, 50), (90, 60, 40), (160, 120, 85)],
    "black": [(20, 20, 22), (45, 45, 47)], "white": [(235, 235, 232), (205, 203, 198)],
    "grey": [(128, 128, 128), (95, 95, 97), (165, 165, 165)],
}  # fmt: skip
_SOFTNESS = 18.0  # of CIELAB's distance: within it two names compete


def colour_shares(rgb: np.ndarray, name: str) -> np.ndarray:
    """How far each of rgb (N,3) uint8 is of the named colour, (N,) float32 in [0, 1]: one of COLOURS, which share 1 in all.

    A softmax over CIELAB distances to typical surfaces. Raises KeyError for other names.
    """
    names = [key for key, values in _PROTOTYPES.items() for _ in values]
    typical = np.array([v for values in _PROTOTYPES.values() for v in values], np.uint8)
    if name not in _PROTOTYPES:
        raise KeyError(f"no colour is called {name!r}; known are {', '.join(COLOURS)}")
    if not len(rgb):
        return np.zeros(0, np.float32)
    distance = np.linalg.norm(_lab(rgb)[:, None] - _lab(typical)[None], axis=-1)
    best = np.stack([distance[:, [n == key for n in names]].min(1) for key in _PROTOTYPES], 1)
    weight = np.exp(-(best - best.min(1, keepdims=True)) / _SOFTNESS * 2)
    column = list(_PROTOTYPES).index(name)
    return (weight[:, column] / weight.sum(1)).astype(np.float32)


def _lab(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb.reshape(1, -1, 3).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
