"""Training of a network with a pyramid encoder: geometry, matching and labels at once, from batches made on the device.

The convolutional trunk starts from ImageNet's weights and is held near what it knew: its last maps must stay like those of
a frozen copy, and its first stages do not move at all.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from sab3r_ros.files import replacing
from sab3r_ros.lab.training.graphed_step import LossAndGradients
from sab3r_ros.lab.training.joint_objective import Draws, FeatureTargets, JointConfig, Objective
from sab3r_ros.lab.training.view_bank import ViewBank
from sab3r_ros.models.catalogue import CheckpointError
from sab3r_ros.models.encoders.efficientnet import EfficientNetTrunk, imagenet_trunk
from sab3r_ros.models.sab3r import PRESETS, Sab3r, Sab3rConfig
from sab3r_ros.models.safe_load import safe_load
from sab3r_ros.models.weights import read_torch_file

_FROZEN = ("encoder.trunk.stem", "encoder.trunk.stages.0", "encoder.trunk.stages.1")


def imagenet_start(path: Path) -> EfficientNetTrunk:
    """The trunk as ImageNet made it. Raises CheckpointError for a file that is no such trunk."""
    trunk = EfficientNetTrunk()
    try:
        trunk.load_state_dict(imagenet_trunk(read_torch_file(path)))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return trunk


def starting_network(trunk: EfficientNetTrunk) -> Sab3r:
    """The preset `small` with this trunk; both sides start equal."""
    network = Sab3r(PRESETS["small"])
    network.encoder.trunk.load_state_dict(trunk.state_dict())
    network.dec_blocks2.load_state_dict(network.dec_blocks.state_dict())
    network.downstream_head2.dense.load_state_dict(network.downstream_head1.dense.state_dict())
    return network


def averaged_network(last: Path, cfg: Sab3rConfig) -> Sab3r:
    """The network with the averaged weights of a run."""
    network = Sab3r(cfg)
    network.load_state_dict(safe_load(last)["average"])
    return network.eval()


def _optimisers(network: Sab3r, run: JointConfig) -> list[torch.optim.Optimizer]:
    """AdamW, for the trunk at a share of the rate, and Muon for the matrices of the transformer blocks."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        parameter.requires_grad = run.part.trains(name) and not name.startswith(_FROZEN)  # loaded ones are all frozen
        if not parameter.requires_grad:
            continue
        kind = "rest"
        if name.startswith("encoder.trunk"):
            kind = "trunk"
        elif "_blocks" in name and parameter.ndim == 2:
            kind = "matrix"
        groups.setdefault((kind, parameter.ndim > 1), []).append(parameter)
    matrices = groups.pop(("matrix", True), [])
    adam = [
        {"params": p, "weight_decay": run.weight_decay if decayed and kind != "trunk" else 0.0,
         "lr": run.lr * (run.trunk_lr if kind == "trunk" else 1.0)}
        for (kind, decayed), p in groups.items()
    ]  # fmt: skip
    fused = network.device.type == "cuda"
    optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(adam, betas=(0.9, 0.98), fused=fused)]
    if matrices:
        optimisers.append(
            torch.optim.Muon(matrices, lr=run.lr, weight_decay=run.weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    return optimisers


def train_joint(
    out: Path, network: Sab3r, bank: ViewBank, targets: FeatureTargets, run: JointConfig,
    report: Callable[[str], None] = print, stop_at: int = 0, anchor: EfficientNetTrunk | None = None,
) -> Path:  # fmt: skip
    """Train, and keep OUT/last.pt; a run that was interrupted goes on from it. Returns its path.

    The averaged weights are under "average". Under torchrun gradients are averaged over the processes, each of which draws
    batches of its own. stop_at: end here, in the midst of the schedule (0: at its end). anchor: the trunk whose maps are to be
    kept; the network's own at the start where none is given.
    Raises FloatingPointError when the loss is no number, ValueError when the bank is empty; the last good file stays.
    """
    if not len(bank):
        raise ValueError("no rendered views yet; run `sab3r train render` beside this, or before it")
    out.mkdir(parents=True, exist_ok=True)
    last, device = out / "last.pt", bank.device
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    network = network.to(device).train()
    known = (anchor or network.encoder.trunk).to(device)
    objective = Objective(network, known, targets.to(device), bank.label_weights(), run)
    optimisers = _optimisers(network, run)
    rates = [[group["lr"] for group in o.param_groups] for o in optimisers]
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    step, spent = 0, 0.0
    if last.exists():
        state = safe_load(last)
        network.load_state_dict(state["network"])
        for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        average = {k: v.to(device) for k, v in state["average"].items()}
        objective.anchor.load_state_dict(state["anchor"])
        step, spent = state["step"], state["seconds"]
        report(f"goes on after step {step}")
    began, saved_at, shown = time.monotonic() - spent, time.monotonic(), time.monotonic()
    trained = [p for p in network.parameters() if p.requires_grad]
    gradients = LossAndGradients(objective, trained, graphs=device.type == "cuda" and world == 1)
    own = network.state_dict()  # views of what the optimisers change
    good = torch.ones((), dtype=torch.bool, device=device)

    def check():
        """On a GPU asking in every step would make it wait for the CPU."""
        if not good.item():
            raise FloatingPointError(f"the loss diverged up to step {step}; {last} holds what was good")

    def save():
        check()
        if rank:
            return
        state = {
            "network": network.state_dict(), "average": average, "optimisers": [o.state_dict() for o in optimisers],
            "anchor": objective.anchor.state_dict(), "step": step, "seconds": time.monotonic() - began,
        }  # fmt: skip
        with replacing(last) as part:
            torch.save(state, part)

    while not stop_at or step < stop_at:
        progress = (time.monotonic() - began) / (60 * run.minutes) if run.minutes else step / run.steps
        if progress >= 1:
            break
        factor = min(1.0, (step + 1) / run.warmup, (1 - progress) / run.decay)
        for optimiser, usual in zip(optimisers, rates, strict=True):
            for group, rate in zip(optimiser.param_groups, usual, strict=True):
                group["lr"] = rate * factor
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + step * world + rank)
        batch = bank.batch(run.groups, run.views, run.pairs, generator)
        terms = gradients(batch, Draws.of(batch, generator))
        if world > 1:
            for p in trained:
                if p.grad is not None:
                    torch.distributed.all_reduce(p.grad)
                    p.grad /= world
        size = nn.utils.clip_grad_norm_(trained, 1.0)
        good &= torch.isfinite(size)
        if device.type == "cpu":
            check()
        for optimiser in optimisers:
            optimiser.step()
        share = min(run.average, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_([average[k] for k in own], list(own.values()), 1 - share)
        step += 1
        if time.monotonic() - shown > 10:
            check()
            shown = time.monotonic()
            said = " ".join(f"{name} {value.item():.3f}" for name, value in terms.items())
            before, count = len(bank), bank.refresh()
            report(f"step {step} {100 * progress:.0f}% groups {count} lr {factor:.2f} {said}")
            if world == 1 and count > before:
                objective.weights.copy_(bank.label_weights())  # in place: a captured graph reads them
        if time.monotonic() - saved_at > run.save_seconds:
            save()
            saved_at = time.monotonic()
    save()
    return last
