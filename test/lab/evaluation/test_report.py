"""Pages of evaluations."""

import numpy as np
from PIL import Image

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.map_and_locate_groups import evaluate_rooms_groups
from sab3r_ros.lab.evaluation.models import searchable_models
from sab3r_ros.lab.evaluation.report import Report


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
