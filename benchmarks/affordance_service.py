"""From the map to regions over real DDS: latency of `query_affordance`, one caller after the other and fifty at once.

Mapper, affordance server and caller are processes of their own; the mapper has seen a walk through a held-out room.
The limit is 1 s at the 95th percentile; the ratio says how much of it is used.
"""

import subprocess
import sys
import time
from pathlib import Path

import rclpy
from common import report
from rclpy.node import Node
from sensor_msgs.msg import Image

from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.qos import SERVICE, image_qos
from sab3r_ros.srv import QueryAffordance

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
LIMIT_MS, ROUNDS, CALLERS = 1000.0, 40, 50
QUESTIONS = (("door", "open"), ("table", "support"), ("chair", "sit"), ("shelves", "support"), ("wall", "move"))


def wait(node, condition, seconds):
    """Spin until something holds; ends the benchmark where it does not."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"affordance_service: nothing for {seconds} s")
        rclpy.spin_once(node, timeout_sec=0.02)


def main():
    """Start the nodes, show the mapper a room, and ask."""
    command = [sys.executable, "-P"]
    nodes = [
        subprocess.Popen([*command, str(SCRIPTS / name)], stdout=sys.stderr)
        for name in ("semantic_mapper", "affordance_server")
    ]
    try:
        rclpy.init()
        node = Node("planner")
        camera = node.create_publisher(Image, "image", image_qos("reliable"))
        client = node.create_client(QueryAffordance, "/affordance_server/query_affordance", qos_profile=SERVICE)

        def asked(thing, action):
            request = QueryAffordance.Request(object=thing, affordance=action, min_score=0.05, max_grasps=1)
            return client.call_async(request)

        def answered(future):
            wait(node, future.done, 60)
            return future.result()

        wait(node, lambda: camera.get_subscription_count() and client.service_is_ready(), 60)
        for k, view in enumerate(render_sequence(900_070_001, 12, 160, 120, 0.5).views):
            camera.publish(convert.rgb_to_image(view.rgb, convert.header("cam", (k + 1) * 10**8)))
            time.sleep(1.0)
        answered(asked(*QUESTIONS[0]))
        times, statuses, each = [], [], {thing: [] for thing, _ in QUESTIONS}
        for k in range(ROUNDS):
            question = QUESTIONS[k % len(QUESTIONS)]
            started = time.perf_counter()
            statuses.append(answered(asked(*question)).status)
            times.append(1e3 * (time.perf_counter() - started))
            each[question[0]].append(times[-1])
        started = time.perf_counter()
        futures = [asked(*QUESTIONS[k % len(QUESTIONS)]) for k in range(CALLERS)]
        wait(node, lambda: all(f.done() for f in futures), 300)
        together = time.perf_counter() - started
    finally:
        for process in nodes:
            process.terminate()
    times.sort()
    p95 = times[int(0.95 * len(times))]
    report(
        "affordance_service", median_ms=times[len(times) // 2], p95_ms=p95, limit_ms=LIMIT_MS, ratio=p95 / LIMIT_MS,
        median_ms_of={thing: sorted(own)[len(own) // 2] for thing, own in each.items()},
        answered=statuses.count(QueryAffordance.Response.SUCCESS), asked=ROUNDS, callers=CALLERS,
        callers_answered=sum(f.result() is not None for f in futures), callers_seconds=together,
    )  # fmt: skip


if __name__ == "__main__":
    main()
