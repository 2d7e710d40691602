"""Dense heads for encoders that also give finer maps: DPT's fusion (arXiv 2103.13413) with those maps as skips.

They end at half the image's resolution and are enlarged from there: a full-size convolution would cost more than all before.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.models.heads import FusionBlock, ViewPrediction, exp_confidence, exp_vector

if TYPE_CHECKING:
    from sab3r_ros.models.sab3r import Sab3rConfig


class PyramidHead(nn.Module):
    """Tokens and finer maps to a dense map at half the image's size.

    token_dim: of all tokens given, joined; pyramid_dims: channels of the maps at strides 8, 4 and 2.
    """

    def __init__(self, token_dim: int, pyramid_dims: tuple[int, ...], dim: int, last_dim: int, out_dim: int):
        super().__init__()
        eight, four, two = pyramid_dims
        self.tokens = nn.Linear(token_dim, dim)
        self.skips = nn.ModuleList([nn.Conv2d(eight, dim, 1), nn.Conv2d(four, dim, 1)])
        self.fusion = nn.ModuleList(FusionBlock(dim) for _ in range(3))
        self.fine = nn.Conv2d(two, last_dim, 1)
        self.full = nn.Conv2d(dim, last_dim, 3, padding=1)
        self.last = nn.Conv2d(last_dim, out_dim, 1)
        nn.init.trunc_normal_(self.last.weight, std=0.02)  # activations are exponential: start near their zero
        nn.init.zeros_(self.last.bias)

    def forward(self, tokens: Tensor, grid: tuple[int, int], pyramid: tuple[Tensor, ...]) -> Tensor:
        """tokens (B,N,token_dim), N = h*w of the grid, to (B,out,8h,8w)."""
        x = self.fusion[0](self.tokens(tokens).transpose(1, 2).unflatten(-1, grid))
        x = self.fusion[1](x, self.skips[0](pyramid[0]))
        x = self.fusion[2](x, self.skips[1](pyramid[1]))
        return self.last(F.relu(self.full(x) + self.fine(pyramid[2])))


def enlarged(x: Tensor) -> Tensor:
    """(B,C,h,w) to (B,2h,2w,C), pixel centres in place."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)


class PyramidViewHead(nn.Module):
    """All dense outputs of one side of the pair: geometry and descriptors from one head, features from another one.

    Features are read from the encoder alone: what a thing is, a partner hardly helps to say, and one image is enough to learn it.
    """

    def __init__(self, cfg: "Sab3rConfig", pyramid_dims: tuple[int, ...], features: bool):
        super().__init__()
        self.cfg = cfg
        sizes, wide = cfg.point_sizes, cfg.feature_sizes
        out = 4 + cfg.desc_dim + 1
        self.dense = PyramidHead(cfg.enc_dim + 2 * cfg.dec_dim, pyramid_dims, sizes.dim, sizes.last_dim, out)
        self.clip_head = (
            PyramidHead(cfg.enc_dim, pyramid_dims, wide.dim, wide.last_dim, cfg.clip_dim) if features else None
        )

    def raw(self, layers: list[Tensor], grid: tuple[int, int], pyramid: tuple[Tensor, ...]) -> Tensor:
        """Points, confidence, descriptor and its confidence before their activations, (B,5+D,8h,8w)."""
        middle = layers[self.cfg.dec_depth // 2]
        return self.dense(torch.cat([layers[0], middle, layers[-1]], -1), grid, pyramid)

    def activated(self, raw: Tensor, descriptors: bool = True) -> ViewPrediction:
        """The prediction from raw values (B,H,W,5+D)."""
        raw = raw.float()
        out = ViewPrediction(exp_vector(raw[..., :3]), exp_confidence(raw[..., 3], 1.0), None, None)
        if descriptors:
            desc = raw[..., 4:-1]
            out.desc = desc * desc.norm(dim=-1, keepdim=True).clamp(min=1e-8).reciprocal()
            out.desc_conf = exp_confidence(raw[..., -1], self.cfg.desc_conf_floor)
        return out

    def forward(
        self, layers: list[Tensor], grid: tuple[int, int], features: bool = True, descriptors: bool = True,
        pyramid: tuple[Tensor, ...] = (),
    ) -> ViewPrediction:  # fmt: skip
        """See `ViewHead`."""
        layers, pyramid = [t.float() for t in layers], tuple(p.float() for p in pyramid)
        raw = self.raw(layers, grid, pyramid)
        out = self.activated(enlarged(raw if descriptors else raw[:, :4]), descriptors)
        if features and self.clip_head is not None:
            out.clip = self.clip_features(layers, grid, pyramid)
        return out

    def clip_features(self, layers: list[Tensor], grid: tuple[int, int], pyramid: tuple[Tensor, ...] = ()) -> Tensor:
        """The language-aligned features (B,16h,16w,C) alone."""
        layers, pyramid = [t.float() for t in layers], tuple(p.float() for p in pyramid)
        return exp_vector(enlarged(self.raw_features(layers, grid, pyramid)["clip"].permute(0, 3, 1, 2)))

    def raw_features(
        self, layers: list[Tensor], grid: tuple[int, int], pyramid: tuple[Tensor, ...] = ()
    ) -> dict[str, Tensor]:
        """What the feature head says at half the image's size before the activation, (B,8h,8w,C)."""
        if self.clip_head is None:
            return {}
        return {"clip": self.clip_head(layers[0], grid, pyramid).permute(0, 2, 3, 1)}
