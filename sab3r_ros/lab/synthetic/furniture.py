"""Furniture and fixtures: parts in the object's frame, z up, front towards +x, the origin on the floor below the middle.

Every builder takes a random generator and `paint(colour name or None, glow)`, which gives a material of the object's
own or of the named colour.
"""

import numpy as np

from sab3r_ros.lab.synthetic.materials import COLOUR_NAMES
from sab3r_ros.lab.synthetic.parts import box_part, shape_part


def _legs(width, depth, height, thickness, material, *affordances):
    return [
        box_part("leg", (thickness, thickness, height),
             (sx * (width - thickness) / 2, sy * (depth - thickness) / 2, height / 2), material, *affordances)
        for sx in (-1, 1) for sy in (-1, 1)
    ]  # fmt: skip


def _pull(x, y, z, rng, paint, *affordances):
    """A handle on a front."""
    if rng.random() < 0.4:
        return shape_part("handle", "sphere", (0.035, 0.035, 0.035), (x + 0.018, y, z), paint("grey"), *affordances)
    upright = rng.random() < 0.5
    size = (0.025, 0.018, rng.uniform(0.08, 0.16)) if upright else (0.025, rng.uniform(0.08, 0.16), 0.018)
    return box_part("handle", size, (x + 0.025, y, z), paint("grey"), *affordances)


def _screen(rng, paint):
    """Off and black, or on and of any colour."""
    return (
        paint("black")
        if rng.random() < 0.5
        else paint(COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))], glow=rng.uniform(0.2, 1.2))
    )


def table(rng, paint):
    w, d, h = (
        rng.uniform(0.8, 1.7),
        rng.uniform(0.6, 1.0),
        rng.uniform(0.4, 0.5) if rng.random() < 0.2 else rng.uniform(0.68, 0.78),
    )
    top = paint()
    if rng.random() < 0.2:
        d = w = rng.uniform(0.7, 1.1)
        return [
            shape_part("top", "cylinder", (w, w, 0.04), (0, 0, h - 0.02), top, "support"),
            shape_part("leg", "cylinder", (0.09, 0.09, h - 0.04), (0, 0, h / 2 - 0.02), paint(), "move"),
            shape_part("foot", "cylinder", (w * 0.55, w * 0.55, 0.03), (0, 0, 0.015), paint(), "move"),
        ]  # fmt: skip
    legs = _legs(w, d, h - 0.05, rng.uniform(0.04, 0.09), paint(), "move")
    return [box_part("top", (w, d, 0.05), (0, 0, h - 0.025), top, "support"), *legs]


def desk(rng, paint):
    w, d, h = rng.uniform(0.55, 0.75), rng.uniform(1.1, 1.6), rng.uniform(0.7, 0.76)
    body = paint()
    parts = [box_part("top", (w, d, 0.035), (0, 0, h - 0.018), paint(), "support")]
    side = 1 if rng.random() < 0.5 else -1
    parts.append(
        box_part("panel", (w * 0.95, 0.03, h - 0.035), (0, -side * (d / 2 - 0.03), (h - 0.035) / 2), body, "move")
    )
    depth = rng.uniform(0.34, 0.44)
    y = side * (d / 2 - depth / 2 - 0.01)
    parts.append(box_part("drawers", (w * 0.92, depth, h - 0.05), (0, y, (h - 0.05) / 2), body, "contain"))
    for k in range(3):
        z = (k + 0.5) / 3 * (h - 0.08) + 0.02
        parts.append(
            box_part(
                "drawer front", (0.02, depth - 0.03, (h - 0.1) / 3 - 0.02), (w * 0.46 + 0.01, y, z), paint(), "open"
            )
        )
        parts.append(_pull(w * 0.46 + 0.02, y, z, rng, paint, "pull", "open"))
    return parts


