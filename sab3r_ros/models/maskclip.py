"""Dense CLIP features from the value path of the last attention (MaskCLIP, arXiv 2112.01071, in FeatUp's form)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.models.patches import check_sides, resample_positions


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
        x = visual.ln_pre(torch.cat([first, x + resample_positions(table[1:], grid)], 1))
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
