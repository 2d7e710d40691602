"""TF through its topics: broadcasting, chains, and what is not connected."""

import sys
import threading
import time
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_processes import spin_until
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from sab3r_ros.geometry.transform_tree import interpolated
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.transforms import PlainTransforms, TransformUnavailable, make_transforms


def shift(x, y=0.0, z=0.0):
    out = np.eye(4)
    out[:3, 3] = x, y, z
    return out


def test_chains_are_followed_in_both_directions(ros):
    talker, listener = Node("tf_talker"), Node("tf_listener")
    transforms = PlainTransforms(listener)
    static = talker.create_publisher(
        TFMessage, "/tf_static", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    )
    static.publish(TFMessage(transforms=[convert.to_transform(shift(0, 0, 0.5), "base", "camera", 0)]))
    PlainTransforms(talker).send(convert.to_transform(shift(2), "odom", "base", 5))

    def known():
        try:
            return transforms.lookup("odom", "camera") is not None
        except TransformUnavailable:
            return False

    assert spin_until(listener, known, 10)
    assert np.allclose(transforms.lookup("odom", "camera"), shift(2, 0, 0.5))
    assert np.allclose(transforms.lookup("camera", "odom"), shift(-2, 0, -0.5))
    with pytest.raises(TransformUnavailable, match="'nowhere'"):
        transforms.lookup("nowhere", "camera")
    talker.destroy_node()
    listener.destroy_node()


@pytest.fixture
def transforms(ros):
    node = Node("tf_buffer")
    yield PlainTransforms(node)
    node.destroy_node()


def put(transforms, pose, parent, child, stamp, static=False):
    transforms._remember(convert.to_transform(pose, parent, child, stamp), static)


SECOND = 10**9


def test_between_two_transforms_is_interpolated(transforms):
    turned = shift(1)
    turned[:2, :2] = [[0, -1], [1, 0]]
    put(transforms, np.eye(4), "odom", "base", 10 * SECOND)
    put(transforms, turned, "odom", "base", 11 * SECOND)
    put(transforms, shift(0, 0, 0.5), "base", "camera", 0, static=True)
    middle = transforms.lookup("odom", "camera", int(10.5 * SECOND))
    assert middle[:3, 3] == pytest.approx([0.5, 0, 0.5])
    assert middle[:2, 0] == pytest.approx([np.sqrt(0.5), np.sqrt(0.5)])
    assert np.allclose(transforms.lookup("odom", "base"), turned)  # without a stamp the newest
    assert np.allclose(transforms.lookup("odom", "base", 10 * SECOND), np.eye(4))
    assert np.allclose(transforms.lookup("odom", "base", 11 * SECOND), turned)


def test_another_moment_than_those_known_is_refused_with_how_far_off_it_is(transforms):
    put(transforms, np.eye(4), "odom", "base", 10 * SECOND)
    put(transforms, shift(1), "odom", "base", 11 * SECOND)
    with pytest.raises(TransformUnavailable, match=r"0\.500 s after its newest"):
        transforms.lookup("odom", "base", int(11.5 * SECOND))
    with pytest.raises(TransformUnavailable, match=r"2\.000 s before its oldest"):
        transforms.lookup("odom", "base", 8 * SECOND)


def test_what_is_still_to_come_is_waited_for_a_little(transforms):
    put(transforms, np.eye(4), "odom", "base", 10 * SECOND)
    later = threading.Timer(0.2, put, (transforms, shift(1), "odom", "base", 11 * SECOND))
    later.start()
    assert transforms.lookup("odom", "base", int(10.5 * SECOND), timeout=5)[0, 3] == pytest.approx(0.5)
    later.join()
    began = time.monotonic()
    with pytest.raises(TransformUnavailable):
        transforms.lookup("odom", "base", 99 * SECOND, timeout=0.1)
    assert time.monotonic() - began < 5


def test_late_and_repeated_transforms_and_a_clock_that_begins_anew(transforms):
    for second in (10, 12, 11, 12):
        put(transforms, shift(second), "odom", "base", second * SECOND)
    assert transforms.lookup("odom", "base", int(10.5 * SECOND))[0, 3] == pytest.approx(10.5)
    put(transforms, shift(7), "odom", "base", 0)  # a bag that is played again
    put(transforms, shift(8), "odom", "base", SECOND)
    assert transforms.lookup("odom", "base", SECOND // 2)[0, 3] == pytest.approx(7.5)


def test_memory_is_bounded(transforms):
    for k in range(60 * 50):
        put(transforms, shift(k), "odom", "base", k * SECOND // 50)
    assert len(transforms._tree._links["base"].poses) <= 30 * 50 + 1


def test_transforms_that_mean_nothing_are_passed_over(transforms):
    broken = convert.to_transform(shift(1), "odom", "base", 5)
    broken.transform.rotation.w = 0.0
    transforms._remember(broken, False)
    with pytest.raises(TransformUnavailable):
        transforms.lookup("odom", "base")


@settings(max_examples=40)
@given(st.floats(0, 1), st.integers(0, 2**31))
def test_interpolation_is_symmetric_and_rigid(share, seed):
    rng = np.random.default_rng(seed)
    first, second = np.eye(4), np.eye(4)
    for pose in (first, second):
        pose[:3, :3] = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
        pose[:3, 3] = rng.normal(0, 3, 3)
    there, back = interpolated(first, second, share), interpolated(second, first, 1 - share)
    assert np.allclose(there, back, atol=1e-6)
    assert np.allclose(there[:3, :3].T @ there[:3, :3], np.eye(3), atol=1e-9)


def test_with_tf2_ros_installed_it_is_asked_for_the_same_moment(ros, monkeypatch):
    asked = []

    class Buffer:
        def __init__(self, kept):
            self.kept = kept

        def lookup_transform(self, target, source, when, timeout):
            asked.append((target, source, when.nanoseconds, timeout.nanoseconds))
            if source == "nowhere":
                raise tf2.TransformException("unknown frame")
            return convert.to_transform(shift(3), target, source, when.nanoseconds)

    tf2 = types.ModuleType("tf2_ros")
    tf2.Buffer, tf2.TransformException = Buffer, type("TransformException", (Exception,), {})
    tf2.TransformListener = lambda buffer, node: None
    sent = []
    tf2.TransformBroadcaster = lambda node: types.SimpleNamespace(sendTransform=sent.append)
    monkeypatch.setitem(sys.modules, "tf2_ros", tf2)
    adapter = make_transforms(None)
    assert adapter.lookup("map", "base", 5 * SECOND, 0.25)[0, 3] == 3
    assert asked == [("map", "base", 5 * SECOND, SECOND // 4)]
    with pytest.raises(TransformUnavailable, match="nowhere"):
        adapter.lookup("map", "nowhere")
    adapter.send("a transform")
    assert sent == ["a transform"]
