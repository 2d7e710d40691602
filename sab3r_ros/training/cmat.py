"""CMAT: pre-training of the point encoder by masked reconstruction and the affinities of 2D features (arXiv 2510.08316)."""

from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch.utils.data import Dataset

from sab3r_ros.models.point_mae import PointMae, PointMaeConfig, group_points
from sab3r_ros.training.affordance_data import HouseholdShapes
from sab3r_ros.training.affordance_losses import affinity_loss, chamfer, diversity_loss, pooled_features
from sab3r_ros.training.runs import RunConfig, Trained, fit


@dataclass(frozen=True)
class CmatConfig:
    """Weights of the losses, and the share of patches that is masked; the paper's values."""

    reconstruction: float = 1.0
    affinity: float = 0.1
    diversity: float = 0.2
    masked: float = 0.6


class LiftedShapes(Dataset):
    """Household shapes with a feature per point, as lifted from views.

    Yields a dict: points (N,3) in the unit sphere, features (N,E). `lift` maps (cloud, generator) to features (n,E)
    of the cloud's points; points that no view sees have zeros.
    """

    def __init__(self, shapes: HouseholdShapes, lift, points: int = 1024):
        self.shapes, self.lift, self.points = shapes, lift, points

    def __len__(self):
        return 2**31

    def __getitem__(self, index):
        rng = np.random.default_rng([index, 43])
        cloud = self.shapes.cloud(index % len(self.shapes))
        features = self.lift(cloud, rng)
        rows = rng.permutation(len(cloud.points))[: self.points]
        rows = np.concatenate([rows, rng.choice(rows, self.points - len(rows))])
        points = cloud.points[rows] - cloud.points[rows].mean(0)
        points = points / np.linalg.norm(points, axis=1).max() * rng.uniform(2 / 3, 3 / 2, 3) + rng.uniform(
            -0.2, 0.2, 3
        )
        return {
            "points": torch.from_numpy(points.astype(np.float32)),
            "features": torch.from_numpy(features[rows].astype(np.float32)),
        }


class CmatPretraining(Trained):
    """Point-MAE with the affinity and diversity losses on its visible tokens."""

    def __init__(self, network: PointMae, objective: CmatConfig, run: RunConfig):
        super().__init__(run)
        self.network, self.objective = network, objective

    def training_step(self, batch, _index):
        cfg, weight = self.network.cfg, self.objective
        centres, patches = group_points(batch["points"], cfg.groups, cfg.group_size)
        order = torch.rand(centres.shape[:2], device=centres.device).argsort(1)
        masked = order < int(weight.masked * cfg.groups)
        visible, rebuilt = self.network(centres, patches, masked)
        pooled = pooled_features(batch["points"], batch["features"], centres)
        terms = {
            "reconstruction": chamfer(rebuilt, patches[masked]),
            "affinity": affinity_loss(visible, pooled[~masked].unflatten(0, (len(pooled), -1))),
            "diversity": diversity_loss(visible).mean(),
        }
        return self.report(sum(getattr(weight, k) * v for k, v in terms.items()), terms)


def train_cmat(
    out: Path, cfg: PointMaeConfig, data: Dataset, run: RunConfig, objective: CmatConfig | None = None
) -> Path:
    """Pre-train; resumes from OUT/last.ckpt, whose path is returned. Raises as `fit`."""
    L.seed_everything(0)
    return fit(CmatPretraining(PointMae(cfg), objective or CmatConfig(), run), data, out)
