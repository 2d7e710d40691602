"""`sab3r doctor`: checks the installation."""

import contextlib
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

_REQUIRED = (
    "torch",
    "open_clip_torch",
    "safetensors",
    "opencv-python-headless",
    "pydantic",
    "scipy",
    "plyfile",
    "rosbags",
)
_OPTIONAL_ROS = ("tf2_ros", "launch_ros", "cv_bridge", "sensor_msgs_py")
_COMFORT_GB = 4


@dataclass
class Finding:
    """level: ok, note (works, with less) or missing (needed); text says what to do."""

    level: str
    name: str
    text: str


def examine() -> list[Finding]:
    """Look at everything; changes nothing."""
    return [*_python(), *_packages(), _device(), _memory(), *_weights(), *_ros(), _profile()]


def _python():
    ok = sys.version_info >= (3, 10)
    yield Finding(
        "ok" if ok else "missing",
        "python",
        f"{platform.python_version()} on {platform.machine()}" + ("" if ok else "; 3.10 or newer is needed"),
    )


def _packages():
    for name in _REQUIRED:
        try:
            yield Finding("ok", name, version(name))
        except PackageNotFoundError:
            alternative = name == "opencv-python-headless" and importlib.util.find_spec("cv2")
            yield (
                Finding("ok", name, "another OpenCV build")
                if alternative
                else Finding("missing", name, f"pip install {name}")
            )


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Finding(
            "ok", "gpu", f"{properties.name}, {properties.total_memory >> 20} MiB, CUDA {torch.version.cuda}"
        )
    return Finding(
        "note",
        "gpu",
        f"none that torch {torch.__version__} can use; the default weights run on the CPU, large ones need a GPU (check nvidia-smi and torch's CUDA build)",
    )


def _memory() -> Finding:
    free = _available_bytes() / 2**30
    return Finding(
        "ok" if free >= _COMFORT_GB else "note",
        "memory",
        f"{free:.1f} GiB free, {os.cpu_count()} cores"
        + ("" if free >= _COMFORT_GB else "; lower map.max_voxels and window.kept_keyframes"),
    )


def _available_bytes() -> int:
    """Memory that programs can have, free or used for caches (Linux); elsewhere what is free."""
    with contextlib.suppress(OSError, StopIteration), open("/proc/meminfo") as lines:
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _weights():
    from sab3r_ros.models.catalogue import KNOWN, CheckpointError
    from sab3r_ros.models.weights import load_checkpoint

    try:
        checkpoint = load_checkpoint("sab3r_small")
        yield Finding("ok", "weights", f"{checkpoint.id} ({checkpoint.licence})")
    except CheckpointError as error:
        yield Finding("missing", "weights", str(error))
    for name, known in KNOWN.items():
        if not known.bundled:
            state = "on this machine" if known.is_present(name) else f"not on this machine: `sab3r fetch {name}`"
            yield Finding("note", f"weights {name}", f"{state}; {known.licence}")


def _ros():
    if importlib.util.find_spec("rclpy") is None:
        yield Finding(
            "note",
            "ros",
            "rclpy is not importable: source a ROS 2 Jazzy installation, or pip install 'sab3r_ros[ros]' and build with colcon; the command line works without",
        )
        return
    yield Finding("ok", "ros", f"rclpy found, distribution {os.environ.get('ROS_DISTRO', 'not named')}")
    built = importlib.util.find_spec("sab3r_ros.msg") is not None
    yield Finding(
        "ok" if built else "note",
        "interfaces",
        "sab3r_ros messages found" if built else "not built: colcon build, then source install/setup.bash",
    )
    lacking = [name for name in _OPTIONAL_ROS if importlib.util.find_spec(name) is None]
    if lacking:
        yield Finding(
            "note",
            "ros packages",
            f"not installed: {', '.join(lacking)}; the nodes work without, launch files need launch_ros",
        )
    if shutil.which("colcon") is None:
        yield Finding(
            "note", "colcon", "not found; needed to build the interfaces: pip install colcon-common-extensions"
        )


def _profile() -> Finding:
    path = os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE") or os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE")
    if path and not os.path.isfile(path):
        return Finding("missing", "fast dds profile", f"{path} does not exist")
    if path:
        return Finding("ok", "fast dds profile", path)
    return Finding(
        "note",
        "fast dds profile",
        "none in force: images lose frames over the default transports; the launch files set config/fastdds.xml",
    )
