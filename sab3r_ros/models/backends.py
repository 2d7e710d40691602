"""From settings to models: the one place that knows which classes stand behind a name."""

import torch

from sab3r_ros.config import ModelSettings
from sab3r_ros.models.base import Backend, FeatureModel
from sab3r_ros.models.catalogue import known_model
from sab3r_ros.models.mast3r_maskclip import load_maskclip_features
from sab3r_ros.models.runtimes import Runtimes
from sab3r_ros.models.two_view import OnePassFeatures, TwoViewModel
from sab3r_ros.models.weights import Checkpoint, load_checkpoint

_NONE = "none"


def choose_device(name: str) -> str:
    """Resolve "auto"; raises ValueError when a GPU is asked for and there is none."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device {name!r} was asked for, but torch finds no CUDA GPU; use device auto or cpu (`sab3r doctor` tells more)"
        )
    return name


def load_backend(settings: ModelSettings, num_references: int = 0) -> Backend:
    """Geometry and features that the settings name, on their device.

    num_references: keyframes that a frame is decoded against; on a GPU, batches are padded to it.
    Raises CheckpointError (a ValueError) for weights that cannot be had, ValueError for a device that is not there.
    """
    device = choose_device(settings.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    geometry_name, feature_name = _names(settings)
    checkpoint = load_checkpoint(geometry_name, device)
    padding = num_references if device.startswith("cuda") else 0
    runtimes = Runtimes(checkpoint, settings.runtime if device == "cpu" else "torch", settings.threads)
    geometry = TwoViewModel(checkpoint, device, settings.image_size, settings.half_precision, padding, runtimes)
    return Backend(geometry, _features(feature_name, checkpoint, device, runtimes))


def load_feature_model(settings: ModelSettings) -> FeatureModel | None:
    """The feature model alone, for questions to a saved map. Raises CheckpointError."""
    geometry_name, feature_name = _names(settings)
    checkpoint = None if feature_name else load_checkpoint(geometry_name)
    return _features(feature_name, checkpoint, "cpu")


def _names(settings: ModelSettings) -> tuple[str, str]:
    """Names of the geometry's and of the features' checkpoint; "" = the features that the geometry's network has."""
    known = known_model(settings.checkpoint)
    if known and known.parts:
        return known.geometry, settings.features or known.features
    return settings.checkpoint, settings.features


def _features(
    name: str, checkpoint: Checkpoint | None, device: str, runtimes: Runtimes | None = None
) -> FeatureModel | None:
    if name == _NONE:
        return None
    if name:
        return load_maskclip_features(name, device)
    assert checkpoint is not None
    return OnePassFeatures(checkpoint, runtimes) if checkpoint.network.cfg.clip_head else None
