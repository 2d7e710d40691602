"""Images over Fast DDS between two processes: the shipped profile against the built-in transports, in the same run.

150 pictures of 640 x 480 at 30 Hz to a reliable and a best-effort subscriber; received, lost and median latency.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

PROFILE = Path(__file__).resolve().parents[1] / "config" / "fastdds.xml"
COUNT, RATE = 150, 30
VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def send():
    """Publish, once both subscribers are there."""
    import numpy as np
    import rclpy
    from rclpy.node import Node
    from sensor_msgs.msg import Image

    from sab3r_ros.nodes import conversions as convert
    from sab3r_ros.nodes.qos import image_qos

    rclpy.init()
    publisher = Node("sender").create_publisher(Image, "benchmark_frames", image_qos("reliable"))
    while publisher.get_subscription_count() < 2:
        time.sleep(0.05)
    rgb = np.zeros((480, 640, 3), np.uint8)
    due = time.monotonic()
    for _ in range(COUNT):
        publisher.publish(convert.rgb_to_image(rgb, convert.header("cam", time.monotonic_ns())))
        due += 1 / RATE
        time.sleep(max(0.0, due - time.monotonic()))
    time.sleep(3)


def receive():
    """Count what arrives until the stream has been silent for two seconds, and print it."""
    import rclpy
    from rclpy.node import Node
    from sensor_msgs.msg import Image

    from sab3r_ros.nodes import conversions as convert
    from sab3r_ros.nodes.qos import image_qos

    rclpy.init()
    node = Node("receiver")
    latencies = {"reliable": [], "best_effort": []}
    for kind, values in latencies.items():
        node.create_subscription(
            Image,
            "benchmark_frames",
            lambda m, v=values: v.append(time.monotonic_ns() - convert.nanoseconds(m.header.stamp)),
            image_qos(kind),
        )
    last, seen, end = time.monotonic(), 0, time.monotonic() + 60
    while time.monotonic() < end and (not seen or time.monotonic() - last < 2):
        rclpy.spin_once(node, timeout_sec=0.1)
        now = sum(map(len, latencies.values()))
        if now != seen:
            last, seen = time.monotonic(), now
    result = {}
    for kind, values in latencies.items():
        result[kind] = {
            "received": len(values),
            "lost": COUNT - len(values),
            "median_ms": sorted(values)[len(values) // 2] / 1e6 if values else None,
        }
    print(json.dumps(result))


def measure(profile: bool) -> dict:
    """Both processes with or without the profile."""
    env = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    env |= {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"} | ({k: str(PROFILE) for k in VARIABLES} if profile else {})
    sender = subprocess.Popen([sys.executable, __file__, "send"], env=env)
    out = subprocess.run(
        [sys.executable, __file__, "receive"], env=env, capture_output=True, text=True, check=True
    ).stdout
    sender.wait(30)
    return json.loads(out)


def main():
    """Compare."""
    from common import report

    shipped, builtin = measure(True), measure(False)
    ratio = shipped["best_effort"]["received"] / max(builtin["best_effort"]["received"], 1)
    report("transport", sent=COUNT, shipped_profile=shipped, built_in=builtin, best_effort_ratio=ratio)


if __name__ == "__main__":
    {"send": send, "receive": receive}.get(sys.argv[1] if len(sys.argv) > 1 else "", main)()
