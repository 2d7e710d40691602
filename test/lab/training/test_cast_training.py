"""CMAT and CAST from rendered objects to weights: lifting, pre-training, image prompts, training."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from sab3r_ros.lab.synthetic.interaction_images import interaction_image
from sab3r_ros.lab.synthetic.materials import random_material
from sab3r_ros.lab.synthetic.object_renderer import Studio
from sab3r_ros.lab.synthetic.objects import SceneObject
from sab3r_ros.lab.synthetic.parts import box_part
from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.lab.training.affordance_data import AffordanceSamples, HouseholdShapes
from sab3r_ros.lab.training.cast import Segmenter, segmenter_from_training_checkpoint, train_cast
from sab3r_ros.lab.training.cmat import LiftedShapes, train_cmat
from sab3r_ros.lab.training.feature_lifting import ShapesWithImages, lift_shapes, lifted, project
from sab3r_ros.lab.training.trainer import RunConfig
from sab3r_ros.models.cast import CastConfig, Prompt
from sab3r_ros.models.cast_weights import load_cast, save_cast
from sab3r_ros.models.image_prompt import ImagePromptEncoder
from sab3r_ros.models.point_mae import PointMaeConfig
from sab3r_ros.models.sab3r import PRESETS, Sab3r
from sab3r_ros.models.weights import Checkpoint

RNG = np.random.default_rng


SMALL = PointMaeConfig(
    dim=16, depth=1, heads=2, groups=16, group_size=8, patch_width=16, decoder_depth=1, decoder_heads=2
)


def picture_dots(images):
    """A teacher whose features are the picture's own colours."""
    return torch.nn.functional.avg_pool2d(images, 8)


@pytest.fixture(scope="module")
def shapes_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lifted")
    lift_shapes(folder, 2, picture_dots, workers=0)
    return folder


def test_features_come_from_the_views_that_see_a_point():
    cube = SceneObject("box", "red", [box_part("body", (0.2, 0.2, 0.2), (0, 0, 0), random_material(RNG(0), "red"))])
    view = Studio(cube, RNG(0)).view([1, 0, 0.01], 128, 96)
    near, far = np.array([[0.1, 0, 0], [0.1, 0.05, 0.05]]), np.array([[-0.1, 0, 0], [0, 0, 5.0]])
    pixels, seen = project(np.concatenate([near, far]), view, 0.01)
    assert seen.tolist() == [True, True, False, False]
    assert np.allclose(pixels[0], [63.5, 47.5], atol=2)
    grid = torch.stack([torch.full((1, 6, 8), 3.0), torch.full((1, 6, 8), 5.0)])
    visible = torch.tensor([[True, True, False], [True, False, False]])
    places = torch.zeros(2, 3, 2)
    assert lifted(grid, places, visible, (128, 96))[:, 0].tolist() == [4, 3, 0]


def test_lifted_features_lie_in_their_place():
    halves = torch.zeros(1, 2, 6, 8)
    halves[:, 0, :, :4], halves[:, 1, :, 4:] = 1, 1
    pixels = torch.tensor([[[10.0, 50.0], [120.0, 50.0]]])
    assert lifted(halves, pixels, torch.ones(1, 2, dtype=torch.bool), (128, 96)).tolist() == [[1, 0], [0, 1]]


def test_lifting_writes_goes_on_and_is_read(shapes_folder, tmp_path):
    sample = LiftedShapes(shapes_folder)[5]
    assert sample["points"].shape == (1024, 3)
    assert sample["features"].shape == (1024, 3)
    seen = sample["features"].any(1)
    assert seen.float().mean() > 0.9
    assert sample["features"][seen].mean(0).abs().max() < 1e-3
    first = np.load(shapes_folder / "features.npy")
    calls = []
    lift_shapes(shapes_folder, 2, picture_dots, workers=0, report=lambda: calls.append(1))
    assert not calls
    assert np.array_equal(first, np.load(shapes_folder / "features.npy"))
    with pytest.raises(ValueError, match="begun with 2 samples"):
        lift_shapes(shapes_folder, 3, picture_dots, workers=0)
    with pytest.raises(ValueError, match="sab3r train lift"):
        LiftedShapes(tmp_path)
    with pytest.raises(ValueError, match="held-out"):
        ShapesWithImages([0], HELD_OUT_SEEDS.start)


def test_exemplars_show_a_hand_on_the_part():
    picture = interaction_image("mug", "grasp", RNG(3))
    assert picture.shape == (96, 128, 3)
    assert picture.std() > 10
    assert np.array_equal(picture, interaction_image("mug", "grasp", RNG(3)))
    assert interaction_image("mug", "lay", RNG(3)) is None


def test_some_samples_ask_with_a_picture():
    source = HouseholdShapes(40, with_image=0.5, labels=("mug", "bottle"))
    samples = [source.sample(k, RNG(k)) for k in range(12)]
    with_image = [s for s in samples if s.image is not None]
    assert 2 <= len(with_image) <= 10
    assert all(s.question for s in samples if s.image is None)
    assert {bool(s.question) for s in with_image} == {True, False}
    item = AffordanceSamples(source)[0]
    assert item["image"].shape == (1, 96, 128, 3)
    assert item["image"].any() == item["with_image"].item()


def test_a_cloud_is_asked_several_things():
    source = HouseholdShapes(40, labels=("mug",))
    item = AffordanceSamples(source, places=100, questions=3)[4]
    assert item["points"].shape == (2048, 3)
    assert torch.equal(item["places"], item["points"][:100])
    assert item["target"].shape == (100, 3)
    assert len(item["question"]) == 3
    asked = {s.affordance for s in source.samples(4, RNG(0), 3)}
    assert len(asked) == 3


