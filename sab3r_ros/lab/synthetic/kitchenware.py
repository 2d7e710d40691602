"""What stands in a kitchen and is handled: parts in the object's frame, z up, standing or lying on z = 0.

Builders are called as those of `furniture`.
"""

import numpy as np

from sab3r_ros.lab.synthetic.parts import box_part, shape_part

_QUARTER = np.pi / 2


def mug(rng, paint):
    d, h = rng.uniform(0.07, 0.11), rng.uniform(0.08, 0.13)
    body = paint()
    reach, tall = rng.uniform(0.03, 0.045), h * rng.uniform(0.5, 0.8)
    return [
        shape_part("body", "cup", (d, d, h), (0, 0, h / 2), body, "contain", "pour", "wrap_grasp"),
        shape_part("handle", "arch", (rng.uniform(0.009, 0.016), reach, tall), (0, d / 2 + reach / 2 - 0.004, h / 2), paint() if rng.random() < 0.2 else body, "grasp", "lift"),
    ]  # fmt: skip


def bottle(rng, paint):
    d, h = rng.uniform(0.055, 0.1), rng.uniform(0.15, 0.34)
    depth = d * rng.uniform(0.55, 1.0)
    body, shoulder, neck = rng.uniform(0.5, 0.7) * h, rng.uniform(0.12, 0.25) * h, d * rng.uniform(0.25, 0.5)
    z, rest = body + shoulder, h - body - shoulder
    material = paint()
    parts = [
        shape_part("body", "cylinder" if rng.random() < 0.75 else "box", (depth, d, body), (0, 0, body / 2), material, "wrap_grasp", "contain"),
        shape_part("shoulder", "tapered", (depth, d, shoulder), (0, 0, body + shoulder / 2), material, "wrap_grasp"),
        shape_part("neck", "cylinder", (neck, neck, rest * 0.6), (0, 0, z + rest * 0.3), material, "pour"),
    ]  # fmt: skip
    cap = shape_part(
        "cap",
        "cylinder" if rng.random() < 0.6 else "tapered",
        (neck * 1.2, neck * 1.2, rest * 0.5),
        (0, 0, h - rest * 0.2),
        paint(("red", "white", "blue", "black", None)[rng.integers(5)]),
        "open",
        "pour",
    )
    return [*parts, cap]


def bowl(rng, paint):
    d, h = rng.uniform(0.12, 0.28), rng.uniform(0.05, 0.12)
    return [shape_part("body", "bowl", (d, d, h), (0, 0, h / 2), paint(), "contain", "wrap_grasp", "pour")]


def plate(rng, paint):
    d = rng.uniform(0.16, 0.3)
    return [shape_part("body", "tray", (d, d, rng.uniform(0.015, 0.03)), (0, 0, 0.012), paint(), "support", "grasp")]


def pan(rng, paint):
    d, h, length = rng.uniform(0.18, 0.3), rng.uniform(0.04, 0.08), rng.uniform(0.15, 0.22)
    handle = shape_part(
        "handle",
        "cylinder",
        (0.024, 0.034, length),
        (0, d / 2 + length / 2 - 0.01, h * 0.75),
        paint("black"),
        "grasp",
        "lift",
    )
    handle.turn = (-_QUARTER + rng.uniform(-0.2, 0.05), 0.0, 0.0)
    return [shape_part("body", "cup", (d, d, h), (0, 0, h / 2), paint(), "contain", "pour"), handle]


def pot(rng, paint):
    d, h = rng.uniform(0.16, 0.28), rng.uniform(0.11, 0.2)
    body = paint()
    parts = [shape_part("body", "cup", (d, d, h), (0, 0, h / 2), body, "contain", "pour")]
    for s in (1, -1):
        grip = shape_part(
            "handle", "arch", (0.016, 0.04, 0.09), (0, s * (d / 2 + 0.016), h * 0.75), paint("black"), "grasp", "lift"
        )
        grip.turn = (0.0, _QUARTER, 0.0) if s > 0 else (0.0, _QUARTER, np.pi)
        parts.append(grip)
    if rng.random() < 0.5:
        parts.append(shape_part("lid", "dome", (d, d, 0.04), (0, 0, h + 0.018), body, "open"))
        parts.append(
            shape_part("knob", "sphere", (0.035, 0.035, 0.03), (0, 0, h + 0.05), paint("black"), "open", "grasp")
        )
    return parts


