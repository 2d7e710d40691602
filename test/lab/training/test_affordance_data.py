"""Affordance data sets: household shapes and small files in the layouts of the public ones; training on them."""

import csv
import pickle

import numpy as np
import pytest

from sab3r_ros.affordance.regions import find_regions
from sab3r_ros.lab.evaluation.affordance_shapes import part_first
from sab3r_ros.lab.synthetic.parts import AFFORDANCES
from sab3r_ros.lab.synthetic.questions import VERBS, question
from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.lab.training.affordance_data import (
    POINTS,
    AffordanceNet,
    AffordanceSamples,
    HouseholdShapes,
    Laso,
    Piad,
)
from sab3r_ros.lab.training.wordings import distractor_words, with_distractors

RNG = np.random.default_rng


def test_every_affordance_has_verbs_and_held_out_wordings_differ():
    assert set(VERBS) == set(AFFORDANCES)
    seen = {question("mug", "grasp", RNG(k)) for k in range(200)}
    held_out = {question("mug", "grasp", RNG(k), held_out=True) for k in range(50)}
    assert len(seen) > 20
    assert not seen & held_out


def test_idle_words_are_strewn_into_questions_and_leave_the_others():
    assert len(distractor_words()) > 5000
    assert not {"grasp", "mug", "chair", "pour"} & set(distractor_words())
    many = [with_distractors("where to grasp it", RNG(k)) for k in range(100)]
    longer = [m.split() for m in many if m != "where to grasp it"]
    assert 35 <= len(longer) <= 65
    assert all(5 <= len(words) <= 13 and {"where", "grasp"} <= set(words) for words in longer)
    assert with_distractors("", RNG(0)) == ""


def test_household_samples_repeat_and_ask_for_what_is_there():
    source = HouseholdShapes(100, HELD_OUT_SEEDS.start)
    for k in range(6):
        sample, again = source.sample(k, RNG(k)), source.sample(k, RNG(k))
        assert np.array_equal(sample.points, again.points)
        assert sample.question == again.question
        assert sample.target.sum() >= 8
        assert sample.affordance in AFFORDANCES
        assert len(sample.points) == len(sample.target)
    batch = AffordanceSamples(source)[3]
    assert batch["points"].shape == (POINTS, 3)
    assert batch["target"].shape == (POINTS, 1)
    assert batch["points"].norm(dim=-1).max().item() == pytest.approx(1, abs=1e-4)


@pytest.fixture
def laso(tmp_path):
    points = RNG(0).random((2048, 3)).astype(np.float32)
    mask = (points[:, 2] > 0.5).astype(np.float32)
    for split in ("train", "test"):
        (tmp_path / f"objects_{split}.pkl").write_bytes(pickle.dumps({"7": points}))
        entry = {"shape_id": 7, "class": "mug", "affordance": "grasp", "mask": mask}
        (tmp_path / f"anno_{split}.pkl").write_bytes(pickle.dumps([entry]))
    with (tmp_path / "Affordance-Question.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Object", "Affordance", *[f"Question{k}" for k in range(15)]])
        writer.writerow(["Mug", "grasp", *[f"question {k} of the mug?" for k in range(15)]])
    return tmp_path


def test_laso(laso):
    train, test = Laso(laso), Laso(laso, "test")
    assert len({train.sample(0, RNG(k)).question for k in range(40)}) > 5
    sample = test.sample(0, RNG(5))
    assert sample.question == "question 0 of the mug?"
    assert sample.points.shape == (2048, 3)
    assert sample.target.mean() == pytest.approx(0.5, abs=0.05)
    (laso / "Affordance-Question.csv").unlink()
    with pytest.raises(ValueError, match="is missing"):
        Laso(laso)


def test_pickles_that_hold_more_than_data_are_refused(laso):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    (laso / "objects_train.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r"asks for builtins\.print"):
        Laso(laso)
    (laso / "objects_train.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot read"):
        Laso(laso)


def test_affordance_net(tmp_path):
    points = RNG(0).random((2048, 3))
    label = {"openable": np.ones((2048, 1)), "grasp": np.zeros((2048, 1))}
    entry = {
        "shape_id": "x",
        "semantic class": "Bottle",
        "affordance": ["openable"],
        "full_shape": {"coordinate": points, "label": label},
    }
    (tmp_path / "full.pkl").write_bytes(pickle.dumps([entry]))
    source = AffordanceNet(tmp_path / "full.pkl")
    assert len(source) == 1
    sample = source.sample(0, RNG(0))
    assert (sample.label, sample.affordance) == ("bottle", "open")
    assert sample.target.min() == 1


def test_piad_of_both_versions(tmp_path):
    cloud = RNG(0).random((2048, 20))
    lines = "\n".join("id Mug " + " ".join(f"{v:.4f}" for v in row) for row in cloud)
    (tmp_path / "Seen" / "Mug").mkdir(parents=True)
    (tmp_path / "Seen" / "Mug" / "Point_Train_Mug_1.txt").write_text(lines)
    (tmp_path / "Img_Train.txt").write_text("Img/Mug/grasp/Img_Mug_grasp_1.jpg\n")
    (tmp_path / "Point_Train.txt").write_text("Seen/Mug/Point_Train_Mug_1.txt\n")
    sample = Piad(tmp_path, tmp_path).sample(0, RNG(0))
    assert sample.image.name == "Img_Mug_grasp_1.jpg"
    assert np.allclose(sample.points, cloud[:, :3], atol=1e-4)
    assert np.allclose(sample.target, cloud[:, 3], atol=1e-4)

    folder = tmp_path / "Data" / "Mug" / "3D_Aff" / "pour"
    folder.mkdir(parents=True)
    np.save(folder / "1.npy", cloud[:, :4])
    (tmp_path / "Img_test.txt").write_text("Data/Mug/web/pour/1.jpg\n")
    (tmp_path / "Point_test.txt").write_text("Data/Mug/3D_Aff/pour/1.npy\n")
    sample = Piad(tmp_path, tmp_path, "test", version=2).sample(0, RNG(0))
    assert np.allclose(sample.target, cloud[:, 3])
    assert sample.question == "pour mug"
    (folder / "1.npy").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="cannot read the cloud"):
        Piad(tmp_path, tmp_path, "test", version=2).sample(0, RNG(0))
    with pytest.raises(ValueError, match="is missing"):
        Piad(tmp_path, tmp_path, "val")


def test_the_top1_part():
    points = np.concatenate([RNG(0).random((200, 3)) * 0.1, RNG(1).random((200, 3)) * 0.1 + [1, 0, 0]])
    target = np.repeat([1.0, 0.0], 200)
    normals = np.zeros_like(points) + [0, 0, 1]

    def first(scores):
        return part_first(points, find_regions(points, normals, scores), target)

    assert first(target)
    assert not first(1 - target)
    assert not first(np.zeros(400))
