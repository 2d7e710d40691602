"""What single points know of the surface around them."""

from dataclasses import replace

import torch
from torch import nn

from sab3r_ros.models.cast import Cast, CastConfig, Prompt
from sab3r_ros.models.local_shape import LocalShape
from sab3r_ros.models.point_mae import PointMaeConfig

SMALL = PointMaeConfig(dim=16, depth=1, heads=2, groups=8, group_size=4, patch_width=16, drop_path=0.0)
CONFIG = CastConfig(SMALL, dim=16, layers=1, heads=2, ffn=16, head_dim=8, text_dim=8, dropout=0.0)


def test_a_network_trained_without_gives_the_same_answers_with_it():
    torch.manual_seed(0)
    without = Cast(CONFIG).eval()
    grown = Cast(replace(CONFIG, neighbours=6)).eval()
    missing, unexpected = grown.load_state_dict(without.state_dict(), strict=False)
    assert all(name.startswith("local_shape.") for name in missing)
    assert not unexpected
    points, prompt = torch.rand(2, 64, 3), Prompt(torch.rand(2, 3, 8))
    with torch.inference_mode():
        assert torch.equal(without(points, prompt), grown(points, prompt))


def test_it_tells_an_edge_from_a_plate_and_cares_neither_for_order_nor_for_far_points():
    torch.manual_seed(0)
    shape = LocalShape(4, neighbours=9).eval()
    nn.init.normal_(shape.mix[-1].weight)
    x, y = (v.flatten() for v in torch.meshgrid(torch.arange(-5.0, 6.0), torch.arange(-5.0, 6.0), indexing="ij"))
    plate = torch.stack([x * 0.02, y * 0.02, torch.zeros_like(x)], 1)[None]
    bent = plate.clone()
    bent[0, x > 0] = torch.stack([torch.zeros_like(x), y * 0.02, -x * 0.02], 1)[x > 0]
    middle = torch.zeros(1, 1, 3)
    with torch.inference_mode():
        flat, edge = shape(middle, plate), shape(middle, bent)
        assert (flat - edge).abs().max() > 0.01
        shuffled = plate[:, torch.randperm(len(x))]
        far = torch.cat([plate, torch.full((1, 7, 3), 0.9)], 1)
        assert torch.allclose(shape(middle, shuffled), flat, atol=1e-6)
        assert torch.allclose(shape(middle, far), flat, atol=1e-6)
        assert shape(middle, plate[:, :3]).shape == (1, 1, 4)  # clouds of fewer points than neighbours
