"""One door for every checkpoint format, and what it says of those that do not fit."""

import argparse
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from sab3r_ros.models.catalogue import KNOWN, CheckpointError, locate
from sab3r_ros.models.sab3r import PRESETS, Sab3r, Sab3rConfig
from sab3r_ros.models.weights import infer_config, load_checkpoint, parse_constructor, save_checkpoint

# Head widths of 64 as in the public checkpoints, so that the number of heads follows from the shapes.
CONFIG = Sab3rConfig(
    enc_dim=64, enc_depth=2, enc_heads=1, dec_dim=64, dec_depth=12, dec_heads=1, image_size=64,
    dpt_dim=16, dpt_last_dim=8, dpt_layer_dims=(8, 8, 16, 16), desc_dim=8, desc_hidden_factor=1.0,
)  # fmt: skip


def network(seed=0, **changes):
    torch.manual_seed(seed)
    return Sab3r(replace(CONFIG, **changes)).eval()


def same_outputs(a, b):
    images = torch.rand(2, 1, 3, 48, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        one, two = a(*images), b(*images)
    for x, y in zip(one, two, strict=True):
        for name in ("points", "conf", "desc", "desc_conf", "clip", "dino"):
            p, q = getattr(x, name), getattr(y, name)
            assert (p is None) == (q is None), name
            if p is not None:
                assert torch.allclose(p, q, atol=1e-5), name


def public_text(**changes):
    """The constructor text that MASt3R's file carries, `inf` and all."""
    values = {
        "pos_embed": "'RoPE100'", "img_size": "(64, 64)", "head_type": "'catmlp+dpt'", "output_mode": "'pts3d+desc8'",
        "depth_mode": "('exp', -inf, inf)", "conf_mode": "('exp', 1, inf)", "enc_embed_dim": "64", "enc_depth": "2",
        "enc_num_heads": "1", "dec_embed_dim": "64", "dec_depth": "12", "dec_num_heads": "1", "two_confs": "True",
        "desc_conf_mode": "('exp', 0, inf)",
    } | changes  # fmt: skip
    return f"AsymmetricMASt3R({', '.join(f'{k}={v}' for k, v in values.items())})"


def test_the_bundled_weights_load_and_know_their_text_encoder():
    checkpoint = load_checkpoint("sab3r_small")
    assert checkpoint.id.startswith("sab3r_small-")
    assert checkpoint.licence == "Apache-2.0"
    assert checkpoint.text_encoder[0].startswith("local-dir:")
    assert checkpoint.network.cfg == PRESETS["small"]
    assert not any(p.requires_grad for p in checkpoint.network.parameters())


def test_our_own_format_returns_the_same_network(tmp_path):
    net = network(clip_head="dpt", clip_dim=12)
    save_checkpoint(tmp_path / "mine", net, "mine", None, "MIT", {"steps": 3}, half=False)
    loaded = load_checkpoint(str(tmp_path / "mine"))
    same_outputs(net, loaded.network)
    assert loaded.licence == "MIT"
    assert loaded.text_encoder is None
    assert json.loads((tmp_path / "mine" / "config.json").read_text())["notes"] == {"steps": 3}


def test_every_tensor_counts_in_a_checkpoints_id(tmp_path):
    """Maps say by this id whose features they hold; further training of a head may change nothing but its middle."""
    checkpoint = load_checkpoint("sab3r_small")
    ids = {checkpoint.id.removeprefix("sab3r_small-")}
    for name in ("downstream_head1.clip_head.fusion.1.out_conv.bias", "dec_norm.weight"):
        with torch.no_grad():
            checkpoint.network.get_parameter(name)[0] += 1
        save_checkpoint(tmp_path / name, checkpoint.network, "changed", None, "Apache-2.0", {})
        ids.add(load_checkpoint(str(tmp_path / name)).id.removeprefix("changed-"))
    assert len(ids) == 3


def test_mast3rs_pth_loads_safely_with_its_text_parsed(tmp_path):
    net = network()
    args = argparse.Namespace(model=public_text(), lr=1e-4)
    torch.save({"args": args, "model": net.state_dict(), "epoch": 3}, tmp_path / "public.pth")
    loaded = load_checkpoint(str(tmp_path / "public.pth"))
    same_outputs(net, loaded.network)
    assert loaded.text_encoder is None


def test_mast3rs_safetensors_loads_without_the_aliases_and_with_one_decoder(tmp_path):
    net = network()
    net.dec_blocks2.load_state_dict(net.dec_blocks.state_dict())
    state = {
        k: v.clone() for k, v in net.state_dict().items() if "layer_rn." not in k and not k.startswith("dec_blocks2.")
    }
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(
        json.dumps({"enc_num_heads": 1, "dec_num_heads": 1, "img_size": [64, 64], "desc_conf_mode": ["exp", 0, None]})
    )
    same_outputs(net, load_checkpoint(str(tmp_path)).network)
    same_outputs(net, load_checkpoint(str(tmp_path / "model.safetensors")).network)


def test_the_authors_file_has_feature_heads_and_another_floor(tmp_path):
    net = network(clip_head="linear", clip_dim=6, dino_head="linear", dino_dim=5, desc_conf_floor=1.0)
    torch.save({"module": net.state_dict(), "args": argparse.Namespace(model="")}, tmp_path / "base.pt")
    loaded = load_checkpoint(str(tmp_path / "base.pt"))
    assert loaded.network.cfg.desc_conf_floor == 1.0
    assert (loaded.network.cfg.clip_dim, loaded.network.cfg.dino_dim) == (6, 5)
    same_outputs(net, loaded.network)


def test_sizes_of_the_large_network_follow_from_its_weights():
    with torch.device("meta"):
        large = Sab3r(PRESETS["vit_large_512"])
    inferred = infer_config(
        large.state_dict(),
        parse_constructor(public_text(img_size="(512, 512)", enc_num_heads="16", dec_num_heads="12")),
    )
    assert inferred == PRESETS["vit_large_512"]


def test_feature_heads_of_other_sizes_are_recognised():
    given = PRESETS["tiny"]
    assert given.feature_sizes != given.point_sizes
    hints = {"enc_num_heads": 6, "dec_num_heads": 4, "img_size": 128, "desc_conf_mode": ("exp", 0)}
    assert infer_config(Sab3r(given).state_dict(), hints) == given


def test_nothing_in_a_checkpoint_is_ever_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"model": {}, "args": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="cannot be opened safely"):
        load_checkpoint(str(tmp_path / "evil.pth"))
    hostile = f"AsymmetricMASt3R(enc_depth=__import__('os').system('touch {tmp_path}/owned'), dec_depth=12)"
    assert parse_constructor(hostile) == {"enc_depth": None, "dec_depth": 12}
    assert not (tmp_path / "owned").exists()


