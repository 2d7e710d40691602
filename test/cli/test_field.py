"""What the field sends: public bug reports as cases, and how a run that is disturbed ends."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import sab3r
from recordings import picture, write_picture, write_video

COMMAND = [sys.executable, "-c", "from sab3r_ros.cli import main; main()"]
SMALL = ["--set", "tracking.max_keypoints=0"]


@pytest.fixture
def case(real_data, tmp_path):
    """A copy of a case's folder, to run in."""

    def copy(name):
        return Path(shutil.copytree(real_data / "field_cases" / name, tmp_path / name))

    return copy


def summary_of(folder):
    return json.loads((folder / "o" / "summary.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "source", "options", "frames"),
    [
        ("bag_colour_topic_named_depth_camera", "bag", [], 4), ("bag_depth_option_ignored", "bag", ["--depth"], 2),
        ("bag_mono16_of_10_bits", "bag", [], 3), ("bag_nv12", "bag", [], 3), ("bag_one_bad_message", "bag", [], 3),
        ("bag_same_stamp_everywhere", "bag", [], 4), ("bag_two_connections_one_topic", "restart.bag", [], 4),
        ("depth_pictures_mapped_as_colour", "results", [], 4), ("folder_called_20240501", "20240501", [], 3),
        ("one_narrow_picture_ends_the_run", "in", [], 4), ("tum_layout_depth_scale", "icl", ["--depth"], 3),
        ("video_suffix", "clip.mts", [], 8), ("video_variable_frame_rate", "vfr.mp4", [], 8),
    ],
)  # fmt: skip
def test_recordings_of_public_bug_reports_are_mapped(case, name, source, options, frames):
    folder = case(name)
    sab3r("map", source, "--out", "o", *options, *SMALL, cwd=folder)
    summary = summary_of(folder)
    assert summary["frames"] == frames
    assert summary["ended"] == "complete"
    if "--depth" in options:
        assert summary["scale"] == "measured"
    if name == "tum_layout_depth_scale":
        assert any("5000 units per metre" in note for note in summary["notes"])
    if name in ("bag_one_bad_message", "one_narrow_picture_ends_the_run"):
        assert summary["left_out"] == len(summary["skipped"]) == 1
    if name == "video_variable_frame_rate":
        stamps = np.loadtxt(folder / "o" / "trajectory.txt")[:, 0]
        assert set(stamps.round(3)) <= {0, 0.1, 0.2, 1.2, 1.3, 2.3, 2.4, 5.4}


@pytest.mark.slow
def test_clouds_of_public_bug_reports(case):
    def answer(name, file, *options):
        return json.loads(sab3r("afford", case(name) / file, "--affordance", "grasp", "--json", *options).stdout)

    mug = answer("cloud_two_stray_points", "outlier.ply")
    assert len(mug["regions"]) == 1
    assert mug["regions"][0]["grasps"]
    assert "2 stray points" in mug["notes"][0]
    doubled, far = answer("cloud_every_point_twice", "dup2.ply"), answer("cloud_utm", "utm.ply")
    file = case("cloud_millimetres") / "mm.ply"
    assert "millimetres" in sab3r("afford", file, "--affordance", "grasp", code=1).stderr
    metric = json.loads(sab3r("afford", file, "--affordance", "grasp", "--json", "--unit", "mm").stdout)
    for other in (doubled, far, metric):
        assert len(other["regions"]) == 1
        assert len(other["regions"][0]["grasps"]) == len(mug["regions"][0]["grasps"])
    assert answer("cloud_other_formats", "base.pcd")["regions"]
    assert answer("ply_comment_in_latin1", "latin.ply")["regions"]


def folder_of_pictures(path, count=4):
    for k in range(count):
        write_picture(path / f"{k}.png", np.tile(picture(k, 160, 120), (1, 1, 1)))
    return path


def test_the_place_of_the_output_is_tried_before_the_work(tmp_path):
    folder_of_pictures(tmp_path / "in")
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    started = time.monotonic()
    for name in ("file", "full", "/proc/nowhere/map"):
        said = sab3r("map", "in", "--out", name, cwd=tmp_path, code=1).stderr
        assert len(said.strip().splitlines()) == 1
        assert "cannot write" in said or "will not be overwritten" in said
    (tmp_path / "empty").mkdir()
    sab3r("map", "in", "--out", "empty", *SMALL, cwd=tmp_path)
    assert (tmp_path / "empty" / "map.json").is_file()
    assert time.monotonic() - started < 120


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path):
    folder_of_pictures(tmp_path / "in")
    limited = f"ulimit -f 100; exec {sys.executable} -c 'from sab3r_ros.cli import main; main()' map in --out k {' '.join(SMALL)}"
    done = subprocess.run(
        ["bash", "-c", limited],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONSAFEPATH": "1"},
        timeout=200,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "cannot write the map to k" in done.stderr.strip().splitlines()[-1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_keeps_its_map_and_its_summary(tmp_path, number):
    write_video(tmp_path / "long.avi", frames=400)
    process = subprocess.Popen(
        [*COMMAND, "map", "long.avi", "--out", "o", *SMALL], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    said, new = "", " "
    while new and not re.search(r"\b[1-9][0-9]*/400", said):
        new = process.stderr.read(1)
        said += new
    process.send_signal(number)
    rest = process.communicate(timeout=300)[1]
    assert process.returncode == 0, rest
    assert "what was mapped so far is kept" in rest
    summary = summary_of(tmp_path)
    assert summary["ended"] == "interrupted"
    assert 0 < summary["frames"] < 400
    assert summary["fps"] > 0
    assert (tmp_path / "o" / "map.json").is_file()


def test_what_nobody_foresaw_is_one_line_and_the_map_is_kept(tmp_path, monkeypatch, capsys):
    from sab3r_ros.cli.app import run
    from sab3r_ros.mapping.mapper import Mapper

    folder_of_pictures(tmp_path / "in")
    register, count = Mapper.register, []

    def fails(self, frame):
        count.append(1)
        return register(self, frame) if len(count) < 3 else {}["no such thing"]

    monkeypatch.setattr(Mapper, "register", fails)
    monkeypatch.setattr(sys, "argv", ["sab3r", "map", str(tmp_path / "in"), "--out", str(tmp_path / "o"), *SMALL])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "unexpected KeyError" in said
    assert "--debug" in said
    assert "Traceback" not in said
    assert summary_of(tmp_path)["frames"] == 2


def test_inspect_says_what_an_input_is(tmp_path):
    folder_of_pictures(tmp_path / "in")
    (tmp_path / "in" / "9.png").write_bytes(b"rubbish")
    found = json.loads(sab3r("inspect", "in", "--json", "--png", "look.png", cwd=tmp_path).stdout)
    assert found["frames"] == 4
    assert found["sizes"] == {"160 x 120": 4}
    assert found["rate"] == pytest.approx(10)
    assert found["left_out"] == 1
    assert (tmp_path / "look.png").stat().st_size > 5000
    said = sab3r("inspect", "in", cwd=tmp_path).stdout
    assert "plain folder" in said
    assert "9.png" in said
