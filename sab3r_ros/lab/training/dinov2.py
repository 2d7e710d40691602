"""Dense DINOv2 features (arXiv 2304.07193) through timm, with the official treatment of positions."""

from pathlib import Path

import torch
from torch import Tensor, nn

from sab3r_ros.models.patches import check_sides, resample_positions


class DinoV2(nn.Module):
    """The patch tokens after the final norm of a timm DINOv2 without registers.

    timm resizes the positional table in another way than the official code; with other sizes than 518 x 518 its
    tokens differ by up to 0.2, so the table is resized here.
    """

    def __init__(self, vit: nn.Module):
        super().__init__()
        self.vit = vit
        self.patch = int(vit.patch_embed.patch_size[0])

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B,3,H,W), sides multiples of the patch, to (B,C,h,w).

        Raises ValueError for other sides.
        """
        check_sides(images, self.patch)
        vit = self.vit
        x = vit.patch_embed.proj(images)
        grid = tuple(x.shape[-2:])
        table = vit.pos_embed[0]
        first = (vit.cls_token + table[:1]).expand(len(x), -1, -1)
        x = torch.cat([first, x.flatten(2).transpose(1, 2) + resample_positions(table[1:], grid)], 1)
        x = vit.norm(vit.blocks(x))[:, 1:]
        return x.transpose(1, 2).unflatten(-1, grid)


def load_dinov2(file: str | None = None, name: str = "vit_small_patch14_dinov2.lvd142m") -> DinoV2:
    """ViT-S/14 with the official file's weights (dinov2_vits14_pretrain.pth), or timm's own copy from the hub.

    Raises ValueError when the weights are neither at hand nor can be fetched, or do not fit.
    """
    import timm

    if file is not None and not Path(file).is_file():
        raise ValueError(f"no DINOv2 weights at {file}")
    overlay = {"pretrained_cfg_overlay": {"file": file}} if file else {}
    try:
        vit = timm.create_model(name, pretrained=True, **overlay)
    except Exception as error:  # the hub, torch and timm each raise their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"cannot load {name} ({file or 'hub'}): {reason}. Give dinov2_vits14_pretrain.pth as the file."
        ) from error
    return DinoV2(vit.eval().requires_grad_(False))
