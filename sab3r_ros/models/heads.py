"""Dense heads: DPT (arXiv 2103.13413), per-token MLPs, and the activations of DUSt3R and MASt3R."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.models.layers import Mlp

PATCH = 16


@dataclass
class ViewPrediction:
    """What a pair says of one of its views; points are in VIEW 1's camera frame for both, in metres.

    points (B,H,W,3); conf (B,H,W) > 1; desc (B,H,W,D) of unit length; desc_conf (B,H,W) > 0;
    clip (B,H,W,C) and dino (B,H,W,E) or None, not normalised.
    """

    points: Tensor
    conf: Tensor
    desc: Tensor | None
    desc_conf: Tensor | None
    clip: Tensor | None = None
    dino: Tensor | None = None


class ResidualConvUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))) on (B,C,H,W); x is left as it is."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(_relu(self.conv1(F.relu(x))))


def _relu(x: Tensor) -> Tensor:
    """ReLU in place where no gradient needs what was there: the maps are the largest tensors of all."""
    return F.relu(x, inplace=not torch.is_grad_enabled())


def _enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class FusionBlock(nn.Module):
    """Add a skip to the coarser map, refine, double the size."""

    def __init__(self, dim: int):
        super().__init__()
        self.out_conv = nn.Conv2d(dim, dim, 1)
        self.resConfUnit1 = ResidualConvUnit(dim)
        self.resConfUnit2 = ResidualConvUnit(dim)

    def forward(self, coarse: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is not None:
            coarse = coarse + self.resConfUnit1(skip)
        # The published order is enlarge, then convolve. A 1 x 1 convolution commutes with bilinear interpolation,
        # whose weights add up to one, and costs a quarter before it.
        return _enlarge(self.out_conv(self.resConfUnit2(coarse)))


class Scratch(nn.Module):
    """Projections to a common width and the four fusion blocks, under the names of the public checkpoints."""

    def __init__(self, layer_dims: tuple[int, ...], dim: int):
        super().__init__()
        convs = [nn.Conv2d(c, dim, 3, padding=1, bias=False) for c in layer_dims]
        for k, conv in enumerate(convs, 1):
            setattr(self, f"layer{k}_rn", conv)
        self.layer_rn = nn.ModuleList(convs)  # the checkpoints hold every one of these under both names
        for k in range(1, 5):
            setattr(self, f"refinenet{k}", FusionBlock(dim))


class DPTHead(nn.Module):
    """Tokens of four depths to a dense map at full resolution.

    tokens: four (B,N,C_i) tensors (encoder output first); grid (h,w) of the tokens, h*w = N.
    Returns (B,out,patch*h,patch*w).
    """

    def __init__(self, token_dims, layer_dims, feature_dim: int, last_dim: int, out_dim: int, patch: int = PATCH):
        super().__init__()
        a, b, c, d = layer_dims
        self.act_postprocess = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(token_dims[0], a, 1), nn.ConvTranspose2d(a, a, 4, stride=4)),
                nn.Sequential(nn.Conv2d(token_dims[1], b, 1), nn.ConvTranspose2d(b, b, 2, stride=2)),
                nn.Sequential(nn.Conv2d(token_dims[2], c, 1)),
                nn.Sequential(nn.Conv2d(token_dims[3], d, 1), nn.Conv2d(d, d, 3, stride=2, padding=1)),
            ]
        )
        self.scratch = Scratch(layer_dims, feature_dim)
        self.head = nn.Sequential(
            nn.Conv2d(feature_dim, feature_dim // 2, 3, padding=1),
            nn.Upsample(scale_factor=patch / 8, mode="bilinear", align_corners=True),  # the fusion ends at 8 x the grid
            nn.Conv2d(feature_dim // 2, last_dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(last_dim, out_dim, 1),
        )

    def forward(self, tokens: list[Tensor], grid: tuple[int, int]) -> Tensor:
        # Tokens are channels-last already; kept so, convolutions need no reordering.
        maps = [t.transpose(1, 2).unflatten(-1, grid) for t in tokens]
        paths = [post(m) for post, m in zip(self.act_postprocess, maps, strict=True)]
        skips = [conv(p) for conv, p in zip(self.scratch.layer_rn, paths, strict=True)]
        out = self.scratch.refinenet4(skips[3])[..., : skips[2].shape[-2], : skips[2].shape[-1]]
        out = self.scratch.refinenet3(out, skips[2])
        out = self.scratch.refinenet2(out, skips[1])
        out = self.scratch.refinenet1(out, skips[0])
        shrunk, enlarge, full, _, last = self.head
        return last(_relu(full(enlarge(shrunk(out)))))


class PixelShuffleMlp(nn.Module):
    """An MLP per token whose outputs are the patch's pixels: (B,N,dim) to (B,out,patch*h,patch*w).

    Carries `fc1` and `fc2` itself, as the checkpoints name them.
    """

    def __init__(self, dim: int, hidden: int, out_dim: int, patch: int = PATCH):
        super().__init__()
        self.patch = patch
        inner = Mlp(dim, hidden, out_dim * patch**2)
        self.fc1, self.fc2 = inner.fc1, inner.fc2

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        x = self.fc2(F.gelu(self.fc1(x)))
        return F.pixel_shuffle(x.transpose(1, 2).unflatten(-1, grid), self.patch)


def exp_vector(x: Tensor) -> Tensor:
    """x (..., C) to x/|x| * (exp|x| - 1): the 'exp' activation of points and features."""
    norm = x.norm(dim=-1, keepdim=True)
    return x * (torch.expm1(norm) / norm.clamp(min=1e-8))


def exp_confidence(x: Tensor, low: float, high: float = float("inf")) -> Tensor:
    """low + exp(x), at most `high`."""
    return low + x.exp().clamp(max=high - low)
