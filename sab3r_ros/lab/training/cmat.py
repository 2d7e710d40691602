"""CMAT: pre-training of the point encoder by masked reconstruction and the affinities of 2D features (arXiv 2510.08316)."""

from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch.utils.data import Dataset

from sab3r_ros.lab.training import array_folder
from sab3r_ros.lab.training.affordance_losses import affinity_loss, chamfer, diversity_loss, pooled_features
from sab3r_ros.lab.training.trainer import RunConfig, TrainingModule, fit
from sab3r_ros.models.point_mae import PointMae, PointMaeConfig, group_points


@dataclass(frozen=True)
class CmatConfig:
    """Weights of the losses, and the share of patches that is masked; the paper's values."""

    reconstruction: float = 1.0
    affinity: float = 0.1
    diversity: float = 0.2
    masked: float = 0.6


class LiftedShapes(Dataset):
    """The shapes that `lift_shapes` wrote, in random order, stretched and shifted.

    Yields a dict: points (N,3), the unit sphere's before stretching; features (N,E) less their mean over the cloud,
    since a transformer's tokens share a large part beside which their differences vanish in a cosine. Points that no
    view saw have zeros.
    Raises ValueError for a folder that is not finished.
    """

    def __init__(self, folder: Path, seed: int = 0):
        arrays = array_folder.finished(folder, "sab3r train lift")
        self._points, self._features, self.seed = arrays["points"], arrays["features"], seed

    def __len__(self):
        return 2**31

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index, 43])
        shape = int(rng.integers(len(self._points)))
        points = np.array(self._points[shape], np.float64)
        points -= points.mean(0)
        points /= np.linalg.norm(points, axis=1).max()
        features = np.array(self._features[shape], np.float32)
        seen = features.any(1)
        features[seen] -= features[seen].mean(0)
        points = points * rng.uniform(2 / 3, 3 / 2, 3) + rng.uniform(-0.2, 0.2, 3)
        return {
            "points": torch.from_numpy(points.astype(np.float32)),
            "features": torch.from_numpy(features),
        }


class CmatPretraining(TrainingModule):
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
