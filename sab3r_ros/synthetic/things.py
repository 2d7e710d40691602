"""Things one handles: parts in the object's frame, z up, standing or lying on z = 0.

Builders are called as those of `furniture`.
"""

import numpy as np

from sab3r_ros.synthetic.parts import box_part, shape_part

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


def scissors(rng, paint):
    blade, ring, wide = rng.uniform(0.07, 0.12), rng.uniform(0.04, 0.065), rng.uniform(0.012, 0.02)
    spread = rng.uniform(0.03, 0.3)
    handle = paint()
    parts = []
    for s in (-1, 1):
        c, n = np.cos(spread / 2), np.sin(spread / 2) * s
        parts.append(
            shape_part(
                "blade",
                "wedge",
                (blade, wide, 0.004),
                (c * blade / 2, n * blade / 2, 0.008 + 0.003 * s),
                paint("grey"),
                "cut",
                "stab",
                turn=(0.0, 0.0, s * spread / 2),
            )
        )
        shank = rng.uniform(0.02, 0.04)
        y = -s * (ring * 0.5 + shank * 0.15)
        parts.append(box_part("shank", (shank, wide * 0.7, 0.008), (-shank / 2, y * 0.35, 0.008), handle))
        parts.append(
            shape_part(
                "ring",
                "ring",
                (ring * rng.uniform(1.1, 1.6), ring, 0.01),
                (-shank - ring * 0.55, y, 0.008),
                handle,
                "grasp",
            )
        )
    return parts


def hammer(rng, paint):
    length, head = rng.uniform(0.22, 0.34), rng.uniform(0.08, 0.13)
    grip = shape_part(
        "handle",
        "cylinder",
        (0.028, 0.034, length),
        (-length / 2, 0, 0.02),
        paint("brown" if rng.random() < 0.5 else None),
        "grasp",
        turn=(0.0, _QUARTER, 0.0),
    )
    metal = paint("grey")
    return [
        grip,
        shape_part(
            "face", "cylinder", (0.034, 0.034, head * 0.55), (0.0, head * 0.28, 0.02), metal, turn=(_QUARTER, 0.0, 0.0)
        ),
        shape_part(
            "claw", "wedge", (head * 0.5, 0.03, 0.02), (0.0, -head * 0.25, 0.02), metal, turn=(0.0, 0.0, -_QUARTER)
        ),
    ]


def drill(rng, paint):
    """Lying on its side, as one puts it down: muzzle towards +x, grip towards -y."""
    body, thick, grip = rng.uniform(0.13, 0.2), rng.uniform(0.055, 0.075), rng.uniform(0.1, 0.14)
    material, black = paint(), paint("black")
    lean = rng.uniform(-0.3, 0.15)
    z = thick / 2
    top = grip + thick / 2
    handle = box_part(
        "handle", (thick * rng.uniform(0.6, 0.8), grip, thick * 0.75), (-body * 0.22, 0, z), material, "grasp"
    )
    handle.turn = (0.0, 0.0, lean)
    parts = [
        shape_part(
            "body", "cylinder", (thick, thick, body), (0, top - grip / 2, z), material, turn=(0.0, _QUARTER, 0.0)
        ),
        shape_part(
            "chuck",
            "tapered",
            (thick * 0.7, thick * 0.7, 0.05),
            (body / 2 + 0.025, top - grip / 2, z),
            black,
            turn=(0.0, _QUARTER, 0.0),
        ),
        handle,
        box_part("trigger", (0.018, 0.03, thick * 0.3), (-body * 0.22 + thick * 0.42, grip * 0.3, z), black, "press"),
    ]
    if rng.random() < 0.75:
        parts.append(
            box_part("battery", (rng.uniform(0.08, 0.12), 0.05, thick), (-body * 0.2, -grip / 2 - 0.02, z), black)
        )
    if rng.random() < 0.6:
        parts.append(
            shape_part(
                "bit",
                "cylinder",
                (0.01, 0.01, 0.07),
                (body / 2 + 0.08, top - grip / 2, z),
                paint("grey"),
                turn=(0.0, _QUARTER, 0.0),
            )
        )
    return parts


def screwdriver(rng, paint):
    grip, shaft = rng.uniform(0.08, 0.12), rng.uniform(0.08, 0.16)
    return [
        shape_part(
            "handle", "cylinder", (0.03, 0.03, grip), (-grip / 2, 0, 0.016), paint(), "grasp", turn=(0.0, _QUARTER, 0.0)
        ),
        shape_part(
            "shaft",
            "cylinder",
            (0.008, 0.008, shaft),
            (shaft / 2, 0, 0.016),
            paint("grey"),
            "stab",
            turn=(0.0, _QUARTER, 0.0),
        ),
    ]


