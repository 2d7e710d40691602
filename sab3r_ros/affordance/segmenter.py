"""Scores per point: where on this object can one do that?"""

import re

import numpy as np
import torch
from scipy.spatial import cKDTree

from sab3r_ros.models.cast import Prompt, unit_sphere
from sab3r_ros.models.cast_weights import CastCheckpoint, load_cast
from sab3r_ros.models.image_prompt import ImagePromptEncoder, load_image_prompts

MIN_POINTS = 16
_POINTS = 2048


class AffordanceRequestError(ValueError):
    """A cloud or prompt that cannot be answered; the message says why and what to do."""


class AffordanceSegmenter:
    """A CAST checkpoint that answers questions about single objects."""

    def __init__(self, checkpoint: CastCheckpoint | str = "cast_tiny", device: str = "cpu"):
        self.checkpoint = load_cast(checkpoint, device) if isinstance(checkpoint, str) else checkpoint
        self.device = device
        self._image_encoder: ImagePromptEncoder | None = None  # loaded when the first image comes

    @torch.inference_mode()
    def score(self, points: np.ndarray, prompt: str, image: np.ndarray | None = None) -> np.ndarray:
        """How much every point (N,3) of an object (metres, z up) affords what the prompt asks, (N,) float32 in [0, 1].

        image (H,W,3) uint8: an image of the action, beside the prompt or, when that is empty, instead of it. Points that
        are not finite get 0. Larger clouds are thinned to 2048 points for the network and every point takes the score of
        its nearest one. Raises AffordanceRequestError for an empty prompt, one without a letter that the text encoder was
        trained on (it knows English), fewer than 16 finite points, or an image that cannot be used.
        """
        asked = self._prompt(prompt, image)
        points = np.asarray(points, np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise AffordanceRequestError(f"points must be an array (N,3), got {points.shape}")
        finite = np.isfinite(points).all(-1)
        usable = points[finite]
        if len(usable) < MIN_POINTS:
            raise AffordanceRequestError(
                f"the object has {len(usable)} usable points; at least {MIN_POINTS} are needed"
            )
        if np.ptp(usable, axis=0).max() < 1e-6:
            raise AffordanceRequestError("all points of the object lie in one place")
        # A fixed order: the same cloud always gets the same answer.
        rows = np.random.default_rng(0).permutation(len(usable))[:_POINTS]
        repeated = np.resize(rows, _POINTS) if len(rows) < _POINTS else rows
        unit = unit_sphere(torch.from_numpy(usable[repeated]).float()[None].to(self.device))
        logits = self.checkpoint.network(unit, asked)
        chosen = logits.sigmoid()[0, : len(rows), 0].cpu().numpy()
        scores = np.zeros(len(points), np.float32)
        scores[finite] = chosen[cKDTree(usable[rows]).query(usable)[1]]
        return scores

    def _prompt(self, prompt: str, image: np.ndarray | None) -> Prompt:
        words = checked_prompt(prompt) if prompt.strip() or image is None else ""
        text, padding = self.checkpoint.text([words]) if words else (None, None)
        return Prompt(text, padding, None if image is None else self._picture(image))

    def _picture(self, image: np.ndarray) -> torch.Tensor:
        if self.checkpoint.image is None:
            raise AffordanceRequestError("the loaded checkpoint takes no image prompts; ask in words")
        try:
            if self._image_encoder is None:
                self._image_encoder = load_image_prompts(self.checkpoint.image, self.device)
            return self._image_encoder.read(image)
        except ValueError as error:
            raise AffordanceRequestError(f"cannot use the image: {error}") from error


def checked_prompt(prompt: str) -> str:
    """The prompt without surplus blanks. Raises AffordanceRequestError for an empty one or one in another script."""
    cleaned = re.sub(r"\s+", " ", prompt).strip()
    if not cleaned:
        raise AffordanceRequestError(
            "the prompt is empty; ask for an affordance (grasp, pour, open ...) or put a question"
        )
    if not re.search(r"[a-zA-Z]{2}", cleaned):
        raise AffordanceRequestError(
            f"the prompt {cleaned!r} has no English word; the text encoder knows no other language"
        )
    return cleaned