def chair(rng, paint):
    w, h, back = rng.uniform(0.38, 0.52), rng.uniform(0.42, 0.48), rng.uniform(0.35, 0.6)
    material = paint()
    parts = [box_part("seat", (w, w, 0.05), (0, 0, h), material, "sit")]
    tilt = rng.uniform(-0.15, 0.0)
    if rng.random() < 0.3:  # slats
        for y in np.linspace(-w / 2 + 0.03, w / 2 - 0.03, int(rng.integers(3, 6))):
            parts.append(box_part("back", (0.03, 0.04, back), (-w / 2 + 0.02, y, h + back / 2), material, "move"))
        parts.append(box_part("back", (0.035, w, 0.08), (-w / 2 + 0.02, 0, h + back), material, "move"))
    else:
        rest = box_part("back", (0.045, w, back), (-w / 2, 0, h + back / 2), material, "move")
        rest.turn = (0.0, tilt, 0.0)
        parts.append(rest)
    if rng.random() < 0.3:  # an office chair
        metal = paint("black")
        parts.append(shape_part("column", "cylinder", (0.06, 0.06, h - 0.08), (0, 0, h / 2 + 0.03), metal, "move"))
        for k in range(5):
            a = k * 2 * np.pi / 5
            foot = box_part("foot", (0.3, 0.04, 0.04), (0.15 * np.cos(a), 0.15 * np.sin(a), 0.06), metal, "move")
            foot.turn = (0.0, 0.0, a)
            parts.append(foot)
    else:
        parts += _legs(w, w, h, rng.uniform(0.03, 0.05), paint(), "move")
    if rng.random() < 0.3:
        for s in (-1, 1):
            parts.append(
                box_part("armrest", (w * 0.8, 0.04, 0.03), (0, s * (w / 2 + 0.01), h + 0.22), material, "support")
            )
            parts.append(
                box_part("armrest post", (0.03, 0.03, 0.22), (w * 0.3, s * (w / 2 + 0.01), h + 0.11), material)
            )
    return parts


def stool(rng, paint):
    w, h = rng.uniform(0.28, 0.4), rng.uniform(0.42, 0.75)
    legs = _legs(w * 0.8, w * 0.8, h - 0.04, 0.03, paint(), "move")
    return [shape_part("seat", "cylinder", (w, w, rng.uniform(0.03, 0.08)), (0, 0, h), paint(), "sit"), *legs]


def sofa(rng, paint):
    w, d, h = rng.uniform(1.2, 2.2), rng.uniform(0.75, 0.95), rng.uniform(0.38, 0.46)
    material, arm = paint(), rng.uniform(0.12, 0.24)
    parts = [
        box_part("armrest", (d, arm, h + 0.2), (0, s * (w / 2 - arm / 2), (h + 0.2) / 2), material, "support")
        for s in (-1, 1)
    ]
    parts.append(box_part("base", (d, w, h - 0.14), (0, 0, (h - 0.14) / 2), material))
    parts.append(box_part("back", (0.2, w, h + 0.4), (-d / 2 + 0.1, 0, (h + 0.4) / 2), material))
    seats = int(rng.integers(2, 4))
    cushion, width = paint(), (w - 2 * arm) / seats
    for k in range(seats):
        y = (k + 0.5) * width - (w / 2 - arm)
        parts.append(box_part("seat", (d - 0.2, width - 0.015, 0.14), (0.1, y, h - 0.07), cushion, "sit", "lay"))
    return parts


def bed(rng, paint):
    w, length, h = rng.uniform(0.9, 1.8), rng.uniform(1.9, 2.1), rng.uniform(0.3, 0.42)
    wood, sheet = paint("brown") if rng.random() < 0.5 else paint(), paint()
    board = rng.uniform(0.7, 1.1)
    parts = [
        box_part("frame", (length, w, h - 0.12), (0, 0, (h - 0.12) / 2 + 0.04), wood, "support"),
        box_part("mattress", (length - 0.06, w - 0.06, 0.2), (0, 0, h), paint("white"), "lay", "sit"),
        box_part(
            "blanket", (length * rng.uniform(0.5, 0.7), w, 0.1), (length * 0.16, 0, h + 0.07), sheet, "lay", "sit"
        ),
        box_part("headboard", (0.06, w, board), (-length / 2, 0, board / 2), wood),
    ]
    for y in (-w / 4, w / 4) if w > 1.2 else (0.0,):
        parts.append(
            shape_part(
                "pillow",
                "sphere",
                (0.36, min(w * 0.45, 0.6), 0.14),
                (-length / 2 + 0.3, y, h + 0.15),
                paint("white"),
                "lay",
            )
        )
    return parts


