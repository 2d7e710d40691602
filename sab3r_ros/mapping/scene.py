"""The fused map: what every keyframe contributed, so that it can be taken out again, or moved."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import MapSettings
from sab3r_ros.geometry.sim3 import transform_points
from sab3r_ros.mapping.feature_codec import FeatureCodec
from sab3r_ros.mapping.voxel_grid import LEAST_WEIGHT, Contribution, VoxelGrid, surface_mask
from sab3r_ros.types import COLUMNS, Keyframe, MapSnapshot, Observation, Region


@dataclass(frozen=True)
class KeyframeVoxels:
    """What one keyframe contributed to a map, voxel by voxel, together with a snapshot of the whole map.

    keyframe: its id; pose (4,4) at which it was fused; rows (M,): positions in the snapshot; xyz (M,3) metres in the map; rgb (M,3);
    weight (M,); feature (M,F) in the snapshot's coordinates, None without; stamp in ns.
    """

    keyframe: int
    pose: Tensor
    rows: Tensor
    xyz: Tensor
    rgb: Tensor
    weight: Tensor
    feature: Tensor | None
    stamp: int


@dataclass(frozen=True)
class ScenePart:
    """What a keyframe contributed: where its voxels (M,) have their means, (M,3) in the map, and the pose (4,4) it was fused at."""

    keyframe: int
    contribution: Contribution
    xyz: np.ndarray
    pose: np.ndarray


class SceneMap:
    """Voxels fused from keyframes, with compressed features. Not safe for several threads: the mapper's lock guards it.

    feature_dim: length of the observations' features; 0 = none.
    """

    def __init__(self, settings: MapSettings, feature_dim: int, device: str = "cpu"):
        self.settings = settings
        self.codec = FeatureCodec(feature_dim, settings.feature_dim, device)
        self.grid = VoxelGrid(settings.voxel_size, self.codec.rank, settings.max_voxels, device)
        self.has_features = False
        self._held = 0  # bytes of all contributions; kept, because the status of every frame asks
        self._contributions: dict[int, tuple[Contribution, Tensor]] = {}  # with the pose it was fused at

    def __len__(self) -> int:
        return len(self.grid)

    @property
    def full(self) -> bool:
        """Whether no more voxels may be added."""
        return self.grid.full

    def integrate(self, keyframe: Keyframe, observation: Observation) -> int:
        """Fuse what a keyframe sees; returns the number of new voxels.

        Raises ValueError where the keyframe is in the map already: remove it first.
        """
        if keyframe.id in self._contributions:
            raise ValueError(f"keyframe {keyframe.id} is in the map already")
        cfg, points, conf = self.settings, observation.points, observation.conf
        keep = surface_mask(points, conf, cfg.min_confidence, cfg.drop_lowest, cfg.edge_ratio, cfg.max_range)
        if not keep.any():
            return 0
        feature = None
        if observation.features is not None:
            unit = torch.nn.functional.normalize(observation.features[keep].float(), dim=-1)
            self.codec.partial_fit(unit)
            feature = self.codec.encode(unit)
        xyz = transform_points(keyframe.pose.to(points), points[keep])
        rgb = torch.from_numpy(np.ascontiguousarray(observation.image)).to(xyz.device)[keep].float()
        return self._add(keyframe.id, keyframe.pose, xyz, rgb, conf[keep] - 1, feature, keyframe.stamp)

    def _add(self, keyframe: int, pose: Tensor, xyz, rgb, weight, feature, stamp: int) -> int:
        contribution, added = self.grid.add_points(xyz, rgb, weight, feature, stamp)
        if contribution is not None:
            self._contributions[keyframe] = (contribution, pose)
            self._held += contribution.num_bytes
            self.has_features |= feature is not None
        return added

    def remove(self, keyframe: int) -> bool:
        """Take out what a keyframe contributed; whether there was anything. The rest is as if it had never been there."""
        entry = self._contributions.pop(keyframe, None)
        if entry is None:
            return False
        self._held -= entry[0].num_bytes
        rows = self.grid.remove(entry[0])
        self._restore_stamps(rows)
        return True

    def _restore_stamps(self, rows: Tensor) -> None:
        """The newest stamp of rows (M,) among the contributions that are left."""
        if not len(rows) or not self._contributions:
            return
        wanted = torch.zeros(int(rows.max()) + 1, dtype=torch.long)
        touched = torch.zeros(len(wanted), dtype=torch.bool)
        touched[rows.cpu()] = True
        for contribution, _ in self._contributions.values():
            near = contribution.rows[contribution.rows < len(wanted)]
            near = near[touched[near]]
            wanted[near] = wanted[near].clamp(min=contribution.stamp)
        known = rows.cpu()[wanted[rows.cpu()] > 0]
        self.grid.set_stamps(known.to(rows.device), wanted[known].to(rows.device))

    def move(self, poses: Mapping[int, Tensor], deeper: Mapping[int, Callable[[Tensor], Tensor]] | None = None) -> int:
        """Move what keyframes contributed to other poses (4,4), similarities; returns how many of them contributed something.

        deeper: of keyframes whose depth has changed, what makes points (N,3) in their camera to those that it has now. The voxels'
        means are moved, not their pixels: exact for what one keyframe sees of a voxel, without its observation.
        """
        moved = {}
        for keyframe, pose in poses.items():
            if keyframe in self._contributions:
                contribution, before = self._contributions[keyframe]
                xyz = self._positions(contribution)
                seen = transform_points(torch.linalg.inv(before).to(xyz), xyz)
                if deeper and keyframe in deeper:
                    seen = deeper[keyframe](seen)
                moved[keyframe] = transform_points(pose.to(seen), seen), pose
        self._put(moved)
        return len(moved)

    def _positions(self, contribution: Contribution) -> Tensor:
        """Where (M,3) float64 a contribution's voxels have their means."""
        cell = self.grid.cells(contribution.rows.to(self.grid.device)).double()
        return (cell + 0.5) * self.grid.voxel_size + contribution.offset.to(cell)

    def _put(self, moved: Mapping[int, tuple[Tensor, Tensor]], kept: Mapping[int, Tensor] | None = None) -> None:
        """Put the voxels of keyframes to other positions (M,3), fused at poses (4,4); of those that are `kept` (N,) where that is given."""
        parts = {keyframe: self._contributions.pop(keyframe)[0] for keyframe in moved}
        touched = []
        for contribution in parts.values():
            self._held -= contribution.num_bytes
            touched.append(self.grid.remove(contribution))
        device = self.grid.device
        for keyframe, (xyz, pose) in moved.items():
            contribution = parts[keyframe] if kept is None else parts[keyframe].where(kept[keyframe])
            feature = contribution.feature
            self._add(
                keyframe, pose, xyz.float(), contribution.rgb.to(device), contribution.weight.to(device),
                None if feature is None else feature.float().to(device), contribution.stamp,
            )  # fmt: skip
        if touched:
            rows = torch.cat(touched).unique()
            self._restore_stamps(rows[self.grid.in_use(rows)])

    def absorb(self, keyframe: int, into: int, pose: Tensor) -> None:
        """Count what a keyframe contributed as another one's, with which it moves from now on.

        pose (4,4): where the other one stands, and its voxels with it.
        """
        if keyframe not in self._contributions:
            return
        if into not in self._contributions:
            self._contributions[into] = (self._contributions.pop(keyframe)[0], pose)
            return
        both, device = [self._contributions[n][0] for n in (keyframe, into)], self.grid.device
        xyz = torch.cat([self._positions(c) for c in both]).float()
        rgb, weight = (torch.cat([getattr(c, name) for c in both]).to(device) for name in ("rgb", "weight"))
        feature = None
        if any(c.feature is not None for c in both):
            rank = self.codec.rank
            known = [torch.zeros(len(c.rows), rank) if c.feature is None else c.feature for c in both]
            feature = torch.cat([f.float() for f in known]).to(device)
        touched = []
        for number, contribution in zip((keyframe, into), both, strict=True):
            del self._contributions[number]
            self._held -= contribution.num_bytes
            touched.append(self.grid.remove(contribution))
        self._add(into, pose, xyz, rgb, weight, feature, max(c.stamp for c in both))
        rows = torch.cat(touched).unique()
        self._restore_stamps(rows[self.grid.in_use(rows)])

    def parts(self) -> list[ScenePart]:
        """What every keyframe contributed, as it is now."""
        return [
            ScenePart(keyframe, contribution, self._positions(contribution).cpu().numpy(), pose.cpu().numpy())
            for keyframe, (contribution, pose) in self._contributions.items()
        ]

    def reshape(self, shapes: Sequence[tuple[ScenePart, np.ndarray]]) -> None:
        """Put the voxels of parts to other positions (M,3); parts that were moved or taken out since they were read stay."""
        kept = [(p, xyz) for p, xyz in shapes if self._contributions.get(p.keyframe, (None,))[0] is p.contribution]
        self._put(
            {
                p.keyframe: (torch.from_numpy(xyz).to(self.grid.device), self._contributions[p.keyframe][1])
                for p, xyz in kept
            }
        )

    def contributed(self) -> dict[int, Contribution]:
        """What every keyframe contributed, as it is now, by its id."""
        return {keyframe: contribution for keyframe, (contribution, _) in self._contributions.items()}

    def thin(self, kept: Sequence[tuple[int, Contribution, Tensor]]) -> None:
        """Keep only some voxels (M,) bool of what keyframes contributed; what was moved or taken out since it was read stays."""
        masks = {n: mask for n, part, mask in kept if self._contributions.get(n, (None,))[0] is part}
        entries = {keyframe: self._contributions[keyframe] for keyframe in masks}
        self._put(
            {n: (self._positions(c)[masks[n].to(self.grid.device)], pose) for n, (c, pose) in entries.items()}, masks
        )

    def poses(self) -> dict[int, Tensor]:
        """The poses (4,4) at which keyframes contributed, by their ids."""
        return {keyframe: pose for keyframe, (_, pose) in self._contributions.items()}

    def snapshot(
        self, region: Region | None = None, columns: tuple[str, ...] = COLUMNS, max_points: int = 0, rows: Tensor | None = None
    ) -> MapSnapshot:  # fmt: skip
        """A copy on the CPU of the voxels in a region, with the asked columns; see `VoxelGrid.snapshot`."""
        return self.grid.snapshot(self.codec.basis, self.has_features, region, columns, max_points, rows)

    def contributions(self, snapshot: MapSnapshot) -> list[KeyframeVoxels]:
        """What every keyframe contributed to a snapshot of the whole map as it is now."""
        position = torch.full((int(snapshot.rows.max()) + 1 if len(snapshot) else 0,), -1)
        position[snapshot.rows] = torch.arange(len(snapshot))
        out = []
        for keyframe, (part, pose) in self._contributions.items():
            xyz = self.grid.positions(self.grid.cells(part.rows.to(self.grid.device)).cpu(), part.offset)
            rows = position[part.rows]
            out.append(KeyframeVoxels(keyframe, pose, rows, xyz, part.rgb, part.weight, part.feature, part.stamp))
        return out

    def restore(self, snapshot: MapSnapshot, with_features: bool, contributions: Sequence[KeyframeVoxels] = ()) -> int:
        """Add a snapshot's voxels, as what keyframes contributed and the rest of them; features only where they are of the
        same model.

        Returns how many voxels hold something that no keyframe is known to have contributed: this can never move.
        """
        with_features = with_features and snapshot.has_features
        rest = _without(snapshot, contributions)
        if with_features:
            self.codec.take_basis(snapshot.basis)
        self.has_features |= with_features

        def feature_of(values: Tensor | None, count: int) -> Tensor:
            if values is None or not with_features:
                return torch.zeros(count, self.codec.rank, device=self.grid.device)
            return self.codec.reproject(values, snapshot.basis)

        if len(rest):
            self.grid.restore(replace(rest, feature=feature_of(rest.column("feature"), len(rest))))
        for part in contributions:
            feature = None if part.feature is None or not with_features else feature_of(part.feature, len(part.rows))
            device = self.grid.device
            xyz, rgb, weight = (t.float().to(device) for t in (part.xyz, part.rgb, part.weight))
            self._add(part.keyframe, part.pose, xyz, rgb, weight, feature, part.stamp)
        return len(rest)

    def megabytes(self) -> float:
        """Memory of the voxels and of what keyframes contributed, in MiB."""
        return self.grid.megabytes() + self._held / 2**20


