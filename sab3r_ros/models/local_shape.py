"""What a surface is like around single points: finer than patches are."""

import torch
from torch import Tensor, nn

from sab3r_ros.models.point_mae import gather_points

_WIDTH = 64
_SCALE = 10.0  # neighbours lie within a tenth of the cloud's radius


class LocalShape(nn.Module):
    """A small PointNet over each point's neighbours and its place in the cloud, to features (B,M,dim).

    A patch of a wardrobe is larger than its handle, and features that are interpolated between patches cannot tell a
    handle from the door behind it. The last layer starts at zero: a network that was trained without loses nothing.
    """

    def __init__(self, dim: int, neighbours: int):
        super().__init__()
        self.neighbours = neighbours
        self.offsets = nn.Sequential(nn.Linear(3, _WIDTH), nn.GELU(), nn.Linear(_WIDTH, _WIDTH))
        self.mix = nn.Sequential(nn.Linear(_WIDTH + 3, 2 * _WIDTH), nn.GELU(), nn.Linear(2 * _WIDTH, dim))
        nn.init.zeros_(self.mix[-1].weight)
        nn.init.zeros_(self.mix[-1].bias)

    def forward(self, places: Tensor, points: Tensor) -> Tensor:
        """places (B,M,3) on the surface of clouds (B,N,3) in the unit sphere."""
        nearest = torch.cdist(places, points).topk(min(self.neighbours, points.shape[1]), largest=False).indices
        offset = (gather_points(points, nearest) - places[:, :, None]) * _SCALE
        return self.mix(torch.cat([self.offsets(offset).amax(2), places], -1))
