"""The catalogue of a household: which kinds of objects there are, and how one of each is made."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sab3r_ros.lab.synthetic import furniture, kitchenware, small_objects
from sab3r_ros.lab.synthetic.catalogue import Catalogue
from sab3r_ros.lab.synthetic.materials import COLOUR_NAMES, Material, printed, random_material
from sab3r_ros.lab.synthetic.parts import Part

STRUCTURE = ("wall", "floor", "ceiling")
BUILDERS: dict[str, Callable] = {
    "table": furniture.table, "desk": furniture.desk, "chair": furniture.chair, "stool": furniture.stool,
    "sofa": furniture.sofa, "bed": furniture.bed, "cabinet": furniture.cabinet, "counter": furniture.counter,
    "drawers": furniture.drawers, "shelves": furniture.shelves, "door": furniture.door, "window": furniture.window,
    "lamp": furniture.lamp, "television": furniture.television, "refrigerator": furniture.refrigerator,
    "oven": furniture.oven, "microwave": furniture.microwave, "dishwasher": furniture.dishwasher, "sink": furniture.sink,
    "toilet": furniture.toilet, "picture": furniture.picture, "curtain": furniture.curtain, "rug": furniture.rug,
    "trash can": furniture.bin_,
    "mug": kitchenware.mug, "bottle": kitchenware.bottle, "bowl": kitchenware.bowl, "plate": kitchenware.plate, "pan": kitchenware.pan,
    "pot": kitchenware.pot, "kettle": kitchenware.kettle, "teapot": kitchenware.teapot, "knife": kitchenware.knife, "spoon": kitchenware.spoon,
    "scissors": small_objects.scissors, "hammer": small_objects.hammer, "drill": small_objects.drill, "screwdriver": small_objects.screwdriver,
    "box": small_objects.box, "book": small_objects.book, "laptop": small_objects.laptop, "keyboard": small_objects.keyboard,
    "headphones": small_objects.headphones, "bag": small_objects.bag, "faucet": kitchenware.faucet, "vase": small_objects.vase,
    "plant": small_objects.plant, "ball": small_objects.ball, "hat": small_objects.hat, "clock": small_objects.clock, "phone": small_objects.phone,
    "game controller": small_objects.game_controller, "cushion": small_objects.cushion, "bucket": small_objects.bucket,
}  # fmt: skip
LABELS = (*STRUCTURE, *BUILDERS)


_UNDER_WORKTOP = ("body", "door", "drawer front", "plinth", "handle", "knob")


def part_label(label: str, part: str) -> str:
    """The label of a part's pixels: that of its object, but what is under a counter's worktop is a cabinet, as data sets have it."""
    return "cabinet" if label == "counter" and part in _UNDER_WORKTOP else label


THINGS = tuple(label for label, builder in BUILDERS.items() if builder.__module__ != furniture.__name__)

# The colours that things of a kind mostly have; kinds that are missing here have any.
_USUAL_COLOURS: dict[str, tuple[str, ...]] = {
    "table": ("brown", "brown", "white", "black"), "desk": ("brown", "white", "grey"), "chair": ("brown", "black", "white"),
    "stool": ("brown", "black", "white"), "sofa": ("grey", "brown", "blue", "red"), "bed": ("white", "blue", "grey"),
    "cabinet": ("brown", "white", "red"), "counter": ("white", "brown", "grey"), "drawers": ("brown", "white"),
    "shelves": ("brown", "white", "black"), "door": ("white", "brown"), "window": ("white",), "lamp": ("white", "yellow"),
    "television": ("black",), "refrigerator": ("white", "grey"), "oven": ("black", "white", "grey"),
    "microwave": ("black", "white", "grey"), "dishwasher": ("white", "grey"), "sink": ("white", "grey"), "toilet": ("white",),
    "curtain": ("white", "red", "blue"), "rug": ("red", "blue", "brown"), "trash can": ("grey", "black", "blue"),
    "mug": ("white", "red", "blue", "yellow"), "bottle": ("green", "blue", "brown", "white"), "bowl": ("white", "blue"),
    "plate": ("white",), "pan": ("black", "grey"), "pot": ("grey", "red"), "kettle": ("grey", "white", "red"),
    "teapot": ("white", "brown", "blue"), "knife": ("black", "brown"), "spoon": ("grey",),
    "scissors": ("red", "blue", "black", "orange"), "hammer": ("brown", "red", "black"),
    "drill": ("yellow", "orange", "blue", "red"), "screwdriver": ("red", "yellow", "blue"), "box": ("brown", "white"),
    "laptop": ("grey", "black"), "keyboard": ("black", "white", "grey"), "headphones": ("black", "white"),
    "bag": ("black", "brown", "blue", "red"), "faucet": ("grey",), "vase": ("white", "blue", "red"), "plant": ("green",),
    "ball": ("orange", "red", "blue", "white"), "hat": ("black", "brown"), "clock": ("white", "black"),
    "phone": ("black", "white"), "game controller": ("black", "white"), "bucket": ("blue", "red", "grey"),
}  # fmt: skip
_UNUSUAL = 0.2  # chance that a thing has any other colour


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


_PRINTED = {"television": "screen", "laptop": "screen", "picture": "canvas", "book": "cover", "box": "body"}
_PRINT_ODDS = {"television": 0.6, "laptop": 0.6, "picture": 0.7, "book": 0.5, "box": 0.45}


def build_object(label: str, rng: np.random.Generator, catalogue: Catalogue | None = None) -> SceneObject:
    """A random instance of a labelled object; its front faces +x. Every second one is a model of the catalogue, if it has any.

    Raises ValueError for a label that is not in the catalogue.
    """
    if label not in BUILDERS:
        raise ValueError(f"no object is called {label!r}; the catalogue has {', '.join(BUILDERS)}")
    if catalogue is not None and catalogue.has(label) and rng.random() < 0.5:
        part, colour = catalogue.part(label, rng)
        return SceneObject(label, colour, [part])
    usual = _USUAL_COLOURS.get(label, COLOUR_NAMES) if rng.random() > _UNUSUAL else COLOUR_NAMES
    colour = usual[rng.integers(len(usual))]

    def paint(name: str | None = None, glow: float = 0.0) -> Material:
        return random_material(rng, name or colour, glow=glow)

    parts = BUILDERS[label](rng, paint)
    if rng.random() < _PRINT_ODDS.get(label, 0.0):
        for part in parts:
            if part.name == _PRINTED[label]:
                part.material = printed(part.material, rng, float(part.size.max()) * rng.uniform(0.15, 0.6))
    return SceneObject(label, colour, parts)
