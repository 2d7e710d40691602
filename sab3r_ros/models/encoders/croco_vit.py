"""CroCo v2's ViT with rotary position embeddings (arXiv 2211.10408): the encoder of MASt3R and SAB3R."""

from torch import Tensor, nn

from sab3r_ros.models.base import EncodedView
from sab3r_ros.models.layers import NORM_EPS, EncoderBlock, rotary_table
from sab3r_ros.models.patches import PatchEmbed, check_sides


class CrocoEncoder(nn.Module):
    """Tokens on a grid of 16 x 16 pixels; positions enter by rotation in every block."""

    patch = 16
    pyramid_dims: tuple[int, ...] = ()

    def __init__(self, dim: int, depth: int, heads: int, mlp_ratio: float, rope_base: float):
        super().__init__()
        self.dim, self.heads, self.rope_base = dim, heads, rope_base
        self.patch_embed = PatchEmbed(dim, self.patch)
        self.enc_blocks = nn.ModuleList(EncoderBlock(dim, heads, mlp_ratio) for _ in range(depth))
        self.enc_norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, images: Tensor, true_shape: Tensor | None = None) -> EncodedView:
        """See `models.base.Encoder`."""
        check_sides(images, self.patch)
        portrait = None if true_shape is None else (true_shape[:, 0] > true_shape[:, 1]).to(images.device)
        if portrait is not None and not portrait.any():
            portrait = None
        x, positions = self.patch_embed(images)
        if portrait is not None:
            upright, upright_positions = self.patch_embed(images[portrait].transpose(-1, -2))
            x, positions = x.clone(), positions.clone()
            x[portrait], positions[portrait] = upright, upright_positions
        rotation = rotary_table(positions, self.dim // self.heads, self.rope_base)
        for block in self.enc_blocks:
            x = block(x, rotation)
        return EncodedView(self.enc_norm(x), positions, tuple(images.shape[-2:]), portrait, self.patch)
