#!/usr/bin/env python3
"""Ask a running semantic_mapper where something is: find_object.py "a black office chair" [target_frame]."""

import sys

import rclpy
from rclpy.node import Node

from sab3r_ros.srv import LocateObject


def main() -> int:
    """Print the best answer; exit status 1 where there is none."""
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    rclpy.init()
    node = Node("find_object")
    client = node.create_client(LocateObject, "/semantic_mapper/locate_object")
    if not client.wait_for_service(timeout_sec=5.0):
        print("no semantic_mapper is running")
        return 1
    request = LocateObject.Request(prompts=[sys.argv[1]], max_objects=1)
    request.target_frame = sys.argv[2] if len(sys.argv) > 2 else ""
    future = client.call_async(request)
    rclpy.spin_until_future_complete(node, future, timeout_sec=30.0)
    answer = future.result()
    if answer is None or answer.status != LocateObject.Response.SUCCESS:
        print(answer.message if answer else "no answer in time")
        return 1
    best = answer.objects[0]
    p = best.centroid
    print(
        f"{best.label} at ({p.x:.2f}, {p.y:.2f}, {p.z:.2f}) m in {answer.header.frame_id}, probability {best.probability:.0%}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
