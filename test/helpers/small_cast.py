"""A CAST checkpoint that has learnt nothing: every point scores about a half."""

from pathlib import Path

import torch

from sab3r_ros.models.cast import Cast, CastConfig
from sab3r_ros.models.cast_weights import save_cast
from sab3r_ros.models.point_mae import PointMaeConfig
from sab3r_ros.models.text import PromptEncoder


def write_small_cast(folder: Path) -> Path:
    torch.manual_seed(0)
    small = PointMaeConfig(dim=16, depth=1, heads=2, groups=32, group_size=8, patch_width=16)
    network = Cast(CastConfig(small, dim=16, layers=1, heads=2, ffn=16, head_dim=8, text_dim=16)).eval()
    save_cast(folder, network, PromptEncoder(16, 1, 2), "none", {})
    return folder
