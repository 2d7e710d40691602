"""Scanned objects: what one side shows, the figures of a segmenter that knows the answer, and files that are none."""

import numpy as np
import pytest

from sab3r_ros.lab.evaluation.affordance_scans import evaluate_scan, read_scan, visible_from
from sab3r_ros.lab.synthetic.clouds import ObjectSampler
from sab3r_ros.lab.synthetic.objects import SceneObject
from sab3r_ros.lab.synthetic.parts import box_part


class Knowing:
    """Scores by the height alone: the upper half of the box."""

    def __init__(self, upper=True):
        self.upper = upper

    def score(self, points, _prompt, _image=None):
        return ((points[:, 2] > 0) == self.upper).astype(np.float32)


@pytest.fixture
def scan_file(tmp_path):
    sampler = ObjectSampler(SceneObject("box", "red", [box_part("body", (0.1, 0.1, 0.2), (0, 0, 0), None)]))
    cloud = sampler.whole(6000, np.random.default_rng(0))
    path = tmp_path / "tall_box.npz"
    np.savez(path, points=cloud.points, normals=cloud.normals, **{"affordance/lift": cloud.points[:, 2] > 0})
    return path


def test_one_side_shows_the_front_alone(scan_file):
    scan = read_scan(scan_file)
    assert scan.name == "tall box"
    rows = visible_from(scan.points, scan.normals, np.array([1.0, 0, 0]))
    assert np.allclose(scan.points[rows, 0], 0.05)
    front = (scan.points[:, 0] > 0.0499).sum()
    assert 0.9 * front <= len(rows) <= front


def test_a_segmenter_that_knows_gets_full_marks_and_one_that_errs_none(scan_file):
    drawn = []
    scan = read_scan(scan_file)
    good = evaluate_scan(Knowing(), scan, draw=lambda name, *_: drawn.append(name))["lift"]
    assert good["top1_part_whole"] == good["top1_part_partial"] == 100
    assert min(good["auc_whole"], good["auc_partial"]) > 99.9  # points that all but coincide share one answer
    assert 6 <= good["views"] <= 12
    assert len(drawn) == 1 + good["views"]
    assert drawn[0] == "tall_box_lift_whole"
    bad = evaluate_scan(Knowing(upper=False), scan)["lift"]
    assert bad["auc_whole"] == bad["top1_part_partial"] == 0


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "b.npz", points=np.zeros((5, 3)), normals=np.zeros((5, 3)))
    for name, reason in (("a", "cannot read a scan"), ("b", "no affordance/NAME")):
        with pytest.raises(ValueError, match=reason):
            read_scan(tmp_path / f"{name}.npz")
