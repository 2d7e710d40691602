"""Files of the public formats with random weights: small, so that whole systems run on them within seconds."""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from sab3r_ros.models.featup import JbuStack
from sab3r_ros.models.sab3r import Sab3r, Sab3rConfig
from sab3r_ros.models.text import save_tower, tower_config

FEATURES = 24
_SMALL = dict(
    enc_dim=64, enc_depth=2, enc_heads=1, dec_dim=64, dec_depth=12, dec_heads=1, dpt_dim=16, dpt_last_dim=8,
    dpt_layer_dims=(8, 8, 16, 16), desc_dim=8, desc_hidden_factor=1.0,
)  # fmt: skip


def _network(seed: int, **changes) -> Sab3r:
    torch.manual_seed(seed)
    network = Sab3r(Sab3rConfig(**(_SMALL | changes))).eval()
    with torch.no_grad():  # points ahead of the camera instead of about it
        for head in (network.downstream_head1, network.downstream_head2):
            head.dpt.head[4].bias[2] = 1.2
    return network


def _state(network: Sab3r) -> dict:
    return {k: v.clone() for k, v in network.state_dict().items()}


def write_mast3r(folder: Path) -> None:
    folder.mkdir(parents=True)
    state = {k: v for k, v in _state(_network(0)).items() if "layer_rn." not in k}
    save_file(state, folder / "model.safetensors")
    hints = {"enc_num_heads": 1, "dec_num_heads": 1, "img_size": [128, 128], "desc_conf_mode": ["exp", 0, None]}
    (folder / "config.json").write_text(json.dumps(hints))


def write_sab3r(folder: Path) -> None:
    path = folder / "demo_ckpt" / "base" / "base.pt"
    path.parent.mkdir(parents=True)
    network = _network(1, clip_head="linear", clip_dim=512, desc_conf_floor=1.0)
    text = "AsymmetricMASt3R(img_size=(128, 128), enc_num_heads=1, dec_num_heads=1)"
    torch.save({"module": _state(network), "args": argparse.Namespace(model=text)}, path)


def write_dune(folder: Path, size: str = "small", backbone: str = "dune_vitsmall_14_448_encoder") -> None:
    folder.mkdir(parents=True)
    network = _network(2, encoder="dune", patch=14, enc_table_side=4, enc_registers=4)
    state = _state(network)
    backbone_state = {
        f"encoder.{k.removeprefix('encoder.backbone.')}": v
        for k, v in state.items()
        if k.startswith("encoder.backbone.")
    }
    backbone_state |= {"projectors.mast3r_vitlarge_16.linear.weight": torch.zeros(3, 64)}
    encoder = {"model": backbone_state, "args": argparse.Namespace(image_size=56)}
    decoder = {"norm.weight": state["encoder.norm.weight"], "norm.bias": state["encoder.norm.bias"]}
    decoder |= {f"mast3r.{k}": v for k, v in state.items() if not k.startswith("encoder.")}
    decoder |= {"mast3r.patch_embed.proj.weight": torch.zeros(64, 3, 14, 14), "mast3r.enc_norm.weight": torch.zeros(64)}
    names = {"small": "dune_vitsmall14_448.pth", "base": "dune_vitbase14_448_paper.pth"}
    torch.save(encoder, folder / names[size])
    content = {
        "model": decoder,
        "dune_backbone_name": backbone,
        "mast3r_model_str": "AsymmetricMASt3R(img_size=(56, 56))",
    }
    torch.save(content, folder / f"dunemast3r_cvpr25_vit{size}.pth")


def write_maskclip(folder: Path, dim: int = FEATURES) -> None:
    from open_clip.model import CLIP

    torch.manual_seed(3)
    config = tower_config(dim, 32, 2, 1, 77)
    config["model_cfg"]["vision_cfg"] = {"image_size": 64, "patch_size": 16, "layers": 2, "width": 32, "head_width": 16}
    save_tower(folder / "clip", CLIP(**config["model_cfg"]), config)
    stack = {f"upsampler.{k}": v for k, v in JbuStack(dim).state_dict().items()}
    torch.save({"state_dict": stack}, folder / "maskclip_jbu_stack_cocostuff.ckpt")


def write_models(folder: Path) -> Path:
    """All of them, as `models_dir()` has them."""
    write_mast3r(folder / "mast3r")
    write_sab3r(folder / "sab3r")
    write_dune(folder / "dune_small")
    write_dune(folder / "dune_base", "base", "dune_vitbase_14_448_paper_encoder")
    write_maskclip(folder / "maskclip")
    return folder
