"""The weights that come with the package: their size, what they can do, and what their image prompts hang on."""

import numpy as np
import pytest

from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.lab.evaluation.affordance_shapes import evaluate_affordance
from sab3r_ros.lab.synthetic.clouds import object_cloud
from sab3r_ros.lab.synthetic.interaction_images import interaction_image
from sab3r_ros.models.catalogue import ASSETS
from sab3r_ros.models.weights import load_checkpoint


@pytest.fixture(scope="module")
def segmenter():
    return AffordanceSegmenter("cast_tiny")


def test_they_are_small_and_free():
    folder = ASSETS / "cast_tiny"
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < 12 * 2**20
    assert AffordanceSegmenter("cast_tiny").checkpoint.licence == "Apache-2.0"


def test_image_prompts_were_trained_beside_the_sab3r_that_is_shipped(segmenter):
    assert segmenter.checkpoint.image.id == load_checkpoint("sab3r_small").id
    cloud = object_cloud("mug", 900_000_001)
    picture = interaction_image("mug", "grasp", np.random.default_rng(0))
    shown = segmenter.score(cloud.points, "", picture)
    assert shown.shape == (len(cloud.points),)
    assert not np.allclose(shown, segmenter.score(cloud.points, "", picture[::-1].copy()), atol=1e-3)


@pytest.mark.slow
def test_they_find_parts_of_objects_never_seen(segmenter):
    figures = evaluate_affordance(segmenter, 24)
    assert figures["aiou_whole"] > 74
    assert figures["aiou_partial"] > 79
    assert figures["auc_whole"] > 96
    assert figures["top1_part_whole"] > 91
    assert figures["grasp_on_object_whole"] > 72


def test_different_questions_have_different_answers(segmenter):
    cloud = object_cloud("hammer", 900_000_003)
    assert np.abs(segmenter.score(cloud.points, "grasp") - segmenter.score(cloud.points, "lift the hammer")).max() > 0.0
    knife = object_cloud("knife", 900_000_003)
    handle = segmenter.score(knife.points, "where would you hold the knife")
    blade = segmenter.score(knife.points, "cut")
    assert handle[knife.affordance[:, 3]].mean() > blade[knife.affordance[:, 3]].mean()
