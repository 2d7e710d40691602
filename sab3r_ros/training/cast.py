"""Training of CAST on clouds with questions: focal and dice loss (arXiv 2510.08316, section 3.3)."""

from pathlib import Path

import lightning as L
from torch import nn

from sab3r_ros.models.cast import Cast, CastConfig, Prompt
from sab3r_ros.models.text import PromptEncoder
from sab3r_ros.training.affordance_data import AffordanceSamples, AffordanceSource
from sab3r_ros.training.affordance_losses import segmentation_loss
from sab3r_ros.training.runs import RunConfig, Trained, fit, network_state


class Segmentor(nn.Module):
    """CAST with the encoder of its questions."""

    def __init__(self, cfg: CastConfig):
        super().__init__()
        self.cast = Cast(cfg)
        self.text = PromptEncoder(cfg.text_dim)

    def forward(self, points, questions):
        return self.cast(points, Prompt(*self.text(questions)))


class CastTraining(Trained):
    """One step over a batch of clouds, each with a question of its own."""

    def __init__(self, network: Segmentor, run: RunConfig, focal_weight: float = 1.0, dice_weight: float = 1.0):
        super().__init__(run)
        self.network, self.focal_weight, self.dice_weight = network, focal_weight, dice_weight

    def training_step(self, batch, _index):
        logits = self.network(batch["points"], batch["question"])
        loss = segmentation_loss(logits, batch["target"], self.focal_weight, self.dice_weight)
        return self.report(loss, {"segmentation": loss})


def train_cast(
    out: Path, cfg: CastConfig, source: AffordanceSource, run: RunConfig, encoder: Path | None = None
) -> Path:
    """Train; resumes from OUT/last.ckpt, whose path is returned.

    encoder: a checkpoint of `train_cmat`, of which the point encoder is taken. Raises ValueError when it does not
    fit, and as `fit`.
    """
    L.seed_everything(0)
    network = Segmentor(cfg)
    if encoder is not None:
        state = network_state(encoder)
        own = {k.removeprefix("MAE_encoder."): v for k, v in state.items() if k.startswith("MAE_encoder.")}
        try:
            network.cast.point_encoder.MAE_encoder.load_state_dict(own)
        except RuntimeError as error:
            raise ValueError(f"the point encoder in {encoder} does not fit: {error}") from error
    return fit(CastTraining(network, run), AffordanceSamples(source), out)


def segmentor_from_training_checkpoint(path: Path, cfg: CastConfig) -> Segmentor:
    """The segmentor inside a checkpoint of `train_cast`."""
    network = Segmentor(cfg)
    network.load_state_dict(network_state(path))
    return network.eval()
