"""DUNE-MASt3R's two files: an encoder's and a decoder's, assembled into one network."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from sab3r_ros.models.catalogue import CheckpointError
from sab3r_ros.models.sab3r import Sab3rConfig
from sab3r_ros.models.state_dicts import count_blocks, dpt_sizes, strip_prefix

_UNUSED = ("mast3r.patch_embed.", "mast3r.enc_norm.")  # in the decoder file and never used
_HEAD_DIM = 64
_IMAGE_SIZE = 518


def find_files(folder: Path) -> tuple[Path, Path] | None:
    """The encoder's and the decoder's file in a folder; None where it is no such folder.

    Raises CheckpointError where one of the two is missing, or several could be meant.
    """
    files = sorted(folder.glob("dune*.pth"))
    decoders = [f for f in files if f.name.startswith("dunemast3r")]
    encoders = [f for f in files if f not in decoders]
    if not files:
        return None
    if len(decoders) != 1 or len(encoders) != 1:
        raise CheckpointError(
            f"{folder} needs one encoder file (dune_vit….pth) and one decoder file (dunemast3r….pth), it has "
            f"{len(encoders)} and {len(decoders)}"
        )
    return encoders[0], decoders[0]


def encoder_state(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """The encoder's weights of an encoder file, without prefixes; projectors and teachers' norms are left out."""
    state = content.get("model")
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: the encoder file has no dictionary `model`")
    plain = {k.replace("module.", "").replace("_orig_mod.", ""): v for k, v in state.items()}
    return {k.replace("encoder.", "", 1): v for k, v in plain.items() if k.startswith("encoder.")}


def assemble(encoder: dict[str, Any], decoder: dict[str, Any], path: Path) -> tuple[dict[str, Tensor], Sab3rConfig]:
    """State dict and sizes of the whole network from the contents of both files.

    Raises CheckpointError where the decoder was made for another encoder, or the files are not of this family.
    """
    state = decoder.get("model")
    if not isinstance(state, dict) or "norm.weight" not in state:
        raise CheckpointError(f"{path}: the decoder file has no `model` with norm.weight: it is not DUNE-MASt3R's")
    backbone = encoder_state(encoder, path)
    if "cls_token" not in backbone:
        raise CheckpointError(f"{path}: the encoder file has no cls_token: it is not DUNE's")
    width = state["norm.weight"].shape[0]
    if backbone["cls_token"].shape[-1] != width:
        raise CheckpointError(
            f"{path}: the decoder is for an encoder of width {width} ({decoder.get('dune_backbone_name', 'unnamed')}), "
            f"this one has {backbone['cls_token'].shape[-1]}"
        )
    whole = whole_state(backbone, state)
    return whole, infer_dune_config(whole)


def whole_state(backbone: dict[str, Tensor], decoder: dict[str, Tensor]) -> dict[str, Tensor]:
    """Both parts under the names of our network."""
    out = {f"encoder.backbone.{k}": v for k, v in backbone.items()}
    out |= {f"encoder.norm.{k}": decoder[f"norm.{k}"] for k in ("weight", "bias")}
    out |= {k: v for k, v in strip_prefix(decoder, "mast3r.").items() if not f"mast3r.{k}".startswith(_UNUSED)}
    known = ("norm.", "mast3r.", "dune_backbone.", "imagenet_")
    return out | {k: v for k, v in decoder.items() if not k.startswith(known)}  # refused by the fit, by name


def infer_dune_config(state: dict[str, Tensor], enc_heads: int = 0, dec_heads: int = 0) -> Sab3rConfig:
    """Sizes from shapes; heads of 64 channels unless their numbers are given."""
    own = "encoder.backbone."
    patch_weight = state[f"{own}patch_embed.proj.weight"]
    width, patch = patch_weight.shape[0], patch_weight.shape[-1]
    table = state[f"{own}pos_embed"].shape[1] - 1
    registers = state.get(f"{own}register_tokens")
    dec_dim = state["decoder_embed.weight"].shape[0]
    points = dpt_sizes(state, "dpt")
    hidden = state["downstream_head1.head_local_features.fc1.weight"].shape[0]
    channels = state["downstream_head1.head_local_features.fc2.weight"].shape[0] // patch**2
    return replace(
        Sab3rConfig(),
        encoder="dune", patch=patch, enc_table_side=round(table**0.5), enc_registers=0 if registers is None else registers.shape[1],
        enc_dim=width, enc_depth=count_blocks(state, f"{own}blocks.0"), enc_heads=enc_heads or width // _HEAD_DIM,
        mlp_ratio=state[f"{own}blocks.0.0.mlp.fc1.weight"].shape[0] / width,
        dec_dim=dec_dim, dec_depth=count_blocks(state, "dec_blocks"), dec_heads=dec_heads or dec_dim // _HEAD_DIM,
        image_size=_IMAGE_SIZE, dpt_layer_dims=points.layer_dims, dpt_dim=points.dim, dpt_last_dim=points.last_dim,
        desc_dim=channels - 1, desc_hidden_factor=hidden / (width + dec_dim),
    )  # fmt: skip


def backbone_file(name: str) -> str:
    """The encoder file that a decoder file's `dune_backbone_name` asks for."""
    return re.sub(r"vit(small|base)_14", r"vit\g<1>14", name.removesuffix("_encoder")) + ".pth"


def check_backbone(decoder: dict[str, Any], encoder_file: Path) -> None:
    """Raise CheckpointError where the decoder names another encoder's file: it would fit, and give worse results."""
    name = decoder.get("dune_backbone_name")
    if isinstance(name, str) and backbone_file(name) != encoder_file.name:
        raise CheckpointError(
            f"the decoder beside {encoder_file} was made for {backbone_file(name)}; put that encoder file there instead"
        )
