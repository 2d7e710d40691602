"""The one door for two-view checkpoints: find, verify, convert, load; errors say what is missing and what to do.

Formats: our own folder (config.json + model.safetensors); the public MASt3R .pth (state dict under `model`) and
its safetensors form; the SAB3R authors' file (state dict under `module`); DUNE-MASt3R's two files (`dune_weights`).
Pickles are opened with `weights_only=True` and an allow-list; text inside them is parsed, never evaluated.
"""

import argparse
import ast
import json
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sab3r_ros.files import replacing, sha256, sha256_of, write_json
from sab3r_ros.models import catalogue, dune_weights
from sab3r_ros.models.catalogue import CheckpointError
from sab3r_ros.models.sab3r import Sab3r, Sab3rConfig
from sab3r_ros.models.state_dicts import check_fits, count_blocks, dpt_sizes

FORMAT, VERSION = "sab3r", 1


_OPENAI_TEXT = ("ViT-B-16-quickgelu", "openai")


@dataclass
class Checkpoint:
    """A network with its weights and what is known of them.

    id: short name with a fingerprint, stored in maps; text_encoder: (open_clip name, pretrained) or None; folder: where its
    files lie.
    """

    network: Sab3r
    id: str
    licence: str
    text_encoder: tuple[str, str | None] | None
    folder: Path | None = None


def load_checkpoint(name: str, device: str = "cpu") -> Checkpoint:
    """Load a checkpoint from a path, a known name or a hub name "owner/model".

    Raises CheckpointError.
    """
    place = catalogue.locate(name)
    path = place.path
    if path.is_dir() and (path / "config.json").is_file() and _read_json(path / "config.json").get("format") == FORMAT:
        return _load_own(path, device)
    if path.is_dir() and (files := dune_weights.find_files(path)):
        encoder, decoder = (read_torch_file(f) for f in files)
        dune_weights.check_backbone(decoder, files[0])
        state, config = dune_weights.assemble(encoder, decoder, path)
        mark = sha256_of(files)[:8]
        return Checkpoint(fit_network(state, config, path, device), f"{place.name}-{mark}", place.licence, None, path)
    state, hints = _read_state(path)
    config = infer_config(state, hints)
    network = fit_network(state, config, path, device)
    text = _OPENAI_TEXT if config.clip_head and config.clip_dim == 512 else None
    return Checkpoint(
        network,
        f"{path.stem}-{fingerprint(_weight_file(path))}",
        place.licence,
        text,
        path if path.is_dir() else path.parent,
    )


def save_checkpoint(
    folder: Path,
    network: Sab3r,
    name: str,
    text_encoder: str | None,
    licence: str,
    notes: dict[str, Any],
    half: bool = True,
) -> None:
    """Write our own format; a failed write leaves an older checkpoint intact.

    text_encoder: an open_clip name, or "local-dir:text" for a folder inside the checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v for k, v in network.state_dict().items() if not re.search(r"scratch\.layer\d_rn\.", k)}
    state = {k: (v.half() if half else v).contiguous().cpu() for k, v in state.items()}
    config = {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "licence": licence,
        "text_encoder": text_encoder,
        "network": asdict(network.cfg),
        "notes": notes,
    }
    with replacing(folder / "model.safetensors") as part:
        save_file(state, part)
        part.chmod(0o644)
    write_json(folder / "config.json", config)


def fingerprint(path: Path) -> str:
    """Eight hexadecimal digits of a file's SHA-256: of all of it, for training may change no more than tensors in its middle."""
    return sha256(path)[:8]


def _weight_file(path: Path) -> Path:
    return path / "model.safetensors" if path.is_dir() else path


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} should hold a JSON object")
    return content


def _load_own(folder: Path, device: str) -> Checkpoint:
    content = _read_json(folder / "config.json")
    if content.get("version", 0) > VERSION:
        raise CheckpointError(
            f"{folder} has format version {content['version']}, this release reads up to {VERSION}: update sab3r_ros"
        )
    known = {f.name for f in fields(Sab3rConfig)}
    settings = content.get("network", {})
    if unknown := set(settings) - known:
        raise CheckpointError(f"{folder}/config.json has unknown network settings: {', '.join(sorted(unknown))}")
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    state, _ = _read_state(folder)
    network = fit_network(state, Sab3rConfig(**settings), folder, device)
    text = content.get("text_encoder")
    encoder = None
    if text:
        inner = text.removeprefix("local-dir:")
        encoder = (
            (f"local-dir:{folder / inner}", None) if inner != text and not Path(inner).is_absolute() else (text, None)
        )
    mark = fingerprint(folder / "model.safetensors")
    name, licence = content.get("name", folder.name), content.get("licence", "unknown")
    return Checkpoint(network, f"{name}-{mark}", licence, encoder, folder)


