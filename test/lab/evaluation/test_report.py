"""Pages of evaluations."""

import numpy as np
import pytest
from PIL import Image

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.map_and_locate_groups import evaluate_rooms_groups
from sab3r_ros.lab.evaluation.models import searchable_models
from sab3r_ros.lab.evaluation.report import Report, depth_colours
from sab3r_ros.lab.evaluation.trajectory import _from_above


def test_a_page_holds_everything_and_lets_nothing_in(tmp_path):
    report = Report(tmp_path / "page", "<b>title</b>")
    report.heading("one & two")
    report.figures({"miou": 24.1234, "none": None, "nan": float("nan"), "list": [1], "count": 3})
    report.table(["name", "x"], [["<script>", 1.0]])
    report.legend(["wall"], np.array([[1, 2, 3]], np.uint8))
    report.picture(np.zeros((4, 6, 3), np.uint8), 'a "quote"')
    report.bars({"a": 1.0, "b": float("nan")}, "share")
    report.bars({"b": float("nan")}, "nothing")
    page = report.write().read_text()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "one &amp; two" in page
    assert "<td>24.123</td>" in page
    assert page.count("<td>-</td>") == 2
    assert "list" not in page
    assert "rgb(1,2,3)" in page
    assert "http" not in page  # no outside resources
    pictures = sorted((tmp_path / "page" / "pictures").iterdir())
    assert [p.name for p in pictures] == ["0000.png", "0001.png"]
    assert all(f"pictures/{p.name}" in page for p in pictures)


def test_all_that_an_evaluation_tells_is_on_its_page(tmp_path):
    report = Report(tmp_path, "figures")
    report.everything({
        "ate": 0.25, "iou": [["wall", 18.0], ["mug", 31.6]], "by_affordance": {"grasp": {"auc": 97.0}, "pour": {"auc": 96.0, "sim": 0.5}},
        "rooms": [{"seed": 3, "visible": [1, 2]}, {"seed": 4, "scale": 1.5}], "faults": ["a.png: broken"], "none": [],
        "mixed": {"a": 1, "b": "two", "c": [3]}, "by_walk": [[0, 0.9, 0.1], [1, 0.8, 0.2]],
    })  # fmt: skip
    page = report.write().read_text()
    assert page.count("<h2>") == 6
    assert page.count("<img") == 1  # bars of the labels
    assert "<tr><td>pour</td><td>96.000</td><td>0.500</td></tr>" in page
    assert "<tr><td>3</td><td>2 of them</td><td>-</td></tr>" in page
    assert "<p>a.png: broken</p>" in page
    assert "<td>two</td>" in page
    assert "<p>[1, 0.8, 0.2]</p>" in page


def test_depth_in_colours_is_black_where_it_is_unknown_and_darker_farther_away():
    colours = depth_colours(np.array([[0.0, np.nan, 0.5, 2.0, 9.0]]), 2.0)
    assert (colours[0, :2] == 0).all()
    brightness = colours[0, 2:].sum(-1)
    assert brightness[0] > brightness[1] == brightness[2] > 0


def test_ways_are_drawn_from_above(tmp_path):
    angle = np.linspace(0, 5, 40)
    true = [np.eye(4) for _ in angle]
    for pose, a in zip(true, angle, strict=True):
        pose[:3, 3] = [np.cos(a), 0.02 * a, 2 * np.sin(a)]
    turned = np.eye(4)
    turned[:3, :3] = 0.5 * np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])
    lines = _from_above({"true": true, "found": [turned @ p for p in true]})
    assert np.abs(lines["true"] - lines["found"]).max() < 1e-6
    assert np.ptp(lines["true"], axis=0) == pytest.approx([4, 2], abs=0.3)
    report = Report(tmp_path, "ways")
    report.paths(lines, "from above")
    report.write()
    with Image.open(tmp_path / "pictures" / "0000.png") as drawn:
        assert min(drawn.size) > 300
        assert len(np.unique(np.asarray(drawn).reshape(-1, 3), axis=0)) > 20


def test_map_and_locate_draws_prediction_beside_truth(tmp_path):
    backend, query = searchable_models(Settings())
    evaluate_rooms_groups(Settings(), backend, query, 1, 0, lambda: None, tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text()
    assert "room 0" in page
    assert "<td>acc</td>" in page
    with Image.open(tmp_path / "page" / "pictures" / "0000.png") as drawn:
        assert drawn.size == (480, 120)
        image, truth, predicted = np.split(np.asarray(drawn), 3, axis=1)
    assert (truth == predicted).all(-1).mean() > 0.3  # most of these rooms' points are named rightly
    assert len(np.unique(truth.reshape(-1, 3), axis=0)) < 40 < len(np.unique(image.reshape(-1, 3), axis=0))
