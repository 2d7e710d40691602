"""The network reproduces recorded outputs of the reference implementation."""

import json

import numpy as np
import pytest
import torch

from sab3r_ros.models.sab3r import PRESETS, Sab3r, Sab3rConfig

TOLERANCE = dict(atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def fixture(data_dir):
    return np.load(data_dir / "mast3r_tiny.npz")


@pytest.fixture(scope="module")
def network(fixture):
    recorded = json.loads(str(fixture["config"]))
    head = recorded["head"]
    cfg = Sab3rConfig(
        enc_dim=recorded["enc_embed_dim"], enc_depth=recorded["enc_depth"], enc_heads=recorded["enc_num_heads"],
        dec_dim=recorded["dec_embed_dim"], dec_depth=recorded["dec_depth"], dec_heads=recorded["dec_num_heads"],
        mlp_ratio=recorded["mlp_ratio"], rope_base=recorded["rope_base"], dpt_dim=head["feature_dim"],
        dpt_last_dim=head["last_dim"], dpt_layer_dims=tuple(head["layer_dims"]), desc_dim=head["desc_dim"],
        desc_hidden_factor=head["hidden_dim_factor"],
    )  # fmt: skip
    assert list(cfg.hooks) == head["hooks"]
    net = Sab3r(cfg).eval()
    weights = {k[2:]: torch.from_numpy(fixture[k]) for k in fixture.files if k.startswith("w/")}
    net.load_state_dict(weights, strict=True)
    return net


def close(ours, theirs, what):
    np.testing.assert_allclose(ours.detach().numpy(), theirs, **TOLERANCE, err_msg=what)


def check_views(fixture, prefix, *views):
    seen = 0
    names = {"points": "pts3d", "conf": "conf", "desc": "desc", "desc_conf": "desc_conf"}
    for side, view in enumerate(views, 1):
        for ours, theirs in names.items():
            key = f"{prefix}view{side}/{theirs}"
            if ours == "points" and side == 2:
                key = f"{prefix}view2/pts3d_in_other_view"
            if key in fixture.files:
                close(getattr(view, ours), fixture[key], key)
                seen += 1
    assert seen >= 6


@torch.no_grad()
def test_every_stage_matches_the_reference(network, fixture):
    img1, img2 = torch.from_numpy(fixture["img1"]), torch.from_numpy(fixture["img2"])
    view1, view2 = network.encode(img1), network.encode(img2)
    close(view1.tokens, fixture["enc1"], "enc1")
    close(view2.tokens, fixture["enc2"], "enc2")
    layers1, layers2 = network.decode(view1, view2)
    for k in range(5):
        close(layers1[k], fixture[f"dec1/{k}"], f"dec1/{k}")
        close(layers2[k], fixture[f"dec2/{k}"], f"dec2/{k}")
    grid = (3, 4)
    hooked = [layers1[k] for k in network.cfg.hooks]
    dpt1, dpt2 = network.downstream_head1.dpt, network.downstream_head2.dpt
    maps = [t.transpose(1, 2).unflatten(-1, grid) for t in hooked]
    for k in range(4):
        ours = dpt1.act_postprocess[k](maps[k])
        close(ours[: len(fixture[f"dpt1/act{k}"])], fixture[f"dpt1/act{k}"], f"act{k}")
    stages = {}
    hooks = [
        getattr(dpt1.scratch, f"refinenet{k}").register_forward_hook(
            lambda _m, _i, out, k=k: stages.__setitem__(k, out)
        )
        for k in range(1, 5)
    ]
    close(dpt1(hooked, grid), fixture["dpt1/raw"], "dpt1/raw")
    for hook in hooks:
        hook.remove()
    for k, out in stages.items():
        recorded = fixture[f"dpt1/refinenet{k}"]
        close(out[: len(recorded)], recorded, f"refinenet{k}")
    close(dpt2([layers2[k] for k in network.cfg.hooks], grid), fixture["dpt2/raw"], "dpt2/raw")
    check_views(fixture, "", network.head(1, layers1, view1), network.head(2, layers2, view2))


@torch.no_grad()
def test_swapped_pair_from_cached_tokens(network, fixture):
    view1, view2 = (network.encode(torch.from_numpy(fixture[k])) for k in ("img1", "img2"))
    check_views(fixture, "swapped/", *network.predict(view2, view1))


@torch.no_grad()
def test_views_of_different_sizes(network, fixture):
    img1, img2 = (torch.from_numpy(fixture[f"mixed/{k}"]) for k in ("img1", "img2"))
    check_views(fixture, "mixed/", *network(img1, img2))


@torch.no_grad()
def test_training_layout_with_transposed_portraits(network, fixture):
    img1, img2 = torch.from_numpy(fixture["img1"]), torch.from_numpy(fixture["img2"])
    shape = torch.from_numpy(fixture["manyar/true_shape"])
    check_views(fixture, "manyar/", *network(img1, img2, shape, shape))


def test_large_preset_has_the_public_checkpoints_keys(data_dir):
    with torch.device("meta"):
        plain = Sab3r(PRESETS["vit_large_512"]).state_dict()
        from dataclasses import replace

        full = Sab3r(replace(PRESETS["vit_large_512"], clip_head="dpt", dino_head="dpt")).state_dict()
    public = {k: tuple(s) for k, s in json.loads((data_dir / "mast3r_vitl_keys.json").read_text())}
    extra = {k: tuple(s) for k, s in json.loads((data_dir / "sab3r_extra_keys.json").read_text())}
    assert {k: tuple(v.shape) for k, v in plain.items()} == public
    assert {k: tuple(v.shape) for k, v in full.items()} == public | extra


def test_sides_must_be_multiples_of_the_patch(network):
    with pytest.raises(ValueError, match="multiples of 16"):
        network.encode(torch.zeros(1, 3, 40, 64))
