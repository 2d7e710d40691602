"""Training of SAB3R: geometry and matching from posed RGB-D, features from teachers."""

from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from sab3r_ros.lab.synthetic.materials import COLOUR_NAMES
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.training.groups import GroupSource, PairSamples
from sab3r_ros.lab.training.label_embeddings import COLOURED_LABELS, embedded
from sab3r_ros.lab.training.objective import ObjectiveConfig, feature_terms, sab3r_loss
from sab3r_ros.lab.training.regression import ViewTarget
from sab3r_ros.lab.training.scope import TrainableScope
from sab3r_ros.lab.training.trainer import RunConfig, TrainingModule, fit, network_state, start_from
from sab3r_ros.models.heads import PATCH, exp_vector
from sab3r_ros.models.sab3r import Sab3r, Sab3rConfig, ViewPrediction
from sab3r_ros.models.state_dicts import load_strict
from sab3r_ros.models.text import TextEncoder

_TEMPERATURE = 0.07
_CELL = 4  # pixels


class LabelTeacher(nn.Module):
    """The text embedding of "colour label" for every pixel of a labelled image, and how much a pixel counts.

    Checkpoints do not hold it: it is made from the text encoder anew.

    A label weighs one over the root of its share of a batch's pixels: walls and floor fill most of them, and
    without this the features of everything else are not learnt.
    """

    def __init__(self, encoder: TextEncoder):
        super().__init__()
        self.register_buffer("embeddings", embedded(encoder, COLOURED_LABELS), persistent=False)
        self.register_buffer("labels", embedded(encoder, LABELS), persistent=False)

    def features(self, concept: Tensor) -> Tensor:
        """Concepts (...) to unit features (...,C)."""
        return self.embeddings[concept]

    def weight(self, concept: Tensor, valid: Tensor) -> Tensor:
        """(B,H,W) weights, 1 on average over the valid pixels and 0 elsewhere."""
        label = concept // len(COLOUR_NAMES)
        count = torch.bincount(label[valid], minlength=len(LABELS)).clamp(min=1).float()
        weight = torch.where(valid, count.rsqrt()[label], 0)
        return weight * valid.sum() / weight.sum().clamp(min=1e-9)

    def contrast(self, features: Tensor, concept: Tensor, weight: Tensor) -> Tensor:
        """Cross entropy of features (B,H,W,C), as cosines, against the true labels, weighted (B,H,W)."""
        counted = weight > 0
        logits = normalize(features[counted], dim=-1) @ self.labels.T / _TEMPERATURE
        loss = cross_entropy(logits, concept[counted] // len(COLOUR_NAMES), reduction="none")
        return (loss * weight[counted]).sum() / weight.sum().clamp(min=1e-6)


class Distillation(TrainingModule):
    """One optimisation step over groups of views; every view is encoded once and decoded in several pairs.

    clip_teacher: what gives the CLIP features of images without labels, images in [-1, 1] (B,3,H,W) to
    (B,H,W,C); dino_teacher likewise. Without a teacher for it, an image does not enter that loss. part: what is
    trained; the less, the less a step costs, and the rest keeps what it knows.
    """

    def __init__(
        self, network: Sab3r, objective: ObjectiveConfig, run: RunConfig, labels: LabelTeacher | None = None,
        clip_teacher: nn.Module | None = None, dino_teacher: nn.Module | None = None, part: TrainableScope = TrainableScope.everything,
    ):  # fmt: skip
        super().__init__(run)
        self.network, self.objective, self.part = network, objective, part
        for name, parameter in network.named_parameters():
            parameter.requires_grad = part.trains(name)
        self.labels = labels
        # In a list, so that the frozen teachers are not parts of the checkpoints.
        self._teachers = [("clip", clip_teacher), ("dino", dino_teacher)]

    def on_fit_start(self):
        for _, teacher in self._teachers:
            if teacher is not None:
                teacher.to(self.device)

    def training_step(self, batch, _index):
        groups, views = batch["images"].shape[:2]
        images = batch["images"].flatten(0, 1).float() / 127.5 - 1
        if images.device.type == "cpu":
            images = images.contiguous(memory_format=torch.channels_last)
        encoded = self.network.encode(images)
        offset = torch.arange(groups, device=images.device)[:, None] * views
        sides = [(batch["pairs"][..., k] + offset).flatten() for k in (0, 1)]
        predictions = self._predict([encoded[index] for index in sides])
        teachers = self._features(batch, images)
        targets = [self._target(batch, index, side, teachers) for side, index in enumerate(sides, 1)]
        loss = feature_terms if self.part is TrainableScope.features else sab3r_loss
        total, terms = loss(*targets, *predictions, self.objective)
        if self.labels is not None and self.objective.label_weight:
            terms["label"] = sum(
                self._contrast(batch, p.clip, index) for p, index in zip(predictions, sides, strict=True)
            )
            total = total + self.objective.label_weight * terms["label"]
        return self.report(total, terms)

    def _predict(self, pair):
        """Both sides' predictions; features at the pixels that `_seen` picks, points and descriptors only where they are trained."""
        predictions = []
        for side, layers in enumerate(self.network.decode(*pair), 1):
            view = pair[side - 1]
            if self.part is TrainableScope.features:
                prediction = ViewPrediction(None, None, None, None)
            else:
                prediction = self.network.head(side, layers, view, features=False)
            for name, raw in self.network.raw_features(side, layers, view).items():
                setattr(prediction, name, exp_vector(self._seen(raw).float()))
            predictions.append(prediction)
        return predictions

    def _contrast(self, batch, dense, index):
        concept, valid = (self._seen(batch[k].flatten(0, 1))[index] for k in ("concept", "valid"))
        labelled = batch["labelled"].flatten()[index][:, None, None]
        return self.labels.contrast(dense, concept, self.labels.weight(concept, valid & labelled))

    def _seen(self, x):
        """The pixels of maps (B,H,W,...) that features are compared at: one of every cell, and another one in every step.

        Neighbours add little, and all of them much to compute.
        """
        row, column = divmod(self.global_step % _CELL**2, _CELL)
        return x[:, row::_CELL, column::_CELL]

    @torch.no_grad()
    def _features(self, batch, images):
        """Per view: CLIP and DINOv2 targets (G*V,h,w,C) and weights (G*V,h,w), as far as there are teachers."""
        valid, concept = (self._seen(batch[k].flatten(0, 1)) for k in ("valid", "concept"))
        labelled = batch["labelled"].flatten()
        out = {}
        for name, teacher in self._teachers:
            if getattr(self.network.cfg, f"{name}_head") is None:
                continue
            by_label = labelled if name == "clip" and self.labels is not None else torch.zeros_like(labelled)
            dim = getattr(self.network.cfg, f"{name}_dim")
            target = images.new_zeros(*valid.shape, dim)
            weight = images.new_zeros(valid.shape)
            if by_label.any():
                target[by_label] = self.labels.features(concept[by_label])
                weight[by_label] = self.labels.weight(concept[by_label], valid[by_label])
            rest = (~by_label).nonzero()[:, 0]
            if teacher is not None:
                for k in rest.tolist():  # one image at a time: dense features are large
                    target[k], weight[k] = self._seen(teacher(images[k : k + 1]))[0], 1.0
            if by_label.any() or teacher is not None:
                out[name] = target, weight
        return out

    def _target(self, batch, index, side, features):
        def pick(name):
            return batch[name].flatten(0, 1)[index]

        teachers = {}
        for name, (target, weight) in features.items():
            teachers |= {name: target[index], f"{name}_weight": weight[index]}
        return ViewTarget(
            points=pick("points"), valid=pick("valid"), cam2world=pick("pose"),
            metric=torch.ones(len(index), dtype=torch.bool, device=index.device),
            corres=batch[f"corres{side}"].flatten(0, 1), valid_corres=batch["valid_corres"].flatten(0, 1), **teachers,
        )  # fmt: skip


def symmetric_initialisation(network: Sab3r) -> None:
    """Give corresponding pixels corresponding descriptors from the first step on.

    Side two starts as a copy of side one, as CroCo's initialisation does for the decoders, and the 256 pixels of
    a patch start with one and the same descriptor. From independent starts the matching loss was seen to stay
    at chance for a thousand steps.
    """
    final = network.downstream_head1.head_local_features.fc2
    with torch.no_grad():
        for parameter in (final.weight, final.bias):
            pixels = parameter.unflatten(0, (-1, PATCH**2))
            pixels.copy_(pixels[:, :1].expand_as(pixels).clone())
    for one, two in ((network.dec_blocks, network.dec_blocks2), (network.downstream_head1, network.downstream_head2)):
        two.load_state_dict(one.state_dict())


def train_distill(
    out: Path,
    network_config: Sab3rConfig,
    sources: Sequence[GroupSource],
    run: RunConfig,
    objective: ObjectiveConfig | None = None,
    text_model: str | None = None,
    clip_teacher: nn.Module | None = None,
    dino_teacher: nn.Module | None = None,
    start: Path | Sab3r | None = None,
    part: TrainableScope = TrainableScope.everything,
    seed: int = 0,
) -> Path:
    """Train on groups of views; resumes from OUT/last.ckpt, whose path is returned.

    text_model: open_clip text encoder for the label teacher. start: a network to go on from, or a checkpoint of an
    earlier stage, of which all that fits is taken. part: what is trained.
    Raises ValueError for unusable data sets or checkpoints, for feature heads alone where there are none,
    and as `fit`.
    """
    if (start.cfg if isinstance(start, Sab3r) else network_config).encoder == "efficientnet":
        raise ValueError("a network with an EfficientNet encoder is trained by `sab3r train joint`")
    L.seed_everything(seed)
    network = start if isinstance(start, Sab3r) else Sab3r(network_config)
    if part is TrainableScope.features and not (network.cfg.clip_head or network.cfg.dino_head):
        raise ValueError("to train feature heads alone the network needs some")
    if not isinstance(start, Sab3r):
        symmetric_initialisation(network)
    if isinstance(start, Path):
        start_from(network, start)
    if not torch.cuda.is_available():
        network = network.to(memory_format=torch.channels_last)
    labels = LabelTeacher(TextEncoder(text_model)) if text_model and network.cfg.clip_head else None
    module = Distillation(network, objective or ObjectiveConfig(), run, labels, clip_teacher, dino_teacher, part)
    # What an image means changes little with its partner: other images teach the feature heads more than other pairs.
    pairs = 2 if part is TrainableScope.features else 4
    return fit(module, PairSamples(sources, pairs=pairs, seed=seed), out)


def network_from_training_checkpoint(path: Path, cfg: Sab3rConfig) -> Sab3r:
    """The network inside a checkpoint of `train_distill`. Raises ValueError for one of other sizes."""
    network = Sab3r(cfg)
    load_strict(network, network_state(path), path)
    return network
