"""Things one handles outside the kitchen: parts in the object's frame, z up, standing or lying on z = 0.

Builders are called as those of `furniture`.
"""

import numpy as np

from sab3r_ros.lab.synthetic.parts import box_part, shape_part

_QUARTER = np.pi / 2


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
    """Lying, thin as a magazine every fourth time; or upright, its cover towards +x."""
    w, d, t = rng.uniform(0.12, 0.2), rng.uniform(0.17, 0.28), rng.uniform(0.015, 0.05)
    if rng.random() < 0.25:
        return [box_part("cover", (w * 1.2, d * 1.2, 0.005), (0, 0, 0.003), paint(), "open", "grasp")]
    if rng.random() < 0.2:
        return [
            box_part("cover", (t, w, d), (0, 0, d / 2), paint(), "open", "grasp"),
            box_part("pages", (t * 0.7, w * 1.004, d * 0.97), (0, 0.003, d / 2 + 0.004), paint("white")),
        ]
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
