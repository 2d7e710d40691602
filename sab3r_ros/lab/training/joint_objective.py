"""The loss of joint training: regression, edges, matching, labels, and how far the trunk has moved."""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.lab.synthetic.materials import COLOUR_NAMES
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.training.contrastive import pair_losses
from sab3r_ros.lab.training.label_embeddings import COLOURED_LABELS, embedded
from sab3r_ros.lab.training.scope import TrainableScope
from sab3r_ros.lab.training.view_bank import Batch, unwaited
from sab3r_ros.models.heads import exp_vector
from sab3r_ros.models.pyramid_heads import PyramidViewHead, enlarged
from sab3r_ros.models.sab3r import Sab3r
from sab3r_ros.models.text import TextEncoder

_TEMPERATURE = 0.07
_MATCHES = 192  # of a pair, at most


@dataclass(frozen=True)
class JointConfig:
    """One run. steps: of the whole schedule; minutes: if above 0, the schedule ends when they are over, however many steps
    that takes (the same seeds then no longer give the same weights). Weights are those of the terms of the loss."""

    steps: int = 20_000
    minutes: float = 0.0
    groups: int = 16
    views: int = 4
    pairs: int = 4
    lr: float = 1e-3
    trunk_lr: float = 0.05
    warmup: int = 200
    decay: float = 0.6
    weight_decay: float = 0.05
    average: float = 0.998
    save_seconds: float = 60.0
    points: float = 1.0
    edges: float = 0.3
    matching: float = 0.1
    label: float = 1.0
    colour: float = 0.3
    text: float = 1.0
    anchor: float = 0.5
    part: TrainableScope = TrainableScope.everything
    seed: int = 0


