"""Dense CLIP features from the value path of the last attention (MaskCLIP, arXiv 2112.01071, in FeatUp's form)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet_normalised(images: Tensor) -> Tensor:
    """Images (B,3,H,W) in [-1, 1] with ImageNet's mean and deviation taken out."""
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (images / 2 + 0.5 - mean) / std


def check_sides(images: Tensor, patch: int) -> None:
    """Raise ValueError for images (B,3,H,W) whose sides are not multiples of the patch."""
    height, width = images.shape[-2:]
    if height % patch or width % patch:
        raise ValueError(f"image sides must be multiples of {patch}, got {width} x {height}")


def scaled_table(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positional rows (S*S,C) brought to a grid (h,w) as (h*w,C): bicubic, by the scale factors (n + 0.1) / S.

    The 0.1 is part of the public models' recipe: without it, features move.
    """
    side = round(len(table) ** 0.5)
    if grid == (side, side):
        return table
    square = table.unflatten(0, (side, side)).permute(2, 0, 1)[None]
    scale = tuple((n + 0.1) / side for n in grid)
    out = F.interpolate(square, scale_factor=scale, mode="bicubic", align_corners=False, recompute_scale_factor=False)
    if out.shape[-2:] != grid:
        raise ValueError(f"a table of {side} x {side} cannot be brought to {grid[0]} x {grid[1]} tokens")
    return out[0].flatten(1).T


class MaskClip(nn.Module):
    """The vision tower of an open_clip ViT, read patch by patch.

    clip: an open_clip model whose `visual` is its VisionTransformer. No residual and no MLP around the value path,
    as FeatUp has it.
    """

    patch = 16

    def __init__(self, clip: nn.Module):
        super().__init__()
        self.visual = clip.visual
        self.patch = int(self.visual.conv1.stride[0])

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B,3,H,W), sides multiples of the patch, to (B,C,h,w), not normalised.

        Raises ValueError for other sides.
        """
        check_sides(images, self.patch)
        visual = self.visual
        x = visual.conv1(images)
        grid = tuple(x.shape[-2:])
        x = x.flatten(2).transpose(1, 2)
        table = visual.positional_embedding
        first = (visual.class_embedding + table[0]).expand(len(x), 1, -1)
        x = visual.ln_pre(torch.cat([first, x + scaled_table(table[1:], grid)], 1))
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            x = block(x)
        attention, dim = last.attn, x.shape[-1]
        values = F.linear(last.ln_1(x), attention.in_proj_weight[2 * dim :], attention.in_proj_bias[2 * dim :])
        x = attention.out_proj(values)[:, 1:]
        return (visual.ln_post(x) @ visual.proj).transpose(1, 2).unflatten(-1, grid)


def load_maskclip(weights: str = "openai", name: str = "ViT-B-16-quickgelu") -> MaskClip:
    """OpenAI's ViT-B/16, or another open_clip model: `weights` is a tag or a file (also OpenAI's own archive).

    Raises ValueError when the weights are neither at hand nor can be fetched.
    """
    import open_clip

    safely = not weights.endswith(".pt")  # OpenAI's own file is a TorchScript archive
    try:
        model = open_clip.create_model(name, pretrained=weights, require_pretrained=True, weights_only=safely)
    except (RuntimeError, OSError, ValueError) as error:
        raise ValueError(
            f"cannot load MaskCLIP's {name} ({weights}): {error}. Give the file's path as the weights."
        ) from error
    return MaskClip(model.eval().requires_grad_(False))
