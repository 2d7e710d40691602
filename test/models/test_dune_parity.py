"""DUNE-MASt3R reproduces recorded outputs of the public implementation, and its two files assemble."""

import json

import numpy as np
import pytest
import torch

from sab3r_ros.models.base import EncodedView
from sab3r_ros.models.catalogue import CheckpointError
from sab3r_ros.models.dune_weights import assemble, backbone_file, infer_dune_config, whole_state
from sab3r_ros.models.encoders.dune import DuneBackbone
from sab3r_ros.models.patches import imagenet_normalised, resample_positions
from sab3r_ros.models.preprocess import framing
from sab3r_ros.models.sab3r import Sab3r
from sab3r_ros.models.state_dicts import strip_prefix

TOLERANCE = dict(atol=1e-4, rtol=1e-4)
CASES = ("landscape", "native", "portrait", "mixed")


@pytest.fixture(scope="module")
def fixture(data_dir):
    return np.load(data_dir / "dune_mast3r_tiny.npz")


@pytest.fixture(scope="module")
def weights(fixture):
    return {k[2:]: torch.from_numpy(fixture[k]) for k in fixture.files if k.startswith("w/")}


@pytest.fixture(scope="module")
def network(weights):
    state = whole_state(strip_prefix(weights, "dune_backbone."), weights)
    net = Sab3r(infer_dune_config(state, enc_heads=4, dec_heads=3)).eval()
    aliases = {
        k.replace(".layer_rn.0", ".layer1_rn"): v for k, v in state.items() if ".layer_rn.0" in k
    }  # both names of a projection are one tensor
    net.load_state_dict(state | aliases, strict=True)
    return net


def close(ours, theirs, what):
    np.testing.assert_allclose(ours.detach().numpy(), theirs, **TOLERANCE, err_msg=what)


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_every_stage_matches_the_reference(network, fixture, case):
    images = [torch.from_numpy(fixture[f"{case}/img{k}"]) for k in (1, 2)]
    for k, image in enumerate(images, 1):
        tokens, positions = network.encoder.backbone(imagenet_normalised(image))
        close(tokens, fixture[f"{case}/enc{k}"], f"enc{k}")
        assert (positions.numpy() == fixture[f"{case}/pos{k}"]).all()
    views = [network.encode(image) for image in images]
    layers = network.decode(*views)
    for side in (0, 1):
        for depth, ours in enumerate(layers[side]):
            close(ours, fixture[f"{case}/dec{side + 1}/{depth}"], f"dec{side + 1}/{depth}")
        out = network.head(side + 1, layers[side], views[side])
        names = {
            "points": "pts3d_in_other_view" if side else "pts3d",
            "conf": "conf",
            "desc": "desc",
            "desc_conf": "desc_conf",
        }
        for ours, theirs in names.items():
            close(getattr(out, ours), fixture[f"{case}/view{side + 1}/{theirs}"], f"view{side + 1}/{theirs}")


@torch.no_grad()
def test_normalisation_positions_and_registers(network, fixture, weights):
    image = torch.from_numpy(fixture["landscape/img1"])
    normalised = imagenet_normalised(image)
    close(normalised, fixture["encoder/landscape_normalised"], "normalised")
    backbone = network.encoder.backbone
    close(backbone.embed(normalised)[0], fixture["encoder/landscape_tokens_in"], "tokens in")
    table = backbone.pos_embed[0]
    close(torch.cat([table[:1], resample_positions(table[1:], (3, 5))])[None], fixture["encoder/pos_3x5"], "positions")
    for size in ("2x8", "7x9"):
        given = torch.from_numpy(fixture[f"encoder/{size}/img"])
        close(backbone(imagenet_normalised(given))[0], fixture[f"encoder/{size}/enc"], size)
    bare = {k: v for k, v in strip_prefix(weights, "dune_backbone.").items() if k != "register_tokens"}
    without = DuneBackbone(64, 2, 4, 256, 14, 4, 0).eval()
    without.load_state_dict(bare, strict=True)
    close(without(normalised)[0], fixture["encoder/no_registers/enc"], "no registers")


@torch.no_grad()
def test_each_norm_has_its_own_epsilon(network, fixture):
    x64, x48 = (torch.from_numpy(fixture[f"eps/{k}"]) for k in ("x64", "x48"))
    close(network.encoder.norm(x64), fixture["eps/norm"], "norm")
    close(network.encoder.backbone.blocks[0][0].norm1(x64), fixture["eps/encoder_norm1"], "norm1")
    close(network.dec_norm(x48), fixture["eps/dec_norm"], "dec_norm")


def test_image_sizes_are_those_of_the_public_loader(fixture):
    rows = fixture["prep/sizes"]
    assert len(rows) == 60
    for width, height, long_side, *expected in rows.tolist():
        plan = framing(width, height, long_side, square_ok=True, patch=14)
        assert list(plan.cropped) == expected, (width, height, long_side)


@pytest.mark.parametrize("size", ["vits", "vitb"])
def test_the_public_files_keys_are_exactly_those_of_our_network(data_dir, size):
    recorded = json.loads((data_dir / "dune_mast3r_keys.json").read_text())[size]
    encoder, decoder = (
        {"model": {k: torch.zeros(s, device="meta") for k, s in recorded[part]}}
        for part in ("encoder_file", "decoder_file")
    )
    state, cfg = assemble(encoder, decoder, data_dir)
    assert (cfg.enc_dim, cfg.enc_registers, cfg.enc_table_side, cfg.dec_depth) == (
        {"vits": 384, "vitb": 768}[size],
        4,
        32,
        12,
    )
    with torch.device("meta"):
        ours = {k: list(v.shape) for k, v in Sab3r(cfg).state_dict().items()}
    assert {k: list(v.shape) for k, v in state.items()} == ours


def test_a_decoder_for_another_encoder_is_refused(data_dir):
    recorded = json.loads((data_dir / "dune_mast3r_keys.json").read_text())
    encoder = {"model": {k: torch.zeros(s, device="meta") for k, s in recorded["vitb"]["encoder_file"]}}
    decoder = {"model": {k: torch.zeros(s, device="meta") for k, s in recorded["vits"]["decoder_file"]}}
    with pytest.raises(CheckpointError, match="for an encoder of width 384.*this one has 768"):
        assemble(encoder, decoder, data_dir)


def test_names_of_backbones_lead_to_files():
    assert backbone_file("dune_vitbase_14_448_paper_encoder") == "dune_vitbase14_448_paper.pth"
    assert backbone_file("dune_vitsmall_14_448_encoder") == "dune_vitsmall14_448.pth"


def test_transposed_batches_are_refused(network):
    with pytest.raises(ValueError, match="no transposed images"):
        network.encode(torch.zeros(1, 3, 42, 70), torch.tensor([[70, 42]]))
    assert isinstance(network.encode(torch.zeros(1, 3, 70, 42)), EncodedView)
