"""What both nodes share: transitions that fail or make no sense leave them up, and nothing is taken from under a callback."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from ros_processes import call, change_state, spin_until
from sensor_msgs.msg import PointCloud2
from small_cast import write_small_cast

from sab3r_ros.nodes import lifecycle
from sab3r_ros.nodes.affordance_server import AffordanceServerNode
from sab3r_ros.nodes.qos import LATCHED
from sab3r_ros.nodes.semantic_mapper import SemanticMapperNode
from sab3r_ros.srv import LocateObject

NAME = "/affordance_server"


@pytest.fixture
def caller(ros):
    node = Node("lifecycle_caller")
    yield node
    node.destroy_node()


@pytest.fixture
def mapper(ros):
    # rclpy leaves the lifecycle's services of a destroyed node in the graph: under another name they mislead nobody.
    node = SemanticMapperNode(namespace="inside")
    yield node
    node.drop()
    node.destroy_node()


def test_a_transition_that_does_not_lead_on_is_refused_and_the_node_stays_up(start, caller, tmp_path):
    server = start("affordance_server", checkpoint=str(write_small_cast(tmp_path / "small")))
    for wrong in (Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_CLEANUP, 123):
        assert not change_state(caller, NAME, wrong), server.output
    assert call(caller, GetState, f"{NAME}/get_state").current_state.id == State.PRIMARY_STATE_ACTIVE
    assert server.alive
    assert server.output.count("refused") == 3
    assert "Traceback" not in server.output


def test_a_request_that_rclpy_itself_trips_over_ends_nothing(start, caller, tmp_path):
    server = start("affordance_server", checkpoint=str(write_small_cast(tmp_path / "small")))
    client = caller.create_client(SetParameters, f"{NAME}/set_parameters")
    assert client.wait_for_service(60)
    strange = Parameter(name="min_score", value=ParameterValue(type=99))
    client.call_async(SetParameters.Request(parameters=[strange]))
    assert spin_until(caller, lambda: "Error" in server.output, 30), server.output
    plain = Parameter(name="min_score", value=ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=0.3))
    late = call(caller, SetParameters, f"{NAME}/set_parameters", parameters=[plain]).results[0]
    assert not late.successful
    assert "configured" in late.reason
    assert server.alive


def test_what_nobody_foresaw_in_a_transition_is_told(ros, monkeypatch, capfd):
    monkeypatch.setattr(AffordanceServerNode, "do_configure", lambda _: {}["a key"])
    node = AffordanceServerNode(namespace="inside")
    node.trigger_configure()
    assert "cannot configure: KeyError: 'a key'" in capfd.readouterr().err
    monkeypatch.setattr(AffordanceServerNode, "do_configure", lambda _: None)
    monkeypatch.setattr(AffordanceServerNode, "do_activate", lambda _: 1 / 0)
    node.trigger_configure()
    node.trigger_activate()
    assert "cannot activate: ZeroDivisionError" in capfd.readouterr().err
    node.trigger_cleanup()  # from inactive, where the failure led back to
    node.trigger_configure()
    node.drop()
    node.destroy_node()


def test_a_clean_up_waits_for_the_map_in_hand(mapper, caller, monkeypatch):
    caller.create_subscription(PointCloud2, "/inside/semantic_mapper/map", lambda _: None, LATCHED)
    mapper.trigger_configure()
    tick, making, done = mapper.while_configured(mapper._map_tick), threading.Event(), []
    labelled = mapper._labels

    def slow(*asked):
        making.set()
        time.sleep(0.3)
        done.append(mapper.map_publishers)
        return labelled(*asked)

    monkeypatch.setattr(mapper, "_labels", slow)
    assert spin_until(caller, lambda: mapper.map_publishers.map.get_subscription_count() > 0, 30)
    thread = threading.Thread(target=tick)
    thread.start()
    assert making.wait(10)
    mapper.trigger_cleanup()
    assert len(done) == 1
    assert done[0] is not None
    assert mapper.mapper is None
    thread.join(10)
    tick()  # one that comes late finds the guard closed
    assert len(done) == 1


def test_a_timer_that_fails_is_told_and_goes_on(mapper, capfd):
    mapper.trigger_configure()
    mapper.while_configured(lambda: 1 / 0)()
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_mapper_survives_many_lives(start, caller):
    """Timers at full rate, services and a listener all the while."""
    mapper = start("semantic_mapper", map_rate=30.0, autostart=False)
    maps = []
    caller.create_subscription(PointCloud2, "/semantic_mapper/map", maps.append, LATCHED)

    def change(transition):
        assert change_state(caller, "/semantic_mapper", transition), mapper.output

    for _ in range(5):
        before = len(maps)
        change(Transition.TRANSITION_CONFIGURE)  # publishes one map, empty as it is
        change(Transition.TRANSITION_ACTIVATE)
        assert spin_until(caller, lambda before=before: len(maps) > before, 30), mapper.output
        change(Transition.TRANSITION_DEACTIVATE)
        change(Transition.TRANSITION_CLEANUP)
        answer = call(caller, LocateObject, "/semantic_mapper/locate_object", prompts=["wall"])
        assert answer.status == LocateObject.Response.NOT_CONFIGURED
    assert mapper.alive
    assert "Error" not in mapper.output


SLOW = """
import time
from sab3r_ros.nodes.lifecycle import run_nodes
from sab3r_ros.nodes.semantic_mapper import SemanticMapperNode

class Slow(SemanticMapperNode):
    def do_configure(self):
        self.get_logger().info("loading")
        time.sleep(60)

run_nodes([Slow], "semantic_mapper")
"""


def test_a_node_answers_while_its_model_is_loading_and_ends_when_told(caller, tmp_path):
    log = tmp_path / "slow.log"
    env = os.environ | {"PYTHONSAFEPATH": "1"}
    process = subprocess.Popen([sys.executable, "-c", SLOW], stdout=log.open("w"), stderr=subprocess.STDOUT, env=env)
    try:
        assert spin_until(caller, lambda: "loading" in log.read_text(), 60), log.read_text()
        state = call(caller, GetState, "/semantic_mapper/get_state", 10).current_state.id
        assert state == State.TRANSITION_STATE_CONFIGURING
        answer = call(caller, LocateObject, "/semantic_mapper/locate_object", 10, prompts=["mug"])
        assert answer.status == LocateObject.Response.NOT_CONFIGURED
        process.send_signal(signal.SIGINT)
        assert process.wait(4) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()


def test_an_error_of_the_context_that_ends_is_no_error(monkeypatch):
    """rclpy raises where the context is shut down between the executor's look at it and its wait."""
    alive, ended, said = [True], threading.Event(), []

    class Executor:
        def spin(self):
            if not said:
                raise RuntimeError("a callback's own")
            alive[0] = False
            raise RuntimeError("failed to initialize wait set: the given context is not valid")

    class Logger:
        def error(self, text, **_):
            said.append(text)

    monkeypatch.setattr(lifecycle.rclpy, "ok", lambda: alive[0])
    monkeypatch.setattr(lifecycle.rclpy.logging, "get_logger", lambda _: Logger())
    lifecycle._spin(Executor(), "anyone", ended)
    assert ended.is_set()
    assert said == ["RuntimeError: a callback's own"]