@dataclass(frozen=True)
class Draws:
    """What is random in the loss of one batch, as tensors, so that a graph captured once serves every step.

    rows, columns: pixels of the geometry, one of every 2 x 2 (H/2,), (W/2,); label_rows, label_columns: those of the labels,
    one of every 6 x 6, at half the image's size; places (P,M,2): pixels (x, y) of each pair's first image that are matched.
    """

    rows: Tensor
    columns: Tensor
    label_rows: Tensor
    label_columns: Tensor
    places: Tensor

    @classmethod
    def of(cls, batch: Batch, generator: torch.Generator) -> "Draws":
        """The draws for a batch."""
        height, width = batch.depth.shape[-2:]
        # Six is a multiple of both steps.
        row, column, label_row, label_column = torch.randint(0, 6, (4,), generator=generator).tolist()
        places = torch.rand(len(batch.first), _MATCHES, 2, generator=generator) * torch.tensor(
            [width - 1.0, height - 1.0]
        )
        drawn = (
            _every(2, height, row), _every(2, width, column), _every(3, height // 2, label_row), _every(3, width // 2, label_column),
            places.round(),
        )  # fmt: skip
        return cls(*(unwaited(t, batch.depth.device) for t in drawn))


@dataclass(frozen=True)
class FeatureTargets:
    """Unit embeddings (L,C) of the labels, (K,C) of the colours, and (L*K,C) of every "colour label"."""

    labels: Tensor
    colours: Tensor
    pairs: Tensor

    @classmethod
    def of(cls, encoder: TextEncoder) -> "FeatureTargets":
        """What a text encoder says of all labels and colours."""
        return cls(*(embedded(encoder, names) for names in (LABELS, COLOUR_NAMES, COLOURED_LABELS)))

    def to(self, device) -> "FeatureTargets":
        """The same on a device."""
        return FeatureTargets(self.labels.to(device), self.colours.to(device), self.pairs.to(device))


class Objective:
    """The loss of a batch, in terms. anchor: the trunk whose maps are to be kept; a copy is taken."""

    def __init__(
        self, network: Sab3r, anchor: nn.Module, targets: FeatureTargets, label_weights: Tensor, run: JointConfig
    ):
        self.network, self.targets, self.weights, self.run = network, targets, label_weights, run
        self.anchor = copy.deepcopy(anchor).to(memory_format=torch.channels_last).eval().requires_grad_(False)

    def __call__(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Weighted terms; their sum is the loss. Nothing in it waits for the device."""
        net, run = self.network, self.run
        device = batch.images.device
        images = batch.images.contiguous(memory_format=torch.channels_last)
        if run.part is TrainableScope.features:
            with torch.no_grad():
                view = net.encode(images)
            features = net.downstream_head1.raw_features([view.tokens], view.grid, view.pyramid)["clip"]
            return self._meaning(batch, features, draws)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            maps = net.encoder.trunk(images)
            with torch.no_grad():
                known = self.anchor(images)
            view = net.encoder.from_maps(maps, tuple(images.shape[-2:]))
            pair = view[batch.first], view[batch.second]
            layers = net.decode(*pair)
            heads: list[PyramidViewHead] = [net.downstream_head1, net.downstream_head2]
            raw = [h.raw(layer, view.grid, p.pyramid) for h, layer, p in zip(heads, layers, pair, strict=True)]
            features = heads[0].raw_features([view.tokens], view.grid, view.pyramid)["clip"]
        terms = {"anchor": run.anchor * sum(_drift(maps[k], known[k]) for k in (4, 6))}
        raw = [r.float() for r in raw]
        terms |= self._geometry(batch, raw, draws)
        terms["matching"] = run.matching * self._matching(batch, raw, draws)
        return terms | self._meaning(batch, features, draws)

    def _geometry(self, batch, raw, draws):
        depth = exp_vector(raw[0][:, :3].permute(0, 2, 3, 1))[..., 2].clamp(min=0.05)
        middle = batch.depth[batch.first]
        middle = torch.stack([middle[:, ::2, ::2], middle[:, 1::2, 1::2]]).amin(0)
        edges = _gradient_error(depth.log(), middle.clamp(min=0.05).log(), middle > 0)
        return {"points": self.run.points * self._points(batch, raw, draws), "edges": self.run.edges * edges}

    def _points(self, batch, raw, draws):
        """Regression weighted by confidence (DUSt3R, eq. 4) in metres per mean distance, at one pixel of every 2 x 2."""
        to_first = _rigid_inverse(batch.cam2world[batch.first])
        poses = [torch.eye(4, device=to_first.device).expand_as(to_first), to_first @ batch.cam2world[batch.second]]
        truth, valid, guess = [], [], []
        for pose, number, r in zip(poses, (batch.first, batch.second), raw, strict=True):
            depth = _chosen(batch.depth[number], draws.rows, draws.columns)
            own = _unprojected(depth, batch.intrinsics[number], draws.rows, draws.columns)
            truth.append((own.flatten(1, 2) @ pose[:, :3, :3].mT + pose[:, None, :3, 3]).view_as(own))
            valid.append(depth > 0)
            guess.append(_chosen(enlarged(r[:, :4]), draws.rows, draws.columns))
        norm = sum(torch.where(v, t.norm(dim=-1), 0).sum((1, 2)) for t, v in zip(truth, valid, strict=True))
        norm = (norm / sum(v.sum((1, 2)) for v in valid).clamp(min=1)).clamp(min=0.2)[:, None, None]
        total = 0.0
        for t, v, g in zip(truth, valid, guess, strict=True):
            error = (exp_vector(g[..., :3]) - t).norm(dim=-1) / norm
            confidence = 1 + g[..., 3].clamp(max=6).exp()
            total = total + torch.where(v, error * confidence - 0.2 * confidence.log(), 0).sum() / v.sum().clamp(min=1)
        return total

    def _matching(self, batch, raw, draws):
        """InfoNCE (MASt3R, eq. 10) at pixels of the first image that the second one sees too."""
        height, width = batch.depth.shape[-2:]
        pixel = draws.places
        depth1 = _at(batch.depth[batch.first], pixel)
        one_focal, one_centre = _lens(batch.intrinsics[batch.first])
        focal, centre = _lens(batch.intrinsics[batch.second])
        ray = (pixel - one_centre) / one_focal
        motion = _rigid_inverse(batch.cam2world[batch.second]) @ batch.cam2world[batch.first]
        there = torch.cat([ray, torch.ones_like(ray[..., :1])], -1) * depth1[..., None]
        there = there @ motion[:, :3, :3].mT + motion[:, None, :3, 3]
        z = there[..., 2]
        partner = there[..., :2] / z.clamp(min=0.05)[..., None] * focal + centre
        inside = (partner > 0).all(-1) & (partner[..., 0] < width - 1) & (partner[..., 1] < height - 1)
        depth2 = _at(batch.depth[batch.second], partner.round().clamp(min=0))
        valid = (depth1 > 0) & inside & (z > 0.05) & ((depth2 - z).abs() < 0.02 * z + 0.005)
        partner = torch.where(valid[..., None], partner, pixel)
        sides = []
        for r, at in zip(raw, (pixel, partner), strict=True):
            grid = torch.stack([(at[..., 0] + 0.5) / width, (at[..., 1] + 0.5) / height], -1) * 2 - 1
            sides.append(
                F.grid_sample(r[:, 4:], grid[:, :, None], align_corners=False, padding_mode="border")[..., 0].mT
            )
        one, two = (F.normalize(s[..., :-1], dim=-1) for s in sides)
        loss = pair_losses(one, two)
        confidence = 0.5 * sum(s[..., -1].clamp(max=5).exp() for s in sides)
        return torch.where(valid, loss * confidence - 10 * confidence.log(), 0).sum() / valid.sum().clamp(min=1) / 3

    def _meaning(self, batch, features, draws):
        """Labels and colours at one pixel of every 6 x 6, another one in every step."""
        concept = _chosen(batch.concept, 2 * draws.label_rows, 2 * draws.label_columns).flatten()
        known = concept >= 0
        # The activation changes lengths alone, not directions; a length that grows without bound would overflow in it.
        said = _chosen(features, draws.label_rows, draws.label_columns).float().flatten(0, 2)
        length = torch.where(known, (said.norm(dim=-1) - 1).square(), 0).sum() / known.sum().clamp(min=1)
        said = F.normalize(said, dim=-1)
        concept = concept.clamp(min=0)
        label, colour = concept // len(COLOUR_NAMES), concept % len(COLOUR_NAMES)
        weight = torch.where(known, self.weights[label], 0)
        weight = weight / weight.sum().clamp(min=1e-6)
        t, run = self.targets, self.run
        return {
            "label": run.label
            * (weight * F.cross_entropy(said @ t.labels.T / _TEMPERATURE, label, reduction="none")).sum(),
            "colour": run.colour
            * (weight * F.cross_entropy(said @ t.colours.T / _TEMPERATURE, colour, reduction="none")).sum(),
            "length": 0.02 * length,
            "text": run.text * (weight * (1 - (said * t.pairs[concept]).sum(-1))).sum(),
        }


def _every(step: int, size: int, start: int) -> Tensor:
    """Every step-th of `size` rows or columns; as many of them whatever the start is."""
    return step * torch.arange(size // step) + start % step


def _drift(now: Tensor, known: Tensor) -> Tensor:
    """Squared distance of maps in units of their variance."""
    known = known.float()
    return (now.float() - known).square().mean() / known.var()


def _at(maps: Tensor, pixels: Tensor) -> Tensor:
    """Values of maps (B,H,W) at pixels (B,N,2) given as (x, y); outside of it those of the edge."""
    x, y = pixels[..., 0].long().clamp(0, maps.shape[-1] - 1), pixels[..., 1].long().clamp(0, maps.shape[-2] - 1)
    return maps.flatten(1).gather(1, y * maps.shape[-1] + x)


def _chosen(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B,R,C,...) of maps (B,H,W,...)."""
    return maps.index_select(1, rows).index_select(2, columns)


def _lens(intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Focal lengths and principal points (B,1,2) in pixels of matrices (B,3,3)."""
    return intrinsics.diagonal(dim1=1, dim2=2)[:, None, :2], intrinsics[:, None, :2, 2]


def _rigid_inverse(poses: Tensor) -> Tensor:
    """Inverses of (B,4,4) rigid motions; `torch.linalg.inv` would wait for the device."""
    out = poses.clone()
    out[:, :3, :3] = poses[:, :3, :3].mT
    out[:, :3, 3:] = -poses[:, :3, :3].mT @ poses[:, :3, 3:]
    return out


def _unprojected(depth: Tensor, intrinsics: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Points (B,R,C,3) in the camera's frame of the depth (B,R,C) in these rows and columns."""
    focal, centre = _lens(intrinsics)
    x = (columns - centre[..., 0])[:, None] / focal[..., 0, None]
    y = (rows - centre[..., 1])[..., None] / focal[..., 1, None]
    return torch.stack([x * depth, y * depth, depth], -1)


def _gradient_error(guess: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference of the gradients of logarithms of depth (B,H,W), over three scales (MiDaS, 1907.01341)."""
    total = guess.new_zeros(())
    for step in (1, 2, 4):
        d, v = (guess - truth)[:, ::step, ::step], valid[:, ::step, ::step]
        for a, b, m in (
            (d[:, 1:], d[:, :-1], v[:, 1:] & v[:, :-1]),
            (d[..., 1:], d[..., :-1], v[..., 1:] & v[..., :-1]),
        ):
            total = total + torch.where(m, (a - b).abs(), 0).sum() / m.sum().clamp(min=1)
    return total
