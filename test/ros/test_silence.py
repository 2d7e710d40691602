"""Why no image comes: what a user is told to do."""

from types import SimpleNamespace

import pytest

from sab3r_ros.nodes.qos import explain_silence, image_qos

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


def camera(kind, reliability):
    return SimpleNamespace(node_name="camera", topic_type=kind, qos_profile=image_qos(reliability))


@pytest.mark.parametrize(
    ("wanted", "offers", "advice"),
    [
        ("best_effort", [], "start the camera"),
        ("best_effort", [camera(COMPRESSED, "reliable")], "image_transport:=compressed"),
        ("reliable", [camera(IMAGE, "best_effort")], "image_reliability:=best_effort"),
        ("reliable", [camera(IMAGE, "reliable")], "fastdds.xml in the camera's process"),
        ("best_effort", [camera(IMAGE, "best_effort")], "fastdds.xml in the camera's process"),
    ],
)
def test_the_line_says_what_to_do(wanted, offers, advice):
    text = explain_silence("/image", image_qos(wanted), IMAGE, offers)
    assert advice in text
    assert "\n" not in text
    assert ("camera (" in text) == bool(offers)