def _without(snapshot: MapSnapshot, contributions: Sequence[KeyframeVoxels]) -> MapSnapshot:
    """What is left of a snapshot without what keyframes contributed to it."""
    if not contributions:
        return snapshot
    left = snapshot.column("hits").clone().long()
    for part in contributions:
        left[part.rows] -= 1
    kept = (left > 0).nonzero()[:, 0]
    columns: dict[str, Any] = {name: snapshot.column(name)[kept] for name in COLUMNS}
    if not len(kept):
        return replace(snapshot, rows=snapshot.rows[kept], **columns)
    position = torch.full((len(snapshot),), -1)
    position[kept] = torch.arange(len(kept))
    weight = columns["weight"].double()
    sums = {name: columns[name].double() * weight[:, None] for name in ("xyz", "rgb", "feature")}
    for part in contributions:
        at = position[part.rows]
        mine = at >= 0
        at, own = at[mine], part.weight[mine].double()
        weight[at] -= own
        for name in ("xyz", "rgb", "feature"):
            values = getattr(part, name)
            if values is not None:
                sums[name][at, : values.shape[1]] -= values[mine].double() * own[:, None]
    share = weight.clamp(min=LEAST_WEIGHT)[:, None]
    columns |= {name: (values / share).float() for name, values in sums.items()}
    columns |= {"weight": weight.clamp(min=LEAST_WEIGHT).float(), "hits": left[kept].int()}
    return replace(snapshot, rows=snapshot.rows[kept], **columns)