def cabinet(rng, paint):
    w, d, h = rng.uniform(0.6, 1.6), rng.uniform(0.4, 0.6), rng.uniform(0.8, 1.9)
    parts = [box_part("body", (d, w, h), (0, 0, h / 2), paint(), "contain", "support")]
    doors, front = int(rng.integers(1, 4)), paint()
    for k in range(doors):
        y = (k + 0.5) / doors * w - w / 2
        parts.append(box_part("door", (0.02, w / doors - 0.04, h - 0.1), (d / 2 + 0.01, y, h / 2), front, "open"))
        parts.append(_pull(d / 2 + 0.02, y + w / doors / 3, h * 0.6, rng, paint, "pull", "open"))
    return parts


def counter(rng, paint):
    w, d, h = rng.uniform(1.2, 2.6), rng.uniform(0.55, 0.65), rng.uniform(0.84, 0.94)
    parts = [
        box_part("worktop", (d + 0.03, w + 0.02, 0.04), (0, 0, h - 0.02), paint(("black", "grey", "white", "brown")[rng.integers(4)]), "support"),
        box_part("body", (d, w, h - 0.04), (0, 0, (h - 0.04) / 2), paint(), "contain"),
    ]  # fmt: skip
    fronts, front = max(2, int(w / 0.5)), paint()
    for k in range(fronts):
        y = (k + 0.5) / fronts * w - w / 2
        parts.append(box_part("door", (0.02, w / fronts - 0.03, h - 0.16), (d / 2 + 0.01, y, h / 2), front, "open"))
        parts.append(_pull(d / 2 + 0.02, y + w / fronts / 4, h * 0.75, rng, paint, "pull", "open"))
    return parts


def drawers(rng, paint):
    w, d, h = rng.uniform(0.4, 1.1), rng.uniform(0.38, 0.5), rng.uniform(0.55, 1.15)
    parts = [box_part("body", (d, w, h), (0, 0, h / 2), paint(), "contain", "support")]
    rows = int(rng.integers(3, 6))
    front = paint()
    for k in range(rows):
        z = (k + 0.5) / rows * h
        parts.append(box_part("drawer front", (0.02, w - 0.04, h / rows - 0.03), (d / 2 + 0.01, 0, z), front, "open"))
        for y in (-w / 4, w / 4) if w > 0.7 else (0.0,):
            parts.append(_pull(d / 2 + 0.02, y, z, rng, paint, "pull", "open"))
    return parts


def shelves(rng, paint):
    w, d, h = rng.uniform(0.6, 1.3), rng.uniform(0.25, 0.4), rng.uniform(1.2, 2.1)
    material = paint()
    parts = [box_part("side", (d, 0.03, h), (0, s * w / 2, h / 2), material) for s in (-1, 1)]
    parts.append(box_part("back", (0.02, w, h), (-d / 2, 0, h / 2), material))
    levels = np.linspace(0.05, h, int(rng.integers(4, 7)))
    parts += [box_part("board", (d, w, 0.03), (0, 0, z), material, "support", "contain") for z in levels]
    return parts


def door(rng, paint):
    w, h = rng.uniform(0.75, 0.95), rng.uniform(1.95, 2.1)
    leaf, frame = paint(), paint("white")
    parts = [box_part("leaf", (0.05, w, h), (0, 0, h / 2), leaf, "open", "push")]
    parts += [
        box_part("frame", (0.07, 0.06, h + 0.05), (0, s * (w / 2 + 0.03), (h + 0.05) / 2), frame) for s in (-1, 1)
    ]
    y = w * 0.4 * (1 if rng.random() < 0.5 else -1)
    if rng.random() < 0.5:
        parts.append(shape_part("handle", "sphere", (0.06, 0.06, 0.06), (0.07, y, 1.0), paint("grey"), "open", "pull"))
    else:
        parts.append(box_part("handle", (0.03, 0.13, 0.025), (0.07, y * 0.86, 1.02), paint("grey"), "open", "pull"))
    return parts


def window(rng, paint):
    w, h = rng.uniform(0.7, 1.8), rng.uniform(0.8, 1.3)
    frame, glass = paint("white"), paint(("white", "blue", "black", "green")[rng.integers(4)], glow=rng.uniform(0, 1.5))
    z = rng.uniform(0.85, 1.0) + h / 2
    parts = [box_part("pane", (0.02, w, h), (0, 0, z), glass, "open")]
    parts += [box_part("frame", (0.06, 0.06, h), (0.01, y, z), frame) for y in (-w / 2, 0.0, w / 2)]
    parts += [box_part("frame", (0.06, w + 0.06, 0.06), (0.01, 0, z + s * h / 2), frame) for s in (-1, 1)]
    return parts


