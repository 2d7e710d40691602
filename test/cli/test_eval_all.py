"""`sab3r eval all`: one evaluation over many folders."""

import json

import pytest
from data_sets import write_seven_scenes

from sab3r_ros.cli.eval_all import evaluate_all, table
from sab3r_ros.cli.kinds import Kind
from sab3r_ros.config import Settings
from sab3r_ros.lab.synthetic.sequence import render_sequence


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Two sequences of one name, in the folders of their scenes, and one that is not there."""
    place = tmp_path_factory.mktemp("scenes")
    walk = render_sequence(900_060_002, 2, 160, 128, 0.3)
    return [write_seven_scenes(place / name / "seq-01", walk) for name in ("chess", "fire")] + [place / "office"]


@pytest.mark.slow
def test_folders_are_evaluated_and_gone_on_with(scenes, tmp_path, capsys):
    out = tmp_path / "figures"
    done = evaluate_all(Kind.DEPTH, scenes, out, Settings(), 0, 2, "", 0.0)
    assert [row["name"] for row in done["rows"]] == ["chess_seq-01", "fire_seq-01", "office"]
    assert [row["ended"] for row in done["rows"]][:2] == ["complete"] * 2
    assert done["rows"][2]["ended"].endswith("office is no folder")
    assert done["rows"][0]["abs_rel"] == pytest.approx(done["mean"]["abs_rel"])
    assert done["mean"]["images"] == 2
    assert json.loads((out / "summary.json").read_text()) == done
    page = (out / "index.html").read_text()
    assert "fire_seq-01" in page
    assert "abs_rel" in page
    text = table(done).splitlines()
    assert len(text) == 5
    assert text[-1].startswith("mean ")
    written = (out / "chess_seq-01.json").stat().st_mtime_ns
    write_seven_scenes(scenes[2], render_sequence(900_060_002, 2, 160, 128, 0.3))
    again = evaluate_all(Kind.DEPTH, scenes, out, Settings(), 0, 2, "", 0.0)
    assert [row["ended"] for row in again["rows"]] == ["complete"] * 3
    assert (out / "chess_seq-01.json").stat().st_mtime_ns == written
    assert "2 of 3 folders were evaluated before" in capsys.readouterr().err


def test_figures_of_another_evaluation_are_not_taken(scenes, tmp_path):
    from sab3r_ros.cli.eval_all import _mark, _stored

    mark = _mark(Kind.DEPTH, scenes[0], Settings(), 0)
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"of": mark, "figures": {"a": 1}}))
    assert _stored(file, mark) == {"a": 1}
    for other in (
        _mark(Kind.POSE, scenes[0], Settings(), 0), _mark(Kind.DEPTH, scenes[1], Settings(), 0), _mark(Kind.DEPTH, scenes[0], Settings(), 9),
        _mark(Kind.DEPTH, scenes[0], Settings().with_values(map={"voxel_size": 0.1}), 0),
    ):  # fmt: skip
        assert _stored(file, other) is None
    file.write_text("{broken")
    assert _stored(file, mark) is None
