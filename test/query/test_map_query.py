"""Labels, locating, and bad vocabularies."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sab3r_ros.config import QuerySettings
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.models.catalogue import ASSETS
from sab3r_ros.models.text import TextEncoder
from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.objects import ObjectIds, surroundings, upright_box
from sab3r_ros.query.presence import Verdict
from sab3r_ros.query.questions import QuestionError
from sab3r_ros.query.relevancy import CANONICAL_NEGATIVES
from sab3r_ros.query.vocabulary import UNLABELLED, VocabularyError, label_colours
from sab3r_ros.types import MapSnapshot


@pytest.fixture(scope="module")
def text():
    return TextEncoder(f"local-dir:{ASSETS / 'sab3r_small' / 'text'}")


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
    return MapSnapshot(
        0.04, torch.arange(count), torch.eye(48), True, map_uid=1, xyz=xyz, feature=torch.cat([p[1] for p in parts]),
        rgb=torch.full((count, 3), 100.0), weight=torch.ones(count), hits=torch.ones(count, dtype=torch.int32), stamp=torch.arange(count),
    )  # fmt: skip


def test_voxels_get_the_label_of_their_feature(query, scene):
    label, score = query.classify(scene)
    assert (query.nearest_label(scene) == label).all()
    names = np.array([*query.vocabulary.labels, "none"])[np.minimum(label, len(query.vocabulary.labels))]
    assert (names[:3000] == "floor").all()
    assert (names[3000:3100] == "mug").all()
    assert label[-1] == UNLABELLED
    assert (score[:-1] > 0.9).all()
    assert score[-1] == 0


def test_weak_objects_are_no_answers_unless_asked_for(query, scene):
    probability = max(o.probability for o in query.locate(scene, ["mug"]))
    query.settings = query.settings.model_copy(update={"min_score": (probability + 1) / 2})
    assert query.locate(scene, ["mug"]) == []
    assert query.ask(scene, "mug", explored=0.9).presence.verdict == Verdict.ABSENT
    assert query.locate(scene, ["mug"], min_score=0.3)


def test_a_question_is_answered_with_a_verdict(query, scene):
    answer = query.ask(scene, "where is the mug?", explored=0.3)
    assert (answer.presence.verdict, str(answer.question)) == (Verdict.PRESENT, "mug")
    assert answer.presence.probability == answer.objects[0].probability > 0.9
    assert not answer.presence.calibrated
    assert query.ask(scene, "television", explored=0.3).presence.verdict == Verdict.UNSEEN
    assert query.ask(scene, "television", explored=0.9).presence.verdict == Verdict.ABSENT
    assert query.ask(scene, "television").presence.verdict == Verdict.UNSEEN


def test_questions_with_relations_and_superlatives(query, scene):
    near = query.ask(scene, "the mug nearest to the chair")
    assert near.objects[0].centroid[:2] == pytest.approx([1, 1], abs=0.05)
    assert near.anchors[0][0].centroid[:2] == pytest.approx([1, -1], abs=0.05)
    largest = query.ask(scene, "the largest mug")
    assert [o.centroid[0] for o in largest.objects] == pytest.approx([1.0], abs=0.05)
    assert query.ask(scene, "smallest mug").objects[0].centroid[0] == pytest.approx(-1, abs=0.05)
    assert query.ask(scene, "the nearest mug", viewpoint=np.array([-1.0, 0, 1])).objects[0].centroid[
        0
    ] == pytest.approx(-1, abs=0.05)
    assert query.ask(scene, "the mug on the television").objects == []
    with pytest.raises(QuestionError, match="nearest to what"):
        query.ask(scene, "nearest mug")


def test_colours_tell_two_mugs_apart(query, scene):
    rgb = scene.rgb.clone()
    rgb[3000:3060] = torch.tensor([190.0, 40, 40])
    rgb[3060:3100] = torch.tensor([50.0, 80, 170])
    painted = replace(scene, rgb=rgb)
    for colour, x in (("red", 1), ("blue", -1)):
        found = query.ask(painted, f"the {colour} mug").objects
        assert [o.centroid[0] for o in found] == pytest.approx([x], abs=0.05)
    assert query.ask(painted, "green mug").objects == []


def test_a_probability_does_not_depend_on_the_vocabulary(query, scene):
    before = query.ask(scene, "mug").presence.probability
    query.set_vocabulary([f"thing {k}" for k in range(50)], "a photo of a {}")
    query.set_vocabulary(["wall", "rest"])
    assert query.ask(scene, "mug").presence.probability == pytest.approx(before, abs=1e-6)


def test_locate_separates_instances_and_describes_them(query, scene):
    found = query.locate(scene, ["mug"])
    assert [o.id for o in found] == ["mug-0", "mug-1"] or [o.id for o in found] == ["mug-1", "mug-0"]
    biggest = next(o for o in found if o.id == "mug-0")
    assert biggest.centroid == pytest.approx([1, 1, 0.5], abs=0.03)
    assert biggest.box_pose[:3, 3] == pytest.approx([1, 1, 0.5], abs=0.03)
    assert biggest.size[2] == pytest.approx(0.16, abs=0.03)
    assert len(biggest.points) == 60
    assert biggest.last_seen == 3059
    assert biggest.score > 0.8


def test_synonyms_and_colours_in_the_prompt(query, scene):
    mugs = np.array([[1, 1, 0.5], [-1, -1, 0.5]])
    assert np.linalg.norm(mugs - query.locate(scene, ["cup"])[0].centroid, axis=1).min() < 0.05
    assert query.locate(scene, ["seat"])[0].centroid == pytest.approx([1, -1, 0.4], abs=0.1)


def test_what_is_not_there_is_not_found(query, scene):
    assert query.locate(scene, ["television"]) == []


def test_negatives_take_away_what_they_name(query, scene):
    assert (
        query.relevance(scene, "chair", ["seat"])[3100:4000].mean() < query.relevance(scene, "chair")[3100:4000].mean()
    )


def test_several_prompts_keep_their_index_and_a_limit(query, scene):
    found = query.locate(scene, ["chair", "mug"])
    assert {(o.label, o.prompt_index) for o in found} == {("chair", 0), ("mug", 1)}
    assert len(query.locate(scene, ["chair", "mug"], max_objects=1)) == 1


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
        query.locate(scene, [])
    with pytest.raises(VocabularyError, match="min_score"):
        query.locate(scene, ["mug"], min_score=1.5)


def test_an_empty_or_featureless_map_answers_with_nothing(query, scene):
    columns = {k: getattr(scene, k)[:0] for k in ("rows", "xyz", "feature", "rgb", "weight", "hits", "stamp")}
    empty = replace(scene, **columns)
    bare = replace(scene, feature=scene.feature[:, :0], basis=scene.basis[:0])
    for snapshot in (empty, bare):
        assert query.locate(snapshot, ["mug"]) == []
        assert (query.classify(snapshot)[0] == UNLABELLED).all()
        assert (query.nearest_label(snapshot) == UNLABELLED).all()


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


def test_an_absent_thing_is_not_found_whatever_the_vocabulary(query, scene):
    """Scores have nothing to do with the labels in force: with two of them an absent thing once scored 0.76."""
    before = query.relevance(scene, "television")
    query.set_vocabulary(["wall", "rest"])
    after = query.relevance(scene, "television")
    assert np.allclose(after, before, atol=1e-6)
    assert after.max() < 0.3
    assert query.locate(scene, ["television"], min_score=0.3) == []
    assert query.locate(scene, ["mug"], min_score=0.3)


def test_a_labels_score_does_not_depend_on_the_other_labels(query, scene):
    query.set_vocabulary(["mug", "floor", "chair"])
    few = query.classify(scene)[1]
    query.set_vocabulary(list(CANONICAL_NEGATIVES))
    many = query.classify(scene)[1]
    assert np.allclose(few, many, atol=1e-5)


def test_negatives_of_the_caller_lower_the_score(query, scene):
    plain = query.relevance(scene, "mug")[3000:3060].mean()
    assert query.relevance(scene, "mug", ["mug"])[3000:3060].mean() < 0.6 * plain


def test_ids_stay_with_their_objects(query, scene):
    """The smaller mug grows until it ranks first; both keep their ids."""
    first = {o.id: o.centroid for o in query.locate(scene, ["mug"])}
    keep = np.r_[0:3000, 3040:3060, 3060:4001]  # a third of the larger mug is left
    grown = replace(
        scene, **{k: getattr(scene, k)[keep] for k in ("rows", "xyz", "feature", "rgb", "weight", "hits", "stamp")}
    )
    second = query.locate(grown, ["mug"])
    assert [o.id for o in second] == ["mug-1", "mug-0"]
    for item in second:
        assert item.centroid == pytest.approx(first[item.id], abs=0.05)
    elsewhere = query.locate(replace(grown, map_uid=2), ["mug"])
    assert [o.id for o in elsewhere] == ["mug-0", "mug-1"]


def test_ids_of_objects_that_split_vanish_and_come_back():
    ids = ObjectIds()
    a, b = np.arange(0, 10), np.arange(20, 30)
    assert ids.assign(1, "cup", [a, b]) == ["cup-0", "cup-1"]
    assert ids.assign(1, "cup", [b]) == ["cup-1"]
    assert ids.assign(1, "cup", [np.arange(0, 6), np.arange(6, 10)]) == ["cup-0", "cup-2"]
    assert ids.assign(1, "cup", [np.arange(40, 50), a]) == ["cup-3", "cup-0"]


def test_all_labels_are_scored_as_fast_as_a_few(query, scene, monkeypatch):
    """One pass over the map's features, not one per label."""
    from sab3r_ros.query import relevancy

    calls = []
    unit = relevancy.unit_features
    monkeypatch.setattr(relevancy, "unit_features", lambda s: calls.append(1) or unit(s))
    query.locate(scene, list(CANONICAL_NEGATIVES)[:50])
    assert len(calls) == 1


def test_surroundings_are_near_and_none_of_the_object():
    item = np.zeros((1, 3))
    cloud = np.array([[0.0, 0, 0], [0.3, 0, 0], [0.5, 0, 0], [np.nan, 0, 0]])
    assert surroundings(item, cloud).tolist() == [[0.3, 0, 0]]
    assert len(surroundings(item[:0], cloud)) == len(surroundings(item, cloud[:0])) == 0
