"""The launch files: driven where launch is installed, else by a few recording stand-ins for what they call."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = importlib.util.find_spec("launch_ros") is not None


class Recorded:
    """Keeps what it was made with."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs

    def __getattr__(self, name):
        try:
            return self.kwargs[name]
        except KeyError:
            raise AttributeError(name) from None


class Configuration(Recorded):
    def perform(self, context):
        return context[self.args[0]]


def stand_ins(installed):
    """Modules with the few names that the launch files use; installed: packages that are found."""

    class PackageNotFoundError(Exception):
        pass

    def share(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return str(ROOT)

    kinds = ("DeclareLaunchArgument", "LogInfo", "OpaqueFunction", "SetEnvironmentVariable", "IncludeLaunchDescription")
    contents = {
        "launch": {"LaunchDescription": Recorded}, "launch.actions": {k: type(k, (Recorded,), {}) for k in kinds},
        "launch.substitutions": {"LaunchConfiguration": Configuration}, "launch_ros": {},
        "launch.launch_description_sources": {"PythonLaunchDescriptionSource": Recorded},
        "launch_ros.actions": {"Node": type("Node", (Recorded,), {})}, "launch_ros.parameter_descriptions": {"ParameterValue": Recorded},
        "ament_index_python.packages": {"get_package_share_directory": share, "PackageNotFoundError": PackageNotFoundError},
    }  # fmt: skip
    for name, members in contents.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        yield name, module


def load(name, monkeypatch, installed=("sab3r_ros", "rviz2")):
    for module_name, module in stand_ins(installed):
        monkeypatch.setitem(sys.modules, module_name, module)
    spec = importlib.util.spec_from_file_location(name.replace(".", "_"), ROOT / "launch" / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def launched(monkeypatch):
    def actions(installed=("sab3r_ros", "rviz2"), **given):
        module = load("sab3r.launch.py", monkeypatch, installed)
        return module.set_up({name: value for name, (value, _) in module.ARGUMENTS.items()} | given)

    return actions


def named(actions):
    return [a.executable for a in actions if type(a).__name__ == "Node"]


def test_what_starts_by_default(launched):
    actions = launched()
    assert named(actions) == ["semantic_mapper", "affordance_server", "rviz2"]
    mapper = actions[0]
    assert dict(mapper.remappings)["image"] == "/image"
    assert dict(mapper.remappings)["image/compressed"] == "/image/compressed"
    assert Path(mapper.parameters[0]).is_file()
    for executable in named(actions)[:2]:
        assert (ROOT / "scripts" / executable).is_file()


def test_without_rviz_the_nodes_start_and_it_is_said(launched):
    actions = launched(installed=("sab3r_ros",))
    assert named(actions) == ["semantic_mapper", "affordance_server"]
    assert "rviz2 is not installed" in actions[-1].msg
    assert named(launched(installed=("sab3r_ros",), rviz="false")) == ["semantic_mapper", "affordance_server"]


@pytest.mark.parametrize("off", [{"enable_affordance": "false"}, {"affordance": "none"}, {"affordance": ""}])
def test_the_affordance_server_can_be_left_out(launched, off):
    assert named(launched(rviz="false", **off)) == ["semantic_mapper"]
    assert named(launched(rviz="false", one_process="true", **off)) == ["semantic_mapper"]
    assert named(launched(rviz="false", one_process="true")) == ["perception"]


def test_several_cameras_collide_nowhere(launched):
    left, right = (launched(rviz="false", namespace="robot", camera_name=name)[0] for name in ("left", "right"))
    assert (left.namespace, right.namespace) == ("robot/left", "robot/right")
    assert left.parameters[1]["map_frame"] == "left_map"
    assert dict(left.remappings)["image"] == "/robot/left/image_raw"
    assert dict(right.remappings)["camera_info"] == "/robot/right/camera_info"
    other = launched(rviz="false", camera_name="left", image="/driver/rgb")[0]
    assert dict(other.remappings)["image/compressed"] == "/driver/rgb/compressed"


@pytest.mark.parametrize("wrong", [{"params": "/no/such/file.yaml"}, {"rviz": "perhaps"}, {"enable_affordance": "2"}])
def test_what_is_wrong_is_said_before_anything_starts(launched, wrong):
    with pytest.raises(RuntimeError, match=next(iter(wrong))):
        launched(**wrong)


def test_the_description_declares_every_argument_and_sets_the_transport(monkeypatch):
    module = load("sab3r.launch.py", monkeypatch)
    parts = module.generate_launch_description().args[0]
    declared = [p.args[0] for p in parts if type(p).__name__ == "DeclareLaunchArgument"]
    assert declared == list(module.ARGUMENTS)
    assert all(p.description for p in parts if type(p).__name__ == "DeclareLaunchArgument")
    profiles = [p.args for p in parts if type(p).__name__ == "SetEnvironmentVariable"]
    assert {name for name, _ in profiles} == {"FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"}
    assert all(Path(path).is_file() for _, path in profiles)
    assert type(parts[-1]).__name__ == "OpaqueFunction"  # nodes come after all that can fail


def test_the_demo_follows_the_mapper_with_parameters_that_the_player_knows(monkeypatch):
    parts = load("demo.launch.py", monkeypatch).generate_launch_description().args[0]
    player = parts[-1]
    known = yaml.safe_load(Path(player.parameters[0]).read_text())["/**"]["ros__parameters"]
    assert set(player.parameters[1]) <= set(known)
    declared = {p.args[0]: p.default_value for p in parts if type(p).__name__ == "DeclareLaunchArgument"}
    assert declared["follow"] == "semantic_mapper"


@pytest.mark.skipif(
    not LAUNCH, reason="launch and launch_ros are not installed: scripts/test_launch_on_jazzy.sh runs this"
)
def test_the_nodes_come_up_and_end_with_the_launch():
    import asyncio

    from launch.actions import EmitEvent, TimerAction
    from launch.events import Shutdown

    from launch import LaunchContext, LaunchService

    spec = importlib.util.spec_from_file_location("sab3r_launch", ROOT / "launch" / "sab3r.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    description = module.generate_launch_description()
    context = LaunchContext()
    for name, (value, _) in module.ARGUMENTS.items():
        context.launch_configurations[name] = "false" if name == "rviz" else value
    assert len(module.set_up(context)) == 2
    description.add_action(TimerAction(period=20.0, actions=[EmitEvent(event=Shutdown())]))
    asyncio.set_event_loop(asyncio.new_event_loop())
    service = LaunchService(argv=["rviz:=false"])
    service.include_launch_description(description)
    assert service.run() == 0
