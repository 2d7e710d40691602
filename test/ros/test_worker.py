"""The worker's thread: depth that comes late, distortion of camera_info, and frames that fail."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.worker import MappingWorker
from sab3r_ros.types import BadFrame, Tracking


class Recorder:
    """A mapper that keeps its frames."""

    def __init__(self):
        self.frames, self.came = [], threading.Event()

    def start(self, frame, live):
        assert live
        self.frames.append(frame)
        self.came.set()
        if frame.rgb.max() == 0:
            raise BadFrame("the image is black")
        result = SimpleNamespace(tracking=Tracking.OK, message="", stamp=frame.stamp, pose=None)
        return SimpleNamespace(result=result, needs_network=False, number=len(self.frames))


class Log:
    def __init__(self):
        self.lines = []

    def warning(self, text):
        self.lines.append(text)

    info = warning


@pytest.fixture
def worker():
    mapper = Recorder()
    out = MappingWorker(mapper, Log(), time.time_ns, 0.02, "", False, lambda *_: None)
    yield out
    out.stop(5)


def image(ns, value=100):
    return convert.rgb_to_image(np.full((6, 8, 3), value, np.uint8), convert.header("cam", ns))


def depth(ns):
    return convert.depth_to_image(np.full((6, 8), 2.0, np.float32), convert.header("cam", ns))


def test_depth_that_arrives_after_its_image_is_not_missed(worker):
    worker.put_image(image(10**9))
    time.sleep(0.04)
    assert not worker.mapper.frames  # it waits
    worker.put_depth(depth(10**9 + 5 * 10**6))
    assert worker.mapper.came.wait(5)
    assert worker.mapper.frames[0].depth[0, 0] == 2.0


def test_an_image_without_depth_is_used_without_and_counted(worker):
    worker.put_depth(depth(0))
    worker.put_image(image(10**9))
    assert worker.mapper.came.wait(5)
    assert worker.mapper.frames[0].depth is None
    assert worker.problems["no_depth"] == 1


def test_the_camera_of_camera_info_comes_with_its_distortion(worker):
    info = convert.camera_info(np.array([[10.0, 0, 4], [0, 10.0, 3], [0, 0, 1]]), 8, 6, convert.header("cam", 0))
    info.d = [0.1, 0.0, 0.0, 0.0, 0.0]
    worker.put_camera_info(info)
    worker.put_depth(depth(10**9))
    worker.put_image(image(10**9))
    assert worker.mapper.came.wait(5)
    assert worker.mapper.frames[0].camera.is_distorted


def test_a_bad_image_is_counted_and_the_next_one_is_taken(worker):
    for ns, value in ((10**9, 0), (2 * 10**9, 90)):
        worker.mapper.came.clear()
        worker.put_depth(depth(ns))
        worker.put_image(image(ns, value))
        assert worker.mapper.came.wait(5)
    assert worker.problems["BadFrame"] == 1
    assert len(worker.mapper.frames) == 2
