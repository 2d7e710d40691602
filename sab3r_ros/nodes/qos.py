"""Quality of service of every topic, in one place."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

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
