"""Transformer blocks with two-dimensional rotary embeddings (CroCo v2, arXiv 2211.10408; RoPE, 2104.09864)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-6
Rotation = tuple[Tensor, Tensor]


def rotary_table(positions: Tensor, head_dim: int, base: float) -> Rotation:
    """Cosines and sines of RoPE2D.

    positions (B,N,2): integer row and column of every token. Returns two (B,1,N,head_dim) tensors: the first
    half of a head is rotated by the row, the second by the column; within a half, elements k and k + D/2
    share the frequency base^(-2k/D).
    """
    half = head_dim // 2
    exponent = torch.arange(0, half, 2, device=positions.device, dtype=torch.float32) / half
    angle = positions[..., None].float() * base**-exponent  # (B,N,2,half/2)
    angle = torch.cat([angle, angle], -1).flatten(-2)[:, None]
    return angle.cos(), angle.sin()


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Apply a rotary table to queries or keys (B,heads,N,head_dim)."""
    cos, sin = rotation
    first, second = x.unflatten(-1, (2, 2, -1)).unbind(-2)
    turned = torch.stack([-second, first], -2).flatten(-3)
    return x * cos.to(x.dtype) + turned * sin.to(x.dtype)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between: (..., dim) to (..., out)."""

    def __init__(self, dim: int, hidden: int, out: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


def _split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention of (B,heads,N,dim) tensors."""
    if q.dtype == torch.bfloat16 and q.device.type == "cpu":
        # torch's gradient of it takes ten times as long in bfloat16 as in float32.
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(v.dtype)
    return F.scaled_dot_product_attention(q, k, v)


class SelfAttention(nn.Module):
    """Multi-head self-attention over (B,N,dim)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        q, k, v = (_split_heads(t, self.heads) for t in self.qkv(x).chunk(3, -1))
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        out = attend(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(-2))


class CrossAttention(nn.Module):
    """Queries from (B,N,dim), keys and values from (B,M,dim)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(dim, dim)
        self.projk = nn.Linear(dim, dim)
        self.projv = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, y: Tensor, rotation_x: Rotation, rotation_y: Rotation) -> Tensor:
        q = rotate(_split_heads(self.projq(x), self.heads), rotation_x)
        k = rotate(_split_heads(self.projk(y), self.heads), rotation_y)
        v = _split_heads(self.projv(y), self.heads)
        return self.proj(attend(q, k, v).transpose(1, 2).flatten(-2))


class EncoderBlock(nn.Module):
    """Pre-norm self-attention block."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), dim)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        x = x + self.attn(self.norm1(x), rotation)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """Pre-norm self-attention, cross-attention to the other view (normalised memory), MLP."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.norm_y = nn.LayerNorm(dim, eps=NORM_EPS)
        self.cross_attn = CrossAttention(dim, heads)
        self.norm3 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), dim)

    def forward(self, x: Tensor, y: Tensor, rotation_x: Rotation, rotation_y: Rotation) -> Tensor:
        x = x + self.attn(self.norm1(x), rotation_x)
        x = x + self.cross_attn(self.norm2(x), self.norm_y(y), rotation_x, rotation_y)
        return x + self.mlp(self.norm3(x))
