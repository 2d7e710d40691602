"""A mapper in two threads: poses while the network works, frames that wait, and what goes wrong on the way."""

import threading
import time

import numpy as np
import pytest
from oracle import oracle

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.lab.evaluation.stream import geometry_metrics
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import Run
from sab3r_ros.nodes.live import LiveMapping
from sab3r_ros.types import BadFrame, Camera, Frame, Tracking

SETTINGS = {"window.keyframe_overlap": 0.85, "camera.find_up": False, "adjustment.enabled": False}


@pytest.fixture(scope="module")
def walk():
    """Thirty views of a held-out room, 256 x 192, as a camera at 10 Hz sees it."""
    return render_sequence(900_060_147, 30, 256, 192, 0.6)


def make(walk, **settings):
    backend = oracle(walk.views, noise=0.03)
    backend.geometry.image_size = 256
    return Mapper(settings_from_dotted({**SETTINGS, "tracking.network": "needed", **settings}), backend)


def frames(walk):
    camera = Camera(walk.views[0].intrinsics)
    return [Frame(v.rgb, round(k * 1e8), camera=camera) for k, v in enumerate(walk.views)]


class Slow:
    """A geometry model whose `encode` waits to be let go, a turn at a time."""

    def __init__(self, geometry):
        self.turns, self.entered = threading.Semaphore(0), 0
        encode = geometry.encode

        def wait_and_encode(image):
            self.entered += 1
            assert self.turns.acquire(timeout=60)
            return encode(image)

        geometry.encode = wait_and_encode


@pytest.fixture
def errors():
    return []


@pytest.fixture
def live(errors):
    made = []

    def guarded(process):
        try:
            process()
        except Exception as error:
            errors.append(error)

    def make_one(mapper):
        made.append(LiveMapping(mapper, guarded))
        return made[-1]

    yield make_one
    for one in made:
        one.stop(60)


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_poses_come_while_the_network_works_and_in_order(walk, live, errors):
    mapper, told, looks = make(walk), [], []
    slow, look = Slow(mapper.geometry), mapper.look
    mapper.look = lambda started: (look(started), looks.append(started))[0]
    mapping = live(mapper)

    def deliver(result, is_news):
        told.append((result.stamp, is_news, result))

    mapping(frames(walk)[0], deliver)
    slow.turns.release()
    wait_for(lambda: len(looks) == 1)
    for k, frame in enumerate(frames(walk)[1:], 1):
        mapping(frame, deliver)
        time.sleep(0.01)
        if k % 4 == 0 and slow.entered > len(looks):  # the network takes as long as four frames
            done = len(looks)
            slow.turns.release()
            wait_for(lambda done=done: len(looks) > done)
    slow.turns.release(50)
    wait_for(lambda: mapping._waiting._item is None)
    mapping.stop(60)
    assert not errors
    assert 3 <= len(looks) <= 9
    news = [stamp for stamp, is_news, _ in told if is_news]
    assert news == sorted(set(news))
    assert len(news) >= 22  # of 30; the others see too little of what the keyframes until then have seen
    run = Run(results=[result for _, is_news, result in told if is_news])
    figures = geometry_metrics(run, [walk.views[round(stamp / 1e8)] for stamp in news], mapper.geometry)
    assert figures["rra15"] == 100
    assert figures["ate"] < 0.04
    stamps = [stamp for stamp, _ in mapper.trajectory]
    assert len(stamps) == len(set(stamps)) >= 22
    assert len(mapper.state.graph) >= 2
    keyframes = {k.stamp: k.pose for k in mapper.state.graph.keyframes}
    for stamp, pose in mapper.state.graph.similarities:  # a keyframe's frame is where it is
        if stamp in keyframes:
            assert np.allclose(pose, keyframes[stamp])
    assert mapper.status().frames == len(stamps)


def test_frames_that_only_the_network_could_place_are_counted_where_newer_ones_overtake_them(walk, live, errors):
    mapper, told = make(walk, **{"tracking.network": "always"}), []
    slow = Slow(mapper.geometry)
    mapping = live(mapper)
    for frame in frames(walk)[:6]:
        mapping(frame, lambda result, is_news: told.append((result.stamp, is_news)))
        time.sleep(0.02)
    slow.turns.release(10)
    wait_for(lambda: len(told) == 2)
    assert told == [(0, True), (5 * 10**8, True)]  # the first was in hand, the newest waited
    assert mapping.overtaken == 4
    assert not errors


def test_what_goes_wrong_costs_its_frame(walk, live, errors):
    mapper, told = make(walk), []
    mapping = live(mapper)
    some = frames(walk)
    with pytest.raises(BadFrame):
        mapping(Frame(np.zeros_like(some[0].rgb), 0), lambda *_: None)
    encode, broken = mapper.geometry.encode, []

    def fails_once(image):
        if not broken:
            broken.append(1)
            raise RuntimeError("out of memory")
        return encode(image)

    mapper.geometry.encode = fails_once
    mapping(some[0], lambda *_: None)
    wait_for(lambda: errors)
    mapping(some[1], lambda result, is_news: told.append(result.tracking))
    wait_for(lambda: told)
    assert told == [Tracking.OK]
    assert str(errors[0]) == "out of memory"


def test_a_reset_while_a_placed_frame_waits_for_the_network(walk, live, errors):
    mapper, told = make(walk), []
    mapping = live(mapper)
    some = frames(walk)
    mapping(some[0], lambda result, is_news: told.append(result))
    wait_for(lambda: told)
    slow = Slow(mapper.geometry)
    far = next(k for k in range(1, 30) if mapper.start(some[k], live=True).needs_network)
    mapping(some[far], lambda result, is_news: told.append(result))
    mapper.reset()
    slow.turns.release(5)
    wait_for(lambda: told[-1].tracking == Tracking.LOST)
    assert "replaced" in told[-1].message
    assert mapper.status().keyframes == 0
    assert not errors
