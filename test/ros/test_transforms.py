"""TF through its topics: broadcasting, chains, and what is not connected."""

import numpy as np
import pytest
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_processes import spin_until
from tf2_msgs.msg import TFMessage

from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.transforms import PlainTransforms, TransformUnavailable


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
