"""Features from MaskCLIP and FeatUp beside any geometry model; with MASt3R, the baseline of SAB3R's paper."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.files import sha256_of
from sab3r_ros.models import catalogue
from sab3r_ros.models.base import PairPrediction
from sab3r_ros.models.catalogue import CheckpointError
from sab3r_ros.models.featup import FeatUpTeacher, load_featup
from sab3r_ros.models.maskclip import load_maskclip
from sab3r_ros.models.preprocess import to_input
from sab3r_ros.models.text import TextEncoder

_CLIP = "ViT-B-16-quickgelu"  # OpenAI's weights were trained with QuickGELU
_FOLDER = "clip"
_PATCH = 16


class MaskClipFeatures:
    """The `FeatureModel` of two files: a CLIP and FeatUp's upsampler for it.

    The CLIP is OpenAI's ViT-B-16.pt, or a folder `clip` in open_clip's layout. Files are fingerprinted at once and loaded when
    first needed, so that questions to a saved map load no image tower. Raises CheckpointError for missing files.
    """

    def __init__(self, folder: Path, licence: str, device: str = "cpu"):
        self.folder, self.licence, self.device = folder, licence, device
        self._upsampler = folder / "maskclip_jbu_stack_cocostuff.ckpt"
        local = folder / _FOLDER
        self._clip = (f"local-dir:{local}", "") if local.is_dir() else (_CLIP, str(folder / "ViT-B-16.pt"))
        weights = local / "open_clip_model.safetensors" if local.is_dir() else folder / "ViT-B-16.pt"
        for path in (weights, self._upsampler):
            if not path.is_file():
                raise CheckpointError(f"MaskCLIP needs {path}, which is missing: run `sab3r fetch maskclip`")
        self.id = f"maskclip-{sha256_of([weights, self._upsampler])[:8]}"
        self._network: FeatUpTeacher | None = None
        self._stack, _ = load_featup(self._upsampler)
        self.dim = self._stack.fixup_proj[1].out_channels

    def _load(self) -> FeatUpTeacher:
        if self._network is None:
            name, weights = self._clip
            backbone = load_maskclip(weights, name)
            if backbone.visual.output_dim != self.dim:
                raise CheckpointError(
                    f"{self.folder}: CLIP's features have {backbone.visual.output_dim} numbers, the upsampler wants {self.dim}"
                )
            self._network = FeatUpTeacher(backbone, self._stack).to(self.device)
        return self._network

    @torch.inference_mode()
    def image_features(self, image: np.ndarray, prediction: PairPrediction) -> Tensor:
        """See `FeatureModel.image_features`; the prediction is not looked at.

        The image is brought to sides that are multiples of 16, and its features back to its own size.
        """
        del prediction
        height, width = image.shape[:2]
        size = tuple(max(2, round(side / _PATCH)) * _PATCH for side in (height, width))
        pixels = to_input(image).to(self.device)
        if size != (height, width):
            pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        features = self._load()(pixels)
        if size != (height, width):
            moved = features.permute(0, 3, 1, 2)
            moved = torch.nn.functional.interpolate(moved, (height, width), mode="bilinear", align_corners=False)
            features = moved.permute(0, 2, 3, 1)
        return features[0]

    def text_encoder(self, name: str = "", pretrained: str = "") -> TextEncoder:
        """See `FeatureModel.text_encoder`."""
        own_name, own_weights = self._clip
        return TextEncoder(name or own_name, (pretrained if name else own_weights) or None)


def load_maskclip_features(name: str, device: str = "cpu") -> MaskClipFeatures:
    """From a known name or a folder. Raises CheckpointError."""
    place = catalogue.locate(name)
    return MaskClipFeatures(place.path, place.licence, device)
