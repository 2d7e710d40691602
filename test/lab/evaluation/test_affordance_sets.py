"""LASO, PIAD and PIADv2 on small folders in their layout."""

import csv
import pickle

import numpy as np
import pytest
from PIL import Image

from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.lab.evaluation.affordance_sets import PIAD_AFFORDANCES, affordance_set, evaluate_affordance_set
from sab3r_ros.sources.base import SourceError

RNG = np.random.default_rng(4)
POINTS = RNG.normal(size=(3, 64, 3))
MASKS = (POINTS[:, :, 2] > 0.3).astype(float)


class Perfect:
    """A segmenter that knows the answers, and notes what it was asked."""

    def __init__(self, up=2):
        self.asked, self.up = [], up

    def score(self, points, prompt, image=None):
        self.asked.append((prompt, None if image is None else image.shape))
        return (points[:, self.up] > 0.3).astype(np.float32)


@pytest.fixture
def laso(tmp_path):
    kinds = [("mug", "grasp"), ("mug", "pour"), ("door", "open")]
    entries = [
        {"shape_id": f"s{k}", "class": kind, "affordance": a, "mask": MASKS[k]} for k, (kind, a) in enumerate(kinds)
    ]
    (tmp_path / "anno_test.pkl").write_bytes(pickle.dumps(entries))
    (tmp_path / "objects_test.pkl").write_bytes(pickle.dumps({f"s{k}": POINTS[k] for k in range(3)}))
    with (tmp_path / "Affordance-Question.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Object", "Affordance", "Question0", "Question1"])
        table.writerows([k.capitalize(), a, f"Where to {a} the {k}?", f"Show where one can {a}."] for k, a in kinds)
    return tmp_path


@pytest.fixture
def piad(tmp_path):
    """PIAD's lists begin at its authors' folder."""
    names = [("Mug", "grasp"), ("Mug", "pour"), ("Door", "open")]
    clouds, images = [], []
    for k, (kind, affordance) in enumerate(names):
        labels = np.zeros((64, len(PIAD_AFFORDANCES)))
        labels[:, PIAD_AFFORDANCES.index(affordance)] = MASKS[k]
        cloud = tmp_path / "Point" / kind / f"Point_{kind}_{k}.txt"
        picture = tmp_path / "Img" / kind / affordance / f"{kind}_{k}.jpg"
        for file in (cloud, picture):
            file.parent.mkdir(parents=True, exist_ok=True)
        rows = zip(POINTS[k], labels, strict=True)
        cloud.write_text("\n".join(" ".join(["id", kind, *map(str, xyz), *map(str, label)]) for xyz, label in rows))
        Image.new("RGB", (40, 30), (k, 0, 0)).save(picture)
        clouds.append(f"Data/Seen/{cloud.relative_to(tmp_path)}")
        images.append(f"Data/Seen/{picture.relative_to(tmp_path)}")
    (tmp_path / "Point_Test.txt").write_text("\n".join(clouds))
    (tmp_path / "Img_Test.txt").write_text("\n".join(images))
    return tmp_path


@pytest.fixture
def piadv2(tmp_path):
    cloud = tmp_path / "Point" / "Mug" / "3D_Aff" / "grasp" / "1.npy"
    picture = tmp_path / "Img" / "Mug" / "web" / "grasp" / "1.jpg"
    for file in (cloud, picture):
        file.parent.mkdir(parents=True)
    np.save(cloud, np.c_[POINTS[0], MASKS[0]])
    Image.new("RGB", (40, 30)).save(picture)
    (tmp_path / "Point_test.txt").write_text("Data/Point/Mug/3D_Aff/grasp/1.npy\n")
    (tmp_path / "Img_test.txt").write_text("Data/Img/Mug/web/grasp/1.jpg\n")
    return tmp_path


def test_a_perfect_answer_to_laso(laso):
    segmenter = Perfect()
    found = evaluate_affordance_set(segmenter, laso)
    assert found["auc"] == 100
    assert found["aiou"] == pytest.approx(95 + 5 * MASKS.mean(), abs=1)  # at the threshold 0 everything is marked
    assert found["sim"] == pytest.approx(1)
    assert found["mae"] == 0
    assert (found["shapes"], found["faults"]) == (3, [])
    assert set(found["by_affordance"]) == {"grasp", "pour", "open"}
    assert found["repository"]["auc"] == 100
    assert [prompt for prompt, _ in segmenter.asked] == [
        "Where to grasp the mug?", "Where to pour the mug?", "Where to open the door?",
    ]  # fmt: skip
    evaluate_affordance_set(segmenter, laso, limit=1, question=1)
    assert segmenter.asked[3:] == [("Show where one can grasp.", None)]


