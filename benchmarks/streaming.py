"""A live camera to a map: frames a second, latency and its growth, over real DDS where ROS is there, and by stages.

A walk through a held-out room (rendered at 320 x 240, enlarged to the camera's size) is played at a steady rate; the node takes
the newest image when it is free. fps: images processed a second while images come; p50_ms, p99_ms: from an image's stamp to its
odometry; cost_ratio_late_early: seconds a frame of the last third over those of the second one (the first one fills the window).
The stages are timed in a second run in this process, one frame after the other, without a node.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from common import report
from torch.utils.flop_counter import FlopCounterMode

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.lab.synthetic.long_walks import render_long_walk
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.types import BadFrame, Frame

ROOT = Path(__file__).resolve().parents[1]
ROOM = 900_071_000
STEP = 0.05  # metres between images: half a metre a second at 10 Hz
STAGES = {"encode": "encode", "track": "_track", "features": "_features"}  # of `Mapper.register`


def camera_images(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """The walk's first images, of the camera's size (width, height)."""
    walk = render_long_walk(ROOM, length=STEP * (count + 60), step=STEP)
    return [
        cv2.resize(view.rgb, size, interpolation=cv2.INTER_LINEAR) for _, view in zip(range(count), walk, strict=False)
    ]


def stages(checkpoint: str, images: list[np.ndarray], rate: float) -> dict:
    """Milliseconds by stage and GFLOP a frame, of every frame in this process."""
    mapper = Mapper(settings_from_dotted({"model.checkpoint": checkpoint}))
    spent: dict[str, list[float]] = {name: [] for name in STAGES}

    class Timed:
        """A step that is timed when it is called, and otherwise itself."""

        def __init__(self, name: str, step):
            self._name, self._step = name, step

        def __call__(self, *arguments, **named):
            started = time.perf_counter()
            out = self._step(*arguments, **named)
            spent[self._name].append(1e3 * (time.perf_counter() - started))
            return out

        def __getattr__(self, name):
            return getattr(self._step, name)

    with FlopCounterMode(display=False) as counter:
        mapper.register(Frame(images[0], 0))
    gflop = counter.get_total_flops() / 1e9
    for name, attribute in STAGES.items():
        setattr(mapper, attribute, Timed(name, getattr(mapper, attribute)))
    whole, keyframes, placed = [], 0, 0
    for k, image in enumerate(images[1:], 1):
        started = time.perf_counter()
        try:
            result = mapper.register(Frame(image, int(k / rate * 1e9)))
        except BadFrame:
            continue
        whole.append(1e3 * (time.perf_counter() - started))
        keyframes += result.is_keyframe
        placed += result.pose is not None and result.depth is None
        if result.is_keyframe and mapper.wants_adjustment():  # beside tracking in the node, and not timed here
            mapper.adjust(whole=False)
    out = {f"{name}_ms": float(np.median(v)) if v else 0.0 for name, v in spent.items()}
    third = len(whole) // 3
    return out | {
        "frame_ms": float(np.median(whole)), "frame_mean_ms": float(np.mean(whole)), "keyframes": keyframes, "placed_by_keypoints": placed, "frames": len(whole),
        "gflop_first_frame": gflop, "cost_ratio_late_early": float(np.median(whole[-third:]) / np.median(whole[third : 2 * third])),
        "device": mapper.geometry.device,
    }  # fmt: skip


def over_dds(checkpoint: str, images: list[np.ndarray], rate: float) -> dict:
    """Play the images to a node of its own."""
    import rclpy
    from nav_msgs.msg import Odometry
    from rclpy.node import Node
    from sensor_msgs.msg import Image, PointCloud2

    from sab3r_ros.nodes import conversions as convert
    from sab3r_ros.nodes.qos import image_qos

    profile = str(ROOT / "config" / "fastdds.xml")
    env = os.environ | {
        "PYTHONSAFEPATH": "1", "FASTDDS_DEFAULT_PROFILES_FILE": profile, "FASTRTPS_DEFAULT_PROFILES_FILE": profile,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }  # fmt: skip
    os.environ.update(env)
    command = [
        sys.executable,
        str(ROOT / "scripts" / "semantic_mapper"),
        "--ros-args",
        "-p",
        f"model.checkpoint:={checkpoint}",
    ]
    process = subprocess.Popen(command, env=env, stdout=sys.stderr)
    try:
        rclpy.init()
        node = Node("camera")
        camera = node.create_publisher(Image, "image", image_qos("reliable"))
        tracked: dict[int, float] = {}  # stamp: seconds from it to its odometry
        clouds: list[float] = []
        node.create_subscription(Odometry, "/semantic_mapper/odometry", lambda m: _note(tracked, m), 100)
        node.create_subscription(PointCloud2, "/semantic_mapper/map", lambda m: clouds.append(time.time()), 10)
        spinning = threading.Thread(target=rclpy.spin, args=(node,), daemon=True)
        spinning.start()
        end = time.monotonic() + 120
        while not camera.get_subscription_count():
            if time.monotonic() > end or process.poll() is not None:
                sys.exit("streaming: the node did not come up")
            time.sleep(0.05)
        for image in images[:3]:  # the first frames load what is loaded late
            camera.publish(convert.rgb_to_image(image, convert.header("cam", time.time_ns())))
            time.sleep(3.0)
        tracked.clear()
        began = time.time()
        for k, image in enumerate(images[3:]):
            time.sleep(max(0.0, began + k / rate - time.time()))
            camera.publish(convert.rgb_to_image(image, convert.header("cam", time.time_ns())))
        ended = time.time()
        time.sleep(3.0)
        arrivals = sorted(stamp * 1e-9 + seconds for stamp, seconds in tracked.items())
        memory = _peak_mb(process.pid)
    finally:
        process.terminate()
        process.wait(30)
        rclpy.try_shutdown()
    if len(arrivals) < 9:
        sys.exit(f"streaming: only {len(arrivals)} images were tracked")
    gaps, third = np.diff(arrivals), len(arrivals) // 3
    latency = 1e3 * np.array(list(tracked.values()))
    return {
        "fps": sum(a <= ended for a in arrivals) / (ended - began), "images": len(images) - 3, "processed": len(arrivals),
        "p50_ms": float(np.quantile(latency, 0.5)), "p99_ms": float(np.quantile(latency, 0.99)),
        "cost_ratio_late_early": float(gaps[-third:].mean() / gaps[third : 2 * third].mean()),
        "maps": len(clouds), "memory_mb": memory,
    }  # fmt: skip


def _note(tracked: dict[int, float], message) -> None:
    stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
    tracked[stamp] = time.time() - stamp * 1e-9


def _peak_mb(pid: int) -> float:
    """Largest resident size of a process, from Linux."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main():
    """Both runs, one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="sab3r_small", help="a checkpoint: a folder, or a name of `sab3r models`")
    parser.add_argument("--rate", type=float, default=10.0, help="images a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long images come")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--no-ros", action="store_true", help="the stages alone")
    parser.add_argument("--json", action="store_true", help="the one line alone; without, progress too")
    given = parser.parse_args()
    if given.rate <= 0 or given.seconds * given.rate < 30:
        parser.error("at least 30 images are needed")
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # a ray caster's threads would go on beside the node
        images = pool.submit(camera_images, int(given.rate * given.seconds), tuple(given.size)).result()
    live: dict = {}
    if not given.no_ros:
        try:
            live = over_dds(given.preset, images, given.rate)
        except ImportError as error:
            print(f"streaming: ROS is not there ({error}); the stages alone are measured", file=sys.stderr)
    if live and not given.json:
        print(live, file=sys.stderr)
    within = stages(given.preset, images[:: max(1, round(given.rate / 5))][:60], 5.0)
    report("streaming", preset=given.preset, **live, stages=within)


if __name__ == "__main__":
    main()
