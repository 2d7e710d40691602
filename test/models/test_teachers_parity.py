"""MaskCLIP, FeatUp and DINOv2 against recorded outputs of the public implementations, and their files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sab3r_ros.lab.training.dinov2 import DinoV2, load_dinov2
from sab3r_ros.models.featup import FeatUpTeacher, JbuStack, load_featup
from sab3r_ros.models.maskclip import MaskClip, load_maskclip
from sab3r_ros.models.patches import imagenet_normalised

DATA = Path(__file__).resolve().parents[1] / "data"


def recorded(name):
    return {k: torch.from_numpy(v) if v.dtype.kind in "fi" else v for k, v in np.load(DATA / name).items()}


@pytest.fixture(scope="module")
def featup():
    data = recorded("featup_jbu_tiny.npz")
    stack = JbuStack(16).eval()
    stack.load_state_dict({k[2:]: v for k, v in data.items() if k.startswith("w/")})
    return data, stack


@pytest.fixture(scope="module")
def clip():
    from open_clip.model import CLIP

    data = recorded("maskclip_tiny.npz")
    model = CLIP(**json.loads(str(data["config"]))).eval()
    state = {k[2:]: v for k, v in data.items() if k.startswith("w/")}
    table = torch.zeros_like(model.token_embedding.weight)
    table[data["token_ids"]] = data["token_rows"]
    model.load_state_dict(state | {"token_embedding.weight": table})
    return data, model


def close(a, b):
    return torch.allclose(a, b, atol=1e-5, rtol=0)


def test_upsampler_matches_the_recorded_one(featup):
    data, stack = featup
    with torch.inference_mode():
        guidance = torch.nn.functional.adaptive_avg_pool2d(data["guidance"], (10, 12))
        assert close(stack.up1(data["source"], guidance), data["after_up1"])
        assert close(stack(data["source"], data["guidance"]), data["output"])


def test_upsampler_behind_patches_of_14_with_channel_norm(featup):
    data, stack = featup
    norm = nn.LayerNorm(16)
    norm.load_state_dict({"weight": data["norm_w/weight"], "bias": data["norm_w/bias"]})
    with torch.inference_mode():
        normed = norm(data["p14_source"].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        assert close(normed, data["p14_normed"])
        assert close(stack(normed, data["p14_guidance"]), data["p14_output"])


def test_dense_clip_features_match_the_recorded_ones(clip):
    data, model = clip
    teacher = MaskClip(model)
    for image, dense in (("image", "dense"), ("image_square", "dense_square")):
        assert close(teacher(data[image]).flatten(2).transpose(1, 2), data[dense])
    with torch.inference_mode():
        assert close(model.encode_text(data["tokens"]), data["text"])
    with pytest.raises(ValueError, match="multiples of 16"):
        teacher(torch.zeros(1, 3, 60, 64))


class _Settings:
    """Stands for the pickled settings inside a Lightning file."""


def test_a_featup_file_with_pickled_settings_is_read_without_running_anything(featup, tmp_path):
    data, stack = featup
    state = {f"upsampler.{k}": v for k, v in stack.state_dict().items()}
    state |= {
        "model.1.norm.weight": data["norm_w/weight"],
        "model.1.norm.bias": data["norm_w/bias"],
        "model.0.x": torch.zeros(3),
    }
    torch.save({"state_dict": state, "hyper_parameters": _Settings(), "epoch": 3}, tmp_path / "dinov2.ckpt")
    loaded, norm = load_featup(tmp_path / "dinov2.ckpt")
    with torch.inference_mode():
        assert close(loaded(data["source"], data["guidance"]), data["output"])
    assert torch.equal(norm.weight, data["norm_w/weight"])
    torch.save({"state_dict": {k: v for k, v in state.items() if "norm" not in k}}, tmp_path / "maskclip.ckpt")
    assert load_featup(tmp_path / "maskclip.ckpt")[1] is None


def test_wrong_files_are_refused_in_one_line(featup, tmp_path):
    with pytest.raises(ValueError, match="no FeatUp checkpoint"):
        load_featup(tmp_path / "missing.ckpt")
    (tmp_path / "text.ckpt").write_text("not torch")
    with pytest.raises(ValueError, match="not a torch file"):
        load_featup(tmp_path / "text.ckpt")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="not a FeatUp"):
        load_featup(tmp_path / "other.ckpt")
    state = {f"upsampler.{k}": v for k, v in featup[1].state_dict().items() if "up3" not in k}
    torch.save({"state_dict": state}, tmp_path / "partial.ckpt")
    with pytest.raises(ValueError, match=r"do not fit: \d+ missing") as refused:
        load_featup(tmp_path / "partial.ckpt")
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="cannot load MaskCLIP"):
        load_maskclip(str(tmp_path / "missing.safetensors"))
    with pytest.raises(ValueError, match="no DINOv2 weights"):
        load_dinov2(str(tmp_path / "missing.pth"))


def test_a_malicious_file_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save({"state_dict": {}, "x": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match="not a FeatUp"):
        load_featup(tmp_path / "evil.ckpt")


@pytest.fixture(scope="module")
def vit():
    import timm

    torch.manual_seed(0)
    return timm.create_model("vit_small_patch14_dinov2.lvd142m", pretrained=False, img_size=84, depth=2).eval()


def test_dinov2_tokens_are_timms_at_its_own_size_and_differ_elsewhere(vit):
    image = torch.randn(1, 3, 84, 84)
    with torch.inference_mode():
        own = vit.forward_features(image)[:, 1:].transpose(1, 2).unflatten(-1, (6, 6))
    assert close(DinoV2(vit)(image), own)
    assert DinoV2(vit)(torch.randn(2, 3, 42, 56)).shape == (2, 384, 3, 4)
    with pytest.raises(ValueError, match="multiples of 14"):
        DinoV2(vit)(torch.zeros(1, 3, 60, 64))


def test_the_official_dinov2_file_loads(vit, tmp_path):
    """The official layout: a mask token, and the table for 518 x 518."""
    import timm

    full = timm.create_model("vit_small_patch14_dinov2.lvd142m", pretrained=False)
    state = full.state_dict() | {"mask_token": torch.zeros(1, 384)}
    torch.save(state, tmp_path / "dinov2_vits14_pretrain.pth")
    teacher = load_dinov2(str(tmp_path / "dinov2_vits14_pretrain.pth"))
    assert torch.equal(teacher.vit.blocks[0].attn.qkv.weight, full.blocks[0].attn.qkv.weight)


def test_whole_teachers_give_a_feature_for_every_pixel(clip, featup, vit):
    images = torch.rand(1, 3, 48, 64) * 2 - 1
    teacher = FeatUpTeacher(MaskClip(clip[1]), JbuStack(32))
    assert teacher(images).shape == (1, 48, 64, 32)
    assert FeatUpTeacher(DinoV2(vit), JbuStack(384), nn.LayerNorm(384))(images).shape == (1, 48, 64, 384)
    assert imagenet_normalised(torch.full((1, 3, 1, 1), -1.0)).flatten()[0].item() == pytest.approx(-0.485 / 0.229)


@pytest.mark.slow
def test_upsampling_to_512_by_384_stays_under_3_gigabytes():
    code = """
import resource, torch
from sab3r_ros.models.featup import JbuStack
with torch.inference_mode():
    out = JbuStack(512).eval()(torch.randn(1, 512, 24, 32), torch.randn(1, 3, 384, 512))
print(*out.shape, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *shape, kilobytes = map(int, done.stdout.split())
    assert shape == [1, 512, 384, 512]
    assert kilobytes < 3e6
