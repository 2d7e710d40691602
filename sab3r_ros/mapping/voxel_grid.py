"""A sparse voxel grid whose cost per update depends on the frame, not on the map.

Space is cut into blocks of 8 x 8 x 8 voxels. A block is what is allocated in the index, found by one look-up, and what says
when it changed last; voxels themselves are rows of arrays that double when full, since a surface fills a sixth of a block.
Rows hold weighted SUMS, so that what was added can be taken out again.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from sab3r_ros.types import COLUMNS, MapSnapshot, Region

_BLOCK = 8
LEAST_WEIGHT = 1e-4  # a confidence may round to nothing; a voxel whose points all weigh nothing would have no mean
_UIDS = itertools.count()
_ROUNDING = 1e-5  # metres: what float32 makes of positions a hundred metres away
_OFFSET = 1 << 20  # block coordinates are packed into 21 bits each


@dataclass(frozen=True)
class Contribution:
    """What one keyframe added to a grid, voxel by voxel, as it was added: on the CPU.

    rows (M,): of the grid; offset (M,3): weighted mean position from the voxel's middle; rgb (M,3); weight (M,);
    feature (M,F) float16 or None; stamp in ns.
    """

    rows: Tensor
    offset: Tensor
    rgb: Tensor
    weight: Tensor
    feature: Tensor | None
    stamp: int

    def where(self, kept: Tensor) -> "Contribution":
        """That of some of its voxels (M,) bool."""
        feature = None if self.feature is None else self.feature[kept]
        return Contribution(self.rows[kept], self.offset[kept], self.rgb[kept], self.weight[kept], feature, self.stamp)

    @property
    def num_bytes(self) -> int:
        """Memory of its tensors."""
        return sum(t.numel() * t.element_size() for t in vars(self).values() if isinstance(t, Tensor))


class VoxelGrid:
    """Fused voxels as weighted sums.

    rejected: voxels that found the grid full; version: grows with every change.
    """

    def __init__(self, voxel_size: float, feature_dim: int, max_voxels: int, device: str = "cpu"):
        self.voxel_size, self.feature_dim, self.max_voxels = voxel_size, feature_dim, max_voxels
        self.device = device
        self.uid = next(_UIDS)
        self.rejected = 0
        self.version = 0
        self._top = 0  # rows in use lie below
        self._free: list[int] = []
        self._blocks: dict[int, int] = {}
        self._table = torch.full((64, _BLOCK**3), -1, dtype=torch.int32, device=device)
        self._changed = torch.zeros(64, dtype=torch.int64, device=device)
        self._rows = self._allocate(1024)

    def _allocate(self, capacity: int) -> dict[str, Tensor]:
        def zeros(*shape, dtype=torch.float32):
            return torch.zeros(capacity, *shape, dtype=dtype, device=self.device)

        return {
            "cell": zeros(3, dtype=torch.int32), "slot": zeros(dtype=torch.int32), "offset": zeros(3), "rgb": zeros(3),
            "feature": zeros(self.feature_dim), "weight": zeros(), "hits": zeros(dtype=torch.int32), "stamp": zeros(dtype=torch.int64),
        }  # fmt: skip

    def __len__(self) -> int:
        return self._top - len(self._free)

    @property
    def full(self) -> bool:
        """Whether no more voxels may be added."""
        return len(self) >= self.max_voxels

    def megabytes(self) -> float:
        """Memory of rows and tables in MiB."""
        tensors = [*self._rows.values(), self._table, self._changed]
        return sum(t.numel() * t.element_size() for t in tensors) / 2**20

    def add_points(
        self, xyz: Tensor, rgb: Tensor, weight: Tensor, feature: Tensor | None, stamp: int
    ) -> tuple[Contribution | None, int]:
        """Fuse points.

        xyz (N,3) metres, rgb (N,3) in [0,255], weight (N,) >= 0, feature (N,F) or None, stamp in ns. Points that are not finite
        are left out. Returns what was added (None for nothing) and the number of new voxels.
        """
        finite = torch.isfinite(xyz).all(-1) & torch.isfinite(weight)
        finite &= xyz.abs().amax(-1) < self.voxel_size * _BLOCK * (_OFFSET - 1)
        if not finite.any():
            return None, 0
        if not finite.all():
            xyz, rgb, weight = xyz[finite], rgb[finite], weight[finite]
            feature = None if feature is None else feature[finite]
        weight = weight.clamp(min=LEAST_WEIGHT)
        cell, packed, inside = self._address(xyz)
        keys, block_of_point = packed.unique(return_inverse=True)
        slots = self._find_blocks(keys)
        voxel, point_voxel = (slots[block_of_point] * _BLOCK**3 + inside).unique(return_inverse=True)
        first = torch.empty(len(voxel), dtype=torch.long, device=xyz.device)
        first[point_voxel] = torch.arange(len(xyz), device=xyz.device)
        cells = cell[first]
        rows, added = self._find_rows(voxel, cells)
        offset = xyz - (cell + 0.5) * self.voxel_size
        kept = rows >= 0
        means = self._means(point_voxel, len(voxel), offset, rgb, weight, feature)
        contribution = Contribution(
            rows[kept].cpu(), means["offset"][kept].cpu(), means["rgb"][kept].cpu(), means["weight"][kept].cpu(),
            means["feature"][kept].half().cpu() if "feature" in means else None, stamp,
        )  # fmt: skip
        self._apply(contribution, 1.0)
        return contribution, added

    def remove(self, contribution: Contribution) -> Tensor:
        """Take out what `add_points` added; returns the rows (M,) that stay, whose `stamp` the caller must set anew."""
        self._apply(contribution, -1.0)
        rows = contribution.rows.to(self.device)
        gone = rows[self._rows["hits"][rows] <= 0]
        for name in ("offset", "rgb", "feature", "weight", "stamp"):
            self._rows[name][gone] = 0
        _, _, inside = self._address_of_cells(self._rows["cell"][gone].long())
        self._table.view(-1)[self._rows["slot"][gone].long() * _BLOCK**3 + inside] = -1
        self._free += gone.tolist()
        return rows[self._rows["hits"][rows] > 0]

    def cells(self, rows: Tensor) -> Tensor:
        """Voxel coordinates (M,3) of rows (M,)."""
        return self._rows["cell"][rows]

    def in_use(self, rows: Tensor) -> Tensor:
        """Which of rows (M,) hold a voxel."""
        return self._rows["hits"][rows] > 0

    def set_stamps(self, rows: Tensor, stamps: Tensor) -> None:
        """Set the newest stamp (M,) of rows (M,)."""
        self._rows["stamp"][rows] = stamps

    def _apply(self, contribution: Contribution, sign: float) -> None:
        self.version += 1
        store, rows = self._rows, contribution.rows.to(self.device)
        weight = sign * contribution.weight.to(self.device)
        store["weight"][rows] += weight
        store["offset"][rows] += contribution.offset.to(self.device) * weight[:, None]
        store["rgb"][rows] += contribution.rgb.to(self.device) * weight[:, None]
        if contribution.feature is not None:
            store["feature"][rows] += contribution.feature.to(self.device).float() * weight[:, None]
        store["hits"][rows] += int(sign)
        if sign > 0:
            store["stamp"][rows] = store["stamp"][rows].clamp(min=contribution.stamp)
        self._changed[store["slot"][rows].long()] = self.version

    def _address(self, xyz: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Voxel coordinates (N,3), packed block coordinates (N,) and the voxel's number inside its block (N,)."""
        return self._address_of_cells(torch.floor(xyz.double() / self.voxel_size).long())

    @staticmethod
    def _address_of_cells(cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        block = torch.div(cell, _BLOCK, rounding_mode="floor")
        local = cell - block * _BLOCK
        inside = (local[:, 0] * _BLOCK + local[:, 1]) * _BLOCK + local[:, 2]
        packed = ((block[:, 0] + _OFFSET) << 42) | ((block[:, 1] + _OFFSET) << 21) | (block[:, 2] + _OFFSET)
        return cell, packed, inside

    def _find_blocks(self, keys: Tensor) -> Tensor:
        slots = []
        for key in keys.tolist():
            slot = self._blocks.get(key)
            if slot is None:
                slot = self._blocks[key] = len(self._blocks)
            slots.append(slot)
        while len(self._blocks) > len(self._table):
            self._table = torch.cat([self._table, torch.full_like(self._table, -1)])
            self._changed = torch.cat([self._changed, torch.zeros_like(self._changed)])
        return torch.tensor(slots, dtype=torch.long, device=self.device)

    def _find_rows(self, voxel: Tensor, cells: Tensor) -> tuple[Tensor, int]:
        """Rows (M,) of voxels (M,), -1 where the grid is full, and how many are new."""
        table = self._table.view(-1)
        rows = table[voxel].long()
        new = (rows < 0).nonzero()[:, 0]
        added = min(len(new), self.max_voxels - len(self))
        self.rejected += len(new) - added
        if added:
            fresh = new[:added]
            numbers = self._take_rows(added)
            table[voxel[fresh]] = numbers.int()
            rows[fresh] = numbers
            self._rows["cell"][numbers] = cells[fresh].int()
            self._rows["slot"][numbers] = torch.div(voxel[fresh], _BLOCK**3, rounding_mode="floor").int()
        return rows, added

    def _take_rows(self, count: int) -> Tensor:
        reused, self._free = self._free[:count], self._free[count:]
        fresh = count - len(reused)
        numbers = torch.tensor(reused + list(range(self._top, self._top + fresh)), dtype=torch.long, device=self.device)
        self._top += fresh
        self._reserve(self._top)
        return numbers

    def _reserve(self, count: int) -> None:
        capacity = len(self._rows["weight"])
        if count <= capacity:
            return
        larger = self._allocate(max(count, min(2 * capacity, self.max_voxels)))
        for name, old in self._rows.items():
            larger[name][:capacity] = old
        self._rows = larger

    @staticmethod
    def _means(voxel: Tensor, count: int, offset, rgb, weight, feature) -> dict[str, Tensor]:
        """Weighted means per voxel (count,...), with the summed weight."""
        total = torch.zeros(count, device=weight.device).index_add_(0, voxel, weight.float())

        def mean(values):
            out = torch.zeros(count, values.shape[1], device=values.device)
            return out.index_add_(0, voxel, values.float() * weight[:, None]) / total[:, None]

        out = {"offset": mean(offset), "rgb": mean(rgb), "weight": total}
        if feature is not None:
            out["feature"] = mean(feature)
        return out

    def rows_at(self, xyz: Tensor) -> Tensor:
        """Row of the voxel that holds each point (N,3), -1 where there is none."""
        _, packed, inside = self._address(xyz)
        keys, of_point = packed.unique(return_inverse=True)
        found = torch.tensor([self._blocks.get(k, -1) for k in keys.tolist()], dtype=torch.long, device=self.device)
        slots = found[of_point]
        rows = self._table.view(-1)[slots.clamp(min=0) * _BLOCK**3 + inside].long()
        return torch.where(slots >= 0, rows, -1)

    def snapshot(
        self, basis: Tensor, has_features: bool, region: Region | None = None, columns: tuple[str, ...] = COLUMNS,
        max_points: int = 0, rows: Tensor | None = None,
    ) -> MapSnapshot:  # fmt: skip
        """Copies of the asked columns on the CPU: cropped and thinned first, then copied once.

        region: only voxels in it; max_points: thinned out evenly to at most this many, 0 = all; rows (M,): these voxels, all of
        them in use, whatever the region.
        """
        rows = self._select(region) if rows is None else rows.to(self.device)
        if max_points and len(rows) > max_points:
            rows = rows[:: -(-len(rows) // max_points)]
        store = {
            name: self._rows[name][rows]
            for name in ("weight", *({"offset", "cell", "rgb", "feature", "hits", "stamp"} & self._needs(columns)))
        }
        share = store["weight"].clamp(min=LEAST_WEIGHT)[:, None]
        made: dict[str, Tensor] = {}
        for name in columns:
            if name == "xyz":
                made[name] = self._positions(store["cell"], store["offset"], share)
            elif name in ("rgb", "feature"):
                made[name] = store[name] / share
            else:
                made[name] = store[name]
        on_cpu = {name: value.cpu() for name, value in made.items()}
        return MapSnapshot(
            self.voxel_size, rows.cpu(), basis.cpu().clone(), has_features, self.version, self.uid, **on_cpu
        )

    @staticmethod
    def _needs(columns: tuple[str, ...]) -> set[str]:
        return set(columns) | ({"offset", "cell"} if "xyz" in columns else set())

    def _positions(self, cell: Tensor, offset: Tensor, share: Tensor) -> Tensor:
        return self.positions(cell, offset / share)

    def positions(self, cell: Tensor, offset: Tensor) -> Tensor:
        """Where (M,3) what is `offset` from the middles of voxels (M,3) lies; see `inside_voxel`."""
        return ((cell.double() + 0.5) * self.voxel_size + inside_voxel(offset.double(), self.voxel_size)).float()

    def changed(self, rows: Tensor) -> Tensor:
        """The version (M,), on the CPU, at which the blocks of rows (M,) changed last."""
        return self._changed[self._rows["slot"][rows.to(self.device)].long()].cpu()

    def _select(self, region: Region | None) -> Tensor:
        """Rows in use, inside a region."""
        used = self._rows["hits"][: self._top] > 0
        if region is not None:
            low, high = (torch.as_tensor(x / self.voxel_size, device=self.device).floor() for x in region.bounds())
            cell = self._rows["cell"][: self._top]
            used &= ((cell >= low) & (cell <= high)).all(-1)
        rows = used.nonzero()[:, 0]
        if region is not None:
            share = self._rows["weight"][rows].clamp(min=LEAST_WEIGHT)[:, None]
            rows = rows[region.contains(self._positions(self._rows["cell"][rows], self._rows["offset"][rows], share))]
        return rows

    def restore(self, snapshot: MapSnapshot) -> int:
        """Add the voxels of a snapshot with all columns to what is there; returns the number of new ones.

        What was restored cannot be removed again: who contributed what is not in a snapshot.
        """
        columns = {name: snapshot.column(name).to(self.device) for name in COLUMNS}
        contribution, added = self.add_points(columns["xyz"], columns["rgb"], columns["weight"], columns["feature"], 0)
        if contribution is None:
            return 0
        rows = self.rows_at(columns["xyz"])
        known = rows >= 0
        rows, hits, stamps = rows[known], columns["hits"][known].int(), columns["stamp"][known].long()
        # add_points counted one keyframe per voxel; the snapshot knows how many it were.
        self._rows["hits"][contribution.rows.to(self.device)] -= 1
        self._rows["hits"].index_add_(0, rows, hits.clamp(min=1))
        self._rows["stamp"].index_reduce_(0, rows, stamps, "amax")
        return added


def inside_voxel(offset: Tensor, voxel_size: float) -> Tensor:
    """Offsets (M,3) from the middles of voxels, never so near to their faces that rounding would lead into the next voxel."""
    limit = voxel_size / 2 - _ROUNDING
    return offset.clamp(-limit, limit)


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
