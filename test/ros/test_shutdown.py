"""How the executables end: told once, told again, told as a group, in the midst of work, on a busy machine."""

import os
import signal
import subprocess
import sys
import time

import pytest
from rclpy.node import Node
from ros_processes import ROOT, Process, spin_until
from sensor_msgs.msg import Image

from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.qos import image_qos

LIMIT = 4.0  # seconds; launch escalates to SIGTERM after 5
LIVES = int(os.environ.get("SAB3R_LIVES", 1))


@pytest.fixture
def camera(ros):
    node = Node("shutdown_camera")
    node.pictures = [v.rgb for v in render_sequence(900_060_004, 2, 160, 120, 0.3).views]
    node.out = node.create_publisher(Image, "image", image_qos("reliable"))
    yield node
    node.destroy_node()


@pytest.fixture
def busy():
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.parametrize("how", ["once", "twice", "group", "terminate"])
def test_a_mapper_at_work_ends_in_time_and_cleanly(tmp_path, camera, busy, how):
    for _ in range(LIVES):
        mapper = Process(tmp_path, "semantic_mapper", start_new_session=True)
        try:
            mapper.wait_loaded(120)
            assert spin_until(camera, lambda: camera.out.get_subscription_count() > 0, 60), mapper.output
            for k in range(3):  # one is in hand when it is told to end
                camera.out.publish(convert.rgb_to_image(camera.pictures[k % 2], convert.header("cam", (k + 1) * 10**8)))
                spin_until(camera, lambda: False, 0.3)
            began = time.monotonic()
            if how == "group":
                os.killpg(mapper.process.pid, signal.SIGINT)
            else:
                mapper.process.send_signal(signal.SIGTERM if how == "terminate" else signal.SIGINT)
            if how == "twice":
                time.sleep(0.2)
                mapper.process.send_signal(signal.SIGINT)
            assert mapper.process.wait(20) == 0, mapper.output
            took = time.monotonic() - began
            assert took < LIMIT, took
            for word in ("Traceback", "RCLError", "invalid", "Exception"):
                assert word not in mapper.output, mapper.output
        finally:
            mapper.process.kill()


@pytest.mark.parametrize("executable", ["semantic_mapper", "affordance_server", "perception", "frame_player"])
def test_help_says_what_an_executable_is_and_takes(executable):
    command = [sys.executable, str(ROOT / "scripts" / executable)]
    env = os.environ | {"PYTHONSAFEPATH": "1"}
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: ros2 run sab3r_ros {executable}")
    assert "(default " in done.stdout
    wrong = subprocess.run([*command, "one", "two"], capture_output=True, text=True, timeout=60, env=env)
    assert wrong.returncode == 2
    assert len(wrong.stderr.strip().splitlines()) == 1


def test_the_player_takes_its_input_as_an_argument_and_ends_when_told(tmp_path):
    for name in ("/nowhere/at/all", "demo"):
        command = [
            sys.executable,
            str(ROOT / "scripts" / "frame_player"),
            name,
            "--ros-args",
            "-p",
            "wait_for_subscribers:=0.0",
        ]
        process = subprocess.Popen(
            [*command, "-p", "loop:=true"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"PYTHONSAFEPATH": "1"},
        )  # fmt: skip
        if name == "demo":
            time.sleep(4)
            process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[0]
        assert "Traceback" not in said
        assert process.returncode == (0 if name == "demo" else 1), said
        assert ("no such input: /nowhere" in said) == (name != "demo")
