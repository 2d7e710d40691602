"""The affordance server in its own process: the caller's clouds, objects of a real mapper, frames, bad requests, many callers."""

import numpy as np
import pytest
from geometry_msgs.msg import Pose, TransformStamped, Vector3
from lifecycle_msgs.msg import Transition
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_processes import call, change_state, spin_until
from sensor_msgs.msg import Image, PointCloud2
from small_cast import write_small_cast
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from sab3r_ros.lab.synthetic.clouds import object_cloud
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.msg import ObjectInstance
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.map_client import ambiguity
from sab3r_ros.nodes.qos import LATCHED, SERVICE
from sab3r_ros.srv import LocateObject, QueryAffordance

NAME = "/affordance_server/query_affordance"
S = QueryAffordance.Response


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(write_small_cast(tmp_path_factory.mktemp("weights") / "small"))


class Caller(Node):
    """Calls the server, hears its markers and can broadcast a frame."""

    def __init__(self):
        super().__init__("caller")
        self.markers = []
        self.create_subscription(MarkerArray, "/affordance_server/markers", self.markers.append, LATCHED)
        static = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.frames = self.create_publisher(TFMessage, "/tf_static", static)
        self.camera = self.create_publisher(Image, "image", 10)

    def ask(self, **fields):
        return call(self, QueryAffordance, NAME, **({"affordance": "grasp", "min_score": 0.05} | fields))


@pytest.fixture
def caller(ros):
    node = Caller()
    yield node
    node.destroy_node()


def cloud(points, frame="table", stamp=7 * 10**9):
    return convert.make_cloud(convert.header(frame, stamp), **convert.xyz_columns(points))


@pytest.fixture(scope="module")
def bottle():
    return object_cloud("bottle", 3, 900).points


@pytest.mark.slow
def test_a_cloud_of_the_callers_own(start, caller, weights, bottle):
    server = start("affordance_server", checkpoint=weights)
    answer = caller.ask(cloud=cloud(bottle), max_grasps=3, return_points=True, max_gripper_width=0.12)
    assert answer.status == S.SUCCESS, (answer.message, server.output)
    assert (answer.header.frame_id, convert.nanoseconds(answer.header.stamp)) == ("table", 7 * 10**9)
    region = answer.regions[0]
    assert region.num_points == region.points.width > 100
    fields = convert.read_cloud(region.points)
    assert set(fields) == {"x", "y", "z", "score"}
    contact = np.array([region.contact.x, region.contact.y, region.contact.z])
    assert np.abs(bottle - contact).max(1).min() < 1e-5
    assert 0.05 <= region.score <= region.peak_score <= 1
    for grasp in region.grasps:
        assert 0 < grasp.width <= 0.12
        tips = convert.from_pose(grasp.pose.pose)
        assert np.linalg.norm(bottle - tips[:3, 3], axis=1).min() < 0.1
    assert answer.elapsed_ms > 0
    assert spin_until(caller, lambda: caller.markers, 10)
    again = caller.ask(cloud=cloud(bottle), max_grasps=3)
    assert again.regions[0].id == region.id
    assert again.regions[0].points.width == 0


def test_frames_regions_of_interest_and_bad_requests(start, caller, weights, bottle):
    server = start("affordance_server", checkpoint=weights, map_timeout=1.0)
    plain = caller.ask(cloud=cloud(bottle)).regions[0]

    unknown = caller.ask(cloud=cloud(bottle), target_frame="nowhere")
    assert unknown.status == S.TRANSFORM_UNAVAILABLE
    assert "nowhere" in unknown.message
    shift = TransformStamped(header=convert.header("base", 0), child_frame_id="table")
    shift.transform.translation.x, shift.transform.rotation.w = 1.5, 1.0
    caller.frames.publish(TFMessage(transforms=[shift]))

    def moved():
        return caller.ask(cloud=cloud(bottle), target_frame="base").status == S.SUCCESS

    assert spin_until(caller, moved, 20), server.output
    answer = caller.ask(cloud=cloud(bottle), target_frame="base")
    assert answer.header.frame_id == "base"
    assert answer.regions[0].contact.x == pytest.approx(plain.contact.x + 1.5, abs=1e-5)
    assert answer.regions[0].score == pytest.approx(plain.score, abs=1e-5)

    half = Pose()
    half.position.z = float(bottle[:, 2].mean() + 5)
    upper = caller.ask(cloud=cloud(bottle), roi_pose=half, roi_size=Vector3(x=9.0, y=9.0, z=10.0))
    assert upper.regions[0].num_points < plain.num_points
    bad = {
        "no point of the object lies": {"roi_pose": half, "roi_size": Vector3(x=0.1, y=0.1, z=0.1), "cloud": cloud(bottle)},
        "must be positive": {"roi_size": Vector3(x=1.0), "cloud": cloud(bottle)},
        "prompt is empty": {"affordance": " ", "cloud": cloud(bottle)},
        "no English word": {"affordance": "つかむ", "cloud": cloud(bottle)},
        "has 3 usable points": {"cloud": cloud(bottle[:3])},
        "has 0 usable points": {"cloud": cloud(bottle * np.nan)},
        "no fields x, y and z": {"cloud": convert.make_cloud(convert.header("table", 0), a=np.zeros(5, np.float32))},
        "names no frame": {"cloud": cloud(bottle, frame="")},
        "min_score must lie": {"min_score": 1.5, "cloud": cloud(bottle)},
        "no image prompts": {"image": convert.rgb_to_image(np.zeros((4, 4, 3), np.uint8), convert.header("c", 0)), "cloud": cloud(bottle)},
        "truncated": {"cloud": PointCloud2(header=convert.header("t", 0), width=5, height=1, point_step=12, row_step=60, data=b"123")},
        "name an object": {"object": ""},
    }  # fmt: skip
    for why, fields in bad.items():
        answer = caller.ask(**fields)
        assert (answer.status, why in answer.message) == (S.INVALID_REQUEST, True), (why, answer.message)
    assert caller.ask(object="mug").status == S.EMPTY_MAP  # no mapper runs
    assert caller.ask(cloud=cloud(bottle), affordance="pour", min_score=1.0).status == S.NO_MATCH
    spoilt = np.concatenate([bottle, np.full((5, 3), np.nan)])
    assert caller.ask(cloud=cloud(spoilt)).status == S.SUCCESS
    assert change_state(caller, "/affordance_server", Transition.TRANSITION_DEACTIVATE)
    assert caller.ask(cloud=cloud(bottle)).status == S.NOT_ACTIVE
    assert server.alive


