"""Checkpoints of Point-MAE and CAST: our own folders, the public Point-MAE files, and LAS's released layout."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from sab3r_ros.files import replacing, write_json
from sab3r_ros.models.cast import Cast, CastConfig
from sab3r_ros.models.catalogue import ASSETS, CheckpointError
from sab3r_ros.models.image_prompt import ImagePromptWeights
from sab3r_ros.models.point_mae import PointEncoder, PointMaeConfig
from sab3r_ros.models.safe_load import safe_load
from sab3r_ros.models.state_dicts import load_strict, strip_prefix
from sab3r_ros.models.text import PromptEncoder

FORMAT, VERSION = "cast", 1
_KNOWN = {"cast_tiny": ASSETS / "cast_tiny"}


@dataclass
class CastCheckpoint:
    """A segmenter and the encoder of its text prompts, in evaluation mode; image: whose tokens its image prompts are,
    None when it was trained without."""

    network: Cast
    text: PromptEncoder
    name: str
    licence: str
    image: ImagePromptWeights | None = None


def save_cast(
    folder: Path, network: Cast, text: PromptEncoder, licence: str, notes: dict[str, Any],
    image: ImagePromptWeights | None = None,
) -> None:  # fmt: skip
    """Write config.json, model.safetensors (float16) and text/; a failed write leaves older files intact.

    The encoder of image prompts is named, not written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text.save(folder / "text")
    state = {k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in network.state_dict().items()}
    with replacing(folder / "model.safetensors") as part:
        save_file(state, part)
        part.chmod(0o644)
    config = {
        "format": FORMAT, "version": VERSION, "name": folder.name, "licence": licence, "network": asdict(network.cfg), "notes": notes,
        "image": asdict(image) if image else None,
    }  # fmt: skip
    write_json(folder / "config.json", config)


def load_cast(name: str = "cast_tiny", device: str = "cpu") -> CastCheckpoint:
    """Load our own format from a folder or by a known name. Raises CheckpointError."""
    folder = _KNOWN.get(name) or Path(name).expanduser()
    if not folder.is_dir():
        raise CheckpointError(
            f"no CAST checkpoint {name!r}: give {', '.join(_KNOWN)} or a folder that `sab3r train cast RUN --export FOLDER` wrote"
        )
    try:
        content = json.loads((folder / "config.json").read_text())
        if content.get("format") != FORMAT or content.get("version", 0) > VERSION:
            raise CheckpointError(f"{folder} is not a CAST checkpoint of version {VERSION} or older")
        settings = content["network"]
        settings["points"] = PointMaeConfig(**settings["points"])
        network = Cast(CastConfig(**settings))
        state = {
            k: v.float() if v.is_floating_point() else v for k, v in load_file(folder / "model.safetensors").items()
        }
        load_strict(network, state, folder)
        image = ImagePromptWeights(**content["image"]) if content.get("image") else None
    except CheckpointError:
        raise
    except Exception as error:  # json, safetensors, torch and missing keys each raise their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"cannot load a CAST checkpoint from {folder}: {reason}") from error
    text = PromptEncoder.load(folder / "text")
    return CastCheckpoint(
        network.to(device).eval().requires_grad_(False),
        text.to(device).eval().requires_grad_(False),
        content["name"],
        content["licence"],
        image,
    )


def load_point_mae(path: Path, encoder: PointEncoder) -> None:
    """Put a public Point-MAE or CMAT pre-training file into an encoder. Raises CheckpointError naming what does not fit."""
    state = _torch_state(path, ("base_model", "model", "state_dict"))
    load_strict(encoder, strip_prefix(state, "MAE_encoder."), path)


def load_las(path: Path, network: Cast) -> None:
    """Put a released LAS file into a network of its sizes; its prompt encoder (RoBERTa, DINO) is not part of `Cast`.

    Raises CheckpointError naming what does not fit.
    """
    state = _torch_state(path, ("model_state_dict", "model", "state_dict"))
    load_strict(network, {k: v for k, v in state.items() if not k.startswith("prompt_encoder.")}, path)


def _torch_state(path: Path, keys: tuple[str, ...]) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        content = safe_load(path)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    state = (
        next((content[k] for k in keys if isinstance(content.get(k), dict)), content)
        if isinstance(content, dict)
        else {}
    )
    state = {k: v for k, v in state.items() if isinstance(v, Tensor)}
    if state and all(k.startswith("module.") for k in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}
    return state
