"""FeatUp's upsampler (arXiv 2403.10516): four stages of joint bilateral upsampling, 16 times larger in all.

Computed row by row, so that memory stays near that of the result: unfolded features would need 49 times as much.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.models.patches import imagenet_normalised
from sab3r_ros.models.safe_load import safe_load
from sab3r_ros.models.state_dicts import load_strict, strip_prefix

_RADIUS = 3
_SIDE = 2 * _RADIUS + 1
_TAPS = _SIDE**2
_FIXUP = 0.1


def _pointwise(inputs, hidden, outputs):
    """Two 1 x 1 convolutions; the entries in the middle keep the public names."""
    return nn.Sequential(nn.Conv2d(inputs, hidden, 1), nn.GELU(), nn.Dropout2d(0.1), nn.Conv2d(hidden, outputs, 1))


class JbuStage(nn.Module):
    """One doubling: a learnt range kernel on the guidance times a Gaussian, and a learnt correction."""

    def __init__(self, guidance_dim: int = 3, key_dim: int = 32):
        super().__init__()
        self.range_temp = nn.Parameter(torch.zeros(()))
        self.sigma_spatial = nn.Parameter(torch.ones(()))
        self.range_proj = _pointwise(guidance_dim, key_dim, key_dim)
        self.fixup_proj = _pointwise(_TAPS + guidance_dim, _TAPS, _TAPS)

    def kernel(self, guidance: Tensor) -> Tensor:
        """Guidance (B,3,H,W) to the weights (B,49,H,W) of every pixel's neighbours, row by row."""
        height, width = guidance.shape[-2:]
        keys = self.range_proj(guidance)
        padded = F.pad(keys, (_RADIUS,) * 4, mode="reflect")
        near = [(keys * padded[..., y : y + height, x : x + width]).sum(1) for y in range(_SIDE) for x in range(_SIDE)]
        near = (torch.stack(near, 1) * self.range_temp.exp().clamp(1e-4, 1e4)).softmax(1)
        line = torch.linspace(-1, 1, _SIDE, device=guidance.device)
        distance = (line[:, None] ** 2 + line**2).flatten()
        kernel = near * torch.exp(-distance / (2 * self.sigma_spatial**2))[:, None, None]
        kernel = kernel / kernel.sum(1, keepdim=True).clamp(min=1e-7)
        return kernel + _FIXUP * self.fixup_proj(torch.cat([kernel, guidance], 1))

    def forward(self, source: Tensor, guidance: Tensor) -> Tensor:
        """Source (B,C,h,w) and the guidance at the new size (B,3,2h,2w) to (B,C,2h,2w)."""
        return adaptive_correlation(source, self.kernel(guidance))


def adaptive_correlation(source: Tensor, kernel: Tensor) -> Tensor:
    """Enlarge source (B,C,h,w) bicubically to the kernel's size and correlate each pixel with its own kernel (B,49,H,W)."""
    height, width = kernel.shape[-2:]
    large = F.interpolate(source, (height, width), mode="bicubic", align_corners=False)
    large = F.pad(large, (_RADIUS,) * 4, mode="reflect").permute(0, 2, 3, 1).contiguous()
    out = source.new_empty(len(source), height, width, source.shape[1])
    for row in range(height):
        windows = large[:, row : row + _SIDE].unfold(2, _SIDE, 1)  # (B,7,W,C,7), a view
        taps = kernel[:, :, row].unflatten(1, (_SIDE, _SIDE))  # (B,7,7,W)
        out[:, row] = torch.einsum("bywcx,byxw->bwc", windows, taps)
    return out.permute(0, 3, 1, 2)


class JbuStack(nn.Module):
    """Four stages and a last correction: 16 times larger whatever the backbone's patch."""

    def __init__(self, dim: int):
        super().__init__()
        self.up1, self.up2, self.up3, self.up4 = (JbuStage() for _ in range(4))
        self.fixup_proj = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(dim, dim, 1))

    def forward(self, source: Tensor, image: Tensor) -> Tensor:
        """Features (B,C,h,w), h and w at least 2, and the normalised image (B,3,H,W) to (B,C,16h,16w)."""
        for stage in (self.up1, self.up2, self.up3, self.up4):
            size = tuple(2 * s for s in source.shape[-2:])
            # Pooling also where it enlarges: that is what the public weights were trained with.
            source = stage(source, F.adaptive_avg_pool2d(image, size))
        for k in range(len(source)):  # in place and one by one: this is the largest tensor of all
            source[k] += _FIXUP * self.fixup_proj(source[k : k + 1])[0]
        return source


class FeatUpTeacher(nn.Module):
    """A dense teacher: backbone, channel norm (DINOv2's) and upsampler, on images as the network gets them.

    Images (B,3,H,W) in [-1, 1] with sides that are multiples of 16 to features (B,H,W,C). A backbone with patches of
    14 pixels gets the image at 14/16 of its size, so that tokens and result lie on the same grid as with 16.
    """

    def __init__(self, backbone: nn.Module, upsampler: JbuStack, norm: nn.LayerNorm | None = None):
        super().__init__()
        self.backbone, self.upsampler, self.norm = backbone, upsampler, norm
        self.eval().requires_grad_(False)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        patch = self.backbone.patch
        if patch != 16:
            size = tuple(s // 16 * patch for s in images.shape[-2:])
            images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        image = imagenet_normalised(images)
        features = self.backbone(image)
        if self.norm is not None:
            features = self.norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.upsampler(features, image).permute(0, 2, 3, 1)


def load_featup(path: Path) -> tuple[JbuStack, nn.LayerNorm | None]:
    """Upsampler and channel norm from a FeatUp checkpoint ({maskclip,dinov2}_jbu_stack_cocostuff.ckpt).

    Everything else in the file (the frozen backbone, settings) is ignored, and nothing of it is executed.
    Raises ValueError for a missing file, or one of something else, saying what is missing.
    """
    if not path.is_file():
        raise ValueError(f"no FeatUp checkpoint at {path}")
    content = safe_load(path)
    state = content.get("state_dict", {}) if isinstance(content, dict) else {}
    weights = strip_prefix(state, "upsampler.")
    last = weights.get("fixup_proj.1.weight")
    if last is None:
        raise ValueError(f"{path} has no upsampler.fixup_proj.1.weight: it is not a FeatUp JBU checkpoint")
    stack = JbuStack(len(last))
    load_strict(stack, weights, path)
    norm = None
    if "model.1.norm.weight" in state:
        norm = nn.LayerNorm(len(last))
        norm.load_state_dict({k: state[f"model.1.norm.{k}"] for k in ("weight", "bias")})
    return stack.eval(), norm
