"""Images as cheap cameras, dark rooms and thin links spoil them: what does a trajectory lose by it?"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from sab3r_ros.types import Frame

_FLICKER = 0.3  # of the log of the exposure, from image to image
_BLUR = 9  # pixels of 640, along a line of any direction
_NOISE = 20.0  # grey levels
_JPEG = 20  # quality
_DARK, _DARK_NOISE = 0.2, 4.0  # of the light, and grey levels of noise
_VIGNETTE = 0.45  # of the light, lost at the middle of a side


def degraded(frames: Iterable[Frame], name: str, seed: int = 0) -> Iterator[Frame]:
    """Frames with their images spoilt by one of `DEGRADATIONS`; the same seed spoils them alike."""
    rng, spoil = np.random.default_rng(seed), DEGRADATIONS[name]
    for frame in frames:
        yield replace(frame, rgb=spoil(frame.rgb, rng))


def _shown(image: np.ndarray) -> np.ndarray:
    return image.round().clip(0, 255).astype(np.uint8)


def _flicker(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _shown(rgb * np.exp(rng.normal(0, _FLICKER)))


def _blur(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    half = max(1, round(_BLUR * rgb.shape[1] / 640 / 2))
    angle, kernel = rng.uniform(0, np.pi), np.zeros((2 * half + 1, 2 * half + 1))
    along = np.linspace(-half, half, 8 * half + 1)
    rows, columns = (np.round(half + along * f(angle)).astype(int) for f in (np.sin, np.cos))
    np.add.at(kernel, (rows, columns), 1.0)
    return cv2.filter2D(rgb, -1, kernel / kernel.sum())


def _noise(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _shown(rgb + rng.normal(0, _NOISE, rgb.shape))


def _jpeg(rgb: np.ndarray, _: np.random.Generator) -> np.ndarray:
    packed = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, _JPEG])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))


def _dark(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _shown(rgb * _DARK + rng.normal(0, _DARK_NOISE, rgb.shape))


def _grey(rgb: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, -1)


def _vignette(rgb: np.ndarray, _: np.random.Generator) -> np.ndarray:
    y, x = (np.linspace(-1, 1, n) for n in rgb.shape[:2])
    return _shown(rgb * (1 - _VIGNETTE * (x[None] ** 2 + y[:, None] ** 2))[..., None].clip(0, 1))


DEGRADATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "flicker": _flicker, "blur": _blur, "noise": _noise, "jpeg": _jpeg, "dark": _dark, "grey": _grey, "vignette": _vignette,
}  # fmt: skip
