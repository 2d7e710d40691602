"""Saved maps that go on: `sab3r merge` and `sab3r map --onto`."""

import json

import cv2
import pytest
from commands import sab3r

from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.map_file import read_map
from sab3r_ros.sources.open import open_source


def pictures(folder, images):
    folder.mkdir()
    for k, rgb in enumerate(images):
        cv2.imwrite(str(folder / f"{k:03}.png"), rgb[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """A folder with maps "a" and "b" of two parts of the shipped sequence, pictures "later" of it, and some of another room."""
    folder = tmp_path_factory.mktemp("maps")
    demo = [frame.rgb for frame in open_source("demo")]
    for name, part in (("a", demo[:10]), ("b", demo[5:15])):
        sab3r("map", pictures(folder / f"pictures_{name}", part), "--out", folder / name)
    pictures(folder / "later", demo[8:16])
    pictures(folder / "elsewhere", [v.rgb for v in render_sequence(900_060_036, 4, 320, 240, 0.3).views])
    sab3r("map", folder / "elsewhere", "--out", folder / "c")
    return folder


@pytest.mark.slow
def test_two_maps_become_one_and_a_third_that_shares_nothing_is_named(maps, tmp_path):
    done = sab3r("merge", maps / "a", maps / "c", maps / "b", "--out", tmp_path / "m", "--json", code=1)
    summary = json.loads(done.stdout)
    assert {row["map"][-1]: row["joined"] for row in summary["maps"]} == {"a": True, "b": True, "c": False}
    assert "c: no place of" in done.stderr
    row = next(r for r in summary["maps"] if r["map"].endswith("b"))
    assert row["agree"] >= 3
    assert 0.7 < row["scale"] < 1.4
    content = read_map(tmp_path / "m")
    assert {k.session for k in content.keyframes} == {0, 1}
    assert len(content.keyframes) == summary["keyframes"] == sum(len(read_map(maps / n).keyframes) for n in "ab")
    assert len(content.trajectory) == 20
    assert json.loads((tmp_path / "m" / "summary.json").read_text()) == summary
    assert {"map.ply", "preview.png", "objects.safetensors"} <= {p.name for p in (tmp_path / "m").iterdir()}


def test_where_nothing_can_be_joined_nothing_is_written(maps, tmp_path):
    done = sab3r("merge", maps / "a", maps / "c", "--out", tmp_path / "m", code=1)
    assert done.stderr.strip().splitlines()[-1].startswith("sab3r: none of the maps could be joined")
    assert not (tmp_path / "m").exists()


def test_a_single_map_is_not_merged(maps, tmp_path):
    assert "two maps or more" in sab3r("merge", maps / "a", "--out", tmp_path / "m", code=2).stderr


@pytest.mark.slow
def test_a_map_is_continued_with_a_later_recording(maps, tmp_path):
    sab3r("map", maps / "later", "--out", tmp_path / "m", "--onto", maps / "a")
    before, after = read_map(maps / "a"), read_map(tmp_path / "m")
    assert len(after.trajectory) == len(before.trajectory) + 8
    assert len(after.keyframes) > len(before.keyframes)
    assert {k.session for k in after.keyframes} == {0, 1}


def test_a_recording_of_another_place_does_not_continue_a_map(maps, tmp_path):
    done = sab3r("map", maps / "elsewhere", "--out", tmp_path / "m", "--onto", maps / "a", code=1)
    assert "the camera was not found in" in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "m").exists()
