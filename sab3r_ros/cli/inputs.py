"""From what a user writes to a source: recordings and cameras, and topics where ROS is installed."""

from sab3r_ros.sources.base import Source, SourceError
from sab3r_ros.sources.open import open_source

ROS_PREFIX = "ros:"


def open_input(
    text: str, rate: float = 10.0, depth: bool = False, topic: str = "", depth_scale: float = 0.0, odometry: str = ""
) -> Source:
    """As `open_source`; "ros:/camera/image_raw" is that topic. Raises as it does, SourceError without ROS."""
    if not text.startswith(ROS_PREFIX):
        return open_source(text, rate, depth, topic, depth_scale, odometry)
    if odometry:
        raise SourceError(f"{text}: odometry of a topic is for the node: set odom_frame of semantic_mapper")
    try:
        from sab3r_ros.nodes.topic_source import TopicSource
    except ImportError as error:
        raise SourceError(f"{text}: ROS 2 is not here ({error}); source its setup.bash first") from error
    return TopicSource("/" + text.removeprefix(ROS_PREFIX).lstrip("/"))