def kettle(rng, paint):
    d, h = rng.uniform(0.14, 0.19), rng.uniform(0.16, 0.22)
    material, black = paint(), paint("black")
    spout = shape_part("spout", "tapered", (0.05, 0.05, 0.1), (0, -d / 2 - 0.005, h * 0.7), material, "pour")
    spout.turn = (0.7, 0.0, 0.0)
    parts = [
        shape_part("body", "tapered" if rng.random() < 0.6 else "dome", (d, d, h), (0, 0, h / 2), material, "contain"),
        shape_part("lid", "dome", (d * 0.55, d * 0.55, 0.03), (0, 0, h + 0.01), black, "open"),
        spout,
    ]
    if rng.random() < 0.6:
        parts.append(
            shape_part("handle", "arch", (0.022, 0.075, h * 0.75), (0, d / 2 + 0.005, h * 0.5), black, "grasp", "lift")
        )
    else:
        over = shape_part("handle", "arch", (0.022, 0.09, d * 0.85), (0, 0, h + 0.035), black, "grasp", "lift")
        over.turn = (_QUARTER, 0.0, 0.0)
        parts.append(over)
    return parts


def knife(rng, paint):
    length, grip = rng.uniform(0.1, 0.2), rng.uniform(0.09, 0.13)
    wide, thick = rng.uniform(0.018, 0.04), rng.uniform(0.015, 0.022)
    blade = shape_part(
        "blade",
        "wedge",
        (length, 0.004, wide),
        (length / 2, 0, thick / 2),
        paint("grey"),
        "cut",
        "stab",
        turn=(_QUARTER, 0.0, 0.0),
    )
    return [blade, box_part("handle", (grip, wide * 0.8, thick), (-grip / 2, 0, thick / 2), paint(), "grasp")]


def spoon(rng, paint):
    length = rng.uniform(0.12, 0.22)
    material = paint("grey" if rng.random() < 0.7 else None)
    return [
        shape_part("bowl", "sphere", (0.06, 0.04, 0.014), (length / 2 + 0.02, 0, 0.01), material, "contain"),
        box_part("handle", (length, 0.012, 0.005), (0, 0, 0.012), material, "grasp"),
    ]


def faucet(rng, paint):
    h, reach = rng.uniform(0.16, 0.3), rng.uniform(0.12, 0.2)
    metal = paint("grey" if rng.random() < 0.7 else None)
    lever = box_part("lever", (0.02, 0.09, 0.018), (0, 0.05, h * 0.45), metal, "grasp", "open")
    return [
        shape_part("base", "cylinder", (0.055, 0.055, 0.02), (0, 0, 0.01), metal),
        shape_part("column", "cylinder", (0.03, 0.03, h), (0, 0, h / 2), metal),
        shape_part(
            "spout", "cylinder", (0.024, 0.024, reach), (reach / 2, 0, h), metal, "pour", turn=(0.0, _QUARTER, 0.0)
        ),
        shape_part("outlet", "cylinder", (0.022, 0.022, 0.04), (reach - 0.01, 0, h - 0.02), metal, "pour"),
        lever,
    ]


def teapot(rng, paint):
    d, h = rng.uniform(0.12, 0.18), rng.uniform(0.1, 0.15)
    material = paint()
    return [
        shape_part("body", "sphere", (d, d, h), (0, 0, h / 2), material, "contain", "wrap_grasp"),
        shape_part("lid", "dome", (d * 0.5, d * 0.5, 0.025), (0, 0, h * 0.96), material, "open"),
        shape_part("knob", "sphere", (0.022, 0.022, 0.022), (0, 0, h + 0.025), material, "open", "grasp"),
        shape_part(
            "spout", "tapered", (0.04, 0.04, d * 0.6), (0, -d * 0.58, h * 0.6), material, "pour", turn=(0.8, 0.0, 0.0)
        ),
        shape_part("handle", "arch", (0.014, d * 0.4, h * 0.7), (0, d * 0.62, h * 0.5), material, "grasp", "lift"),
    ]