def test_shapes_whose_y_axis_points_up_are_turned(laso):
    objects = {f"s{k}": POINTS[k] @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]).T for k in range(3)}
    (laso / "objects_test.pkl").write_bytes(pickle.dumps(objects))
    assert evaluate_affordance_set(Perfect(up=1), laso)["auc"] == 100
    assert evaluate_affordance_set(Perfect(), laso, y_up=True)["auc"] == 100


def test_piad_is_asked_by_images_or_in_words(piad):
    segmenter = Perfect()
    found = evaluate_affordance_set(segmenter, piad)
    assert (found["auc"], found["shapes"], found["faults"]) == (100, 3, [])
    assert segmenter.asked == [("", (30, 40, 3))] * 3
    evaluate_affordance_set(segmenter, piad, words=True)
    assert segmenter.asked[3:] == [("grasp", None), ("pour", None), ("open", None)]


def test_piadv2_has_one_mask_a_file(piadv2):
    found = evaluate_affordance_set(Perfect(), piadv2)
    assert (found["auc"], found["shapes"]) == (100, 1)


def test_what_cannot_be_read_is_named_and_costs_itself(laso):
    entries = pickle.loads((laso / "anno_test.pkl").read_bytes())
    entries[1]["mask"] = entries[1]["mask"] * 3
    entries.append({"shape_id": "s9", "class": "mug", "affordance": "grasp", "mask": MASKS[0]})
    entries.append({"shape_id": "s0", "class": "hat", "affordance": "wear", "mask": MASKS[0]})
    entries.append({"shape_id": "s0", "class": "mug", "affordance": "grasp", "mask": MASKS[0][:9]})
    entries.append({"class": "mug"})
    (laso / "anno_test.pkl").write_bytes(pickle.dumps(entries))
    found = evaluate_affordance_set(Perfect(), laso)
    assert found["shapes"] == 2
    told = "\n".join(found["faults"])
    for words in (
        "entry 1: its points are not finite, or its labels not between 0 and 1", "entry 3: shape s9 is not in objects_test.pkl",
        "no question about wear of hat", "entry 5: its points are (64, 3), its labels (9,)", "entry 6: it lacks 'affordance'",
    ):  # fmt: skip
        assert words in told


def test_faults_of_piads_files_are_named(piad):
    files = (piad / "Point_Test.txt").read_text().splitlines()
    (piad / files[0].removeprefix("Data/Seen/")).write_text("id Mug 0 0 0 1\n")
    (piad / files[1].removeprefix("Data/Seen/")).unlink()
    found = evaluate_affordance_set(Perfect(), piad)
    assert found["shapes"] == 1
    assert f"{files[0]}: its lines have [6] fields instead of 22" in found["faults"]
    assert f"{files[1]}: there is no such file below {piad}" in found["faults"]
    images = (piad / "Img_Test.txt").read_text().splitlines()
    (piad / "Img_Test.txt").write_text("\n".join(images[::-1]))
    with pytest.raises(SourceError, match="the lists are not in the same order"):
        evaluate_affordance_set(Perfect(), piad)
    (piad / "Img_Test.txt").write_text("\n".join(images[:2]))
    with pytest.raises(SourceError, match="they belong together"):
        len(affordance_set(piad))


def test_a_pickle_that_would_run_something_is_refused(laso, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    (laso / "anno_test.pkl").write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(SourceError, match="no plain data"):
        evaluate_affordance_set(Perfect(), laso)
    assert not (tmp_path / "made").exists()


def test_other_folders_and_missing_files_are_one_line(laso, tmp_path):
    with pytest.raises(SourceError, match="neither LASO"):
        affordance_set(tmp_path / "nothing")
    (laso / "Affordance-Question.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SourceError, match="no columns Object, Affordance and Question0"):
        evaluate_affordance_set(Perfect(), laso)
    (laso / "objects_test.pkl").write_bytes(b"garbage")
    with pytest.raises(SourceError, match="objects_test.pkl cannot be read"):
        evaluate_affordance_set(Perfect(), laso)


def test_the_shipped_network_answers_in_words_and_by_images(laso, piad):
    segmenter = AffordanceSegmenter()
    assert evaluate_affordance_set(segmenter, laso, limit=1)["shapes"] == 1
    (laso / "anno_test.pkl").unlink()
    found = evaluate_affordance_set(segmenter, piad, limit=1)
    assert 0 <= found["aiou"] <= 100
