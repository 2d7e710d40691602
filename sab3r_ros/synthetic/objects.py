"""The catalogue of a household: which kinds of objects there are, and how one of each is made."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sab3r_ros.synthetic import furniture, things
from sab3r_ros.synthetic.materials import COLOUR_NAMES, Material, random_material
from sab3r_ros.synthetic.parts import Part

STRUCTURE = ("wall", "floor", "ceiling")
BUILDERS: dict[str, Callable] = {
    "table": furniture.table, "desk": furniture.desk, "chair": furniture.chair, "stool": furniture.stool,
    "sofa": furniture.sofa, "bed": furniture.bed, "cabinet": furniture.cabinet, "counter": furniture.counter,
    "drawers": furniture.drawers, "shelves": furniture.shelves, "door": furniture.door, "window": furniture.window,
    "lamp": furniture.lamp, "television": furniture.television, "refrigerator": furniture.refrigerator,
    "oven": furniture.oven, "microwave": furniture.microwave, "dishwasher": furniture.dishwasher, "sink": furniture.sink,
    "toilet": furniture.toilet, "picture": furniture.picture, "curtain": furniture.curtain, "rug": furniture.rug,
    "trash can": furniture.bin_,
    "mug": things.mug, "bottle": things.bottle, "bowl": things.bowl, "plate": things.plate, "pan": things.pan,
    "pot": things.pot, "kettle": things.kettle, "teapot": things.teapot, "knife": things.knife, "spoon": things.spoon,
    "scissors": things.scissors, "hammer": things.hammer, "drill": things.drill, "screwdriver": things.screwdriver,
    "box": things.box, "book": things.book, "laptop": things.laptop, "keyboard": things.keyboard,
    "headphones": things.headphones, "bag": things.bag, "faucet": things.faucet, "vase": things.vase,
    "plant": things.plant, "ball": things.ball, "hat": things.hat, "clock": things.clock, "phone": things.phone,
    "game controller": things.game_controller, "cushion": things.cushion, "bucket": things.bucket,
}  # fmt: skip
LABELS = (*STRUCTURE, *BUILDERS)
THINGS = tuple(label for label, builder in BUILDERS.items() if builder.__module__ == things.__name__)

_FIXED_COLOUR = {"plant": "green", "television": "black", "toilet": "white"}


@dataclass
class SceneObject:
    """Parts in the object's frame (z up, origin on the floor below its middle) and where it stands."""

    label: str
    colour: str
    parts: list[Part]
    position: np.ndarray = field(default_factory=lambda: np.zeros(3))
    yaw: float = 0.0

    def extents(self):
        """Lower and upper corner (3,), (3,) of the parts in the object's own frame."""
        corners = np.concatenate([p.mesh()[0] for p in self.parts])
        return corners.min(0), corners.max(0)

    def rotation(self) -> np.ndarray:
        """(3,3) from the object's frame to the room's."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def build_object(label: str, rng: np.random.Generator) -> SceneObject:
    """A random instance of a labelled object; its front faces +x.

    Raises ValueError for a label that is not in the catalogue.
    """
    if label not in BUILDERS:
        raise ValueError(f"no object is called {label!r}; the catalogue has {', '.join(BUILDERS)}")
    colour = _FIXED_COLOUR.get(label) or COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))]

    def paint(name: str | None = None, glow: float = 0.0) -> Material:
        return random_material(rng, name or colour, glow=glow)

    return SceneObject(label, colour, BUILDERS[label](rng, paint))
