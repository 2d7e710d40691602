"""Large messages over Fast DDS with the shipped profile."""

import json
import subprocess
import sys
import textwrap
import time

from rclpy.node import Node
from ros_processes import spin_until
from sensor_msgs.msg import Image

from sab3r_ros.nodes.qos import image_qos

SENDER = textwrap.dedent(
    """
    import sys, time, numpy as np, rclpy
    from rclpy.node import Node
    from sensor_msgs.msg import Image
    from sab3r_ros.nodes import conversions as convert
    from sab3r_ros.nodes.qos import image_qos
    rclpy.init()
    node = Node("sender")
    publisher = node.create_publisher(Image, "frames", image_qos("reliable"))
    while publisher.get_subscription_count() < 2:
        time.sleep(0.05)
    rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    due = time.monotonic()
    for k in range(150):
        rgb[0, 0] = k
        publisher.publish(convert.rgb_to_image(rgb, convert.header("cam", 10**9 + k)))
        due += 1 / 30
        time.sleep(max(0, due - time.monotonic()))
    time.sleep(3)
    """
)


def test_150_of_150_images_reach_a_reliable_subscriber_and_best_effort_losses_are_counted(ros, tmp_path):
    node = Node("receiver")
    got = {"reliable": [], "best_effort": []}
    for kind, stamps in got.items():
        node.create_subscription(
            Image, "frames", lambda m, s=stamps: s.append((m.header.stamp.nanosec, m.data[0])), image_qos(kind)
        )
    sender = subprocess.Popen([sys.executable, "-c", SENDER])
    try:
        spin_until(node, lambda: len(got["reliable"]) >= 150, 60)
        end = time.monotonic() + 1
        spin_until(node, lambda: time.monotonic() > end, 2)
    finally:
        sender.wait(30)
        node.destroy_node()
    assert got["reliable"] == [(k, k) for k in range(150)]  # all, in order, unspoilt
    lost = 150 - len(got["best_effort"])
    print(json.dumps({"sent": 150, "reliable_received": len(got["reliable"]), "best_effort_lost": lost}))
    assert len(set(got["best_effort"])) == len(got["best_effort"])
    assert 0 <= lost < 150
