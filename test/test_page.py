"""The page: what it sends, what it answers, and, where Chromium is installed, what a person sees."""

import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest

from sab3r_ros.affordance import pipeline
from sab3r_ros.cli.mapping import map_source
from sab3r_ros.config import Settings
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.maps import open_map
from sab3r_ros.models.backends import load_backend
from sab3r_ros.outputs import write_outputs
from sab3r_ros.query.map_query import query_for
from sab3r_ros.sources.open import open_source

pytest.importorskip("viser", reason="the page is NOT tested: pip install 'sab3r_ros[view]'")

from sab3r_ros.page import page as page_module
from sab3r_ros.page.live import LivePage
from sab3r_ros.page.page import MapPage
from sab3r_ros.page.points import COLOURINGS, MapPoints, Shown
from sab3r_ros.page.scene import box_lines, gripper_lines

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "room"
    settings = Settings()
    backend = load_backend(settings.model, settings.window.size)
    mapper, _ = map_source(open_source("demo"), settings, backend, 16)
    write_outputs(mapper, query_for(backend.features, settings.query), out, overwrite=False)
    return out


@pytest.fixture(scope="module")
def page(folder):
    made = MapPage(open_map(folder), port=0)
    yield made
    made.stop()


@pytest.mark.slow
def test_it_is_served_to_this_machine_alone(page):
    assert page.server.get_host() == "127.0.0.1"
    with urllib.request.urlopen(page.address, timeout=20) as answer:
        assert b"<html" in answer.read(2000).lower()


def test_a_port_that_is_taken_is_said(folder):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="choose another --port"):
            MapPage(open_map(folder), port=other.getsockname()[1])


def test_questions_are_answered_on_the_page(page):
    answer = page.ask("the table")
    assert answer.presence.verdict.name in page._verdict.content
    assert page.shown.colouring == "answer"
    assert page.shown.heat is not None
    absent = page.ask("submarine")
    assert absent.objects == []
    assert "submarine" in page._verdict.content
    assert page.ask("") is None
    assert "what to look for" in page._verdict.content


def test_things_are_listed_shown_and_clicked(page, monkeypatch):
    assert page._things
    item = next(iter(page._things.values()))
    page.select(item)
    assert item.label in page._details.content
    assert page.thing_at(item.points[0].astype(float)).id == item.id
    assert page.thing_at(np.full(3, 99.0)) is None
    monkeypatch.setattr(pipeline, "affordance_regions", lambda *_, **__: SimpleNamespace(regions=[]))
    assert page.show_grasps("fly") == 0
    assert page._afforded.content == "no part of it affords 'fly'"


def test_two_clicks_measure(page):
    assert "second" in page.measure(np.zeros(3))
    assert page.measure(np.array([0.0, 3, 4])).startswith("**5.000 m** +-")
    assert "second" in page.measure(np.zeros(3))


