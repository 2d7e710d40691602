"""Pre-training of the encoder on single views: what is where and how far, as CroCo's comes before DUSt3R's.

Semantics are learnt from images, not from pairs, and the encoder alone is many times cheaper than the whole
network with its dense heads.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import Dataset

from sab3r_ros.lab.synthetic.camera_effects import photometric_augmentation
from sab3r_ros.lab.synthetic.materials import COLOUR_NAMES
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.training.coarse_heads import CELL, CoarseHead
from sab3r_ros.lab.training.scope import ENCODER
from sab3r_ros.lab.training.text_tower import concept_codes
from sab3r_ros.lab.training.trainer import RunConfig, TrainingModule, fit, start_from
from sab3r_ros.lab.training.view_cache import ViewCache
from sab3r_ros.models.heads import exp_confidence, exp_vector
from sab3r_ros.models.sab3r import Sab3r, Sab3rConfig

_TEMPERATURE = 0.07
_COLOUR_WEIGHT = 0.3
_RARITY = -0.35  # between counting pixels (0) and counting labels (-1)
_ANCHOR_WEIGHT = 0.5


class SingleViews(Dataset):
    """Random views of some caches, half of them mirrored, with a camera's defects.

    Yields a dict: image (3,H,W) uint8; points (H/4,W/4,3) metres in the camera's frame; valid and concept (H/4,W/4).
    """

    def __init__(self, caches: Sequence[ViewCache], seed: int = 0):
        self.caches, self.seed = [c.arrays for c in caches], seed

    def __len__(self):
        return 2**31

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index])
        arrays = self.caches[rng.integers(len(self.caches))]
        groups, views = arrays["rgb"].shape[:2]
        at = int(rng.integers(groups)), int(rng.integers(views))
        rgb = np.array(arrays["rgb"][at])
        depth, concept = (np.array(arrays[k][at])[CELL // 2 :: CELL, CELL // 2 :: CELL] for k in ("depth", "concept"))
        matrix = arrays["intrinsics"][at]
        y, x = np.mgrid[CELL // 2 : rgb.shape[0] : CELL, CELL // 2 : rgb.shape[1] : CELL]
        z = depth.astype(np.float32)
        points = np.stack([(x - matrix[0, 2]) / matrix[0, 0] * z, (y - matrix[1, 2]) / matrix[1, 1] * z, z], -1)
        if rng.random() < 0.5:
            # The middle of a cell lies half a pixel off its middle pixel; mirrored, that is one pixel, which is ignored.
            rgb, points, concept = rgb[:, ::-1], points[:, ::-1] * [-1, 1, 1], concept[:, ::-1]
        return {
            "image": torch.from_numpy(np.ascontiguousarray(photometric_augmentation(rgb, rng).transpose(2, 0, 1))),
            "points": torch.from_numpy(points.astype(np.float32)),
            "valid": torch.from_numpy(points[..., 2] > 0),
            "concept": torch.from_numpy(np.where(points[..., 2] > 0, concept, 0).astype(np.int64)),
        }


def label_weights(cache: ViewCache, groups: int = 500) -> Tensor:
    """(L,) weight of every label, its share of the pixels to the power of -0.35, 1 on average over the pixels."""
    concept = cache.arrays["concept"][:groups][..., ::CELL, ::CELL]
    count = np.bincount(np.minimum(concept.ravel() // len(COLOUR_NAMES), len(LABELS)), minlength=len(LABELS) + 1)
    share = (count[: len(LABELS)] + 1) / count.sum()
    weight = share**_RARITY
    return torch.from_numpy((weight / (weight * share).sum()).astype(np.float32))


class EncoderPretraining(TrainingModule):
    """Pointmap, label and colour of every cell from the encoder's tokens alone.

    A network that is trained already keeps the use of its decoders: tokens are held near those that they know, and the
    encoder waits for the new linear head until the rate has reached its full height.
    """

    def __init__(self, network: Sab3r, weights: Tensor, run: RunConfig, trained_before: bool = False):
        super().__init__(run)
        self.network, cfg = network, network.cfg
        # In a list, so that the frozen copy is no part of the checkpoints.
        self._anchor = [copy.deepcopy(network).eval().requires_grad_(False)] if trained_before else []
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad = name.startswith(ENCODER)
        self.head = CoarseHead(cfg.enc_dim, 4 + cfg.clip_dim)
        codes = concept_codes(cfg.clip_dim)
        self.register_buffer("labels", codes.labels)
        self.register_buffer("colours", codes.colours)
        self.register_buffer("weights", weights)

    def on_fit_start(self):
        for anchor in self._anchor:
            anchor.to(self.device)

    def training_step(self, batch, _index):
        image = batch["image"].float() / 127.5 - 1
        head_alone = self._anchor and self.global_step < self.run.warmup
        with torch.set_grad_enabled(not head_alone):
            view = self.network.encode(image)
        grid = tuple(s // 16 for s in view.shape)
        raw = self.head(view.tokens, grid).permute(0, 2, 3, 1)
        valid, concept = batch["valid"], batch["concept"][batch["valid"]]
        error = (exp_vector(raw[..., :3]) - batch["points"]).norm(dim=-1)
        distance = torch.where(valid, batch["points"].norm(dim=-1), 0).sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)
        error = (error / distance.clamp(min=0.1)[:, None, None])[valid]
        confidence = exp_confidence(raw[..., 3], 1.0)[valid]
        feature = normalize(raw[..., 4:][valid], dim=-1) / _TEMPERATURE
        weight = self.weights[concept // len(COLOUR_NAMES)]
        label = cross_entropy(feature @ self.labels.T, concept // len(COLOUR_NAMES), reduction="none")
        colour = cross_entropy(feature @ self.colours.T, concept % len(COLOUR_NAMES), reduction="none")
        terms = {
            "points": (error * confidence - 0.2 * confidence.log()).mean(),
            "label": (label * weight).sum() / weight.sum(),
            "colour": (colour * weight).sum() / weight.sum(),
        }
        total = terms["points"] + terms["label"] + _COLOUR_WEIGHT * terms["colour"]
        if self._anchor and not head_alone:
            with torch.no_grad():
                known = self._anchor[0].encode(image).tokens
            terms["anchor"] = (view.tokens - known).square().mean() / known.var(dim=(0, 1)).mean()
            total = total + _ANCHOR_WEIGHT * terms["anchor"]
        return self.report(total, terms)


def pretrain_encoder(
    out: Path, cfg: Sab3rConfig, caches: Sequence[Path], run: RunConfig, start: Path | Sab3r | None = None
) -> Path:
    """Train the encoder on rendered views; returns OUT/last.ckpt, for `train_distill(start=...)`.

    start: a checkpoint of an earlier run to go on from, with a schedule of its own, or a whole network, whose decoders
    go on fitting its encoder.
    Raises ValueError when there is no finished cache.
    """
    L.seed_everything(0)
    views = [ViewCache(cache) for cache in caches]
    whole = isinstance(start, Sab3r)
    module = EncoderPretraining(start if whole else Sab3r(cfg), label_weights(views[-1]), run, trained_before=whole)
    if isinstance(start, Path):
        start_from(module.network, start)
    return fit(module, SingleViews(views), out)
