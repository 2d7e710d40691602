"""DUNE's ViT (arXiv 2503.14405) in DINOv2's layout: the small encoder of DUNE-MASt3R."""

import torch
from torch import Tensor, nn

from sab3r_ros.models.base import EncodedView
from sab3r_ros.models.layers import NORM_EPS, Mlp, SelfAttention
from sab3r_ros.models.patches import PatchEmbed, check_sides, imagenet_normalised, refuse_transposed, resample_positions


class LayerScale(nn.Module):
    """A learnt factor per channel."""

    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class DuneBlock(nn.Module):
    """Pre-norm self-attention and MLP, each with a layer scale."""

    def __init__(self, dim: int, heads: int, mlp_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = SelfAttention(dim, heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, mlp_dim, dim)
        self.ls2 = LayerScale(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class DuneBackbone(nn.Module):
    """Patch tokens of DUNE's encoder file, before any norm; names are those of the file.

    table_side: side of the square position table; registers: number of register tokens, 0 = none.
    """

    def __init__(self, dim: int, depth: int, heads: int, mlp_dim: int, patch: int, table_side: int, registers: int):
        super().__init__()
        self.patch, self.registers = patch, registers
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, table_side**2 + 1, dim))
        if registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # in the file; unused here
        self.patch_embed = PatchEmbed(dim, patch)
        self.blocks = nn.ModuleList([nn.ModuleList(DuneBlock(dim, heads, mlp_dim) for _ in range(depth))])
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)  # in the file; the decoder's own norm takes its place

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images to tokens [class, registers, patches] (B,1+R+N,C) and the patches' positions (B,N,2)."""
        x, positions = self.patch_embed(images)
        grid = images.shape[-2] // self.patch, images.shape[-1] // self.patch
        table = self.pos_embed[0]
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        x = x + torch.cat([table[:1], resample_positions(table[1:], grid)])
        if self.registers:
            x = torch.cat([x[:, :1], self.register_tokens.expand(len(x), -1, -1), x[:, 1:]], 1)
        return x, positions

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images (B,3,H,W) to patch tokens (B,N,C) and their positions (B,N,2)."""
        x, positions = self.embed(images)
        for block in self.blocks[0]:
            x = block(x)
        return x[:, 1 + self.registers :], positions


class DuneEncoder(nn.Module):
    """The backbone with MASt3R's image convention before it and the decoder file's norm behind it."""

    pyramid_dims: tuple[int, ...] = ()

    def __init__(self, dim: int, depth: int, heads: int, mlp_ratio: float, patch: int, table_side: int, registers: int):
        super().__init__()
        self.dim, self.patch = dim, patch
        self.backbone = DuneBackbone(dim, depth, heads, int(dim * mlp_ratio), patch, table_side, registers)
        self.norm = nn.LayerNorm(dim)  # PyTorch's eps of 1e-5, as the public wrapper has it

    def forward(self, images: Tensor, true_shape: Tensor | None = None) -> EncodedView:
        """See `models.base.Encoder`; portraits come as portraits, transposed batches raise ValueError."""
        check_sides(images, self.patch)
        refuse_transposed(images, true_shape)
        tokens, positions = self.backbone(imagenet_normalised(images))
        return EncodedView(self.norm(tokens), positions, tuple(images.shape[-2:]), None, self.patch)
