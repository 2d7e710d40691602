"""Training of SAB3R on procedural rooms with a label teacher (the text embedding of each pixel's label)."""

from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from sab3r_ros.models.sab3r import PATCH, Sab3r, Sab3rConfig
from sab3r_ros.models.text import TextEncoder
from sab3r_ros.synthetic.materials import COLOUR_NAMES
from sab3r_ros.synthetic.objects import LABELS, STRUCTURE
from sab3r_ros.training.objective import ObjectiveConfig, sab3r_loss
from sab3r_ros.training.regression import ViewTarget
from sab3r_ros.training.rooms_data import HELD_OUT_SEEDS, RoomGroups

_STRUCTURE_STEP = 7  # every so many-th pixel of walls, floor and ceiling enters the feature loss


def label_teacher(encoder: TextEncoder) -> Tensor:
    """Embeddings (labels * colours, C) of "colour label", the target feature of every concept."""
    return encoder.encode_labels([f"{colour} {label}" for label in LABELS for colour in COLOUR_NAMES])


class Distillation(L.LightningModule):
    """One optimisation step over groups of views; every view is encoded once and decoded in several pairs."""

    def __init__(
        self, network: Sab3r, teacher: Tensor, objective: ObjectiveConfig, lr: float, steps: int, warmup: int = 300
    ):
        super().__init__()
        self.network = network
        self.register_buffer("teacher", teacher)
        self.objective, self.lr, self.steps, self.warmup = objective, lr, steps, warmup

    def training_step(self, batch, _index):
        groups, views = batch["images"].shape[:2]
        images = batch["images"].flatten(0, 1).float() / 127.5 - 1
        if images.device.type == "cpu":
            images = images.contiguous(memory_format=torch.channels_last)
        encoded = self.network.encode(images)
        offset = torch.arange(groups, device=images.device)[:, None] * views
        first, second = ((batch["pairs"][..., k] + offset).flatten() for k in (0, 1))
        pred1, pred2 = self.network.predict(encoded[first], encoded[second])
        target1, target2 = self._target(batch, first, 1), self._target(batch, second, 2)
        total, terms = sab3r_loss(target1, target2, pred1, pred2, self.objective)
        self.log("loss", total, prog_bar=True)
        self.log_dict({f"loss/{k}": v.detach() for k, v in terms.items()}, prog_bar=True)
        return total

    def _target(self, batch, index, side):
        def pick(name):
            return batch[name].flatten(0, 1)[index]

        valid, concept = pick("valid"), pick("concept")
        # Walls, floor and ceiling fill most pixels; without this the features of everything else are not learnt.
        structure = concept < len(STRUCTURE) * len(COLOUR_NAMES)
        pixel = torch.arange(valid[0].numel(), device=valid.device).view(valid.shape[1:])
        balanced = valid & (~structure | ((pixel + self.global_step) % _STRUCTURE_STEP == 0))
        return ViewTarget(
            points=pick("points"), valid=valid, cam2world=pick("pose"),
            metric=torch.ones(len(index), dtype=torch.bool, device=valid.device),
            corres=batch[f"corres{side}"].flatten(0, 1), valid_corres=batch["valid_corres"].flatten(0, 1),
            clip=self.teacher[concept] if self.network.cfg.clip_head else None, feature_valid=balanced,
        )  # fmt: skip

    def on_before_optimizer_step(self, optimizer):
        if not all(torch.isfinite(p.grad).all() for p in self.parameters() if p.grad is not None):
            raise FloatingPointError(
                f"a gradient became NaN at step {self.global_step}; the last checkpoint is intact, resume with a lower learning rate"
            )

    def configure_optimizers(self):
        plain = [p for p in self.network.parameters() if p.ndim < 2]
        decayed = [p for p in self.network.parameters() if p.ndim >= 2]
        optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
            lr=self.lr, betas=(0.9, 0.95),
        )  # fmt: skip

        def rate(step):  # warm-up, constant, linear to zero over the last fifth
            return min(1.0, (step + 1) / self.warmup, max(self.steps - step, 0) / (0.2 * self.steps))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def start_alike(network: Sab3r) -> None:
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


class _StepsFrom(torch.utils.data.Sampler[list[int]]):
    """Batches of the steps from `done` on; its length is that of the whole run, as Lightning counts them."""

    def __init__(self, done: int, steps: int, groups: int):
        self.done, self.steps, self.groups = done, steps, groups

    def __iter__(self):
        for step in range(self.done, self.steps):
            yield list(range(step * self.groups, (step + 1) * self.groups))

    def __len__(self):
        return self.steps


def train_distill(
    out: Path,
    network_config: Sab3rConfig,
    text_model: str,
    steps: int,
    groups: int = 3,
    lr: float = 6e-4,
    first_seed: int = 0,
    workers: int = 1,
    resume: bool = True,
    objective: ObjectiveConfig | None = None,
    save_every: int = 200,
    log_every: int = 20,
    stop_at: int | None = None,
) -> Path:
    """Train for `steps` optimiser steps, each over `groups` rooms never seen before; resumes from OUT/last.ckpt.

    Writes OUT/last.ckpt every `save_every` steps and returns its path. stop_at: end after this step although the
    schedule goes on to `steps`. Raises ValueError when the seeds would
    reach the held-out ones.
    """
    if first_seed + steps * groups > HELD_OUT_SEEDS.start:
        raise ValueError("the training seeds would reach the held-out rooms; choose a smaller first_seed")
    L.seed_everything(0)
    out.mkdir(parents=True, exist_ok=True)
    teacher = label_teacher(TextEncoder(text_model))
    network = Sab3r(network_config)
    start_alike(network)
    if not torch.cuda.is_available():
        network = network.to(memory_format=torch.channels_last)
    module = Distillation(network, teacher, objective or ObjectiveConfig(), lr, steps)
    last = out / "last.ckpt"
    resume_from = last if resume and last.exists() else None
    # The seed of a sample is its position in the run, so a resumed run continues with rooms not yet seen.
    done = torch.load(resume_from, weights_only=False, map_location="cpu")["global_step"] if resume_from else 0
    data = RoomGroups(first_seed, steps * groups, *_size(network_config))
    loader = torch.utils.data.DataLoader(
        data,
        batch_sampler=_StepsFrom(done, steps, groups),
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
    )
    saver = L.pytorch.callbacks.ModelCheckpoint(
        dirpath=out, filename="last", every_n_train_steps=save_every, enable_version_counter=False
    )
    trainer = L.Trainer(
        max_steps=stop_at or steps, max_epochs=-1, callbacks=[saver], gradient_clip_val=1.0, log_every_n_steps=log_every,
        logger=[L.pytorch.loggers.CSVLogger(out, name="log"), L.pytorch.loggers.TensorBoardLogger(out, name="tensorboard")],
        enable_model_summary=False, precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
    )  # fmt: skip
    trainer.fit(module, loader, ckpt_path=resume_from, weights_only=False)
    trainer.save_checkpoint(last)
    return last


def _size(cfg: Sab3rConfig):
    return cfg.image_size, cfg.image_size * 3 // 4


def network_from_training_checkpoint(path: Path, cfg: Sab3rConfig) -> Sab3r:
    """The network inside a Lightning checkpoint of this module."""
    state = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
    network = Sab3r(cfg)
    network.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    return network
