"""The nodes at work: player and mapper in processes of their own, and this one collecting what they publish."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import rclpy
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage

from sab3r_ros.files import write_json
from sab3r_ros.msg import MapStatus
from sab3r_ros.nodes.qos import LATCHED, RELIABLE
from sab3r_ros.srv import LocateObject, QueryAffordance, SaveMap

_MAPPER, _SERVER = "/semantic_mapper", "/affordance_server"
_QUESTIONS = 2
_LOADING, _ASK_AGAIN = 60.0, 0.5  # seconds that the affordance server may take to load, and between two looks
_QUIET = 3.0  # seconds without news after which the stream has ended


class Collector(Node):
    """Counts the mapper's messages and calls its services."""

    def __init__(self):
        super().__init__("demo_collector")
        self.status: MapStatus | None = None
        self.counts = {"maps": 0, "odometry": 0, "transforms": 0}
        self.map_points = 0
        self.map_times: list[float] = []
        self.latencies: list[float] = []
        self.news = time.monotonic()
        self.create_subscription(MapStatus, f"{_MAPPER}/status", self._on_status, LATCHED)
        self.create_subscription(PointCloud2, f"{_MAPPER}/map", self._on_map, LATCHED)
        self.create_subscription(Odometry, f"{_MAPPER}/odometry", lambda _: self._count("odometry"), RELIABLE)
        self.create_subscription(TFMessage, "/tf", lambda _: self._count("transforms"), RELIABLE)

    def _count(self, name):
        self.counts[name] += 1

    def _on_status(self, message):
        self.status = message
        if message.frames_received:
            self.latencies.append(message.age_ms)
            self.news = time.monotonic()

    def _on_map(self, message):
        self._count("maps")
        self.map_points = message.width
        self.map_times.append(time.monotonic())

    def call(self, kind, name, request, timeout=60.0):
        """A service's answer, or None where there is none in time."""
        client = self.create_client(kind, name)
        if not client.wait_for_service(timeout):
            return None
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self, future, timeout_sec=timeout)
        return future.result()


def _start(executable: str, *parameters: str) -> subprocess.Popen:
    """One of this package's executables with ROS parameters given as name:=value."""
    here = Path(sys.argv[0]).absolute().parent
    arguments = [part for p in parameters for part in ("-p", p)]
    return subprocess.Popen([sys.executable, str(here / executable), "--ros-args", *arguments])


def _stop(processes) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    for process in processes:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _rate(times: list[float]) -> float:
    """Messages per second between the first and the last."""
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0


def _when_active(collector: Collector, request: QueryAffordance.Request) -> QueryAffordance.Response | None:
    """The affordance server's answer once it is active: while its model is loading it answers that it is not yet."""
    end = time.monotonic() + _LOADING
    while True:
        answer = collector.call(QueryAffordance, f"{_SERVER}/query_affordance", request)
        if answer is None or answer.status != answer.NOT_ACTIVE or time.monotonic() > end:
            return answer
        time.sleep(_ASK_AGAIN)


def _asked(collector: Collector, questions: list[dict]) -> list[dict]:
    """What the affordance server answers to each question about an object of the map."""
    answers = []
    for question in questions:
        request = QueryAffordance.Request(**question, max_grasps=1, allow_unscaled=True)
        answer = _when_active(collector, request)
        if answer is not None:
            answers.append(
                question | {"status": answer.status, "regions": len(answer.regions), "elapsed_ms": answer.elapsed_ms}
            )
    return answers


def run(source: str, rate: float, queries: list[str], questions: list[dict], out: Path, timeout: float) -> dict:
    """Play a source into the mapper; returns what arrived. Raises RuntimeError when nothing did.

    queries: what to look for in the map; questions: {"object", "affordance"} for the affordance server.
    """
    processes = [_start("semantic_mapper", "map_rate:=2.0")]
    collector = Collector()
    try:
        end = time.monotonic() + timeout
        while collector.status is None and time.monotonic() < end and processes[0].poll() is None:
            rclpy.spin_once(collector, timeout_sec=0.1)
        if collector.status is None:
            raise RuntimeError("semantic_mapper did not come up; see its messages above")
        processes.append(_start("frame_player", f"input:={source}", f"rate:={rate}"))
        while time.monotonic() < end and (processes[1].poll() is None or time.monotonic() - collector.news < _QUIET):
            rclpy.spin_once(collector, timeout_sec=0.1)
        if processes[1].poll():
            raise RuntimeError("frame_player failed; see its messages above")
        found = (
            collector.call(LocateObject, f"{_MAPPER}/locate_object", LocateObject.Request(prompts=queries))
            if queries
            else None
        )
        if questions:
            processes.append(_start("affordance_server"))
        answers = _asked(collector, questions)
        saved = collector.call(
            SaveMap,
            f"{_MAPPER}/save_map",
            SaveMap.Request(path=str(out / "ros_map"), overwrite=True, include_features=True),
        )
    finally:
        _stop(processes)
        status = collector.status
        collector.destroy_node()
    if status is None or not status.frames_received:
        raise RuntimeError("no image reached semantic_mapper")
    latency = sorted(collector.latencies)
    return {
        **collector.counts, "map_points": collector.map_points, "frames_received": status.frames_received,
        "frames_dropped": status.frames_dropped, "keyframes": status.num_keyframes, "inference_ms": status.inference_ms,
        "latency_ms_median": latency[len(latency) // 2] if latency else None,
        "latency_ms_p95": latency[int(0.95 * len(latency))] if latency else None, "map_rate": _rate(collector.map_times),
        "located": [{"query": o.label, "score": o.score, "points": o.num_points} for o in found.objects] if found else [],
        "affords": answers, "saved_bytes": saved.num_bytes if saved else 0,
    }  # fmt: skip


def main() -> None:
    """Play the built-in sequence (or --input) through the nodes and add what arrived to OUT/summary.json."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--input", default="demo")
    parser.add_argument("--rate", type=float, default=8.0)
    parser.add_argument("--timeout", type=float, default=120.0)
    arguments = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    path = arguments.out / "summary.json"
    summary = json.loads(path.read_text()) if path.is_file() else {}
    queries = [item["query"] for item in summary.get("located", [])]
    questions = [{k: item[k] for k in ("object", "affordance")} for item in summary.get("affords", [])[:_QUESTIONS]]
    rclpy.init()
    try:
        summary["ros"] = run(
            arguments.input, arguments.rate, queries, questions, arguments.out.absolute(), arguments.timeout
        )
    except RuntimeError as error:
        sys.exit(f"sab3r_demo: {error}")
    finally:
        rclpy.try_shutdown()
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(path, summary)
    print(json.dumps(summary["ros"], indent=1))


if __name__ == "__main__":
    main()
