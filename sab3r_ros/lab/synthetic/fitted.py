"""What is built in: kitchens along one wall or into a corner, boards on walls, and chairs that stand at their tables."""

import numpy as np

from sab3r_ros.lab.synthetic.materials import COLOUR_NAMES, Material, random_material
from sab3r_ros.lab.synthetic.objects import SceneObject
from sab3r_ros.lab.synthetic.parts import Part, box_part

_FRONT_COLOURS = (
    "white", "white", "white", "brown", "brown", "grey", "grey", "black", "red", "blue", "green", "yellow",
)  # fmt: skip
_TOP_COLOURS = ("black", "grey", "white", "brown")
_HANDLES = ("bar", "upright", "knob", "none")
_MODULE = 0.5  # metres of a front, about


def fitted_kitchen(size: np.ndarray, rng: np.random.Generator) -> list[SceneObject]:
    """Base units, wall units and tiles between them, from one corner of a room (3,) along one or two of its walls.

    All of one kitchen have the same fronts and the same worktop, as one buys them.
    """
    corner = rng.integers(2, size=2)
    depth, height = rng.uniform(0.56, 0.64), rng.uniform(0.84, 0.94)
    colour = _FRONT_COLOURS[rng.integers(len(_FRONT_COLOURS))]
    front = random_material(rng, colour, contrast=0.15)
    body = front if rng.random() < 0.6 else random_material(rng, "white", contrast=0.1)
    top = random_material(rng, _TOP_COLOURS[rng.integers(len(_TOP_COLOURS))])
    metal = random_material(rng, "grey" if rng.random() < 0.7 else "black", contrast=0.1)
    handles = _HANDLES[rng.integers(len(_HANDLES))]
    with_wall_units, with_tiles = rng.random() < 0.7, rng.random() < 0.6
    first = float(rng.uniform(0.5, 1.0) * (size[1] - 0.05))
    second = float(rng.uniform(0.4, 0.95) * (size[0] - depth - 0.05)) if rng.random() < 0.65 else 0.0
    wall_depth, low = rng.uniform(0.3, 0.37), rng.uniform(1.35, 1.5)
    wall_height = min(rng.uniform(0.5, 0.8), size[2] - low - 0.05)
    out = []
    for axis, start, length in ((1, 0.0, first), (0, depth + 0.03, second)):
        if length < 0.6:
            continue
        middle = start + length / 2
        base = _base_units(length, depth, height, (front, body, top, metal), handles, rng)
        out.append(_at_corner(SceneObject("counter", colour, base), size, corner, axis, middle, depth / 2))
        if with_tiles:
            tile, joint = _tile_colours(rng)
            tiles = Material("tiles", tile, joint, rng.uniform(6, 16), rng.uniform(0, 50), 0.3)
            panel = box_part("tiles", (0.01, length, low - height), (0, 0, (low + height) / 2), tiles)
            out.append(_at_corner(SceneObject("wall", "white", [panel]), size, corner, axis, middle, 0.005))
        if with_wall_units:
            units = _fronts(
                length, wall_depth, low, low + wall_height, (front, metal), handles, rng, drawers=0.0, upper=True
            )
            shell = box_part("body", (wall_depth, length, wall_height), (0, 0, low + wall_height / 2), body, "contain")
            upper = SceneObject("cabinet", colour, [shell, *units])
            out.append(_at_corner(upper, size, corner, axis, middle, wall_depth / 2))
    return out


def _tile_colours(rng) -> tuple[np.ndarray, np.ndarray]:
    tile = np.clip(rng.uniform(0.35, 0.92) + rng.normal(0, 0.04, 3), 0.05, 0.97)
    return tile, np.clip(tile + rng.choice([-0.25, 0.15]), 0.03, 0.97)


def _base_units(length, depth, height, materials, handles, rng) -> list[Part]:
    front, body, top, metal = materials
    plinth = rng.uniform(0.08, 0.15)
    return [
        box_part("worktop", (depth + 0.03, length, 0.04), (0.015, 0, height - 0.02), top, "support"),
        box_part("body", (depth, length, height - 0.04 - plinth), (0, 0, (height - 0.04 + plinth) / 2), body, "contain"),
        box_part("plinth", (depth - 0.06, length, plinth), (-0.03, 0, plinth / 2), metal if rng.random() < 0.5 else body),
        *_fronts(length, depth, plinth, height - 0.05, (front, metal), handles, rng, drawers=0.3),
    ]  # fmt: skip


