"""Quality of service of every topic, in one place."""

from collections.abc import Sequence

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo

_RELIABLE_DEPTH = 15  # images: how long a reader may pause (half a second at 30 Hz) before one is lost
_BEST_EFFORT_DEPTH = 5  # callbacks only store the newest, so a few that wait cost nothing


def image_qos(reliability: str) -> QoSProfile:
    """For camera streams: "best_effort" matches every driver, "reliable" sends lost images again."""
    reliable = reliability == "reliable"
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE, history=HistoryPolicy.KEEP_LAST, depth=_RELIABLE_DEPTH if reliable else _BEST_EFFORT_DEPTH,
    )  # fmt: skip


LATCHED = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
)
RELIABLE = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=10)

# Requests that wait: rmw's own depth of 10 would drop the eleventh of many callers without a word.
SERVICE = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=256)


def describe(profile: QoSProfile) -> str:
    """A profile in words, for messages about mismatches."""
    return f"{profile.reliability.name.lower()}, {profile.durability.name.lower()}"


def explain_silence(topic: str, wanted: QoSProfile, kind: str, offers: Sequence[TopicEndpointInfo]) -> str:
    """Why no image comes on a topic, as far as the graph tells, and what to do.

    wanted, kind: what is asked for (`kind` as "sensor_msgs/msg/Image"); offers: the publishers of the topic.
    """
    said = "; ".join(f"{o.node_name} ({describe(o.qos_profile)}, {o.topic_type})" for o in offers)
    text = f"no image on {topic} yet. Asked for: {describe(wanted)}, {kind}. Publishers: {said or 'nobody'}."
    if not offers:
        return f"{text} Remap `image` or start the camera"
    right_kind = [o for o in offers if o.topic_type == kind]
    if not right_kind:
        transport = "compressed" if "Compressed" in offers[0].topic_type else "raw"
        return f"{text} Its type is another one: set image_transport:={transport} or remap `image`"
    wants_reliable = wanted.reliability == ReliabilityPolicy.RELIABLE
    if wants_reliable and all(o.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for o in right_kind):
        return f"{text} It does not send reliably: set image_reliability:=best_effort"
    return (
        f"{text} Quality of service fits: the camera sends nothing, or images are too large for the transport. Load "
        "config/fastdds.xml in the camera's process too (FASTDDS_DEFAULT_PROFILES_FILE), or use image_transport:=compressed; "
        "for rmw_cyclonedds raise net.core.rmem_max; rmw_zenoh needs its router"
    )
