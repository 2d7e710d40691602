"""Images of how a thing is used: another one of its kind, with a hand on the part that affords the action."""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from sab3r_ros.geometry.groups import perpendicular
from sab3r_ros.lab.synthetic.clouds import ObjectSampler
from sab3r_ros.lab.synthetic.materials import Material
from sab3r_ros.lab.synthetic.object_renderer import Studio
from sab3r_ros.lab.synthetic.objects import build_object
from sab3r_ros.lab.synthetic.parts import AFFORDANCES, Part

SIZE = (128, 96)  # width, height of the images
_LEAST_HAND = 40  # pixels
_SKIN = np.array([[0.85, 0.62, 0.5], [0.62, 0.4, 0.28], [0.3, 0.18, 0.12]])
# Palm, four fingers and a thumb: shape, size and centre in palm lengths; fingers along x, palm facing -z.
_HAND = (
    ("box", (1.0, 0.85, 0.28), (0, 0, 0)),
    *(("box", (0.75, 0.16, 0.18), (0.8, y, -0.06)) for y in (-0.33, -0.11, 0.11, 0.33)),
    ("box", (0.55, 0.18, 0.2), (0.2, 0.55, -0.1)),
)  # fmt: skip


def hand(length: float, pose: np.ndarray, rng: np.random.Generator) -> list[Part]:
    """A stylised hand: `length` of its palm in metres; pose (4,4) of the palm, fingers along x, palm facing -z."""
    tone = rng.dirichlet([1, 1, 1]) @ _SKIN
    skin = Material("plain", tone, tone, 1.0, 0.0)
    turn = tuple(Rotation.from_matrix(pose[:3, :3]).as_euler("xyz"))
    return [
        Part(
            "hand",
            shape,
            length * np.array(size),
            pose[:3, :3] @ (length * np.array(centre)) + pose[:3, 3],
            skin,
            (),
            turn,
        )
        for shape, size, centre in _HAND
    ]


def interaction_image(label: str, affordance: str, rng: np.random.Generator) -> np.ndarray | None:
    """An image (96,128,3) uint8 of some object of a kind, a hand on a part with the affordance.

    The hand is of a hand's size where that fits the image: smaller on a spoon, larger on a bed.
    None when no object of the kind has such a part, or none in sight.
    """
    column = AFFORDANCES.index(affordance)
    for _ in range(8):
        item = build_object(label, rng)
        sampler = ObjectSampler(item)
        cloud = sampler.whole(512, rng)
        rows = np.flatnonzero(cloud.affordance[:, column])
        if not len(rows):
            continue
        for row in rng.choice(rows, 4):
            image = _with_hand(item, sampler.radius, cloud.points[row], cloud.normals[row], rng)
            if image is not None:
                return image
    return None


def _with_hand(item, radius, point, normal, rng):
    length = max(0.25 * radius, min(0.09, 0.5 * radius))
    side = perpendicular(normal)
    angle = rng.uniform(0, 2 * np.pi)
    fingers = np.cos(angle) * side + np.sin(angle) * np.cross(normal, side)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([fingers, np.cross(normal, fingers), normal], 1)
    pose[:3, 3] = point + 0.2 * length * normal - 0.6 * length * fingers  # the fingers lie on the place
    shown = Studio(replace(item, parts=item.parts + hand(length, pose, rng)), rng)
    direction = normal + 0.9 * rng.normal(size=3)
    direction[2] = abs(direction[2])
    view = shown.view(direction, *SIZE, roll=rng.normal(0, 0.1), zoom=rng.uniform(0.9, 1.4))
    return view.rgb if (view.part >= len(item.parts)).sum() >= _LEAST_HAND else None