def box(rng, paint):
    size = rng.uniform(0.12, 0.45, 3)
    material = paint()
    parts = [box_part("body", size, (0, 0, size[2] / 2), material, "contain", "lift", "move")]
    if rng.random() < 0.5:
        parts.append(
            box_part("lid", (size[0] * 1.03, size[1] * 1.03, size[2] * 0.15), (0, 0, size[2] * 0.95), paint(), "open")
        )
    return parts


def book(rng, paint):
    w, d, t = rng.uniform(0.12, 0.2), rng.uniform(0.17, 0.28), rng.uniform(0.015, 0.05)
    return [
        box_part("cover", (w, d, t), (0, 0, t / 2), paint(), "open", "grasp"),
        box_part("pages", (w * 0.97, d * 1.004, t * 0.7), (0.005, 0, t / 2), paint("white")),
    ]


def laptop(rng, paint):
    w, d = rng.uniform(0.28, 0.38), rng.uniform(0.2, 0.26)
    angle = rng.uniform(0.1, 0.5)
    material, tall = paint(), d
    lid = box_part(
        "lid",
        (0.012, w, tall),
        (-d / 2 - np.sin(angle) * tall / 2, 0, 0.018 + np.cos(angle) * tall / 2),
        material,
        "open",
        "pull",
    )
    screen = box_part(
        "screen",
        (0.006, w - 0.03, tall - 0.03),
        lid.centre + [0.008 * np.cos(angle), 0, 0.008 * np.sin(angle)],
        paint("black" if rng.random() < 0.5 else None),
        "display",
    )
    lid.turn = screen.turn = (0.0, -angle, 0.0)
    return [
        box_part("base", (d, w, 0.018), (0, 0, 0.009), material, "support"),
        box_part("keys", (d * 0.5, w * 0.88, 0.004), (-d * 0.12, 0, 0.02), paint("black"), "press"),
        lid, screen,
    ]  # fmt: skip


def keyboard(rng, paint):
    w, d = rng.uniform(0.28, 0.45), rng.uniform(0.11, 0.16)
    return [
        box_part("body", (d, w, 0.02), (0, 0, 0.01), paint()),
        *(box_part("keys", (d * 0.17, w * 0.94, 0.009), ((k - 1.5) * d * 0.21, 0, 0.023), paint("black" if rng.random() < 0.5 else "white"), "press") for k in range(4)),
    ]  # fmt: skip


def headphones(rng, paint):
    w, r = rng.uniform(0.15, 0.19), rng.uniform(0.06, 0.085)
    band = shape_part(
        "band",
        "arch",
        (0.025, w * 0.62, w),
        (0, 0, r + w * 0.31 - 0.02),
        paint(),
        "wear",
        "grasp",
        turn=(_QUARTER, 0.0, 0.0),
    )
    return [band, *(shape_part("ear cup", "cylinder", (r, r, 0.035), (0, s * w * 0.42, r / 2 + 0.002), paint("black"), "listen", "wear", turn=(_QUARTER, 0.0, 0.0)) for s in (-1, 1))]  # fmt: skip


def bag(rng, paint):
    w, d, h = rng.uniform(0.2, 0.4), rng.uniform(0.09, 0.2), rng.uniform(0.2, 0.36)
    material, strap = paint(), paint()
    parts = [
        box_part("body", (d, w, h), (0, 0, h / 2), material, "contain"),
        box_part("flap", (d * 1.05, w * 1.02, 0.03), (0, 0, h), material, "open"),
    ]
    tall = rng.uniform(0.08, 0.2)
    for x in (-d / 3, d / 3) if rng.random() < 0.5 else (0.0,):
        parts.append(
            shape_part(
                "handle",
                "arch",
                (0.02, tall * 1.0, w * 0.6),
                (x, 0, h + tall / 2),
                strap,
                "grasp",
                "lift",
                turn=(_QUARTER, 0.0, 0.0),
            )
        )
    return parts


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


def vase(rng, paint):
    d, h = rng.uniform(0.1, 0.2), rng.uniform(0.18, 0.4)
    return [
        shape_part(
            "body",
            "vase" if rng.random() < 0.7 else "flared",
            (d, d, h),
            (0, 0, h / 2),
            paint(),
            "contain",
            "wrap_grasp",
        )
    ]


