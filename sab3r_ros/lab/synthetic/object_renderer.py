"""One object alone under lamps: images of it from around."""

import numpy as np

from sab3r_ros.lab.synthetic.cameras import intrinsics, look_at
from sab3r_ros.lab.synthetic.objects import SceneObject
from sab3r_ros.lab.synthetic.render import Renderer, View
from sab3r_ros.lab.synthetic.rooms import Light, assemble

_FOV = 0.7  # radians
_MARGIN = 1.08


class Studio:
    """Renders one object before a plain backdrop, lit from three sides; cameras look at its middle."""

    def __init__(self, item: SceneObject, rng: np.random.Generator):
        low, high = item.extents()
        self.centre, self.radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
        around = rng.normal(size=(3, 3))
        around[:, 2] = np.abs(around[:, 2]) + 0.3
        around *= 6 * self.radius / np.linalg.norm(around, axis=-1, keepdims=True)
        lamps = [Light(self.centre + place, np.full(3, rng.uniform(0.25, 0.6))) for place in around]
        room = assemble(0, "studio", high - low, [item], lamps, np.full(3, rng.uniform(0.3, 0.6)))
        self._renderer = Renderer(room)
        self._backdrop = rng.integers(40, 230, 3).astype(np.uint8)

    def view(self, direction, width: int, height: int, roll: float = 0.0, zoom: float = 1.0) -> View:
        """The image from `direction` (3,), the object filling the shorter side at zoom 1."""
        direction = np.asarray(direction, float) / np.linalg.norm(direction)
        matrix = intrinsics(width, height, _FOV)
        half = np.arctan(np.tan(_FOV / 2) * min(width, height) / width)
        distance = _MARGIN * self.radius / np.sin(half) / zoom
        view = self._renderer.render(
            look_at(self.centre + distance * direction, self.centre, roll), matrix, width, height
        )
        view.rgb[view.depth == 0] = self._backdrop
        return view


def directions_around(count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` unit vectors (count,3) spread evenly over the sphere (Fibonacci's spiral), turned at random about z."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    angle = np.pi * (1 + 5**0.5) * k + rng.uniform(0, 2 * np.pi)
    ring = np.sqrt(1 - z**2)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], 1)