def test_answers_come_in_the_order_of_the_questions():
    """Encoded once and asked three things gives what three separate passes give."""
    cfg = CastConfig(SMALL, dim=16, layers=1, heads=2, ffn=16, head_dim=8, text_dim=16, dropout=0.0, neighbours=4)
    torch.manual_seed(0)
    segmenter = Segmenter(cfg).eval()
    torch.nn.init.normal_(segmenter.cast.local_shape.mix[-1].weight)
    points, questions = torch.rand(2, 64, 3), ["grasp it", "pour", "which part is to open", "lift", "cut", "sit"]
    text, padding = segmenter.text(questions)
    with torch.inference_mode():
        together = segmenter.cast.decode(segmenter.cast.encode(points).repeat(3), Prompt(text, padding))
        for k in range(6):
            alone = segmenter(points[k % 2 :][:1], Prompt(*segmenter.text([questions[k]])))
            assert torch.allclose(alone[0], together[k], atol=1e-4)


@pytest.fixture(scope="module")
def picture_encoder():
    torch.manual_seed(0)
    return ImagePromptEncoder(Checkpoint(Sab3r(PRESETS["tiny"]).eval(), "blank-0", "none", None))


def test_pictures_of_any_shape_become_tokens(picture_encoder):
    assert picture_encoder.read(np.zeros((480, 640, 3), np.uint8)).shape == (1, 48, picture_encoder.dim)
    assert picture_encoder.read(np.zeros((200, 90, 3), np.uint8)).shape[-1] == picture_encoder.dim
    with pytest.raises(ValueError, match="too narrow"):
        picture_encoder.read(np.zeros((1000, 4, 3), np.uint8))


@pytest.mark.slow
def test_pre_training_and_training_learn_and_hand_over(tmp_path, shapes_folder, picture_encoder):
    run = RunConfig(steps=3, batch=2, lr=1e-3, warmup=1, workers=0, log_every=1)
    shapes = HouseholdShapes(20, with_image=0.5)
    encoder = train_cmat(tmp_path / "cmat", SMALL, LiftedShapes(shapes_folder), run)
    cfg = CastConfig(SMALL, dim=16, layers=1, heads=2, ffn=16, head_dim=8, text_dim=16, image_dim=192, dropout=0.0)
    with pytest.raises(ValueError, match="do not fit: .* of another shape"):
        train_cast(
            tmp_path / "wrong", CastConfig(PointMaeConfig(dim=32, depth=1, heads=2), text_dim=16), shapes, run, encoder
        )
    with pytest.raises(ValueError, match="image tokens of width 8"):
        train_cast(tmp_path / "narrow", replace(cfg, image_dim=8), shapes, run, images=picture_encoder)
    last = train_cast(tmp_path / "cast", cfg, shapes, run, encoder, images=picture_encoder)
    segmenter = segmenter_from_training_checkpoint(last, cfg)
    points = torch.rand(1, 64, 3)
    with torch.inference_mode():
        text = Prompt(*segmenter.text(["grasp"]))
        image = Prompt(image=picture_encoder.read(interaction_image("mug", "grasp", RNG(0))))
        assert segmenter(points, text).shape == (1, 64, 1)
        assert not torch.allclose(segmenter(points, text), segmenter(points, image))
    rows = [
        float(r["loss"]) for r in csv.DictReader(next((tmp_path / "cast").glob("log/version_*/metrics.csv")).open())
    ]
    assert len(rows) == 3
    assert all(np.isfinite(rows))
    again = replace(run, steps=1)
    assert train_cast(tmp_path / "on", replace(cfg, image_dim=0), shapes, again, start=last).is_file()


def test_what_reads_images_is_trained_alone(tmp_path, picture_encoder):
    """For another image encoder; from a folder of weights, whose answers to words stay as they are."""
    cfg = CastConfig(SMALL, dim=16, layers=1, heads=2, ffn=16, head_dim=8, text_dim=16, image_dim=picture_encoder.dim)
    start = Segmenter(cfg)
    save_cast(tmp_path / "start", start.cast, start.text, "none", {})
    source = HouseholdShapes(8, with_image=1.0)
    run = RunConfig(2, 2, 1e-2, warmup=1, workers=0)
    last = train_cast(
        tmp_path / "run", cfg, source, run, start=tmp_path / "start", images=picture_encoder, images_only=True
    )
    before, after = load_cast(str(tmp_path / "start")), segmenter_from_training_checkpoint(last, cfg)
    changed = {
        k
        for k, v in before.network.state_dict().items()
        if not torch.allclose(v, after.cast.state_dict()[k], atol=1e-4)
    }
    assert changed
    assert changed <= {"image_projection.weight", "image_projection.bias", "image_type_embedding"}


def test_what_is_hidden_from_the_network_changes_nothing(picture_encoder):
    cfg = CastConfig(SMALL, dim=16, layers=1, heads=2, ffn=16, head_dim=8, text_dim=16, image_dim=192, dropout=0.0)
    torch.manual_seed(0)
    segmenter = Segmenter(cfg).eval()
    points = torch.rand(2, 64, 3)
    tokens = picture_encoder.read(interaction_image("mug", "grasp", RNG(0))).expand(2, -1, -1)
    text, padding = segmenter.text(["grasp it", "grasp it"])
    none = torch.ones(tokens.shape[:2], dtype=torch.bool)
    with torch.inference_mode():
        words = segmenter(points, Prompt(text, padding))
        assert torch.allclose(words, segmenter(points, Prompt(text, padding, tokens, none)), atol=1e-5)
        picture = segmenter(points, Prompt(image=tokens))
        silent = Prompt(text, torch.ones_like(padding), tokens)
        assert torch.allclose(picture, segmenter(points, silent), atol=1e-5)
        assert not torch.allclose(words, picture, atol=1e-3)