def lamp(rng, paint):
    h, d = rng.uniform(1.2, 1.75), rng.uniform(0.28, 0.5)
    return [
        shape_part("base", "cylinder", (0.3, 0.3, 0.03), (0, 0, 0.015), paint("grey"), "move"),
        shape_part("pole", "cylinder", (0.035, 0.035, h), (0, 0, h / 2), paint("grey"), "wrap_grasp", "move"),
        shape_part(
            "shade",
            "shade" if rng.random() < 0.7 else "sphere",
            (d, d, d * rng.uniform(0.6, 1.0)),
            (0, 0, h),
            paint(glow=rng.uniform(0, 1)),
        ),
    ]


def television(rng, paint):
    w = rng.uniform(0.5, 1.3)
    frame = paint("black")
    return [
        box_part("frame", (0.05, w, w * 0.58), (0, 0, w * 0.29 + 0.08), frame),
        box_part(
            "screen", (0.012, w - 0.04, w * 0.58 - 0.04), (0.027, 0, w * 0.29 + 0.08), _screen(rng, paint), "display"
        ),
        box_part("foot", (0.2, w * 0.4, 0.03), (0, 0, 0.015), frame),
        box_part("neck", (0.03, w * 0.1, 0.1), (0, 0, 0.06), frame),
    ]


def refrigerator(rng, paint):
    w, d, h = rng.uniform(0.55, 0.75), rng.uniform(0.55, 0.7), rng.uniform(1.3, 1.9)
    split, material = rng.uniform(0.3, 0.7) * h, paint()
    parts = [box_part("body", (d - 0.06, w, h), (-0.03, 0, h / 2), material, "contain")]
    y = w * 0.38 * (1 if rng.random() < 0.5 else -1)
    for low, high in ((0.03, split - 0.01), (split + 0.01, h)):
        parts.append(box_part("door", (0.06, w, high - low), (d / 2 - 0.03, 0, (low + high) / 2), paint(), "open"))
        z = np.clip(split + (0.25 if low > 0.1 else -0.25), low + 0.12, high - 0.12)
        parts.append(box_part("handle", (0.03, 0.025, 0.2), (d / 2 + 0.03, y, z), paint("grey"), "open", "pull"))
    return parts


def oven(rng, paint):
    w, d, h = rng.uniform(0.55, 0.65), rng.uniform(0.55, 0.62), rng.uniform(0.84, 0.92)
    parts = [
        box_part("body", (d, w, h - 0.02), (0, 0, h / 2 - 0.01), paint(), "contain"),
        box_part("hob", (d, w, 0.02), (0, 0, h - 0.01), paint("black"), "support"),
        box_part("door", (0.02, w - 0.04, h * 0.55), (d / 2 + 0.01, 0, h * 0.38), paint("black"), "open"),
        box_part("handle", (0.03, w * 0.7, 0.02), (d / 2 + 0.04, 0, h * 0.68), paint("grey"), "open", "pull"),
    ]
    for k in range(4):
        y = (k - 1.5) * w * 0.2
        parts.append(
            shape_part(
                "knob",
                "cylinder",
                (0.04, 0.04, 0.03),
                (d / 2 + 0.015, y, h * 0.82),
                paint("grey"),
                "grasp",
                turn=(0.0, np.pi / 2, 0.0),
            )
        )
        parts.append(
            shape_part(
                "burner",
                "cylinder",
                (0.15, 0.15, 0.01),
                (d * 0.22 * (1 if k % 2 else -1), w * 0.24 * (1 if k < 2 else -1), h + 0.003),
                paint("grey"),
                "support",
            )
        )
    return parts


def microwave(rng, paint):
    w, d, h = rng.uniform(0.42, 0.55), rng.uniform(0.32, 0.4), rng.uniform(0.25, 0.32)
    return [
        box_part("body", (d, w, h), (0, 0, h / 2), paint(), "contain"),
        box_part("door", (0.02, w * 0.72, h * 0.9), (d / 2 + 0.01, -w * 0.12, h / 2), paint("black"), "open"),
        box_part("handle", (0.025, 0.02, h * 0.6), (d / 2 + 0.03, w * 0.2, h / 2), paint("grey"), "open", "pull"),
        box_part("panel", (0.015, w * 0.2, h * 0.8), (d / 2 + 0.006, w * 0.37, h / 2), paint("grey"), "press"),
    ]