def _read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict and constructor hints of a folder, a safetensors file or a torch file."""
    hints: dict[str, Any] = {}
    if path.is_dir():
        if (path / "config.json").is_file():
            hints = _read_json(path / "config.json")
        path = path / "model.safetensors"
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path), hints
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from error
    content = read_torch_file(path)
    args = content.get("args")
    text = getattr(args, "model", None) if not isinstance(args, dict) else args.get("model")
    hints = parse_constructor(text) if isinstance(text, str) else {}
    for key in ("model", "module", "state_dict"):
        if isinstance(content.get(key), dict):
            if key == "module":  # the SAB3R authors' DeepSpeed file leaves desc_conf_mode at conf_mode
                hints.setdefault("desc_conf_mode", ("exp", 1, float("inf")))
            return content[key], hints
    return content, hints


def read_torch_file(path: Path) -> dict[str, Any]:
    """A torch checkpoint's dictionary, without executing anything in it. Raises CheckpointError."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged or unsafe files
        raise CheckpointError(
            f"{path} cannot be opened safely as a torch checkpoint: {type(error).__name__}: {(str(error).splitlines() or ['empty file'])[0]}"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dictionary of weights")
    return content


def parse_constructor(text: str) -> dict[str, Any]:
    """Keyword arguments of a constructor call given as text, without evaluating it; `inf` is understood."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return {}
    if not isinstance(call, ast.Call):
        return {}

    def value(node):
        if isinstance(node, ast.Name) and node.id in ("inf", "infinity"):
            return float("inf")
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = value(node.operand)
            return -inner if isinstance(inner, (int, float)) else None
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(value(n) for n in node.elts)
        return node.value if isinstance(node, ast.Constant) else None

    return {k.arg: value(k.value) for k in call.keywords if k.arg}


def infer_config(state: dict[str, Tensor], hints: dict[str, Any]) -> Sab3rConfig:
    """The network's sizes from its weights' shapes; head counts and bounds from the hints, else 64 per head.

    Raises CheckpointError when the weights are not of this family.
    """
    essential = (
        "patch_embed.proj.weight",
        "decoder_embed.weight",
        "downstream_head1.dpt.head.4.weight",
        "downstream_head1.head_local_features.fc1.weight",
    )
    missing = [k for k in essential if k not in state]
    if missing:
        raise CheckpointError(
            f"not a MASt3R or SAB3R checkpoint: it has no {missing[0]} (first keys: {', '.join(list(state)[:3]) or 'none'})"
        )

    def feature(name):
        dpt, linear = (f"downstream_head1.{name}.{k}" for k in ("head.4.weight", "fc2.weight"))
        if dpt in state:
            return "dpt", state[dpt].shape[0]
        return ("linear", state[linear].shape[0] // 256) if linear in state else (None, 0)

    for key, expected in (("depth_mode", "exp"), ("conf_mode", "exp"), ("desc_conf_mode", "exp")):
        if key in hints and hints[key] and hints[key][0] != expected:
            raise CheckpointError(f"{key} {hints[key]} is not supported, only {expected!r}")
    enc_dim, dec_dim = state["patch_embed.proj.weight"].shape[0], state["decoder_embed.weight"].shape[0]
    mlp = state["downstream_head1.head_local_features.fc1.weight"].shape[0]
    desc_mode = hints.get("desc_conf_mode") or ("exp", 0)
    size = hints.get("img_size") or 512
    points = dpt_sizes(state, "dpt")
    config = Sab3rConfig(
        enc_dim=enc_dim, enc_depth=count_blocks(state, "enc_blocks"), enc_heads=hints.get("enc_num_heads") or enc_dim // 64,
        dec_dim=dec_dim, dec_depth=count_blocks(state, "dec_blocks"), dec_heads=hints.get("dec_num_heads") or dec_dim // 64,
        image_size=max(size) if isinstance(size, (tuple, list)) else int(size),
        dpt_dim=points.dim, dpt_last_dim=points.last_dim, dpt_layer_dims=points.layer_dims,
        desc_dim=state["downstream_head1.head_local_features.fc2.weight"].shape[0] // 256 - 1,
        desc_hidden_factor=mlp / (enc_dim + dec_dim), desc_conf_floor=float(desc_mode[1]),
    )  # fmt: skip
    (clip, clip_dim), (dino, dino_dim) = feature("clip_head"), feature("dino_head")
    for name, kind in (("clip_head", clip), ("dino_head", dino)):
        if kind == "dpt" and (sizes := dpt_sizes(state, name)) != points:
            layers, dim, last = sizes
            config = replace(config, feature_layer_dims=layers, feature_dpt_dim=dim, feature_last_dim=last)
    if clip:
        config = replace(config, clip_head=clip, clip_dim=clip_dim)
    return replace(config, dino_head=dino, dino_dim=dino_dim) if dino else config


def fit_network(state: dict[str, Tensor], config: Sab3rConfig, path: Path, device: str) -> Sab3r:
    """Put a state dict into a new network; says exactly what is missing or does not fit."""
    with torch.device("meta"):
        network = Sab3r(config)
    state = dict(state)
    for key in list(state):  # the two names of each DPT projection are one tensor
        if m := re.fullmatch(r"(.*scratch\.)layer_rn\.(\d)\.weight", key):
            state.setdefault(f"{m[1]}layer{int(m[2]) + 1}_rn.weight", state[key])
        elif m := re.fullmatch(r"(.*scratch\.)layer(\d)_rn\.weight", key):
            state.setdefault(f"{m[1]}layer_rn.{int(m[2]) - 1}.weight", state[key])
    if not any(k.startswith("dec_blocks2.") for k in state):
        state.update(
            {k.replace("dec_blocks.", "dec_blocks2.", 1): v for k, v in state.items() if k.startswith("dec_blocks.")}
        )
    state.setdefault("mask_token", torch.zeros(1, 1, config.dec_dim))
    check_fits(network, state, path)
    network.load_state_dict({k: v.float() for k, v in state.items()}, strict=True, assign=True)
    # Tokens lie channels-last in memory: convolutions with weights of the same layout need no reordering.
    return network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
