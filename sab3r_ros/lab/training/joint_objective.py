"""The loss of joint training: regression, edges, matching, labels, and how far the trunk has moved."""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sab3r_ros.lab.synthetic.materials import COLOUR_NAMES
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.training.contrastive import info_nce
from sab3r_ros.lab.training.label_embeddings import COLOURED_LABELS, embedded
from sab3r_ros.lab.training.scope import TrainableScope
from sab3r_ros.lab.training.view_bank import Batch
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
    """The loss of a batch, in terms."""

    def __init__(self, network: Sab3r, targets: FeatureTargets, label_weights: Tensor, run: JointConfig):
        self.network, self.targets, self.weights, self.run = network, targets, label_weights, run
        self.anchor = copy.deepcopy(network.encoder.trunk).eval().requires_grad_(False)

    def __call__(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted terms; their sum is the loss."""
        net, run = self.network, self.run
        device = batch.images.device
        images = batch.images.contiguous(memory_format=torch.channels_last)
        if run.part is TrainableScope.features:
            with torch.no_grad():
                view = net.encode(images)
            features = net.downstream_head1.raw_features([view.tokens], view.grid, view.pyramid)["clip"]
            return self._meaning(batch, features.float(), generator)
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
        terms |= self._geometry(batch, raw, generator)
        terms["matching"] = run.matching * self._matching(batch, raw, generator)
        return terms | self._meaning(batch, features.float(), generator)

    def _geometry(self, batch, raw, generator):
        row, column = torch.randint(0, 2, (2,), generator=generator).tolist()
        depth = exp_vector(raw[0][:, :3].permute(0, 2, 3, 1))[..., 2].clamp(min=0.05)
        middle = batch.depth[batch.first]
        middle = torch.stack([middle[:, ::2, ::2], middle[:, 1::2, 1::2]]).amin(0)
        edges = _gradient_error(depth.log(), middle.clamp(min=0.05).log(), middle > 0)
        return {"points": self.run.points * self._points(batch, raw, row, column), "edges": self.run.edges * edges}

    def _points(self, batch, raw, row, column):
        """Regression weighted by confidence (DUSt3R, eq. 4) in metres per mean distance, at one pixel of every 2 x 2."""
        to_first = torch.linalg.inv(batch.cam2world[batch.first])
        poses = [torch.eye(4, device=to_first.device).expand_as(to_first), to_first @ batch.cam2world[batch.second]]
        truth, valid, guess = [], [], []
        for pose, number, r in zip(poses, (batch.first, batch.second), raw, strict=True):
            own = _unprojected(batch.depth[number], batch.intrinsics[number])[:, row::2, column::2]
            truth.append((own.flatten(1, 2) @ pose[:, :3, :3].mT + pose[:, None, :3, 3]).view_as(own))
            valid.append((batch.depth[number] > 0)[:, row::2, column::2])
            guess.append(enlarged(r[:, :4])[:, row::2, column::2])
        norm = sum(torch.where(v, t.norm(dim=-1), 0).sum((1, 2)) for t, v in zip(truth, valid, strict=True))
        norm = (norm / sum(v.sum((1, 2)) for v in valid).clamp(min=1)).clamp(min=0.2)[:, None, None]
        total = 0.0
        for t, v, g in zip(truth, valid, guess, strict=True):
            error = (exp_vector(g[..., :3]) - t).norm(dim=-1) / norm
            confidence = 1 + g[..., 3].clamp(max=6).exp()
            total = total + torch.where(v, error * confidence - 0.2 * confidence.log(), 0).sum() / v.sum().clamp(min=1)
        return total

    def _matching(self, batch, raw, generator):
        """InfoNCE (MASt3R, eq. 10) at pixels of the first image that the second one sees too."""
        pairs, (height, width) = len(batch.first), batch.depth.shape[-2:]
        device = batch.depth.device
        place = torch.rand(pairs, _MATCHES, 2, generator=generator).to(device) * torch.tensor(
            [width - 1.0, height - 1.0], device=device
        )
        pixel = place.round()
        depth1 = _at(batch.depth[batch.first], pixel)
        k1, k2 = batch.intrinsics[batch.first], batch.intrinsics[batch.second]
        ray = torch.cat([pixel, torch.ones_like(pixel[..., :1])], -1) @ torch.linalg.inv(k1).mT
        motion = torch.linalg.inv(batch.cam2world[batch.second]) @ batch.cam2world[batch.first]
        there = (ray * depth1[..., None]) @ motion[:, :3, :3].mT + motion[:, None, :3, 3]
        z = there[..., 2]
        projected = (there / z.clamp(min=0.05)[..., None]) @ k2.mT
        partner = projected[..., :2]
        inside = ((partner > 0) & (partner < torch.tensor([width - 1.0, height - 1.0], device=device))).all(-1)
        depth2 = _at(batch.depth[batch.second], partner.round().clamp(min=0))
        valid = (depth1 > 0) & inside & (z > 0.05) & ((depth2 - z).abs() < 0.02 * z + 0.005)
        partner = torch.where(valid[..., None], partner, place)
        sides = []
        for r, at in zip(raw, (pixel, partner), strict=True):
            grid = (at + 0.5) / torch.tensor([width, height], device=device) * 2 - 1
            sides.append(
                F.grid_sample(r[:, 4:], grid[:, :, None], align_corners=False, padding_mode="border")[..., 0].mT
            )
        one, two = (F.normalize(s[..., :-1], dim=-1) for s in sides)
        if not valid.any():
            return one.sum() * 0
        loss = info_nce(one, two, valid)
        confidence = 0.5 * sum(s[..., -1].clamp(max=5).exp() for s in sides)[valid]
        return (loss * confidence - 10 * confidence.log()).mean() / 3

    def _meaning(self, batch, features, generator):
        """Labels and colours at one pixel of every 6 x 6, another one in every step."""
        row, column = (2 * torch.randint(0, 3, (2,), generator=generator)).tolist()
        concept = batch.concept[:, row::6, column::6]
        # The activation changes lengths alone, not directions; a length that grows without bound would overflow in it.
        said = features[:, row // 2 :: 3, column // 2 :: 3][concept >= 0]
        length = (said.norm(dim=-1) - 1).square().mean()
        said = F.normalize(said, dim=-1)
        concept = concept[concept >= 0]
        label, colour = concept // len(COLOUR_NAMES), concept % len(COLOUR_NAMES)
        weight = self.weights[label]
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


def _drift(now: Tensor, known: Tensor) -> Tensor:
    """Squared distance of maps in units of their variance."""
    known = known.float()
    return (now.float() - known).square().mean() / known.var()


def _at(maps: Tensor, pixels: Tensor) -> Tensor:
    """Values of maps (B,H,W) at pixels (B,N,2) given as (x, y); outside of it those of the edge."""
    x, y = pixels[..., 0].long().clamp(0, maps.shape[-1] - 1), pixels[..., 1].long().clamp(0, maps.shape[-2] - 1)
    return maps.flatten(1).gather(1, y * maps.shape[-1] + x)


def _unprojected(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Points (B,H,W,3) in the camera's frame."""
    y, x = (torch.arange(n, device=depth.device, dtype=torch.float32) for n in depth.shape[-2:])
    fx, fy, cx, cy = (intrinsics[:, a, b, None, None] for a, b in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return torch.stack([(x - cx) / fx * depth, (y[:, None] - cy) / fy * depth, depth], -1)


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
