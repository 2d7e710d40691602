"""Every backend by its name through the whole system: map, save, open, locate; on small files of the public formats."""

from pathlib import Path

import numpy as np
import pytest
import torch
from random_models import FEATURES, write_dune, write_maskclip, write_models

import sab3r_ros
from sab3r_ros.config import ModelSettings, settings_from_dotted
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.map_file import MapFileError
from sab3r_ros.mapping.session import load_map, save_map
from sab3r_ros.models.backends import load_backend, load_feature_model
from sab3r_ros.models.catalogue import CheckpointError
from sab3r_ros.models.two_view import TwoViewModel
from sab3r_ros.models.weights import load_checkpoint
from sab3r_ros.types import Frame

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"map.voxel_size": 0.005, "model.image_size": 112, "query.prompt_template": "a {}", "tracking.min_inliers": 0.0}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def where(models, monkeypatch):
    monkeypatch.setenv("SAB3R_MODELS", str(models))


@pytest.fixture(scope="module")
def views():
    return render_sequence(900_060_005, 4, 160, 120, 0.3).views


def settings(**changes):
    return settings_from_dotted(SMALL | {k.replace("__", "."): v for k, v in changes.items()})


def mapped(views, config):
    mapper = sab3r_ros.Mapper(config)
    for k, view in enumerate(views):
        mapper.register(Frame(view.rgb, k * 10**8))
    return mapper


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "features"),
    [("mast3r_maskclip", FEATURES), ("dune_small", 0), ("dune_base", 0), ("mast3r", 0)],
)
def test_a_backend_maps_saves_opens_and_locates(views, tmp_path, name, features):
    config = settings(model__checkpoint=name)
    mapper = mapped(views, config)
    assert mapper.backend.feature_dim == features
    assert mapper.status().points > 20
    assert mapper.geometry.patch == (14 if name.startswith("dune") else 16)
    save_map(mapper, tmp_path / "map")
    opened = sab3r_ros.open_map(tmp_path / "map", settings=config)
    assert opened.content.geometry_model == mapper.geometry.id
    if not features:
        assert opened.content.feature_model == ""
        with pytest.raises(MapFileError, match="without features"):
            opened.locate("mug")
    else:
        assert opened.content.feature_model == mapper.backend.features.id
        found = opened.locate("mug", min_score=1e-4)
        assert found
        assert 0 < found[0].score < 1
    again = sab3r_ros.Mapper(config)
    assert load_map(again, tmp_path / "map")
    assert again.status().points == mapper.status().points
    assert again.register(Frame(views[0].rgb, 10**10)).estimate is not None


def test_maskclip_stands_beside_any_geometry_and_may_be_left_out(views):
    beside = mapped(views[:2], settings(model__checkpoint="dune_small", model__features="maskclip"))
    assert beside.backend.feature_dim == FEATURES
    assert beside.snapshot().has_features
    without = mapped(views[:1], settings(model__checkpoint="mast3r_maskclip", model__features="none"))
    assert without.backend.features is None
    assert not without.snapshot().has_features


def test_the_authors_network_has_features_of_its_own(models):
    features = load_feature_model(ModelSettings(checkpoint="sab3r"))
    assert features.dim == 512
    assert load_backend(ModelSettings(checkpoint="sab3r")).geometry.id == features.id


def test_geometry_opens_without_the_features_of_another_model(views, tmp_path, models):
    mapper = mapped(views[:2], settings(model__checkpoint="mast3r_maskclip"))
    save_map(mapper, tmp_path / "map")
    write_maskclip(tmp_path / "other", FEATURES)
    with torch.no_grad():
        state = torch.load(tmp_path / "other" / "maskclip_jbu_stack_cocostuff.ckpt")
        state["state_dict"]["upsampler.fixup_proj.1.bias"] += 1
        torch.save(state, tmp_path / "other" / "maskclip_jbu_stack_cocostuff.ckpt")
    config = settings(model__checkpoint="mast3r", model__features=str(tmp_path / "other"))
    other = sab3r_ros.Mapper(config)
    assert load_map(other, tmp_path / "map") is False
    assert other.status().points == mapper.status().points
    with pytest.raises(MapFileError, match="was made with maskclip-"):
        sab3r_ros.open_map(tmp_path / "map", settings=config).locate("mug")


def test_padding_to_a_fixed_number_of_keyframes_changes_nothing(views):
    checkpoint = load_checkpoint("mast3r")
    plain, padded = TwoViewModel(checkpoint, image_size=112), TwoViewModel(checkpoint, image_size=112, num_references=4)
    images = [v.rgb[:96, :112].copy() for v in views[:3]]
    frame, *keyframes = (plain.encode(image) for image in images)
    one, two = (m.predict_pairs(frame, keyframes, symmetric=True, match_step=12) for m in (plain, padded))
    for name in (
        "frame_points",
        "frame_conf",
        "keyframe_points_in_frame",
        "frame_points_in_keyframe",
        "keyframe_points",
    ):
        assert getattr(one, name).shape == getattr(two, name).shape
        assert torch.allclose(getattr(one, name), getattr(two, name), atol=1e-4, rtol=1e-4), name
    assert [len(m) for m in one.matches] == [len(m) for m in two.matches]


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (
            lambda f: (f / "dune_small" / "dune_vitsmall14_448.pth").unlink(),
            "lacks dune_vitsmall14_448.pth.*sab3r fetch dune_small",
        ),
        (lambda f: (f / "dune_small" / "dunemast3r_cvpr25_vitsmall.pth").write_bytes(b"x"), "cannot be opened safely"),
        (lambda f: _other_backbone(f), "was made for dune_vitbase14_448.pth"),
    ],
)
def test_dune_files_that_do_not_belong_together_say_so(tmp_path, monkeypatch, prepare, why):
    write_dune(tmp_path / "dune_small")
    prepare(tmp_path)
    monkeypatch.setenv("SAB3R_MODELS", str(tmp_path))
    with pytest.raises(CheckpointError, match=why):
        load_checkpoint("dune_small")


def _other_backbone(folder):
    path = folder / "dune_small" / "dunemast3r_cvpr25_vitsmall.pth"
    content = torch.load(path)
    torch.save(content | {"dune_backbone_name": "dune_vitbase_14_448_encoder"}, path)


def test_maskclip_without_its_files_says_so(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="sab3r fetch maskclip"):
        load_backend(ModelSettings(checkpoint="mast3r", features=str(tmp_path / "empty")))


def test_only_models_know_the_backends_by_name():
    """Mapper, nodes and commands run every backend without a line that names one."""
    names = ("maskclip", "dune", "mast3r", "Mast3r", "Dune", "MaskClip")
    for room in ("mapping", "query", "nodes", "cli", "viewer", "sources", "affordance"):
        for path in (ROOT / "sab3r_ros" / room).rglob("*.py"):
            if path.name == "train_app.py":  # training names its teachers
                continue
            text = path.read_text()
            found = [n for n in names if f'"{n}' in text or f" {n}." in text or f"models.{n}" in text]
            assert not found, f"{path} names {found}"


def test_features_have_the_size_of_the_image_whatever_the_patch(views):
    features = load_backend(ModelSettings(checkpoint="dune_small", features="maskclip")).features
    image = np.ascontiguousarray(views[0].rgb[:98, :126])
    assert features.image_features(image, None).shape == (98, 126, FEATURES)
