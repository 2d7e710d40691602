"""Linear heads with a prediction for every 4 x 4 pixels: stand-ins for the DPT heads in the early stages of training."""

import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.models.heads import PATCH
from sab3r_ros.models.sab3r import Sab3r

CELL = 4  # pixels
_CELLS = PATCH // CELL


class CoarseHead(nn.Linear):
    """A linear layer whose outputs are the 4 x 4 cells of a patch: tokens (B,N,dim) to (B,out,4h,4w)."""

    def __init__(self, dim: int, out_dim: int):
        super().__init__(dim, out_dim * _CELLS**2)
        nn.init.trunc_normal_(self.weight, std=0.002)  # the heads' activation is exponential: start near its zero
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        return F.pixel_shuffle(super().forward(x).transpose(1, 2).unflatten(-1, grid), _CELLS)


def use_coarse_heads(network: Sab3r) -> None:
    """Replace the DPT heads, which cost three times what all else does, by coarse ones."""
    cfg = network.cfg
    dim = cfg.enc_dim + cfg.dec_dim
    for head in (network.downstream_head1, network.downstream_head2):
        head.dpt = CoarseHead(dim, 4)
        if cfg.clip_head:
            head.clip_head = CoarseHead(dim, cfg.clip_dim)
        if cfg.dino_head:
            head.dino_head = CoarseHead(dim, cfg.dino_dim)


def cells(x: Tensor) -> Tensor:
    """The middle pixel of every cell: (B,H,W,...) to (B,H/4,W/4,...)."""
    return x[:, CELL // 2 :: CELL, CELL // 2 :: CELL]
