"""A sparse voxel map whose cost per update depends on the frame, not on the map.

Space is cut into blocks of 8 x 8 x 8 voxels. A dictionary finds a block's table of rows; rows live in arrays that
double when full. Every row is a running, confidence-weighted mean of position, colour and feature.
"""

import numpy as np
import torch
from torch import Tensor

_BLOCK = 8
_LEAST_WEIGHT = 1e-4
_OFFSET = 1 << 20  # block coordinates are packed into 21 bits each


class VoxelMap:
    """Fused voxels. Fields of the first `len(self)` rows:

    xyz (N,3) float32 metres, rgb (N,3) float32 in [0,255], feature (N,F) float16, weight (N,) float32 (summed
    confidence), hits (N,) int32 (frames that saw it), stamp (N,) int64 ns of the newest of them.
    """

    def __init__(self, voxel_size: float, feature_dim: int, max_voxels: int, device: str = "cpu"):
        self.voxel_size, self.feature_dim, self.max_voxels = voxel_size, feature_dim, max_voxels
        self.device = device
        self.refused = 0  # voxels that found the map full
        self._count = 0
        self._blocks: dict[int, int] = {}
        self._table = torch.full((64, _BLOCK**3), -1, dtype=torch.int32, device=device)
        self._rows = self._allocate(1024)

    def _allocate(self, capacity):
        def zeros(*shape, dtype=torch.float32):
            return torch.zeros(capacity, *shape, dtype=dtype, device=self.device)

        return {
            "xyz": zeros(3), "rgb": zeros(3), "feature": zeros(self.feature_dim, dtype=torch.float16),
            "weight": zeros(), "hits": zeros(dtype=torch.int32), "stamp": zeros(dtype=torch.int64),
        }  # fmt: skip

    def __len__(self) -> int:
        return self._count

    def __getattr__(self, name: str) -> Tensor:
        rows = self.__dict__.get("_rows", {})
        if name in rows:
            return rows[name][: self._count]
        raise AttributeError(name)

    @property
    def full(self) -> bool:
        """Whether no more voxels may be added."""
        return self._count >= self.max_voxels

    def integrate(self, xyz: Tensor, rgb: Tensor, weight: Tensor, feature: Tensor | None, stamp: int) -> int:
        """Fuse points into the map.

        xyz (N,3) metres, rgb (N,3) in [0,255], weight (N,) >= 0, feature (N,F) or None. Points that are not
        finite are left out. Returns the number of new voxels.
        """
        finite = (
            torch.isfinite(xyz).all(-1)
            & torch.isfinite(weight)
            & (xyz.abs().amax(-1) < self.voxel_size * _BLOCK * (_OFFSET - 1))
        )
        if not finite.any():
            return 0
        if not finite.all():
            xyz, rgb, weight = xyz[finite], rgb[finite], weight[finite]
            feature = None if feature is None else feature[finite]
        # A confidence may round to nothing; a voxel whose points all weigh nothing would have no mean.
        weight = weight.clamp(min=_LEAST_WEIGHT)
        packed, inside = self._address(xyz)
        keys, block_of_point = packed.unique(return_inverse=True)
        slots = self._find_blocks(keys)
        voxel, point_voxel = (slots[block_of_point] * _BLOCK**3 + inside).unique(return_inverse=True)
        rows, added = self._find_rows(voxel)
        known = rows >= 0
        mean = self._averages(point_voxel, len(voxel), xyz, rgb, weight, feature)
        self._merge(rows[known], {k: v[known] for k, v in mean.items()}, stamp)
        return added

    def _address(self, xyz: Tensor) -> tuple[Tensor, Tensor]:
        """Packed block coordinates (N,) and the voxel's number inside its block (N,)."""
        cell = torch.floor(xyz.double() / self.voxel_size).long()
        block = torch.div(cell, _BLOCK, rounding_mode="floor")
        local = cell - block * _BLOCK
        inside = (local[:, 0] * _BLOCK + local[:, 1]) * _BLOCK + local[:, 2]
        packed = ((block[:, 0] + _OFFSET) << 42) | ((block[:, 1] + _OFFSET) << 21) | (block[:, 2] + _OFFSET)
        return packed, inside

    def _find_blocks(self, keys: Tensor) -> Tensor:
        slots = []
        for key in keys.tolist():
            slot = self._blocks.get(key)
            if slot is None:
                slot = self._blocks[key] = len(self._blocks)
            slots.append(slot)
        while len(self._blocks) > len(self._table):
            self._table = torch.cat([self._table, torch.full_like(self._table, -1)])
        return torch.tensor(slots, dtype=torch.long, device=self.device)

    def _find_rows(self, voxel: Tensor) -> tuple[Tensor, int]:
        table = self._table.view(-1)
        rows = table[voxel].long()
        new = rows < 0
        wanted = int(new.sum())
        added = min(wanted, self.max_voxels - self._count)
        self.refused += wanted - added
        if added:
            fresh = voxel[new][:added]
            numbers = torch.arange(self._count, self._count + added, device=self.device)
            table[fresh] = numbers.int()
            rows[new.nonzero()[:added, 0]] = numbers
            self._count += added
            self._reserve(self._count)
        return rows, added

    def _reserve(self, count: int) -> None:
        capacity = len(self._rows["weight"])
        if count <= capacity:
            return
        larger = self._allocate(max(count, min(2 * capacity, self.max_voxels)))
        for name, old in self._rows.items():
            larger[name][:capacity] = old
        self._rows = larger

    @staticmethod
    def _averages(group, count, xyz, rgb, weight, feature):
        """Weighted means per voxel (count,...), with the summed weight."""
        total = torch.zeros(count, device=xyz.device).index_add_(0, group, weight)

        def mean(values):
            out = torch.zeros(count, values.shape[1], device=values.device)
            return out.index_add_(0, group, values * weight[:, None]) / total[:, None]

        out = {"xyz": mean(xyz.float()), "rgb": mean(rgb.float()), "weight": total}
        if feature is not None:
            out["feature"] = mean(feature.float())
        return out

    def _merge(self, rows, mean, stamp):
        store = self._rows
        old, new = store["weight"][rows], mean["weight"]
        share = (new / (old + new))[:, None]
        for name in ("xyz", "rgb", "feature"):
            if name in mean:
                before = store[name][rows].float()
                store[name][rows] = (before + (mean[name] - before) * share).to(store[name].dtype)
        store["weight"][rows] = old + new
        store["hits"][rows] += 1
        store["stamp"][rows] = stamp

    def state(self) -> dict[str, Tensor]:
        """Copies of all rows on the CPU, for files and queries."""
        return {name: getattr(self, name).cpu().clone() for name in self._rows}

    @classmethod
    def from_state(
        cls, state: dict[str, Tensor], voxel_size: float, max_voxels: int, device: str = "cpu"
    ) -> "VoxelMap":
        """Rebuild from `state()`; two rows in one voxel are fused."""
        out = cls(voxel_size, state["feature"].shape[1], max_voxels, device)
        moved = {k: v.to(device) for k, v in state.items()}
        out.integrate(moved["xyz"], moved["rgb"], moved["weight"], moved["feature"], 0)
        rows = out.rows_at(moved["xyz"])
        for name in ("hits", "stamp"):
            out._rows[name][rows[rows >= 0]] = moved[name][rows >= 0]
        return out

    def rows_at(self, xyz: Tensor) -> Tensor:
        """Row of the voxel that holds each point (N,3), -1 where there is none."""
        packed, inside = self._address(xyz)
        slots = torch.tensor([self._blocks.get(k, -1) for k in packed.tolist()], dtype=torch.long, device=self.device)
        rows = self._table.view(-1)[slots.clamp(min=0) * _BLOCK**3 + inside].long()
        return torch.where(slots >= 0, rows, -1)

    def megabytes(self) -> float:
        """Memory of rows and tables."""
        tensors = [*self._rows.values(), self._table]
        return sum(t.numel() * t.element_size() for t in tensors) / 2**20


