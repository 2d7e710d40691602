"""ROS parameters come from the typed settings, and the YAML files from both."""

import importlib.util
from pathlib import Path

import pytest
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter

from sab3r_ros.config import Settings, dotted_fields
from sab3r_ros.nodes import parameters

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def node(ros):
    out = Node("parameters_test", parameter_overrides=[Parameter("window.size", value=5)])
    parameters.declare(out, Settings, parameters.MapperNodeSettings)
    yield out
    out.destroy_node()


def test_defaults_overrides_ranges_and_descriptions_reach_ros(node):
    settings = parameters.read(node, Settings)
    assert settings.window.size == 5
    assert settings.map == Settings().map
    descriptor = node.describe_parameter("window.size")
    assert (descriptor.integer_range[0].from_value, descriptor.integer_range[0].to_value) == (1, 16)
    assert descriptor.description == Settings.model_fields["window"].annotation.model_fields["size"].description
    assert node.describe_parameter("map.voxel_size").floating_point_range[0].to_value == 5.0
    assert list(node.get_parameter("query.labels").value) == Settings().query.labels


def test_values_out_of_range_are_refused_by_ros(node):
    assert not node.set_parameters([Parameter("window.size", value=99)])[0].successful
    assert not node.set_parameters([Parameter("map.voxel_size", value=-1.0)])[0].successful
    assert not node.set_parameters([Parameter("window.size", value="many")])[0].successful


def test_bad_strings_are_refused_when_read(node):
    node.set_parameters([Parameter("image_transport", value="pigeon")])
    with pytest.raises(ValueError, match="image_transport"):
        parameters.read(node, parameters.MapperNodeSettings)


def test_late_changes_are_refused_with_the_reason(node):
    parameters.refuse_late_changes(node, [Settings], lambda: True)
    result = node.set_parameters([Parameter("window.size", value=3)])[0]
    assert not result.successful
    assert "configured" in result.reason


@pytest.mark.parametrize(
    ("name", "value"),
    [("image_transport", "bogus"), ("window.size", 99), ("map_frame", ""), ("map_rate", float("nan"))],
)
def test_values_that_mean_nothing_are_refused_when_they_are_set(node, name, value):
    parameters.refuse_late_changes(node, [Settings, parameters.MapperNodeSettings], lambda: False)
    result = node.set_parameters([Parameter(name, value=value)])[0]
    assert not result.successful
    assert result.reason
    assert node.set_parameters([Parameter("image_transport", value="compressed")])[0].successful


def test_the_yaml_files_hold_exactly_the_defaults():
    spec = importlib.util.spec_from_file_location(
        "write_parameter_files", ROOT / "scripts" / "write_parameter_files.py"
    )
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, groups in script.FILES.items():
        text = (ROOT / "config" / name).read_text()
        assert text == parameters.parameter_file(*groups), (
            f"run scripts/write_parameter_files.py: {name} is out of date"
        )
        loaded = yaml.safe_load(text)["/**"]["ros__parameters"]
        assert loaded == {n: v for g in groups for n, _, v in dotted_fields(g)}


def test_renamed_and_unknown_parameters_are_told(ros, capfd):
    overrides = [Parameter("tracking.keypoints", value=5), Parameter("map.wings", value=2)]
    node = Node("parameters_old", parameter_overrides=overrides)
    parameters.declare(node, Settings)
    assert parameters.read(node, Settings).tracking.max_keypoints == 5
    said = capfd.readouterr().err
    assert "tracking.keypoints is called tracking.max_keypoints now" in said
    assert "unknown parameter map.wings is ignored" in said
    node.destroy_node()
