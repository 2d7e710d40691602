"""Features averaged over pieces of a picture.

A network's features change slowly over the picture and err pixel by pixel; the edges of things are in the picture itself. Averaging
over pieces of one colour (Felzenszwalb and Huttenlocher, IJCV 2004) gives every piece one answer that ends where it ends.
"""

import cv2
import numpy as np
import torch
from skimage.segmentation import felzenszwalb
from torch import Tensor

_LONG_SIDE = 160  # pixels of the picture that is cut up: pieces need no finer edges than voxels have
_SCALE = 100.0  # of Felzenszwalb's observation: larger pieces the larger it is
_BLUR = 0.5  # pixels
_SMALLEST = 300  # pieces of the smallest size that would fill the picture


def cut_into_pieces(rgb: np.ndarray) -> np.ndarray:
    """The number (h,w) int64 of the piece that each pixel of a picture (h,w,3) uint8 belongs to, from 0 without gaps."""
    height, width = rgb.shape[:2]
    shrink = min(1.0, _LONG_SIDE / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    smallest = max(1, small.shape[0] * small.shape[1] // _SMALLEST)
    pieces = felzenszwalb(small, scale=_SCALE, sigma=_BLUR, min_size=smallest)
    whole = cv2.resize(pieces.astype(np.int32), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.unique(whole, return_inverse=True)[1].reshape(height, width).astype(np.int64)


def averaged_over_pieces(features: Tensor, pieces: np.ndarray) -> Tensor:
    """Features (h,w,C) of pixels, brought to length 1, replaced by the mean of their piece; pieces (h,w) int64."""
    unit = torch.nn.functional.normalize(features.float().flatten(0, 1), dim=-1)
    number = torch.from_numpy(pieces).flatten().to(unit.device)
    total = torch.zeros(int(number.max()) + 1, unit.shape[1], device=unit.device).index_add_(0, number, unit)
    return torch.nn.functional.normalize(total, dim=-1)[number].reshape(features.shape)
