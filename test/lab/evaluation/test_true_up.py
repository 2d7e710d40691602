"""Which way is up, from a labelled floor, and the error of a map's own idea."""

import numpy as np
import pytest
from data_sets import write_seven_scenes
from scipy.spatial.transform import Rotation

from sab3r_ros.lab.evaluation.recordings import RecordedLabels, TrueRecording
from sab3r_ros.lab.evaluation.true_up import true_up, up_error
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.synthetic.sequence import render_sequence


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A made-up room as a 7-Scenes folder; its z axis is up."""
    sequence = render_sequence(900_060_147, 8, 128, 96, 1.2)
    folder = write_seven_scenes(tmp_path_factory.mktemp("walk") / "room", sequence, list(LABELS))
    return TrueRecording(folder, 10.0)


def test_the_floor_tells_which_way_is_up(recording):
    labels = RecordedLabels.beside(recording.source)
    up = true_up(recording, labels)
    assert up @ [0, 0, 1] > np.cos(np.radians(0.5))
    assert true_up(recording, None) is None


def test_the_error_is_the_angle_whatever_frame_the_map_has():
    rng = np.random.default_rng(0)
    truth, found = [], []
    frame = Rotation.random(random_state=1).as_matrix()  # of the true poses, in which up is some direction
    lean = Rotation.from_euler("x", 4.0, degrees=True).as_matrix()
    for _ in range(20):
        pose, mapped = np.eye(4), np.eye(4)
        level = Rotation.random(random_state=rng.integers(1000)).as_matrix()
        pose[:3, :3], mapped[:3, :3] = frame @ level, lean @ level
        pose[:3, 3] = rng.normal(size=3)
        truth.append(pose)
        found.append(mapped)
    assert up_error(found, truth, frame @ [0, 0, 1.0]) == pytest.approx(4.0, abs=1e-6)
