"""Groups of views of procedural rooms as training samples, rendered on the fly."""

import numpy as np
import torch
from torch.utils.data import Dataset

from sab3r_ros.geometry.projection import backproject, overlap, reciprocal_pixels, transform
from sab3r_ros.synthetic.materials import COLOUR_NAMES
from sab3r_ros.synthetic.sequence import render_sequence

HELD_OUT_SEEDS = range(900_000_000, 900_100_000)  # evaluation and tests; training never draws from here


def vary_photometry(rgb, rng):
    """Exposure, contrast, colour cast and noise of a cheap camera; (H,W,3) uint8 in and out."""
    x = rgb.astype(np.float32) / 255
    x = x ** rng.uniform(0.6, 1.5) * rng.uniform(0.7, 1.3, size=3 if rng.random() < 0.5 else 1)
    grey = x.mean(-1, keepdims=True)
    x = grey + (x - grey) * rng.uniform(0.4, 1.2)
    x = x + rng.normal(0, rng.uniform(0, 0.04), x.shape)
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


class RoomGroups(Dataset):
    """Sample k is a walk through room `first_seed + k`: V views, P ordered pairs of them, N correspondences.

    Yields a dict: images (V,3,H,W) uint8; points (V,H,W,3) world metres; valid (V,H,W); pose (V,4,4);
    concept (V,H,W): label * number of colours + colour of the pixel's object; pairs (P,2) view numbers;
    corres1, corres2 (P,N,2); valid_corres (P,N). Half of the correspondences at most are true ones.
    """

    def __init__(self, first_seed: int, length: int, width=128, height=96, views=4, pairs=4, matches=256, augment=True):
        self.first_seed, self.length = first_seed, length
        self.width, self.height = width, height
        self.views, self.pairs, self.matches = views, pairs, matches
        self.augment = augment

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        seed = self.first_seed + index
        rng = np.random.default_rng([seed, 13])
        sequence = render_sequence(seed, self.views, self.width, self.height, rng.uniform(0.15, 1.5))
        views = sequence.views
        colours = np.array([COLOUR_NAMES.index(o.colour) for o in sequence.room.objects])
        points = [transform(v.cam2world, backproject(v.depth.astype(np.float64), v.intrinsics)) for v in views]
        valid = [v.depth > 0 for v in views]
        rgb = [vary_photometry(v.rgb, rng) if self.augment else v.rgb for v in views]
        concept = [v.label.astype(np.int64) * len(COLOUR_NAMES) + colours[v.instance.clip(0)] for v in views]
        pairs = self._choose_pairs(views, rng)
        corres = [self._correspondences(views, points, valid, i, j, rng) for i, j in pairs]
        return {
            "images": torch.from_numpy(np.stack(rgb)).permute(0, 3, 1, 2),
            "points": torch.from_numpy(np.stack(points).astype(np.float32)),
            "valid": torch.from_numpy(np.stack(valid)),
            "pose": torch.from_numpy(np.stack([v.cam2world for v in views]).astype(np.float32)),
            "concept": torch.from_numpy(np.where(np.stack(valid), np.stack(concept), 0)),
            "pairs": torch.tensor(pairs),
            "corres1": torch.from_numpy(np.stack([c[0] for c in corres])),
            "corres2": torch.from_numpy(np.stack([c[1] for c in corres])),
            "valid_corres": torch.from_numpy(np.stack([c[2] for c in corres])),
        }

    def _choose_pairs(self, views, rng):
        ordered = [(i, j) for i in range(len(views)) for j in range(len(views)) if i != j]
        score = np.array([min(overlap(views[i], views[j]), overlap(views[j], views[i])) for i, j in ordered])
        weight = (score > 0.2) + 0.02
        chosen = rng.choice(len(ordered), self.pairs, replace=False, p=weight / weight.sum())
        return [ordered[k] for k in chosen]

    def _correspondences(self, views, points, valid, i, j, rng):
        a, b = views[i], views[j]
        xy1, xy2 = reciprocal_pixels(
            points[i], points[j], a.intrinsics, b.intrinsics, a.cam2world, b.cam2world, valid[i], valid[j]
        )
        kept = rng.permutation(len(xy1))[: self.matches // 2]
        rest = self.matches - len(kept)
        size = [self.width, self.height]
        out1 = np.concatenate([xy1[kept], rng.integers(size, size=(rest, 2))])
        out2 = np.concatenate([xy2[kept], rng.integers(size, size=(rest, 2))])
        return out1, out2, np.arange(self.matches) < len(kept)