def _fronts(length, depth, low, high, materials, handles, rng, drawers, upper=False) -> list[Part]:
    """Doors, and stacks of drawers for a share of the modules, on the front of a box."""
    front, metal = materials
    count = max(1, round(length / (_MODULE * rng.uniform(0.8, 1.3))))
    width, parts = length / count, []
    for k in range(count):
        y = (k + 0.5) * width - length / 2
        rows = int(rng.integers(3, 5)) if rng.random() < drawers else 1
        tall = (high - low) / rows
        for row in range(rows):
            z = low + (row + 0.5) * tall
            name = "door" if rows == 1 else "drawer front"
            parts.append(box_part(name, (0.02, width - 0.012, tall - 0.012), (depth / 2 + 0.01, y, z), front, "open"))
            if handle := _handle(handles, width, tall, rows == 1, upper, rng):
                (hy, hz), extent = handle
                place = (depth / 2 + 0.02 + extent[0] / 2, y + hy, z + hz)
                parts.append(box_part("handle", extent, place, metal, "pull", "open"))
    return parts


def _handle(kind, width, tall, door, upper, rng):
    """Where a handle sits on a front, from its middle, and its size; None for fronts without one."""
    if kind == "none":
        return None
    near = (-1 if upper else 1) * (tall / 2 - 0.06) if door else 0.0
    if kind == "knob":
        return ((width / 2 - 0.06 if door else 0.0, near), (0.03, 0.03, 0.03))
    if kind == "upright" and door:
        side = (1 if rng.random() < 0.5 else -1) * (width / 2 - 0.05)
        return ((side, near - np.sign(near) * 0.08), (0.03, 0.016, min(0.2, tall / 3)))
    return ((0.0, near), (0.03, min(0.25, width / 2), 0.016))


def _at_corner(obj: SceneObject, size, corner, axis, along, off) -> SceneObject:
    """Put against the wall that runs along `axis`, its middle `along` metres from the corner, its own `off` from the wall."""
    place = np.zeros(3)
    place[axis], place[1 - axis] = along, off + 0.003
    for k in range(2):
        if corner[k]:
            place[k] = size[k] - place[k]
    turned = corner[1 - axis]
    obj.position = place
    obj.yaw = (np.pi if turned else 0.0) if axis == 1 else (-np.pi / 2 if turned else np.pi / 2)
    return obj


def wall_board(rng: np.random.Generator) -> SceneObject:
    """One to three boards on a wall; things stand on them."""
    width, depth = rng.uniform(0.6, 1.6), rng.uniform(0.16, 0.28)
    colour = (
        COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))] if rng.random() < 0.3 else ("white", "brown")[rng.integers(2)]
    )
    wood = random_material(rng, colour)
    boards = int(rng.integers(1, 4))
    return SceneObject("shelves", colour, [
        box_part("board", (depth, width, 0.025), (0, 0, 0.0125 + 0.28 * k), wood, "support", "contain") for k in range(boards)
    ])  # fmt: skip


def hung(television: SceneObject) -> SceneObject:
    """A television without its foot, as it hangs on a wall."""
    parts = [p for p in television.parts if p.name not in ("foot", "neck")]
    return SceneObject(television.label, television.colour, parts)


def seat_at(host: SceneObject, chair: SceneObject, rng: np.random.Generator) -> None:
    """Put a chair in front of a side of a table, its seat partly below the top, facing it."""
    low, high = host.extents()
    side = int(rng.integers(4))
    axis, sign = side // 2, 1.0 if side % 2 else -1.0
    reach = (high - low)[axis] / 2 + rng.uniform(-0.05, 0.35)
    across = rng.uniform(-0.35, 0.35) * (high - low)[1 - axis]
    place = np.zeros(3)
    place[axis], place[1 - axis] = sign * reach, across
    facing = float(np.arctan2(-sign * axis, -sign * (1 - axis)))
    chair.position = host.position + host.rotation() @ place
    chair.yaw = float(host.yaw + facing + rng.normal(0, 0.25))
