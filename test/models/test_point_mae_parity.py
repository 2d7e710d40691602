"""Point-MAE's encoder and the upsampler of LAS reproduce recorded outputs of the public modules."""

import numpy as np
import pytest
import torch

from sab3r_ros.models.cast import CAST_PRESETS, Cast, CastConfig, FeaturePropagation, Prompt, unit_sphere
from sab3r_ros.models.point_mae import PointEncoder, PointMae, PointMaeConfig, farthest_points, group_points


@pytest.fixture(scope="module")
def recorded(data_dir):
    return {k: torch.from_numpy(v) for k, v in np.load(data_dir / "point_mae_tiny.npz").items()}


@pytest.fixture(scope="module")
def encoder(recorded):
    dim, depth, heads, groups, size, _, _ = recorded["config"].tolist()
    model = PointEncoder(PointMaeConfig(dim, depth, heads, groups, size)).eval()
    model.load_state_dict({k[2:]: v for k, v in recorded.items() if k.startswith("w/")})
    return model


def close(a, b):
    return torch.allclose(a, b, atol=1e-5, rtol=0)


def test_sampling_and_grouping(recorded):
    start = recorded["fps_idx"][:, 0]
    assert torch.equal(farthest_points(recorded["points"], 16, start), recorded["fps_idx"])
    centres, patches = group_points(recorded["points"], 16, 32, start)
    assert torch.equal(centres, recorded["centers"])

    def ordered(p):  # neighbours at equal places, whatever their order
        return p.sort(dim=2).values

    assert close(ordered(patches), ordered(recorded["neighborhood"]))


def test_encoder_and_upsampler(recorded, encoder):
    with torch.inference_mode():
        patches = recorded["neighborhood"]
        assert close(encoder.encoder(patches), recorded["group_tokens"])
        assert close(encoder.pos_embed(recorded["centers"]), recorded["pos_embed"])
        features = encoder(recorded["centers"], patches)
        assert close(features, recorded["features"])
        spread = FeaturePropagation(64).eval()
        spread.load_state_dict({k[3:]: v for k, v in recorded.items() if k.startswith("fp/")})
        assert close(spread(recorded["points"], recorded["centers"], features), recorded["upsampled"])


def test_visible_tokens_are_those_of_the_mask(recorded, encoder):
    visible = torch.zeros(2, 16, dtype=torch.bool)
    visible[0, [1, 5, 9]] = visible[1, [0, 2, 15]] = True
    with torch.inference_mode():
        part = encoder(recorded["centers"], recorded["neighborhood"], visible)
        alone = encoder(recorded["centers"][:1, [1, 5, 9]], recorded["neighborhood"][:1, [1, 5, 9]])
    assert close(part[:1], alone)


def test_sampling_is_deterministic_and_bad_counts_are_refused():
    points = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(farthest_points(points, 10), farthest_points(points, 10))
    shuffled = points[:, torch.randperm(50, generator=torch.Generator().manual_seed(1))]
    same = [set(map(tuple, p[0, farthest_points(p, 10)[0]].tolist())) for p in (points, shuffled)]
    assert same[0] == same[1]
    with pytest.raises(ValueError, match="cannot choose 51"):
        farthest_points(points, 51)


def test_parameter_counts_are_those_of_the_public_models():
    with torch.device("meta"):
        encoder, whole = PointEncoder(PointMaeConfig()), PointMae(PointMaeConfig())
        las = Cast(CAST_PRESETS["las_laso"])
    assert sum(p.numel() for p in encoder.parameters()) == 21_825_024
    assert len(encoder.state_dict()) == 156
    assert sum(p.numel() for p in whole.parameters()) == 29_006_432
    assert len(whole.state_dict()) == 209
    assert len(las.state_dict()) == 455 - 199  # of which the prompt encoder has 199
    assert "point_encoder.MAE_encoder.blocks.blocks.11.attn.qkv.weight" in las.state_dict()


@pytest.mark.parametrize("layout", ["patch", "point"])
def test_both_layouts_answer_text_and_image_prompts(layout):
    small = PointMaeConfig(dim=32, depth=1, heads=2, groups=8, group_size=8)
    cfg = CastConfig(small, dim=32, layers=1, heads=2, ffn=32, head_dim=16, text_dim=12, image_dim=20, layout=layout)
    torch.manual_seed(0)
    model = Cast(cfg).eval()
    points = unit_sphere(torch.randn(2, 64, 3))
    text, image = torch.randn(2, 5, 12), torch.randn(2, 7, 20)
    padding = torch.tensor([[False] * 5, [False, False, True, True, True]])
    with torch.inference_mode():
        both = model(points, Prompt(text, padding, image))
        one = model(points, Prompt(text, padding))
        assert both.shape == one.shape == (2, 64, 1)
        assert not close(both, one)
        changed = text.clone()
        changed[1, 2:] = 9.0  # padded tokens do not matter
        assert close(model(points, Prompt(changed, padding)), one)
        assert close(model(points[:, torch.arange(63, -1, -1)], Prompt(text, padding)).flip(1), one)
    with pytest.raises(ValueError, match="a prompt is needed"):
        model(points, Prompt())
    with pytest.raises(ValueError, match="takes no image"):
        Cast(CastConfig(small, dim=32, heads=2, layers=1, text_dim=12))(points, Prompt(image=image))
    with pytest.raises(ValueError, match="layout"):
        Cast(CastConfig(layout="other"))
