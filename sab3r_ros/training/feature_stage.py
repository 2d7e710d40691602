"""A last stage that trains the feature heads alone: geometry stays bit for bit what it was.

The pixels of walls and floors outnumber those of everything else a hundred to one, so every label counts equally here.
Beside the distillation loss a cross entropy over the labels' embeddings asks for what a query asks for: that the right
label is the nearest.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sab3r_ros.models.heads import DPTHead, exp_vector
from sab3r_ros.models.sab3r import Sab3r
from sab3r_ros.synthetic.materials import COLOUR_NAMES
from sab3r_ros.training.rooms_data import HELD_OUT_SEEDS, RoomGroups

_SHARPNESS = 20.0  # of the softmax over cosines


def tune_features(
    network: Sab3r,
    teacher: Tensor,
    labels: Tensor,
    steps: int,
    first_seed: int,
    groups: int = 3,
    lr: float = 2e-3,
    workers: int = 1,
    report: Callable[[int, float, float], None] = lambda step, loss, accuracy: None,
) -> None:
    """Train the CLIP heads of both sides in place.

    teacher (labels * colours, C): target features; labels (L,C): embeddings of the labels. Raises ValueError when the
    network has no CLIP head or the seeds would reach the held-out rooms.
    """  # fmt: skip
    heads = [network.downstream_head1.clip_head, network.downstream_head2.clip_head]
    if heads[0] is None:
        raise ValueError("the network has no CLIP head to train")
    if first_seed + steps * groups > HELD_OUT_SEEDS.start:
        raise ValueError("the training seeds would reach the held-out rooms; choose a smaller first_seed")
    parameters = [p.requires_grad_(True) for head in heads for p in head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
    side = network.cfg.image_size
    data = RoomGroups(first_seed, steps * groups, side, side * 3 // 4)
    loader = torch.utils.data.DataLoader(data, batch_size=groups, num_workers=workers)
    for step, batch in enumerate(loader):
        images = batch["images"].flatten(0, 1).float() / 127.5 - 1
        offset = torch.arange(groups)[:, None] * batch["images"].shape[1]
        index = [(batch["pairs"][..., k] + offset).flatten() for k in (0, 1)]
        with torch.no_grad():
            views = network.encode(images)
            layers = network.decode(views[index[0]], views[index[1]])
        concept, valid = batch["concept"].flatten(0, 1), batch["valid"].flatten(0, 1)
        loss, accuracy = torch.zeros(()), 0.0
        for head, tokens, rows in zip(heads, layers, index, strict=True):
            feature = _features(network, head, tokens, views.shape)
            part, accuracy = _loss(feature[valid[rows]], concept[rows][valid[rows]], teacher, labels)
            loss = loss + part
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        report(step, float(loss.detach()), accuracy)


def _features(network: Sab3r, head: torch.nn.Module, tokens: list[Tensor], shape: tuple[int, int]) -> Tensor:
    grid = shape[0] // 16, shape[1] // 16
    raw = head(
        [tokens[k] for k in network.cfg.hooks] if isinstance(head, DPTHead) else torch.cat([tokens[0], tokens[-1]], -1),
        grid,
    )
    return exp_vector(raw.permute(0, 2, 3, 1))


def _loss(feature: Tensor, concept: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Both terms over pixels (P,C), labels that occur weighted equally, and the balanced accuracy."""
    label = concept // len(COLOUR_NAMES)
    count = torch.bincount(label, minlength=len(labels))
    weight = (1.0 / count.clamp(min=50))[label]
    weight = weight / weight.sum()
    distance = (feature - teacher[concept]).square().sum(-1)
    logits = _SHARPNESS * torch.nn.functional.normalize(feature, dim=-1) @ labels.T
    entropy = torch.nn.functional.cross_entropy(logits, label, reduction="none")
    accuracy = float((weight * (logits.argmax(-1) == label)).sum())
    return (weight * (distance + entropy)).sum(), accuracy
