"""The fused map: what every keyframe contributed, so that it can be taken out again, or moved."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import MapSettings
from sab3r_ros.geometry.sim3 import transform_points
from sab3r_ros.mapping.feature_codec import FeatureCodec
from sab3r_ros.mapping.voxel_grid import Contribution, VoxelGrid, surface_mask
from sab3r_ros.types import COLUMNS, Keyframe, MapSnapshot, Observation, Region


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

    def move(self, poses: Mapping[int, Tensor]) -> int:
        """Move what keyframes contributed to other poses (4,4), similarities; returns how many of them contributed something.

        Their voxels' means are moved, not their pixels: exact for what one keyframe sees of a voxel, without its observation.
        """
        moved, touched = {}, []
        for keyframe, pose in poses.items():
            if keyframe in self._contributions:
                contribution, before = self._contributions.pop(keyframe)
                rows = contribution.rows.to(self.grid.device)
                cell = self.grid.cells(rows).double()
                xyz = (cell + 0.5) * self.grid.voxel_size + contribution.offset.to(cell)
                moved[keyframe] = contribution, transform_points((pose @ torch.linalg.inv(before)).to(xyz), xyz).float()
        for contribution, _ in moved.values():
            self._held -= contribution.num_bytes
            touched.append(self.grid.remove(contribution))
        device = self.grid.device
        for keyframe, (contribution, xyz) in moved.items():
            feature = contribution.feature
            self._add(
                keyframe, poses[keyframe], xyz, contribution.rgb.to(device), contribution.weight.to(device),
                None if feature is None else feature.float().to(device), contribution.stamp,
            )  # fmt: skip
        if touched:
            rows = torch.cat(touched).unique()
            self._restore_stamps(rows[self.grid.in_use(rows)])
        return len(moved)

    def poses(self) -> dict[int, Tensor]:
        """The poses (4,4) at which keyframes contributed, by their ids."""
        return {keyframe: pose for keyframe, (_, pose) in self._contributions.items()}

    def snapshot(
        self, region: Region | None = None, columns: tuple[str, ...] = COLUMNS, max_points: int = 0, rows: Tensor | None = None
    ) -> MapSnapshot:  # fmt: skip
        """A copy on the CPU of the voxels in a region, with the asked columns; see `VoxelGrid.snapshot`."""
        return self.grid.snapshot(self.codec.basis, self.has_features, region, columns, max_points, rows)

    def restore(self, snapshot: MapSnapshot, with_features: bool) -> None:
        """Add a snapshot's voxels; features only where they are of the same model."""
        count = len(snapshot)
        if with_features and snapshot.has_features:
            feature = self.codec.reproject(snapshot.column("feature"), snapshot.basis)
            self.has_features = True
        else:
            feature = torch.zeros(count, self.codec.rank)
        self.grid.restore(replace(snapshot, feature=feature))

    def megabytes(self) -> float:
        """Memory of the voxels and of what keyframes contributed, in MiB."""
        return self.grid.megabytes() + self._held / 2**20
