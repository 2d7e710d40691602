"""Images as prompts: SAB3R's encoder reads them, its tokens are what CAST attends to."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sab3r_ros.models.catalogue import CheckpointError
from sab3r_ros.models.preprocess import framing, resize_and_crop, to_input
from sab3r_ros.models.weights import Checkpoint, load_checkpoint

# Pixels of a prompt image, as in training: an action fills it, and every token is attended to by every point.
_LONG_SIDE = 128


@dataclass(frozen=True)
class ImagePromptWeights:
    """The SAB3R checkpoint that a CAST checkpoint was trained with: what to load it by, and its id with the fingerprint."""

    checkpoint: str
    id: str


class ImagePromptEncoder(nn.Module):
    """A frozen SAB3R encoder."""

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.network, self.id = checkpoint.network, checkpoint.id

    @property
    def dim(self) -> int:
        """Width of the tokens."""
        return self.network.cfg.enc_dim

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] (B,3,H,W), sides multiples of 16, to tokens (B,H*W/256,dim)."""
        return self.network.encode(images).tokens

    def read(self, rgb: np.ndarray) -> Tensor:
        """An image (H,W,3) uint8 of any size to tokens (1,M,dim). Raises ValueError for an empty or too narrow one."""
        plan = framing(rgb.shape[1], rgb.shape[0], _LONG_SIDE)
        return self(to_input(resize_and_crop(rgb, plan)).to(self.network.device))


def load_image_prompts(weights: ImagePromptWeights, device: str = "cpu") -> ImagePromptEncoder:
    """The encoder that a CAST checkpoint was trained with.

    Raises CheckpointError when the weights under its name are others: their tokens mean something else.
    """
    encoder = ImagePromptEncoder(load_checkpoint(weights.checkpoint, device))
    if encoder.id != weights.id:
        raise CheckpointError(
            f"image prompts were trained with {weights.id}, but {weights.checkpoint} is {encoder.id} here: ask in words, "
            "or train the affordance network again (`sab3r train cast`)"
        )
    return encoder
