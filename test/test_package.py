"""The package's files agree with each other and with the code."""

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

import sab3r_ros
from sab3r_ros.config import Settings, dotted_fields
from sab3r_ros.lab.synthetic.objects import LABELS

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "sab3r_ros").rglob("*.py"))


def imports(path):
    return list(imports_of(ast.parse(path.read_text())))


def imports_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_versions_agree():
    assert ElementTree.parse(ROOT / "package.xml").findtext("version") == sab3r_ros.__version__


def test_ros_stays_in_the_nodes():
    ros = (
        "rclpy",
        "sensor_msgs",
        "std_msgs",
        "geometry_msgs",
        "nav_msgs",
        "tf2",
        "sab3r_ros.msg",
        "sab3r_ros.srv",
        "sab3r_ros.nodes",
        "launch",
    )
    late = {"inputs.py": "sab3r_ros.nodes.topic_source"}  # the command line, for ros:/TOPIC alone
    for path in MODULES:
        if "nodes" not in path.parts:
            assert not [m for m in imports(path) if m.startswith(ros) and m != late.get(path.name)], path


TOP = ("nodes", "cli", "viewer", "page", "maps", "outputs")


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("types.py", ("mapping", "query", "affordance", "sources", "lab", *TOP)),
        ("geometry", ("models", "types", "mapping", "query", "affordance", "sources", "lab", *TOP)),
        ("models", ("mapping", "query", "affordance", "sources", "lab", *TOP)),
        ("mapping", ("query", "affordance", "sources", "lab", *TOP)),
        ("query", ("mapping", "affordance", "sources", "lab", *TOP)),
        ("affordance", ("mapping", "query", "sources", "lab", *TOP)),
        ("sources", ("mapping", "query", "affordance", "lab", *TOP)),
        ("viewer", ("mapping", "sources", "lab", "nodes", "cli", "page", "maps", "outputs")),
        ("page", ("sources", "lab", "nodes", "cli", "outputs")),
        ("nodes", ("cli", "lab", "viewer")),
        ("lab/synthetic", ("models", "mapping", "query", "lab.evaluation", "lab.training", "nodes", "cli")),
        ("lab/evaluation", ("nodes", "cli")),
        ("lab/training", ("mapping", "nodes", "cli")),
    ],
)
def test_imports_run_one_way(room, forbidden):
    place = ROOT / "sab3r_ros" / room
    files = [place] if place.is_file() else list(place.rglob("*.py"))
    assert files, f"{place} has no modules"
    for path in files:
        names = tuple(f"sab3r_ros.{f}" for f in forbidden)
        bad = [m for m in imports(path) if m in names or m.startswith(tuple(f"{n}." for n in names))]
        bad = [
            m for m in bad if not (path.name == "types.py" and m == "sab3r_ros.mapping.keypoints")
        ]  # for annotations
        assert not bad, f"{path} imports {bad}"


def test_the_running_system_never_imports_the_lab():
    """Commands that measure or train import it inside their functions; everything else not at all."""
    for path in MODULES:
        if "lab" in path.parts:
            continue
        tree = ast.parse(path.read_text())
        inside = {m for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for m in imports_of(f)}
        bad = {m for m in imports_of(tree) if m.startswith("sab3r_ros.lab")}
        assert not bad - inside, f"{path} imports {bad - inside}"
        assert not bad or path.parent.name == "cli", f"{path} imports {bad}"


