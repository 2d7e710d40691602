"""Quality of service of every topic, in one place."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def image_qos(reliability: str, depth: int = 1) -> QoSProfile:
    """For camera streams: "best_effort" matches every driver, "reliable" waits for lost pictures."""
    policy = ReliabilityPolicy.RELIABLE if reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(
        reliability=policy, durability=DurabilityPolicy.VOLATILE, history=HistoryPolicy.KEEP_LAST, depth=depth
    )


LATCHED = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
)
RELIABLE = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=10)


def describe(profile: QoSProfile) -> str:
    """A profile in words, for messages about mismatches."""
    return f"{profile.reliability.name.lower()}, {profile.durability.name.lower()}"