def test_a_name_that_several_things_answer_is_told():
    assert ambiguity([ObjectInstance(label="mug", score=0.7)]) == ""
    told = ambiguity([ObjectInstance(label="mug", score=0.7), ObjectInstance(label="mug", score=0.6)])
    assert "several objects answer 'mug' (scores 0.70 and 0.60)" in told


def test_wrong_weights_leave_the_node_unconfigured_and_saying_why(start, caller, tmp_path):
    server = start("affordance_server", checkpoint=str(tmp_path))
    answer = caller.ask(cloud=PointCloud2())
    assert answer.status == S.NOT_ACTIVE
    assert spin_until(caller, lambda: "cannot load a CAST checkpoint" in server.output, 20), server.output
    assert server.alive


@pytest.mark.slow
def test_mapper_and_server_in_one_process(start, caller, weights, bottle):
    both = start("perception", checkpoint=weights)
    assert caller.ask(cloud=cloud(bottle)).status == S.SUCCESS, both.output
    assert caller.ask(object="mug").status == S.EMPTY_MAP  # the mapper beside it answers, and has seen nothing
    found = call(caller, LocateObject, "/semantic_mapper/locate_object", prompts=["mug"])
    assert found.status == LocateObject.Response.EMPTY_MAP
    assert both.stop() == 0, both.output


@pytest.mark.slow
def test_fifty_callers_at_once_all_get_an_answer(start, caller, weights, bottle):
    start("affordance_server", checkpoint=weights)
    caller.ask(cloud=cloud(bottle))
    client = caller.create_client(QueryAffordance, NAME, qos_profile=SERVICE)
    assert client.wait_for_service(20)
    request = QueryAffordance.Request(affordance="grasp", min_score=0.05, cloud=cloud(bottle), max_grasps=1)
    futures = [client.call_async(request) for _ in range(50)]
    assert spin_until(caller, lambda: all(f.done() for f in futures), 120)
    assert {f.result().status for f in futures} == {S.SUCCESS}


@pytest.mark.slow
def test_from_the_map_to_regions_through_three_processes(start, caller, weights):
    """Pictures to the mapper, an object's name to the server, regions in the map's frame."""
    server = start("affordance_server", checkpoint=weights)
    mapper = start("semantic_mapper", query__min_score=0.02)
    empty = caller.ask(object="wall")
    assert empty.status == S.EMPTY_MAP
    assert spin_until(caller, lambda: caller.camera.get_subscription_count() > 0, 60), mapper.output
    for k, view in enumerate(render_sequence(900_060_004, 4, 160, 120, 0.2).views):
        caller.camera.publish(convert.rgb_to_image(view.rgb, convert.header("cam", (k + 1) * 10**8)))
        spin_until(caller, lambda: False, 1.0)

    def answered():
        return caller.ask(object="wall", max_grasps=1, return_collision_cloud=True).status == S.SUCCESS

    assert spin_until(caller, answered, 60), (server.output, mapper.output)
    answer = caller.ask(object="wall", return_collision_cloud=True)
    assert answer.header.frame_id == "map"
    assert convert.nanoseconds(answer.header.stamp) in {(k + 1) * 10**8 for k in range(4)}
    assert answer.map_status.num_points > 0
    assert answer.regions[0].object == "wall"
    # Without a name, a box says what is meant: here the wall's best place; what it cuts off becomes an obstacle.
    around_it = {"roi_pose": Pose(position=answer.regions[0].contact), "roi_size": Vector3(x=0.6, y=0.6, z=0.6)}
    boxed = caller.ask(object="", min_score=0.01, return_points=True, return_collision_cloud=True, **around_it)
    assert boxed.status == S.SUCCESS, boxed.message
    assert boxed.regions[0].object == "region of interest"
    fields = convert.read_cloud(boxed.regions[0].points)
    place = convert.from_xyz(answer.regions[0].contact)
    assert np.abs(np.stack([fields[k] for k in "xyz"], 1) - place).max() <= 0.3 + 1e-5
    assert boxed.collision_cloud.width > 0
    stale = caller.ask(object="", max_age=convert.to_duration(1.0), **around_it)
    assert stale.status == S.STALE_MAP
    stale = caller.ask(object="wall", max_age=convert.to_duration(1.0))
    assert stale.status == S.STALE_MAP
    assert caller.ask(object="wall", affordance="pour", min_score=1.0).status == S.NO_MATCH
    assert server.alive
    assert mapper.alive