def test_a_click_finds_the_first_voxel_on_its_ray(page):
    points = page.points
    eye = np.array([0.0, 0.0, 0.0])
    target = points.points[len(points) // 2].astype(float)
    hit = points.nearest_to_ray(eye, target - eye, 0.03)
    direction = (target - eye) / np.linalg.norm(target - eye)
    along = points.points[hit] @ direction
    assert along <= target @ direction + 0.05
    assert np.linalg.norm(points.points[hit] - along * direction) < 0.05
    assert points.nearest_to_ray(eye, np.array([0, 0, -1.0]) * 1e3 + [0, 0, 0], 1e-9) in (None, *range(len(points)))


@pytest.mark.parametrize("colouring", COLOURINGS)
def test_every_colouring_gives_every_point_a_colour(page, colouring):
    shown = Shown(colouring, heat=np.linspace(0, 1, len(page.points)))
    index = page.points.choose(shown, 5000)
    colours = page.points.paint(shown, index)
    assert colours.shape == (len(index), 3)
    assert colours.dtype == np.uint8


def test_a_large_map_comes_in_portions_the_first_of_which_stands_for_all(folder, monkeypatch):
    monkeypatch.setattr(page_module, "_PORTIONS", (1000, 2000, 10**6))
    monkeypatch.setattr(page_module, "_FIRST_ALONE", 0.1)
    made = MapPage(open_map(folder), port=0)
    try:
        scene = made.server.scene
        first = np.array(scene.get_handle_by_name("/map/0").points)
        assert len(first) == 1000
        assert scene.get_handle_by_name("/map/1") is None
        assert np.ptp(first, axis=0) == pytest.approx(np.ptp(made.points.points, axis=0), rel=0.2)
        made._first_looker(None)
        end = time.monotonic() + 20
        while scene.get_handle_by_name("/map/2") is None:
            assert time.monotonic() < end
            time.sleep(0.02)
        counts = [len(scene.get_handle_by_name(f"/map/{k}").points) for k in range(3)]
        assert counts == [1000, 2000, len(made.points) - 3000]
    finally:
        made.stop()


def test_cuts_and_detail(page):
    points: MapPoints = page.points
    everything = points.choose(Shown(), 10**9)
    assert len(everything) == len(points)
    low = points.choose(Shown(top=0.5), 10**9)
    assert points.points[low, 2].max() <= points.floor + 0.5
    assert len(points.choose(Shown(detail=0.1), 10**9)) == round(len(points) * 0.1)
    assert len(points.choose(Shown(), 1000)) == 1000
    assert len(points.choose(Shown(least_confidence=0.5), 10**9)) == pytest.approx(len(points) / 2, rel=0.1)
    early = points.choose(Shown(until=int(points.stamp.min())), 10**9)
    assert set(points.stamp[early]) == {points.stamp.min()}
    assert len(points.choose(Shown(until=-1.0), 10**9)) == 0


def test_boxes_and_grippers_are_drawn_where_they_are():
    lines = box_lines(np.eye(4), np.array([2.0, 1.0, 0.5]))
    assert lines.shape == (12, 2, 3)
    assert np.abs(lines).max(axis=(0, 1)) == pytest.approx([1, 0.5, 0.25])
    fingers = gripper_lines(np.eye(4), 0.08)
    assert fingers[:2, 0, 1].tolist() == pytest.approx([0.04, -0.04])
    assert fingers[:, :, 2].max() == 0


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is NOT installed: nobody looked at the page")
def test_a_person_types_a_question_and_sees_the_answer(page, tmp_path):
    """Headless: the question is typed, the verdict stands on the page, and the points change their colours."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is NOT installed: nobody looked at the page")
    with sync.sync_playwright() as driver:
        flags = [
            "--no-sandbox",
            "--enable-unsafe-swiftshader",
            "--ignore-gpu-blocklist",
            "--disable-background-networking",
        ]
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=[*flags, "--disable-component-update", "--disable-sync"]
        )
        looked = browser.new_page(viewport={"width": 1300, "height": 1000})
        elsewhere = []
        looked.on(
            "request",
            lambda r: elsewhere.append(r.url) if not r.url.startswith((page.address, "data:", "blob:")) else None,
        )
        looked.goto(page.address)
        looked.wait_for_selector("canvas", timeout=60_000)
        looked.get_by_text("Screenshot").wait_for(timeout=60_000)
        before = looked.screenshot()
        label = looked.get_by_text("Where is", exact=True).first.bounding_box()
        looked.mouse.click(label["x"] + 170, label["y"] + label["height"] / 2)
        looked.keyboard.type("the largest table", delay=10)
        looked.wait_for_timeout(500)
        button = looked.get_by_role("button", name="Ask", exact=True).bounding_box()
        looked.mouse.click(button["x"] + 20, button["y"] + 5)
        looked.get_by_text("understood: largest table").wait_for(timeout=60_000)
        looked.wait_for_timeout(2000)
        after = looked.screenshot(path=tmp_path / "page.png")
        browser.close()
    assert not elsewhere
    assert before != after


def test_a_map_is_shown_and_asked_while_it_grows():
    settings = Settings()
    backend = load_backend(settings.model, settings.window.size)
    mapper = Mapper(settings, backend)
    live = LivePage(mapper, query_for(backend.features, settings.query), "demo", port=0)
    try:
        live.update()
        assert "waiting" in live._status.content
        for frame in islice(open_source("demo"), 6):
            mapper.register(frame)
        live.update()
        assert "6 images" in live._status.content
        assert "tracked" in live._status.content
        cloud = live.server.scene.get_handle_by_name("/map")
        assert len(cloud.points) == mapper.status().points
        before = np.array(cloud.colors)
        live._colouring.value = "label"
        live._draw_again()
        assert (np.array(live.server.scene.get_handle_by_name("/map").colors) != before).any()
        answer = live.ask("shelves")
        assert answer.objects
        assert "PRESENT" in live._verdict.content
        mapper.relocalise()
        live._draw_again()
        assert "lost" in live._status.content
    finally:
        live.stop()
    assert not live._thread.is_alive()


@pytest.mark.slow
def test_the_page_of_a_mapping_becomes_that_of_its_map(tmp_path):
    """The command as a person runs it: ended twice, first the mapping, then the page."""
    command = [sys.executable, "-c", "from sab3r_ros.cli import main; main()", "view", "--live", "demo", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--limit", "8", "--out", "room"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline().split()[0]
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert b"<html" in answer.read(2000).lower()
        assert "8 images" in process.stdout.readline()
        assert process.stdout.readline().split()[0] == address  # the browser stays where it is
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert b"<html" in answer.read(2000).lower()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in errors
    finally:
        process.kill()
    assert len(open_map(tmp_path / "room").points) > 1000
