"""What all ViTs share: patches to tokens, ImageNet's normalisation, position tables for any grid."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet_normalised(images: Tensor) -> Tensor:
    """Images (B,3,H,W) in [-1, 1] with ImageNet's mean and deviation taken out."""
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (images / 2 + 0.5 - mean) / std


def resample_positions(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positional rows (S*S,C) brought to a grid (h,w) as (h*w,C): bicubic, by the scale factors (n + 0.1) / S.

    The 0.1 is part of the public models' recipe: without it, features move. Raises ValueError where rounding leads to
    another grid.
    """
    side = round(len(table) ** 0.5)
    if grid == (side, side):
        return table
    square = table.unflatten(0, (side, side)).permute(2, 0, 1)[None]
    scale = tuple((n + 0.1) / side for n in grid)
    out = F.interpolate(
        square.float(), scale_factor=scale, mode="bicubic", align_corners=False, recompute_scale_factor=False
    )
    if out.shape[-2:] != grid:
        raise ValueError(f"a table of {side} x {side} cannot be brought to {grid[0]} x {grid[1]} tokens")
    return out[0].flatten(1).T.to(table.dtype)


class PatchEmbed(nn.Module):
    """A convolution whose stride is its size."""

    def __init__(self, dim: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B,3,H,W) to tokens (B,N,dim) in row-major order and their positions (B,N,2)."""
        x = self.proj(images)
        return x.flatten(2).transpose(1, 2), token_positions(x)


def token_positions(maps: Tensor) -> Tensor:
    """Row and column (B,N,2) of the cells of maps (B,C,h,w) in row-major order."""
    rows, columns = (torch.arange(n, device=maps.device) for n in maps.shape[-2:])
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1).expand(len(maps), -1, -1)


def check_sides(images: Tensor, patch: int) -> None:
    """Raise ValueError for images (B,3,H,W) whose sides are not positive multiples of the patch."""
    height, width = images.shape[-2:]
    if height % patch or width % patch or not height or not width:
        raise ValueError(f"image sides must be positive multiples of {patch}, got {width} x {height}")


def refuse_transposed(images: Tensor, true_shape: Tensor | None) -> None:
    """Raise ValueError for a landscape batch (B,3,H,W) in which true_shape (B,2) says that some images are portraits."""
    if true_shape is None or images.shape[-2] >= images.shape[-1]:
        return
    if (true_shape[:, 0] > true_shape[:, 1]).any():
        raise ValueError("this encoder takes no transposed images: give portraits as they are")
