"""Labels, locating, and bad vocabularies."""

import numpy as np
import pytest
import torch

from sab3r_ros.config import QuerySettings
from sab3r_ros.mapping.query import UNLABELLED, MapQuery, VocabularyError, label_colours, upright_box
from sab3r_ros.models.text import TextEncoder
from sab3r_ros.models.weights import ASSETS
from sab3r_ros.synthetic.objects import LABELS


@pytest.fixture(scope="module")
def text():
    return TextEncoder(f"local-dir:{ASSETS / 'sab3r_tiny' / 'text'}")


@pytest.fixture
def query(text):
    return MapQuery(QuerySettings(), text)


@pytest.fixture
def scene(text):
    """A floor with a mug at (1,1), a second mug at (-1,-1), a chair at (1,-1), and a voxel without feature."""
    rng = np.random.default_rng(0)

    def blob(label, centre, half, count):
        xyz = rng.uniform(-1, 1, (count, 3)) * half + centre
        return xyz, text.encode_labels([label]).expand(count, -1)

    parts = [
        blob("floor", (0, 0, 0), (2, 2, 0.01), 3000), blob("mug", (1, 1, 0.5), (0.06, 0.06, 0.08), 60),
        blob("mug", (-1, -1, 0.5), (0.05, 0.05, 0.05), 40), blob("chair", (1, -1, 0.4), (0.25, 0.25, 0.4), 900),
        (np.zeros((1, 3)), torch.zeros(1, 48)),
    ]  # fmt: skip
    xyz = torch.from_numpy(np.concatenate([p[0] for p in parts])).float()
    count = len(xyz)
    return {
        "xyz": xyz, "feature": torch.cat([p[1] for p in parts]).half(), "rgb": torch.full((count, 3), 100.0),
        "stamp": torch.arange(count), "basis": torch.eye(48), "weight": torch.ones(count), "hits": torch.ones(count),
    }  # fmt: skip


def test_voxels_get_the_label_of_their_feature(query, scene):
    label, score = query.classify(scene)
    names = np.array([*query.vocabulary.labels, "none"])[np.minimum(label, len(query.vocabulary.labels))]
    assert (names[:3000] == "floor").all()
    assert (names[3000:3100] == "mug").all()
    assert label[-1] == UNLABELLED
    assert (score[:-1] > 0.9).all()
    assert score[-1] == 0


def test_weak_objects_are_no_answers_unless_asked_for(query, scene):
    score = max(o.score for o in query.locate(scene, ["mug"], 0.04))
    query.settings = query.settings.model_copy(update={"min_object_score": (score + 1) / 2})
    assert query.locate(scene, ["mug"], 0.04) == []
    assert query.locate(scene, ["mug"], 0.04, min_score=0.3)


def test_locate_separates_instances_and_describes_them(query, scene):
    found = query.locate(scene, ["mug"], voxel_size=0.04)
    assert [o.id for o in found] == ["mug-0", "mug-1"] or [o.id for o in found] == ["mug-1", "mug-0"]
    biggest = next(o for o in found if o.id == "mug-0")
    assert biggest.centroid == pytest.approx([1, 1, 0.5], abs=0.03)
    assert biggest.box_pose[:3, 3] == pytest.approx([1, 1, 0.5], abs=0.03)
    assert biggest.size[2] == pytest.approx(0.16, abs=0.03)
    assert len(biggest.points) == 60
    assert biggest.last_seen == 3059
    assert biggest.score > 0.8


def test_synonyms_and_colours_in_the_prompt(query, scene):
    assert query.locate(scene, ["cup"], 0.04)[0].centroid == pytest.approx([1, 1, 0.5], abs=2.2)
    assert query.locate(scene, ["seat"], 0.06)[0].centroid == pytest.approx([1, -1, 0.4], abs=0.1)


def test_what_is_not_there_is_not_found(query, scene):
    assert query.locate(scene, ["television"], 0.04) == []


def test_negatives_take_away_what_they_name(query, scene):
    assert (
        query.relevance(scene, "chair", ["seat"])[3100:4000].mean() < query.relevance(scene, "chair")[3100:4000].mean()
    )


def test_several_prompts_keep_their_index_and_a_limit(query, scene):
    found = query.locate(scene, ["chair", "mug"], 0.06)
    assert {(o.label, o.prompt_index) for o in found} == {("chair", 0), ("mug", 1)}
    assert len(query.locate(scene, ["chair", "mug"], 0.06, max_objects=1)) == 1


def test_the_vocabulary_changes_while_running(query, scene):
    query.set_vocabulary(["mug", "something else"], "a photo of a {}")
    label, _ = query.classify(scene)
    assert set(label.tolist()) <= {0, 1, UNLABELLED}
    assert (label[3000:3100] == 0).all()
    assert query.template == "a photo of a {}"


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ([], "at least one"),
        ([""], "at least one"),
        (["mug", " "], "at least one"),
        (["mug", "MUG "], "duplicates: mug"),
    ],
)
def test_bad_vocabularies_are_refused_and_the_old_one_stays(query, labels, why):
    with pytest.raises(VocabularyError, match=why):
        query.set_vocabulary(labels)
    assert tuple(query.vocabulary.labels) == LABELS


def test_bad_requests_are_refused(query, scene):
    with pytest.raises(VocabularyError, match="template"):
        query.set_vocabulary(["mug"], "no place for the label")
    with pytest.raises(VocabularyError, match="at least one"):
        query.locate(scene, [], 0.04)
    with pytest.raises(VocabularyError, match="min_score"):
        query.locate(scene, ["mug"], 0.04, min_score=1.5)


def test_an_empty_or_featureless_map_answers_with_nothing(query, scene):
    empty = {k: v[:0] if k != "basis" else v for k, v in scene.items()}
    bare = scene | {"feature": scene["feature"][:, :0], "basis": scene["basis"][:0]}
    for snapshot in (empty, bare):
        assert query.locate(snapshot, ["mug"], 0.04) == []
        assert (query.classify(snapshot)[0] == UNLABELLED).all()


def test_boxes_stand_upright_and_hold_all_points():
    rng = np.random.default_rng(1)
    yaw = 0.6
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    points = (rng.uniform(-1, 1, (500, 3)) * [1.0, 0.3, 0.2]) @ turn.T + [3, -2, 1]
    pose, size = upright_box(points)
    inside = np.abs((points - pose[:3, 3]) @ pose[:3, :3]) <= size / 2 + 1e-4
    assert inside.all()
    assert sorted(size) == pytest.approx([0.4, 0.6, 2.0], abs=0.06)
    assert pose[2, :3].tolist() == [0, 0, 1]


def test_neighbouring_labels_have_different_colours():
    colours = label_colours(40).astype(int)
    assert np.abs(np.diff(colours, axis=0)).sum(1).min() > 60
