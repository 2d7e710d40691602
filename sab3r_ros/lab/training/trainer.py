"""What all training runs share: optimiser and schedule, resuming exactly, progress, logs, several processes."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from timm.optim import Muon
from torch import nn

from sab3r_ros.models.safe_load import safe_load
from sab3r_ros.models.state_dicts import strip_prefix


@dataclass(frozen=True)
class RunConfig:
    """Length and pace of a run.

    steps: optimiser steps. batch: samples of one step, over all processes. accumulate: how many parts a step's batch
    is computed in. decay: share of the steps at the end over which the rate falls to zero. stop_at: end after this
    step although the schedule goes on. workers: processes that prepare samples. bfloat16: mixed precision on a CPU too,
    which pays where it multiplies bfloat16 matrices (AMX); GPUs always use it. muon: Muon instead of AdamW for the
    matrices of transformer blocks; see `TrainingModule.configure_optimizers`.
    """

    steps: int
    batch: int
    lr: float
    accumulate: int = 1
    warmup: int = 300
    decay: float = 0.2
    weight_decay: float = 0.05
    workers: int = 1
    save_every: int = 200
    log_every: int = 20
    stop_at: int | None = None
    resume: bool = True
    bfloat16: bool = False
    muon: bool = False


class TrainingModule(L.LightningModule):
    """Base of the modules that `fit` trains: optimiser, schedule and reports; what requires no gradient is not trained."""

    def __init__(self, run: RunConfig):
        super().__init__()
        self.run = run

    def report(self, total, terms):
        """Log a loss and its terms under the names that all runs use."""
        self.log("loss", total.detach(), prog_bar=True, sync_dist=True)
        self.log_dict({f"loss/{k}": v.detach() for k, v in terms.items()}, prog_bar=True, sync_dist=True)
        return total

    def on_train_start(self):
        # A resumed optimiser brings its old rate along; the one asked for now holds.
        schedule = self.lr_schedulers()
        schedule.base_lrs = [self.run.lr for _ in schedule.base_lrs]
        for group, factor in zip(schedule.optimizer.param_groups, schedule.lr_lambdas, strict=True):
            group["initial_lr"] = self.run.lr
            group["lr"] = self.run.lr * factor(schedule.last_epoch)

    def on_before_optimizer_step(self, optimizer):
        if not all(torch.isfinite(p.grad).all() for p in self.parameters() if p.grad is not None):
            raise FloatingPointError(
                f"a gradient became NaN at step {self.global_step}; the last checkpoint is intact, resume with a lower learning rate"
            )

    def configure_optimizers(self):
        """AdamW; with `muon` the matrices of transformer blocks are stepped by Muon and the rest by NAdamW.

        Muon (Jordan 2024) gives every direction of a matrix' momentum the same weight; scaled as in arXiv 2502.16982 it
        takes AdamW's rate and weight decay.
        """
        run = self.run
        inner, outer, small = [], [], []
        for name, parameter in self.named_parameters():
            if parameter.requires_grad and parameter.ndim < 2:
                small.append(parameter)
            elif parameter.requires_grad:
                (inner if run.muon and "_blocks." in name else outer).append(parameter)
        groups = [{"params": outer, "weight_decay": run.weight_decay}, {"params": small, "weight_decay": 0.0}]
        common = {"lr": run.lr, "betas": (0.9, 0.95)}
        if run.muon:
            for group in groups:
                group["use_fallback"] = True
            groups.insert(0, {"params": inner, "weight_decay": run.weight_decay})
            optimiser = Muon(groups, **common, nesterov=True, adjust_lr_fn="match_rms_adamw")
        else:
            optimiser = torch.optim.AdamW(groups, **common)

        def rate(step):
            return min(1.0, (step + 1) / run.warmup, max(run.steps - step, 0) / max(run.decay * run.steps, 1))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _StepsFrom(torch.utils.data.Sampler[list[int]]):
    """Sample numbers of the parts of every step from `done` on, of which this process takes its share.

    Sample k of a run is always the same, so a resumed run goes on with samples not yet seen and a run on several
    processes sees what one process would. The length is that of the whole run, as Lightning counts.
    """

    def __init__(self, done: int, run: RunConfig, rank: int, world: int):
        self.done, self.run, self.rank, self.world = done, run, rank, world
        self.part, rest = divmod(run.batch, run.accumulate * world)
        if rest or not self.part:
            raise ValueError(
                f"a batch of {run.batch} cannot be shared by {world} processes in {run.accumulate} parts each"
            )

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.done, self.run.steps):
            for k in range(self.run.accumulate):
                start = step * self.run.batch + (k * self.world + self.rank) * self.part
                yield list(range(start, start + self.part))

    def __len__(self):
        return self.run.steps * self.run.accumulate


def fit(module: TrainingModule, data: torch.utils.data.Dataset, out: Path) -> Path:
    """Train and keep OUT/last.ckpt every `save_every` steps; resumes from it. Returns its path.

    Under torchrun every process takes its share of each step's batch. Raises ValueError when the batch cannot be
    shared, FloatingPointError when a gradient becomes NaN, OSError when the disk is full; the last checkpoint that
    was written whole stays.
    """
    run = module.run
    out.mkdir(parents=True, exist_ok=True)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    last = out / "last.ckpt"
    resume_from = last if run.resume and last.exists() else None
    done = safe_load(resume_from)["global_step"] if resume_from else 0
    loader = torch.utils.data.DataLoader(
        data,
        batch_sampler=_StepsFrom(done, run, rank, world),
        num_workers=run.workers,
        persistent_workers=run.workers > 0,
        prefetch_factor=4 if run.workers else None,
    )
    gpu = torch.cuda.is_available()
    trainer = L.Trainer(
        max_steps=run.stop_at or run.steps, max_epochs=-1, accumulate_grad_batches=run.accumulate,
        callbacks=[_Saver(last, run.save_every)], gradient_clip_val=1.0, log_every_n_steps=run.log_every,
        logger=[L.pytorch.loggers.CSVLogger(out, name="log"), L.pytorch.loggers.TensorBoardLogger(out, name="tensorboard")],
        accelerator="gpu" if gpu else "cpu", devices=local, num_nodes=world // local, strategy="ddp_find_unused_parameters_true" if world > 1 else "auto",
        use_distributed_sampler=False, enable_checkpointing=False, enable_model_summary=False,
        precision="bf16-mixed" if gpu or run.bfloat16 else "32-true",
    )  # fmt: skip
    trainer.fit(module, loader, ckpt_path=resume_from, weights_only=False)
    _Saver(last, 1).save(trainer)
    return last


class _Saver(L.Callback):
    """Writes the checkpoint beside its place and moves it there, so that a full disk or a kill leaves the old one."""

    def __init__(self, path: Path, every: int):
        self.path, self.every = path, every

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        stepped = (batch_index + 1) % trainer.accumulate_grad_batches == 0
        if stepped and trainer.global_step % self.every == 0:
            self.save(trainer)

    def save(self, trainer):
        """Write now."""
        part = self.path.with_suffix(".part")
        try:
            trainer.save_checkpoint(part)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OSError(f"cannot write {self.path}: {error}; the last checkpoint is intact") from error
        if trainer.is_global_zero:
            part.replace(self.path)


def network_state(path: Path) -> dict[str, torch.Tensor]:
    """The network's parameters in a checkpoint of `fit`. Raises ValueError for a file that is none."""
    try:
        state = safe_load(path)["state_dict"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a checkpoint of a training run: {error}") from error
    return strip_prefix(state, "network.")


def start_from(network: nn.Module, path: Path) -> list[str]:
    """Take over every parameter of a checkpoint that has a place in `network`; returns the names that stay as they are.

    Raises ValueError when nothing fits or a shape differs.
    """
    own, given = network.state_dict(), network_state(path)
    shared = own.keys() & given.keys()
    wrong = [k for k in shared if own[k].shape != given[k].shape]
    if wrong or not shared:
        raise ValueError(f"{path} does not fit this network" + (f": {wrong[0]} has another shape" if wrong else ""))
    network.load_state_dict({k: given[k] for k in shared}, strict=False)
    return sorted(own.keys() - shared)