def surface_mask(
    points: Tensor, conf: Tensor, min_confidence: float, drop_lowest: float, edge_ratio: float, max_range: float
) -> Tensor:
    """Which pixels of a pointmap (h,w,3) with confidence (h,w) are worth fusing: confident, near, not at a depth edge."""
    z = points[..., 2]
    keep = torch.isfinite(points).all(-1) & (z > 0.05) & (points.norm(dim=-1) < max_range) & (conf >= min_confidence)
    if drop_lowest > 0 and keep.any():
        keep &= conf >= torch.quantile(conf[keep].flatten()[:: max(1, int(keep.sum()) // 100_000)], drop_lowest)
    jump = torch.zeros_like(z)
    for dim in (0, 1):
        step = z.diff(dim=dim).abs()
        first, last = (slice(None, -1), slice(1, None))
        index = (first, slice(None)) if dim == 0 else (slice(None), first)
        other = (last, slice(None)) if dim == 0 else (slice(None), last)
        jump[index] = torch.maximum(jump[index], step)
        jump[other] = torch.maximum(jump[other], step)
    return keep & (jump < edge_ratio * z)


def packed_rgb(rgb: np.ndarray) -> np.ndarray:
    """(N,3) uint8 to the float32 that RViz reads as a packed colour."""
    r, g, b = rgb.astype(np.uint32).T
    return ((r << 16) | (g << 8) | b).astype(np.uint32).view(np.float32)