def test_importing_the_package_is_light():
    code = "import sys, sab3r_ros; print('torch' in sys.modules or 'numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_reading_recordings_does_not_wait_for_torch():
    code = "import sys, sab3r_ros.sources.open, sab3r_ros.sources.bags, sab3r_ros.config; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_package_xml_declares_what_the_nodes_import():
    declared = {e.text for e in ElementTree.parse(ROOT / "package.xml").getroot() if "depend" in e.tag}
    used = {m.split(".")[0] for p in (ROOT / "sab3r_ros" / "nodes").glob("*.py") for m in imports(p)}
    used |= {m.split(".")[0] for p in (ROOT / "launch").glob("*.py") for m in imports(p)}
    ours = {"sab3r_ros", *sys.stdlib_module_names}
    packages = {
        "tf2_ros": "tf2_ros_py",
        "numpy": "python3-numpy",
        "scipy": "python3-scipy",
        "cv2": "python3-opencv",
        "yaml": "python3-yaml",
    }
    by_pip = {"torch", "pydantic"}  # not in rosdep, or too old there: `pip install .` brings them
    needed = {packages.get(m, m) for m in used - ours - by_pip}
    assert needed <= declared, needed - declared
    ros = {d for d in declared if not d.startswith(("python3-", "ament_cmake", "ament_lint", "rosidl"))}
    launched = {"rviz2", "ros2launch"}
    assert ros - launched <= used | {"tf2_ros_py"}, "declared but not imported"


def test_the_shared_memory_segment_and_buffers_of_the_fast_dds_profile():
    text = (ROOT / "config" / "fastdds.xml").read_text()
    tree = ElementTree.fromstring(text.encode())
    values = {e.tag.split("}")[1]: e.text for e in tree.iter()}
    assert int(values["segment_size"]) == 64 << 20
    assert int(values["sendBufferSize"]) == int(values["receiveBufferSize"]) == 4 << 20
    assert values["useBuiltinTransports"] == "false"


@pytest.mark.parametrize("name", ["sab3r.launch.py", "demo.launch.py"])
def test_launch_files_only_name_what_exists(name):
    text = (ROOT / "launch" / name).read_text()
    tree = ast.parse(text)
    strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    for string in strings:
        if string.endswith((".yaml", ".xml", ".rviz")):
            assert (ROOT / "config" / string).is_file(), string
    executables = {
        k.value.value for n in ast.walk(tree) if isinstance(n, ast.Call) for k in n.keywords if k.arg == "executable"
    }
    assert executables - {"rviz2"} <= {p.name for p in (ROOT / "scripts").iterdir()}
    if name == "sab3r.launch.py":
        assert "FASTDDS_DEFAULT_PROFILES_FILE" in strings


def test_rviz_asks_for_what_the_mapper_offers():
    config = yaml.safe_load((ROOT / "config" / "sab3r.rviz").read_text())
    displays = {d["Name"]: d for d in config["Visualization Manager"]["Displays"]}
    for name in ("Map", "Objects"):
        topic = displays[name]["Topic"]
        assert (topic["Reliability Policy"], topic["Durability Policy"]) == ("Reliable", "Transient Local")
        assert topic["Value"].startswith("semantic_mapper/")  # relative: RViz runs in the mapper's namespace
    assert config["Visualization Manager"]["Global Options"]["Fixed Frame"] == "map"


def test_the_shipped_weights_are_small_enough():
    weights = ROOT / "sab3r_ros" / "assets" / "sab3r_small" / "model.safetensors"
    assert weights.stat().st_size <= 17 << 20


def test_test_data_stay_small():
    assert sum(p.stat().st_size for p in (ROOT / "test" / "data").iterdir()) < 21 << 20


def test_the_interfaces_need_standard_packages_only():
    allowed = {"std_msgs", "geometry_msgs", "sensor_msgs", "builtin_interfaces"}
    for path in [*(ROOT / "msg").glob("*.msg"), *(ROOT / "srv").glob("*.srv")]:
        for line in path.read_text().splitlines():
            kind = line.split("#")[0].strip().split(" ")[0]
            if "/" in kind:
                assert kind.split("/")[0] in allowed, f"{path.name}: {line}"


def test_scripts_can_be_run():
    for path in (p for p in (ROOT / "scripts").iterdir() if p.is_file()):
        assert os.access(path, os.X_OK), path
        first = "#!/bin/bash" if path.suffix == ".sh" else "#!/usr/bin/env python3"
        assert path.read_text().startswith(first), path


def test_the_default_vocabulary_is_the_households():
    labels = dict((name, value) for name, _, value in dotted_fields(Settings))["query.labels"]
    assert tuple(labels) == LABELS
