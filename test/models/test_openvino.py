"""A network exported to OpenVINO says what PyTorch says, is found where it was put, and refuses what it cannot take."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sab3r_ros.cli.app import app
from sab3r_ros.config import ModelSettings
from sab3r_ros.models.backends import load_backend
from sab3r_ros.models.catalogue import CheckpointError
from sab3r_ros.models.openvino_runtime import OpenVinoRuntime, export_openvino, exported_folder
from sab3r_ros.models.runtimes import Runtimes, TorchRuntime
from sab3r_ros.models.sab3r import PRESETS, Sab3r
from sab3r_ros.models.two_view import OnePassFeatures, TwoViewModel
from sab3r_ros.models.weights import Checkpoint, load_checkpoint, save_checkpoint

pytest.importorskip("openvino", reason="the extra [openvino] is not installed")

SMALL = replace(
    PRESETS["small"], enc_dim=32, enc_depth=1, enc_heads=1, dec_dim=32, dec_depth=2, dec_heads=1, dpt_dim=8,
    feature_dpt_dim=8, image_size=96,
)  # fmt: skip
SIZE = (96, 64)


@pytest.fixture(scope="module")
def checkpoint():
    torch.manual_seed(0)
    network = Sab3r(SMALL).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.copy_(parameter.half())  # as weights are stored
    return Checkpoint(network, "small-1234", "none", None)


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("SAB3R_MODELS", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    return export_openvino(checkpoint, SIZE, tmp_path_factory.mktemp("export") / "small")


def images(count):
    return [np.random.default_rng(k).integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8) for k in range(count)]


class Always:
    """Runtimes of which one is taken for every size."""

    def __init__(self, runtime):
        self.runtime = runtime

    def __call__(self, _shape):
        return self.runtime


@pytest.mark.slow
def test_the_export_says_what_the_network_says(checkpoint, exported):
    """Points, confidences, matches and features; one pair and three, one way and both."""
    said = []
    for runtime in (TorchRuntime(checkpoint.network), OpenVinoRuntime(checkpoint.network, exported, threads=1)):
        model = TwoViewModel(checkpoint, runtimes=Always(runtime))
        frame, *keyframes = (model.encode(image) for image in images(4))
        one = model.predict_pairs(frame, keyframes[:1], False, 8)
        three = model.predict_pairs(frame, keyframes, True, 0)
        features = OnePassFeatures(checkpoint, Always(runtime)).image_features(images(1)[0], one)
        said.append([
            frame.tokens, *frame.pyramid, one.frame_points, one.keyframe_points_in_frame, one.frame_conf, three.frame_points,
            three.keyframe_points_in_frame, three.frame_points_in_keyframe, three.keyframe_points, features,
        ])  # fmt: skip
        assert (frame.positions == keyframes[0].positions).all()
        assert len(one.matches) == 1
    for theirs, ours in zip(*said, strict=True):
        assert theirs.shape == ours.shape
        assert torch.allclose(theirs, ours, atol=1e-4, rtol=1e-4), (theirs - ours).abs().max()


def test_several_threads_may_ask_at_once(checkpoint, exported):
    """A node tracks in one thread and looks for places in another."""
    model = TwoViewModel(checkpoint, runtimes=Always(OpenVinoRuntime(checkpoint.network, exported)))
    alone = [model.encode(image).tokens for image in images(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            together = list(pool.map(model.encode, images(4)))
            assert all(torch.allclose(a, b.tokens, atol=1e-5) for a, b in zip(alone, together, strict=True))


@pytest.mark.slow
def test_auto_takes_an_export_that_is_there_and_torch_for_other_sizes(checkpoint, models):
    shape = SIZE[::-1]
    assert isinstance(Runtimes(checkpoint, "auto")(shape), TorchRuntime)
    assert export_openvino(checkpoint, SIZE) == exported_folder(checkpoint.id, SIZE)
    auto = Runtimes(checkpoint, "auto")
    assert isinstance(auto(shape), OpenVinoRuntime)
    assert auto(shape) is auto(shape)
    assert isinstance(auto((96, 96)), TorchRuntime)
    assert isinstance(Runtimes(checkpoint, "torch")(shape), TorchRuntime)


@pytest.mark.slow
def test_what_is_asked_for_is_exported_once(checkpoint, models, caplog):
    shape = SIZE[::-1]
    assert isinstance(Runtimes(checkpoint, "openvino")(shape), OpenVinoRuntime)
    assert "exporting small-1234 for images of 96 x 64" in caplog.text
    caplog.clear()
    assert isinstance(Runtimes(checkpoint, "openvino")(shape), OpenVinoRuntime)
    assert not caplog.text


@pytest.mark.slow
def test_the_settings_choose(checkpoint, models, tmp_path):
    save_checkpoint(tmp_path / "mine", checkpoint.network, "mine", "local-dir:text", "none", {})
    settings = ModelSettings(checkpoint=str(tmp_path / "mine"), device="cpu", runtime="openvino")
    backend = load_backend(settings)
    backend.geometry.encode(images(1)[0])
    assert exported_folder(load_checkpoint(str(tmp_path / "mine")).id, SIZE).is_dir()


@pytest.mark.slow
def test_the_command_exports_and_says_what_a_size_is(checkpoint, models, tmp_path):
    save_checkpoint(tmp_path / "mine", checkpoint.network, "mine", "local-dir:text", "none", {})
    done = CliRunner().invoke(app, ["export-model", str(tmp_path / "mine"), "--size", "96x64"])
    assert done.exit_code == 0, done.output
    folder = Path(done.stdout.strip())
    assert {f.name for f in folder.iterdir()} >= {"encode.xml", "pair.bin", "features.xml"}
    assert folder.parent == models / "openvino"
    wrong = CliRunner().invoke(app, ["export-model", str(tmp_path / "mine"), "--size", "96"])
    assert "--size is WIDTHxHEIGHT, such as 320x240, not '96'" in str(wrong.exception)


def test_what_cannot_be_exported_or_read_says_so(checkpoint, exported, tmp_path):
    other = Checkpoint(Sab3r(PRESETS["tiny"]).eval(), "tiny-1", "none", None)
    with pytest.raises(ValueError, match="tiny-1 cannot be exported: only networks like sab3r_small"):
        export_openvino(other, (128, 96), tmp_path / "tiny")
    with pytest.raises(ValueError, match="multiples of 16"):
        export_openvino(checkpoint, (100, 64), tmp_path / "odd")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "encode.xml").write_text("<net")
    with pytest.raises(CheckpointError, match=r"cannot be used: .*make it again: `sab3r export-model`"):
        OpenVinoRuntime(checkpoint.network, tmp_path)