def test_constructor_text_with_infinities_and_signs():
    parsed = parse_constructor(public_text())
    assert parsed["depth_mode"] == ("exp", float("-inf"), float("inf"))
    assert parsed["img_size"] == (64, 64)
    assert parse_constructor("not python (") == {}
    assert parse_constructor("a + b") == {}


def _without(key):
    return lambda state: {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_without("enc_norm.weight"), r"1 missing \(enc_norm.weight\)"),
        (lambda s: s | {"extra.weight": torch.zeros(1)}, r"1 unknown \(extra.weight\)"),
        (
            lambda s: s | {"enc_norm.weight": torch.zeros(7)},
            r"1 of another shape \(enc_norm.weight: \(7,\) instead of \(64,\)\)",
        ),
        (_without("patch_embed.proj.weight"), "not a MASt3R or SAB3R checkpoint: it has no patch_embed.proj.weight"),
        (lambda s: {"layer1.conv": torch.zeros(2)}, "first keys: layer1.conv"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, why):
    save_file({k: v.clone() for k, v in change(network().state_dict()).items()}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=why):
        load_checkpoint(str(tmp_path / "w.safetensors"))


def test_other_output_activations_are_refused(tmp_path):
    torch.save(
        {
            "args": argparse.Namespace(model=public_text(depth_mode="('square', 0, inf)")),
            "model": network().state_dict(),
        },
        tmp_path / "w.pth",
    )
    with pytest.raises(CheckpointError, match="depth_mode"):
        load_checkpoint(str(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("w.safetensors", b"\x10\0\0\0\0\0\0\0{half", "damaged or not a safetensors"),
        ("w.safetensors", b"", "damaged or not a safetensors"),
        ("w.pth", b"rubbish", "cannot be opened safely"),
        ("w.pth", b"", "cannot be opened safely"),
    ],
)
def test_damaged_files_say_so(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=why):
        load_checkpoint(str(tmp_path / name))


def test_a_truncated_checkpoint_folder_says_so(tmp_path):
    save_checkpoint(tmp_path / "c", network(), "c", None, "MIT", {})
    weights = tmp_path / "c" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(str(tmp_path / "c"))
    weights.unlink()
    with pytest.raises(CheckpointError, match="no weights at"):
        load_checkpoint(str(tmp_path / "c"))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("{", "not readable JSON"),
        ("[1]", "JSON object"),
        ('{"format": "sab3r", "version": 99}', "format version 99"),
        ('{"format": "sab3r", "version": 1, "network": {"wings": 2}}', "unknown network settings: wings"),
    ],
)
def test_a_bad_config_says_so(tmp_path, config, why):
    save_checkpoint(tmp_path / "c", network(), "c", None, "MIT", {})
    (tmp_path / "c" / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=why):
        load_checkpoint(str(tmp_path / "c"))


def test_unknown_names_list_the_known_ones():
    with pytest.raises(CheckpointError, match="known name .*sab3r_small"):
        load_checkpoint("sab3r_huge")


def test_presets_are_names_too():
    assert locate("tiny") == locate("sab3r_small")
    assert "non-commercial" in KNOWN["mast3r"].licence


def test_without_a_network_the_hub_name_is_said(monkeypatch):
    import huggingface_hub

    def refuse(*_args, **_kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(CheckpointError, match="cannot download naver/MASt3R.*Download it by hand"):
        load_checkpoint("vit_large_512")


def test_a_hub_file_is_loaded_like_a_local_one(tmp_path, monkeypatch):
    import huggingface_hub

    net = network(clip_head="linear", clip_dim=6, desc_conf_floor=1.0)
    torch.save({"module": net.state_dict()}, tmp_path / "base.pt")
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda repo, file: asked.append((repo, file)) or str(tmp_path / "base.pt")
    )
    loaded = load_checkpoint("sab3r")
    assert asked == [("uva-cv-lab/SAB3R", "demo_ckpt/base/base.pt")]
    assert "non-commercial" in loaded.licence
    same_outputs(net, loaded.network)
