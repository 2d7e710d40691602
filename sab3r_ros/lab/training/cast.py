"""Training of CAST on clouds with questions: focal and dice loss (arXiv 2510.08316, section 3.3)."""

from pathlib import Path

import lightning as L
import torch
from torch import nn

from sab3r_ros.lab.training.affordance_data import AffordanceSamples, AffordanceSource
from sab3r_ros.lab.training.affordance_losses import segmentation_loss
from sab3r_ros.lab.training.trainer import RunConfig, TrainingModule, fit, network_state, start_from
from sab3r_ros.models.cast import Cast, CastConfig, Prompt
from sab3r_ros.models.cast_weights import load_cast
from sab3r_ros.models.image_prompt import ImagePromptEncoder
from sab3r_ros.models.state_dicts import load_strict, strip_prefix
from sab3r_ros.models.text import PromptEncoder

_READS_IMAGES = ("cast.image_projection.", "cast.image_type_embedding")
_PLACES = 512  # a quarter of the points is enough to judge an answer


class Segmenter(nn.Module):
    """CAST with the encoder of its questions."""

    def __init__(self, cfg: CastConfig):
        super().__init__()
        self.cast = Cast(cfg)
        self.text = PromptEncoder(cfg.text_dim)

    def forward(self, points, prompt: Prompt):
        return self.cast(points, prompt)


class CastTraining(TrainingModule):
    """One step over a batch of clouds, each encoded once and asked several things: in words, by an image, or by both.

    images: the frozen encoder of the images; None: they are left out.
    """

    def __init__(
        self, network: Segmenter, run: RunConfig, images: ImagePromptEncoder | None = None,
        focal_weight: float = 1.0, dice_weight: float = 1.0,
    ):  # fmt: skip
        super().__init__(run)
        self.network, self.focal_weight, self.dice_weight = network, focal_weight, dice_weight
        self._pictures = [images]  # in a list, so that the frozen encoder is no part of the checkpoints

    def on_fit_start(self):
        if self._pictures[0] is not None:
            self._pictures[0].to(self.device)

    def on_train_batch_start(self, *_):
        if not all(p.requires_grad for p in self.network.parameters()):
            self.network.eval()  # statistics of batch norms are answers to words too

    def training_step(self, batch, _index):
        count = batch["target"].shape[-1]
        cloud = self.network.cast.encode(batch["points"], batch["places"]).repeat(count)
        logits = self.network.cast.decode(cloud, self._prompt(batch))
        target = batch["target"].permute(2, 0, 1).flatten(0, 1)[..., None]
        loss = segmentation_loss(logits, target, self.focal_weight, self.dice_weight)
        return self.report(loss, {"segmentation": loss})

    def _prompt(self, batch) -> Prompt:
        """The prompts of all clouds' first questions, then of their second ones, and so on."""
        questions = [q for column in batch["question"] for q in column]
        text, padding = self.network.text(questions)
        silent = torch.tensor([not q for q in questions], device=text.device)
        prompt = Prompt(text, padding | silent[:, None])
        encoder, shown = self._pictures[0], batch["with_image"].T.flatten()
        if encoder is not None and shown.any():
            images = batch["image"].transpose(0, 1).flatten(0, 1)[shown]
            tokens = encoder(images.permute(0, 3, 1, 2).float() / 127.5 - 1)
            prompt.image = tokens.new_zeros(len(shown), *tokens.shape[1:])
            prompt.image[shown] = tokens
            prompt.image_padding = ~shown[:, None].expand(-1, tokens.shape[1])
        return prompt


def train_cast(
    out: Path, cfg: CastConfig, source: AffordanceSource, run: RunConfig, encoder: Path | None = None,
    start: Path | None = None, images: ImagePromptEncoder | None = None, images_only: bool = False,
) -> Path:  # fmt: skip
    """Train; resumes from OUT/last.ckpt, whose path is returned.

    encoder: a checkpoint of `train_cmat`, of which the point encoder is taken; start: one of an earlier run, of which all
    that fits is taken, or a folder of weights; images: the encoder of image prompts, without which those of the source are
    left out; images_only: train what reads its tokens and leave all the rest, and so all answers to words, as they are. Raises
    ValueError when a checkpoint does not fit, and as `fit`.
    """
    L.seed_everything(0)
    if images is not None and images.dim != cfg.image_dim:
        raise ValueError(f"the network takes image tokens of width {cfg.image_dim}, {images.id} gives {images.dim}")
    network = Segmenter(cfg)
    if start is not None and start.is_dir():
        weights = load_cast(str(start))
        load_strict(network.cast, weights.network.state_dict(), start)
        load_strict(network.text, weights.text.state_dict(), start)
    elif start is not None:
        start_from(network, start)
    if images_only:
        for name, parameter in network.named_parameters():
            parameter.requires_grad = name.startswith(_READS_IMAGES)
    if encoder is not None:
        load_strict(
            network.cast.point_encoder.MAE_encoder, strip_prefix(network_state(encoder), "MAE_encoder."), encoder
        )
    # Questions to one cloud differ in nothing but the prompt, which teaches to read it.
    samples = AffordanceSamples(source, places=_PLACES, questions=source.questions)
    return fit(CastTraining(network, run, images), samples, out)


def segmenter_from_training_checkpoint(path: Path, cfg: CastConfig) -> Segmenter:
    """The segmenter inside a checkpoint of `train_cast`. Raises ValueError naming what does not fit."""
    network = Segmenter(cfg)
    load_strict(network, network_state(path), path)
    return network.eval()
