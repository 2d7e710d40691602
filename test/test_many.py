"""Many jobs: here and on Ray; and many recordings mapped."""

import json
from pathlib import Path

import cv2
import jobs
import numpy as np
import pytest
from jobs import job

from sab3r_ros.cli.map_all import folder_names, map_all, table
from sab3r_ros.config import Settings
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.many import run_many


def test_a_job_that_fails_or_dies_costs_itself():
    outcomes = {o.number: o for o in run_many(job, [1, 2, 3, 4, 5], workers=2)}
    assert [outcomes[k].result for k in range(5)] == [1, 4, None, None, 25]
    assert outcomes[2].error == "three is refused"
    assert "killed" in outcomes[3].error
    assert not outcomes[0].error


def test_no_jobs_are_no_outcomes():
    assert list(run_many(job, [])) == []


def test_the_same_on_ray(monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed (extra [cluster])")
    monkeypatch.setenv("PYTHONPATH", str(Path(jobs.__file__).parent))  # its workers import the job
    outcomes = {o.number: o for o in run_many(job, [1, 2, 3, 5], workers=2, cluster="local")}
    assert [outcomes[k].result for k in range(4)] == [1, 4, None, 25]
    assert "three is refused" in outcomes[2].error


def test_folders_are_named_after_recordings():
    names = folder_names(["a/walk.mp4", "b/walk.mp4", "scene 1/", "http://h/x?y=1", "..", "walk"])
    assert names[:3] == ["walk", "walk-2", "scene_1"]
    assert len(set(names)) == 6
    assert all(n and "/" not in n and not n.startswith(".") for n in names)


@pytest.mark.slow
def test_recordings_are_mapped_and_gone_on_with(tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for k, view in enumerate(render_sequence(900_060_003, 3, 160, 120, 0.2).views):
            cv2.imwrite(str(tmp_path / name / f"{k}.png"), view.rgb[..., ::-1])
    (tmp_path / "broken").mkdir()
    cv2.imwrite(str(tmp_path / "broken" / "0.png"), np.zeros((120, 160, 3), np.uint8))
    sources = [str(tmp_path / n) for n in ("one", "broken", "two")]
    out = tmp_path / "maps"
    rows = map_all(sources, out, Settings(), 10.0, 0, False, 2, "", 0.0)["recordings"]
    assert [r["ended"] for r in (rows[0], rows[2])] == ["complete", "complete"]
    assert rows[1]["ended"].startswith("failed: nothing could be mapped")
    assert (out / "one" / "map.json").is_file()
    assert [r["ended"] for r in json.loads((out / "summary.json").read_text())["recordings"]] == [
        r["ended"] for r in rows
    ]
    lines = table(rows).splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("one ")
    stamp = (out / "one" / "map.json").stat().st_mtime_ns
    for path in (tmp_path / "broken").iterdir():  # mended meanwhile
        cv2.imwrite(str(path), cv2.imread(str(tmp_path / "one" / "0.png")))
    rows = map_all(sources, out, Settings(), 10.0, 0, False, 2, "", 0.0)["recordings"]
    assert [r["ended"] for r in rows] == ["complete"] * 3
    assert (out / "one" / "map.json").stat().st_mtime_ns == stamp  # left alone
    assert "2 of 3 recordings were mapped before" in capsys.readouterr().err
