"""From any image to the network's input: resize, crop, scale to [-1, 1] (DUSt3R's convention)."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sab3r_ros.geometry.projection import scaled_intrinsics
from sab3r_ros.models.base import GeometryModel


@dataclass(frozen=True)
class Framing:
    """How an image was resized and cropped: sizes are (W, H) and the crop (left, top) in pixels."""

    size: tuple[int, int]
    resized: tuple[int, int]
    crop_offset: tuple[int, int]
    cropped: tuple[int, int]

    def intrinsics(self, matrix):
        """The (3,3) pinhole matrix after the resize and the crop."""
        return scaled_intrinsics(matrix, self.size, self.resized, self.crop_offset)

    def apply_nearest(self, image):
        """Resize and crop a depth or label image (H,W) by nearest neighbour."""
        resized = np.asarray(Image.fromarray(image).resize(self.resized, Image.Resampling.NEAREST))
        left, top = self.crop_offset
        return resized[top : top + self.cropped[1], left : left + self.cropped[0]].copy()

    def covered(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of an image of `shape` (H,W), of the same aspect as `size`, that lie inside the crop."""
        spans = []
        for side, whole, start, length in zip(
            shape, self.resized[::-1], self.crop_offset[::-1], self.cropped[::-1], strict=True
        ):
            spans.append(slice(round(start * side / whole), round((start + length) * side / whole)))
        return spans[0], spans[1]


def framing(width: int, height: int, long_side: int, square_ok: bool = False, patch: int = 16) -> Framing:
    """Sizes for the network: the long side becomes `long_side`, sides are cropped to multiples of the patch.

    A long side of 224 gives a 224 x 224 square as in DUSt3R. A square image otherwise loses a quarter of its height
    unless `square_ok`. Raises ValueError for an empty image or one that would have no pixels left.
    """
    if width < 1 or height < 1:
        raise ValueError(f"empty image: {width} x {height}")
    longer = max(width, height)
    target = round(224 * max(width / height, height / width)) if long_side == 224 else long_side
    w, h = (max(1, round(side * target / longer)) for side in (width, height))
    cx, cy = w // 2, h // 2
    if long_side == 224:
        half_w = half_h = min(cx, cy)
    else:
        half_w, half_h = (2 * c // patch * patch // 2 for c in (cx, cy))
        if w == h and not square_ok:
            half_h = 3 * half_w // 4 // 8 * 8
    if not half_w or not half_h:
        raise ValueError(f"an image of {width} x {height} is too narrow for a long side of {long_side}")
    return Framing((width, height), (w, h), (cx - half_w, cy - half_h), (2 * half_w, 2 * half_h))


def framing_for(model: GeometryModel, image: np.ndarray) -> Framing:
    """How a model sees an image (H,W,...). Raises ValueError as `framing`."""
    return framing(image.shape[1], image.shape[0], model.image_size, model.square_ok, model.patch)


def fitted_nearest(image: np.ndarray, model: GeometryModel) -> np.ndarray:
    """A depth or label image (H,W) as a model would see it, by nearest neighbour."""
    return framing_for(model, image).apply_nearest(np.ascontiguousarray(image))


def resize_and_crop(rgb: np.ndarray, frame: Framing) -> np.ndarray:
    """Lanczos when shrinking, bicubic when enlarging; (H,W,3) uint8 in and out."""
    shrinking = max(frame.size) > max(frame.resized)
    method = Image.Resampling.LANCZOS if shrinking else Image.Resampling.BICUBIC
    resized = np.asarray(Image.fromarray(rgb).resize(frame.resized, method))
    left, top = frame.crop_offset
    return resized[top : top + frame.cropped[1], left : left + frame.cropped[0]].copy()


def to_input(rgb: np.ndarray) -> Tensor:
    """(H,W,3) uint8 to (1,3,H,W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float() / 127.5 - 1