def plant(rng, paint):
    d, h = rng.uniform(0.15, 0.35), rng.uniform(0.14, 0.35)
    parts = [
        shape_part(
            "pot",
            "cup",
            (d, d, h),
            (0, 0, h / 2),
            paint(("brown", "white", "orange", "grey", "black", "red", "blue")[rng.integers(7)]),
            "contain",
            "lift",
        )
    ]
    for _ in range(int(rng.integers(3, 8))):
        r = rng.uniform(0.6, 1.3) * d
        a, lean, z = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.45) * d, h + rng.uniform(0.1, 1.6) * d
        leaf = rng.random() < 0.5
        size = (r * 1.2, r * 0.4, r * 0.12) if leaf else (r, r, r * 1.1)
        parts.append(
            shape_part(
                "leaves",
                "sphere",
                size,
                (np.cos(a) * lean, np.sin(a) * lean, z),
                paint("green"),
                turn=(0.0, rng.uniform(-1.2, 0.2), a),
            )
        )
    return parts


def ball(rng, paint):
    d = rng.uniform(0.07, 0.3)
    return [shape_part("body", "sphere", (d, d, d), (0, 0, d / 2), paint(), "grasp", "move")]


def hat(rng, paint):
    d, h = rng.uniform(0.18, 0.22), rng.uniform(0.09, 0.14)
    material = paint()
    brim = d * rng.uniform(1.3, 1.9)
    return [
        shape_part(
            "crown", "dome" if rng.random() < 0.6 else "cylinder", (d, d * 1.1, h), (0, 0, h / 2), material, "wear"
        ),
        shape_part(
            "brim", "cylinder", (brim, brim, 0.01), (0, 0, 0.006), paint() if rng.random() < 0.3 else material, "grasp"
        ),
    ]


def clock(rng, paint):
    """Stands on its edge, its face towards +x."""
    d, t = rng.uniform(0.1, 0.32), rng.uniform(0.03, 0.06)
    face = (0.0, _QUARTER, 0.0)
    black = paint("black")
    return [
        shape_part("case", "cylinder", (d, d, t), (0, 0, d / 2), paint(), turn=face),
        shape_part(
            "dial",
            "cylinder",
            (d * 0.86, d * 0.86, 0.006),
            (t / 2 + 0.002, 0, d / 2),
            paint("white"),
            "display",
            turn=face,
        ),
        box_part("hand", (0.004, 0.01, d * 0.34), (t / 2 + 0.007, 0, d * 0.62), black, "display"),
        box_part("hand", (0.004, d * 0.25, 0.012), (t / 2 + 0.007, d * 0.1, d / 2), black, "display"),
    ]


def phone(rng, paint):
    w, d = rng.uniform(0.065, 0.08), rng.uniform(0.13, 0.165)
    return [
        box_part("case", (w, d, 0.009), (0, 0, 0.005), paint(), "grasp"),
        box_part("screen", (w * 0.93, d * 0.95, 0.003), (0, 0, 0.0105), paint("black"), "display", "press"),
    ]


def game_controller(rng, paint):
    w = rng.uniform(0.12, 0.16)
    material, black = paint(), paint("black")
    parts = [box_part("body", (0.06, w * 0.7, 0.035), (0, 0, 0.025), material)]
    for s in (-1, 1):
        parts.append(
            shape_part(
                "grip",
                "sphere",
                (0.11, 0.05, 0.045),
                (-0.03, s * w * 0.4, 0.023),
                material,
                "grasp",
                turn=(0.0, 0.0, -0.35 * s),
            )
        )
        parts.append(shape_part("stick", "cylinder", (0.02, 0.02, 0.02), (-0.01, s * w * 0.2, 0.048), black, "press"))
        parts.append(
            shape_part("button", "cylinder", (0.022, 0.022, 0.01), (0.012, s * w * 0.33, 0.045), black, "press")
        )
    return parts


def cushion(rng, paint):
    w = rng.uniform(0.3, 0.5)
    return [
        shape_part(
            "body",
            "sphere",
            (w, w * rng.uniform(0.8, 1.2), rng.uniform(0.12, 0.18)),
            (0, 0, 0.07),
            paint(),
            "sit",
            "lay",
        )
    ]


def bucket(rng, paint):
    d, h = rng.uniform(0.2, 0.3), rng.uniform(0.2, 0.3)
    over = shape_part(
        "handle",
        "arch",
        (0.012, d * 0.7, d),
        (0, 0, h + d * 0.2),
        paint("grey"),
        "grasp",
        "lift",
        turn=(_QUARTER, 0.0, 0.0),
    )
    return [shape_part("body", "cup", (d, d, h), (0, 0, h / 2), paint(), "contain", "pour"), over]


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
