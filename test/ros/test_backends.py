"""Backends by their public names in both nodes, on small files of the public formats."""

import numpy as np
import pytest
from random_models import write_models
from rclpy.node import Node
from ros_processes import call, spin_until
from sensor_msgs.msg import Image
from small_cast import write_small_cast

from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.msg import MapStatus
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.qos import LATCHED, image_qos
from sab3r_ros.srv import LocateObject, QueryAffordance, SaveMap

NAME = "/semantic_mapper"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "has_text"), [("mast3r_maskclip", True), ("dune_small", False)])
def test_a_backend_runs_in_the_nodes(start, ros, models, tmp_path, monkeypatch, name, has_text):
    monkeypatch.setenv("SAB3R_MODELS", str(models))
    small = {"model__image_size": 112, "map__voxel_size": 0.005, "tracking__min_inliers": 0.0}
    mapper = start("semantic_mapper", model__checkpoint=name, query__prompt_template="'a {}'", **small)
    server = start("affordance_server", checkpoint=str(write_small_cast(tmp_path / "cast")))
    node, status = Node("backend_caller"), []
    node.create_subscription(MapStatus, f"{NAME}/status", status.append, LATCHED)
    camera = node.create_publisher(Image, "image", image_qos("reliable"))
    try:
        assert spin_until(node, lambda: status and camera.get_subscription_count(), 60), mapper.output
        images = [v.rgb for v in render_sequence(900_060_004, 3, 160, 120, 0.3).views]

        def grown():
            stamp = node.get_clock().now().nanoseconds
            camera.publish(convert.rgb_to_image(images[len(status) % 3], convert.header("cam", stamp)))
            spin_until(node, lambda: False, 0.3)
            return status[-1].num_points > 20

        assert spin_until(node, grown, 60), mapper.output
        found = call(
            node, LocateObject, f"{NAME}/locate_object", prompts=["mug"], min_score=1e-4, surroundings_radius=0.2
        )
        assert found.status == (LocateObject.Response.SUCCESS if has_text else LocateObject.Response.NO_FEATURES), (
            found.message
        )
        answer = call(
            node, QueryAffordance, "/affordance_server/query_affordance", object="mug" if has_text else "", affordance="grasp",
            min_score=0.05, allow_unscaled=True, roi_size=convert.to_vector(np.full(3, 50.0)),
        )  # fmt: skip
        assert answer.status in (QueryAffordance.Response.SUCCESS, QueryAffordance.Response.NO_MATCH), (
            answer.message,
            server.output,
        )
        # The map is made for subscribers: the server must not be one.
        assert not node.get_subscriptions_info_by_topic(f"{NAME}/map")
        saved = call(node, SaveMap, f"{NAME}/save_map", path=str(tmp_path / "map"))
        assert saved.status == SaveMap.Response.SUCCESS, saved.message
        assert mapper.alive
        assert "Traceback" not in mapper.output + server.output
    finally:
        node.destroy_node()