def dishwasher(rng, paint):
    w, d, h = rng.uniform(0.45, 0.62), rng.uniform(0.55, 0.62), rng.uniform(0.8, 0.88)
    parts = [box_part("body", (d, w, h), (0, 0, h / 2), paint("white" if rng.random() < 0.6 else None), "contain")]
    if rng.random() < 0.5:
        parts.append(
            shape_part(
                "door",
                "cylinder",
                (0.34, 0.34, 0.05),
                (d / 2 + 0.01, 0, h * 0.45),
                paint("grey"),
                "open",
                turn=(0.0, np.pi / 2, 0.0),
            )
        )
    else:
        parts.append(box_part("door", (0.02, w - 0.03, h * 0.78), (d / 2 + 0.01, 0, h * 0.42), paint(), "open"))
        parts.append(
            box_part("handle", (0.03, w * 0.6, 0.02), (d / 2 + 0.04, 0, h * 0.75), paint("grey"), "open", "pull")
        )
    parts.append(box_part("panel", (0.015, w * 0.9, h * 0.08), (d / 2 + 0.006, 0, h * 0.92), paint("grey"), "press"))
    return parts


def sink(rng, paint):
    w, d, h = rng.uniform(0.45, 0.7), rng.uniform(0.4, 0.55), rng.uniform(0.78, 0.9)
    white = paint()
    return [
        shape_part("basin", "bowl", (d, w, 0.22), (0, 0, h - 0.11), white, "contain"),
        box_part("ledge", (0.09, w, 0.04), (-d / 2 + 0.01, 0, h - 0.03), white, "support"),
        shape_part("pedestal", "tapered", (0.22, 0.22, h - 0.2), (-0.03, 0, (h - 0.2) / 2), white),
        shape_part("tap", "cylinder", (0.03, 0.03, 0.16), (-d / 2 + 0.02, 0, h + 0.07), paint("grey"), "grasp"),
        box_part("spout", (0.16, 0.025, 0.025), (-d / 2 + 0.1, 0, h + 0.14), paint("grey"), "pour"),
    ]


def toilet(rng, paint):
    w, h = rng.uniform(0.34, 0.4), rng.uniform(0.38, 0.44)
    white = paint("white")
    return [
        shape_part("bowl", "bowl", (0.5, w, h), (0.08, 0, h / 2), white, "contain"),
        shape_part(
            "seat",
            "ring",
            (0.5, w + 0.02, 0.04),
            (0.08, 0, h + 0.015),
            paint("white" if rng.random() < 0.6 else None),
            "sit",
        ),
        box_part("cistern", (0.18, w + 0.05, 0.36), (-0.24, 0, h + 0.2), white, "contain"),
        box_part("button", (0.05, 0.08, 0.015), (-0.24, 0, h + 0.385), paint("grey"), "press"),
    ]


def picture(rng, paint):
    w, h = rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.7)
    z = rng.uniform(1.3, 1.7)
    frame = paint("brown" if rng.random() < 0.5 else "black")
    return [
        box_part("frame", (0.02, w, h), (0, 0, z), frame),
        box_part("canvas", (0.012, w - 0.07, h - 0.07), (0.012, 0, z), paint(), "display"),
    ]


def curtain(rng, paint):
    w, h = rng.uniform(0.5, 1.0), rng.uniform(1.5, 2.2)
    folds = int(rng.integers(5, 9))
    material = paint()
    return [
        shape_part(
            "fold",
            "cylinder",
            (0.07, w / folds * 1.1, h),
            (0, (k + 0.5) / folds * w - w / 2, h / 2 + 0.05),
            material,
            "pull",
        )
        for k in range(folds)
    ]


def rug(rng, paint):
    return [box_part("rug", (rng.uniform(0.8, 1.6), rng.uniform(1.0, 2.2), 0.015), (0, 0, 0.008), paint(), "support")]


def bin_(rng, paint):
    d, h = rng.uniform(0.2, 0.36), rng.uniform(0.28, 0.6)
    parts = [shape_part("body", "cup", (d, d, h), (0, 0, h / 2), paint(), "contain", "move")]
    if rng.random() < 0.5:
        parts.append(shape_part("lid", "dome", (d * 1.04, d * 1.04, 0.08), (0, 0, h + 0.04), paint(), "open"))
    return parts
