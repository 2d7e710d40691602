"""Checkpoints of the affordance networks: our own folder, Point-MAE's and LAS's layouts, and wrong files."""

import pytest
import torch
from safetensors.torch import save_file

from sab3r_ros.models.cast import Cast, CastConfig, Prompt
from sab3r_ros.models.cast_weights import load_cast, load_las, load_point_mae, save_cast
from sab3r_ros.models.catalogue import CheckpointError
from sab3r_ros.models.point_mae import PointEncoder, PointMae, PointMaeConfig
from sab3r_ros.models.text import PromptEncoder

SMALL = PointMaeConfig(
    dim=16, depth=2, heads=2, groups=8, group_size=4, patch_width=16, decoder_depth=1, decoder_heads=2
)
CONFIG = CastConfig(SMALL, dim=16, layers=1, heads=2, ffn=16, head_dim=8, text_dim=8)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Cast(CONFIG).eval()


def test_our_own_folder_round_trip(network, tmp_path):
    text = PromptEncoder(8, 1, 2).eval()
    save_cast(tmp_path / "cast", network, text, "Apache-2.0", {"steps": 1})
    loaded = load_cast(str(tmp_path / "cast"))
    assert loaded.network.cfg == CONFIG
    assert (loaded.name, loaded.licence) == ("cast", "Apache-2.0")
    points = torch.rand(1, 40, 3)
    with torch.inference_mode():
        tokens, padding = text(["grasp the mug", "pour"])
        again, same = loaded.text(["grasp the mug", "pour"])
        assert torch.allclose(tokens, again, atol=0.01)
        assert torch.equal(padding, same)
        assert padding.tolist()[0][-1] is False
        assert padding[1].sum() == 2
        a, b = (n(points, Prompt(tokens[:1], padding[:1])) for n in (network, loaded.network))
    assert torch.allclose(a, b, atol=0.02)


def test_damaged_or_foreign_folders_are_refused(network, tmp_path):
    with pytest.raises(CheckpointError, match="sab3r train cast"):
        load_cast(str(tmp_path / "nowhere"))
    save_cast(tmp_path / "cast", network, PromptEncoder(8, 1, 2), "Apache-2.0", {})
    config = tmp_path / "cast" / "config.json"
    good = config.read_text()
    config.write_text(good.replace('"format": "cast"', '"format": "sab3r"'))
    with pytest.raises(CheckpointError, match="not a CAST checkpoint"):
        load_cast(str(tmp_path / "cast"))
    config.write_text(good)
    for part in (tmp_path / "cast", tmp_path / "cast" / "text"):
        weights = next(part.glob("*.safetensors"))
        whole = weights.read_bytes()
        save_file({"other": torch.zeros(1)}, weights)
        with pytest.raises(ValueError, match=r"do not fit: \d+ missing .* 1 unknown \(other\)"):
            load_cast(str(tmp_path / "cast"))
        weights.write_bytes(whole)
    (tmp_path / "cast" / "model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="cannot load"):
        load_cast(str(tmp_path / "cast"))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_point_mae_files(prefix, tmp_path):
    source = PointMae(SMALL)
    torch.save(
        {"base_model": {prefix + k: v for k, v in source.state_dict().items()}, "epoch": 3}, tmp_path / "mae.pth"
    )
    encoder = PointEncoder(SMALL)
    load_point_mae(tmp_path / "mae.pth", encoder)
    assert torch.equal(encoder.pos_embed[0].weight, source.MAE_encoder.pos_embed[0].weight)
    with pytest.raises(CheckpointError, match="of another shape"):
        load_point_mae(tmp_path / "mae.pth", PointEncoder(PointMaeConfig(dim=32, depth=2, heads=2, patch_width=16)))
    torch.save({"base_model": {"MAE_encoder.norm.weight": torch.zeros(16)}}, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match="missing"):
        load_point_mae(tmp_path / "part.pth", encoder)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_point_mae(tmp_path / "none.pth", encoder)


def test_las_files_leave_out_their_prompt_encoder(network, tmp_path):
    state = {f"module.{k}": v for k, v in network.state_dict().items()}
    state["module.prompt_encoder.roberta_model.pooler.dense.bias"] = torch.zeros(3)
    torch.save({"model_state_dict": state, "epoch": 1, "config": {"a": 1}}, tmp_path / "las.pth")
    other = Cast(CONFIG)
    load_las(tmp_path / "las.pth", other)
    assert torch.equal(other.segmentation_head.mlp[6].weight, network.segmentation_head.mlp[6].weight)
