"""Groups of posed RGB-D views, wherever they come from, and the training samples made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from sab3r_ros.geometry.projection import backproject, overlap, reciprocal_pixels, transform
from sab3r_ros.lab.synthetic.camera_effects import photometric_augmentation


@dataclass
class PosedView:
    """rgb (H,W,3) uint8; depth (H,W) float32 metres, 0 = none; cam2world (4,4); intrinsics (3,3); concept (H,W) integer:
    label * number of colours + colour, or None where nothing is known of a pixel's meaning."""

    rgb: np.ndarray
    depth: np.ndarray
    cam2world: np.ndarray
    intrinsics: np.ndarray
    concept: np.ndarray | None = None


class GroupSource(Protocol):
    """A data set: group k of it is always made of the same views."""

    def __len__(self) -> int: ...

    def group(self, index: int) -> list[PosedView]:
        """Views of one place that partly overlap, all of one size."""
        ...


class PairSamples(Dataset):
    """Sample k of a training run: one group of a source, P ordered pairs of its views, N correspondences for each.

    Sources are drawn in proportion to `shares` (default: their lengths); over a long run every source is read
    in its own order, again and again. Yields a dict: images (V,3,H,W) uint8; points (V,H,W,3) world metres; valid
    (V,H,W); pose (V,4,4); concept (V,H,W) and labelled (V,); pairs (P,2) view numbers; corres1, corres2 (P,N,2);
    valid_corres (P,N). Half of the correspondences at most are true ones.
    Raises ValueError for an empty list of sources.
    """

    def __init__(self, sources: Sequence[GroupSource], shares=None, pairs=4, matches=256, augment=True, seed=0):
        if not sources or not all(len(s) for s in sources):
            raise ValueError("training needs at least one data set, and none of them may be empty")
        self.sources = list(sources)
        weight = np.array(shares if shares is not None else [len(s) for s in sources], float)
        self.shares = weight / weight.sum()
        self.pairs, self.matches, self.augment, self.seed = pairs, matches, augment, seed

    def __len__(self):
        return 2**31

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index])
        source = self.sources[rng.choice(len(self.sources), p=self.shares)]
        views = source.group(index % len(source))
        if self.augment and rng.random() < 0.5:
            views = [mirrored(v) for v in views]
        points = [transform(v.cam2world, backproject(v.depth.astype(np.float64), v.intrinsics)) for v in views]
        valid = [v.depth > 0 for v in views]
        rgb = [photometric_augmentation(v.rgb, rng) if self.augment else v.rgb for v in views]
        pairs = self._choose_pairs(views, rng)
        corres = [self._correspondences(views, points, valid, i, j, rng) for i, j in pairs]
        nothing = np.zeros(views[0].depth.shape, np.int64)
        concept = [nothing if v.concept is None else np.where(v.depth > 0, v.concept, 0) for v in views]
        return {
            "images": torch.from_numpy(np.stack(rgb)).permute(0, 3, 1, 2),
            "points": torch.from_numpy(np.stack(points).astype(np.float32)),
            "valid": torch.from_numpy(np.stack(valid)),
            "pose": torch.from_numpy(np.stack([v.cam2world for v in views]).astype(np.float32)),
            "concept": torch.from_numpy(np.stack(concept).astype(np.int64)),
            "labelled": torch.tensor([v.concept is not None for v in views]),
            "pairs": torch.tensor(pairs),
            "corres1": torch.from_numpy(np.stack([c[0] for c in corres])),
            "corres2": torch.from_numpy(np.stack([c[1] for c in corres])),
            "valid_corres": torch.from_numpy(np.stack([c[2] for c in corres])),
        }

    def _choose_pairs(self, views, rng):
        ordered = [(i, j) for i in range(len(views)) for j in range(len(views)) if i != j]
        score = np.array([min(overlap(views[i], views[j]), overlap(views[j], views[i])) for i, j in ordered])
        weight = (score > 0.2) + 0.02
        chosen = rng.choice(len(ordered), min(self.pairs, len(ordered)), replace=False, p=weight / weight.sum())
        return [ordered[k] for k in chosen]

    def _correspondences(self, views, points, valid, i, j, rng):
        a, b = views[i], views[j]
        xy1, xy2 = reciprocal_pixels(
            points[i], points[j], a.intrinsics, b.intrinsics, a.cam2world, b.cam2world, valid[i], valid[j]
        )
        kept = rng.permutation(len(xy1))[: self.matches // 2]
        rest = self.matches - len(kept)
        size = a.depth.shape[::-1]
        out1 = np.concatenate([xy1[kept], rng.integers(size, size=(rest, 2))])
        out2 = np.concatenate([xy2[kept], rng.integers(size, size=(rest, 2))])
        return out1, out2, np.arange(self.matches) < len(kept)


def mirrored(view: PosedView) -> PosedView:
    """The view that a mirror world (x of every frame negated) would give."""
    flip = np.diag([-1.0, 1, 1, 1])
    intrinsics = view.intrinsics.copy()
    intrinsics[0, 2] = view.depth.shape[1] - 1 - intrinsics[0, 2]
    return PosedView(
        np.ascontiguousarray(view.rgb[:, ::-1]), np.ascontiguousarray(view.depth[:, ::-1]), flip @ view.cam2world @ flip,
        intrinsics, None if view.concept is None else np.ascontiguousarray(view.concept[:, ::-1]),
    )  # fmt: skip
