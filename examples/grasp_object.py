#!/usr/bin/env python3
"""What a planner does: grasp_object.py mug "where would you hold it to lift it" [target_frame] prints the best grasp."""

import sys

import rclpy
from rclpy.node import Node

from sab3r_ros.srv import QueryAffordance

_GRIPPER = 0.085  # metres that the gripper opens


def main() -> int:
    """Print the pose for the finger tips, and where to start the straight approach; exit status 1 where there is none."""
    if len(sys.argv) < 3:
        print(__doc__)
        return 2
    rclpy.init()
    node = Node("grasp_object")
    client = node.create_client(QueryAffordance, "/affordance_server/query_affordance")
    if not client.wait_for_service(timeout_sec=5.0):
        print("no affordance_server is running")
        return 1
    request = QueryAffordance.Request(
        object=sys.argv[1], affordance=sys.argv[2], max_regions=3, max_grasps=1, max_gripper_width=_GRIPPER
    )
    request.target_frame = sys.argv[3] if len(sys.argv) > 3 else ""
    future = client.call_async(request)
    rclpy.spin_until_future_complete(node, future, timeout_sec=30.0)
    answer = future.result()
    if answer is None or answer.status != QueryAffordance.Response.SUCCESS:
        print(answer.message if answer else "no answer in time")
        return 1
    grasps = [g for region in answer.regions for g in region.grasps]
    if not grasps:
        print(f"{len(answer.regions)} regions, but none that a gripper of {_GRIPPER * 1000:.0f} mm can take hold of")
        return 1
    best = max(grasps, key=lambda g: g.score)
    p, q = best.pose.pose.position, best.pose.pose.orientation
    print(f"finger tips at ({p.x:.3f}, {p.y:.3f}, {p.z:.3f}) m in {answer.header.frame_id}, score {best.score:.2f}")
    print(f"orientation ({q.x:.3f}, {q.y:.3f}, {q.z:.3f}, {q.w:.3f}): +z approaches, +y closes")
    print(f"open to {best.width + 0.01:.3f} m, come straight from {best.approach_distance:.2f} m away")
    return 0


if __name__ == "__main__":
    sys.exit(main())
