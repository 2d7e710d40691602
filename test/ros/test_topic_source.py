"""A topic as a recording: newest images with their calibration, and what cannot be read is said."""

import threading
import time

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from sab3r_ros.cli.inputs import open_input
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.qos import image_qos
from sab3r_ros.nodes.topic_source import TopicSource
from sab3r_ros.sources.base import SourceError


@pytest.fixture
def camera(ros):
    from rclpy.node import Node

    node = Node("topic_camera")
    node.images = node.create_publisher(Image, "/cam/image_raw", image_qos("reliable"))
    node.info = node.create_publisher(CameraInfo, "/cam/camera_info", image_qos("reliable"))
    going = threading.Event()
    going.set()

    def publish():
        k = 0
        while going.is_set():
            head = convert.header("cam", time.time_ns())
            picture = np.full((6, 8, 3), k % 200 + 20, np.uint8)
            picture[::2] //= 2
            message = convert.rgb_to_image(picture, head)
            if k % 5 == 4:
                message.encoding = "nonsense"
            node.images.publish(message)
            node.info.publish(convert.camera_info(np.array([[10.0, 0, 4], [0, 10.0, 3], [0, 0, 1]]), 8, 6, head))
            k += 1
            time.sleep(0.02)

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    yield node
    going.clear()
    thread.join(5)
    node.destroy_node()


def test_images_of_a_topic_come_with_their_calibration_and_bad_ones_are_counted(camera):
    source = open_input("ros:/cam/image_raw")
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) >= 40 and len(source.faults) and frames[-1].camera is not None:
            break
        assert len(frames) < 2000
    assert frames[0].rgb.shape == (6, 8, 3)
    stamps = [f.stamp for f in frames]
    assert stamps == sorted(set(stamps))
    assert frames[-1].camera.intrinsics[0, 0] == 10.0
    assert "nonsense" in source.skipped[0]
    again = next(iter(open_input("ros:cam/image_raw")))  # another one, in the same process
    assert again.stamp > stamps[-1]


def test_a_topic_of_something_else_and_one_that_nobody_publishes(ros):
    from rclpy.node import Node

    node = Node("topic_talker")
    node.create_publisher(String, "/words", 1)
    with pytest.raises(SourceError, match=r"std_msgs/msg/String.*topic of images"):
        next(iter(TopicSource("/words")))
    with pytest.raises(SourceError, match="nobody publishes /nothing"):
        next(iter(TopicSource("/nothing", patience=0.5)))
    node.destroy_node()
