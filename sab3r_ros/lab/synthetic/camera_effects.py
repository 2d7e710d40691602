"""What a cheap camera does to an image: exposure, colour cast, blur, noise, vignetting, compression."""

import cv2
import numpy as np


def photometric_augmentation(rgb, rng: np.random.Generator):
    """A clean (H,W,3) uint8 image as a camera of unknown quality would give it."""
    x = rgb
    height, width = x.shape[:2]
    if rng.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.3, 0.012 * width)))
    if rng.random() < 0.2:
        x = cv2.filter2D(x, -1, _streak(rng, max(3, width // 30)))
    # Gamma, exposure and colour cast as a table: powers of every pixel would take longer than all the rest.
    gain = rng.uniform(0.6, 1.4) * rng.uniform(0.8, 1.2, 3 if rng.random() < 0.6 else 1)
    curve = (np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.55, 1.5) * gain * np.ones(3)).astype(np.float32)
    x = cv2.LUT(np.ascontiguousarray(x), curve[:, None])
    if rng.random() < 0.3:
        x *= _vignette(height, width, float(rng.uniform(0.2, 0.6)))
    saturation = rng.uniform(0.4, 1.3)
    x = cv2.transform(x, (saturation * np.eye(3) + (1 - saturation) / 3).astype(np.float32))
    noise = np.float32(rng.uniform(0, 0.05))
    x += rng.standard_normal(x.shape, dtype=np.float32) * (noise * np.sqrt(np.clip(x, 0.05, 1)))
    out = (np.clip(x, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.3:
        packed = cv2.imencode(".jpg", np.ascontiguousarray(out), [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])[
            1
        ]
        out = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
    return out


def _streak(rng, length):
    """The kernel of a straight motion blur."""
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    middle = (length - 1) / 2
    for s in np.linspace(-middle, middle, 2 * length):
        kernel[int(round(middle + s * np.sin(angle))), int(round(middle + s * np.cos(angle)))] = 1
    return kernel / kernel.sum()


def _vignette(height, width, strength):
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (1 - strength * (x**2 + y**2) / 2)[..., None].astype(np.float32)
