"""Tests that talk over real DDS between real processes, in a domain of their own."""

import os
import random
import socket
from pathlib import Path

import pytest
from ros_processes import Process

ROOT = Path(__file__).resolve().parents[2]


def _domain_of_its_own():
    """A ROS domain that no other test process on this machine uses, and the socket that says so while it is open.

    Two workers of one run in one domain take each other's images now and then. Above 101 the domains' ports are among
    those that Linux hands out to anyone. The last port of a domain's 250 is of its 120th participant: nobody's.
    """
    for domain in random.SystemRandom().sample(range(50, 102), 52):
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", 7400 + 250 * domain + 249))
        except OSError:
            claim.close()
        else:
            return str(domain), claim
    raise RuntimeError("all ROS domains from 50 to 101 are taken by other test runs")


# Before rclpy is loaded: away from every robot, and away from other test runs on this machine.
os.environ["ROS_DOMAIN_ID"], _CLAIM = _domain_of_its_own()
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
    os.environ[name] = str(ROOT / "config" / "fastdds.xml")

try:
    import rclpy

    import sab3r_ros.msg  # noqa: F401
except ImportError as error:
    rclpy = None
    MISSING = f"ROS tests NOT run: {error} (source ROS 2 and install/setup.bash, or use `make test`)"


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.fspath).parents:
            item.add_marker(pytest.mark.ros)
            if rclpy is None:
                item.add_marker(pytest.mark.skip(reason=MISSING))


collect_ignore = (
    [] if rclpy else [p.name for p in Path(__file__).parent.glob("test_*.py") if p.name != "test_ros_is_there.py"]
)


@pytest.fixture(scope="session")
def ros():
    rclpy.init()
    yield rclpy
    rclpy.try_shutdown()


@pytest.fixture
def start(tmp_path):
    running = []

    def launch(*arguments, **parameters):
        running.append(Process(tmp_path, *arguments, **parameters))
        running[-1].wait_loaded()
        return running[-1]

    yield launch
    for process in running:
        process.stop()
