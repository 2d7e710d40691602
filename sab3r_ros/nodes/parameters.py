"""ROS parameters made from the typed settings: types, defaults, ranges and descriptions live there only."""

import json
import math
from collections.abc import Sequence
from typing import Any

from pydantic import Field
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult

from sab3r_ros.config import RENAMED, Group, Settings, dotted_fields, settings_from_dotted

_INT_LIMIT = 2**31 - 1


class MapperNodeSettings(Group):
    """What only the mapper's node knows."""

    image_transport: str = Field(
        "raw", pattern="^(raw|compressed)$", description="raw subscribes to `image`, compressed to `image/compressed`"
    )
    image_reliability: str = Field(
        "best_effort",
        pattern="^(best_effort|reliable)$",
        description="best_effort matches every camera driver; reliable waits for lost images",
    )
    use_depth: bool = Field(
        False, description="Subscribe to `depth` (registered to the image) and take the scale from it"
    )
    use_camera_info: bool = Field(True, description="Subscribe to `camera_info` and use its intrinsics")
    image_rectified: str = Field(
        "auto",
        pattern="^(auto|yes|no)$",
        description="Whether images are free of lens distortion, so that P of camera_info holds and not K and D; auto: where the image topic's name ends in rect",
    )
    use_imu: bool = Field(
        False, description="Subscribe to `imu` (sensor_msgs/Imu): its accelerations tell which way is up in the map"
    )
    depth_tolerance: float = Field(
        0.02, ge=0.0, le=1.0, description="Largest difference in seconds between the stamps of an image and its depth"
    )
    map_frame: str = Field("map", min_length=1, description="Frame of everything published")
    odom_frame: str = Field("", description="Odometry's frame: then map -> odom is published instead of map -> camera")
    base_frame: str = Field(
        "",
        description="Robot's base: then map -> base is published, and gravity comes from base -> camera; of a footprint, the camera's height too; empty = the camera alone",
    )
    tf_timeout: float = Field(
        0.2,
        ge=0.0,
        le=10.0,
        description="Longest wait in seconds for TF at an image's stamp, where odometry is slower than images",
    )
    camera_frame: str = Field("", description="The camera's optical frame; empty = the image's frame_id")
    publish_tf: bool = Field(True, description="Broadcast the camera's place on /tf")
    map_rate: float = Field(1.0, gt=0.0, le=30.0, description="Highest rate of ~/map and ~/markers in Hz")
    max_map_points: int = Field(
        500_000, ge=1000, description="Most points in one ~/map message; a larger map is thinned out evenly"
    )
    max_path_poses: int = Field(2000, ge=2, description="Newest poses in ~/path")
    marker_min_share: float = Field(
        0.2,
        ge=0.0,
        le=1.0,
        description="Least share of all labels' scores that a thing's label has, to be shown in ~/markers",
    )
    warn_after: float = Field(
        5.0, gt=0.0, description="Seconds without an image after which the node says what publishers offer"
    )
    autostart: bool = Field(True, description="Configure and activate at start, without a lifecycle manager")


class FramePlayerSettings(Group):
    """What the frame player knows."""

    input: str = Field(
        "demo", description="A folder of images, a video, a rosbag2 or mcap, a camera number (quoted: '0'), or demo"
    )
    rate: float = Field(10.0, gt=0.0, le=1000.0, description="Images per second")
    loop: bool = Field(False, description="Begin again after the last image")
    image_transport: str = Field(
        "raw", pattern="^(raw|compressed)$", description="raw publishes `image`, compressed `image/compressed` (JPEG)"
    )
    image_reliability: str = Field(
        "reliable", pattern="^(best_effort|reliable)$", description="reliable also reaches best-effort subscribers"
    )
    frame_id: str = Field("camera_optical", description="Frame of the images")
    restamp: bool = Field(True, description="Stamp with the node's clock; false keeps the recording's stamps")
    publish_clock: bool = Field(False, description="Publish the images' stamps on /clock (with restamp false)")
    publish_depth: bool = Field(
        False, description="Also publish `depth` and `camera_info` where the recording has them"
    )
    topic: str = Field("", description="Image topic of a bag that has several")
    follow: str = Field(
        "",
        description="A mapper's node: the next image is sent when it has dealt with the one before, so that none is dropped; empty or none = images come at `rate`",
    )
    wait_for_subscribers: float = Field(
        10.0, ge=0.0, description="Longest wait in seconds for a first subscriber; 0 = none"
    )
    linger: float = Field(2.0, ge=0.0, description="Seconds the node stays after the last image, so that it arrives")


class AffordanceServerSettings(Group):
    """What the affordance server knows."""

    checkpoint: str = Field("cast_tiny", description="CAST checkpoint: a folder, or cast_tiny")
    mapper: str = Field(
        "semantic_mapper", min_length=1, description="Name of the mapper's node, whose objects are asked for"
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto, cpu, cuda or cuda:N; auto takes a GPU where there is one",
    )
    min_score: float = Field(
        0.4, ge=0.0, le=1.0, description="Smallest score of a region's points, where the request names none"
    )
    map_timeout: float = Field(
        5.0, gt=0.0, le=600.0, description="Longest wait in seconds for semantic_mapper's answer"
    )
    autostart: bool = Field(True, description="Configure and activate at start, without a lifecycle manager")


def _bounds(info) -> tuple[float | None, float | None]:
    low = high = None
    for item in info.metadata:
        low = getattr(item, "ge", getattr(item, "gt", low))
        high = getattr(item, "le", getattr(item, "lt", high))
    return low, high


def describe(info, value: Any) -> ParameterDescriptor:
    """A setting's description and range as a ROS descriptor (bounds are inclusive there)."""
    out = ParameterDescriptor(description=info.description or "")
    low, high = _bounds(info)
    if low is None and high is None:
        return out
    if isinstance(value, int) and not isinstance(value, bool):
        span = IntegerRange(
            from_value=int(low if low is not None else -_INT_LIMIT),
            to_value=int(high if high is not None else _INT_LIMIT),
            step=0,
        )
        out.integer_range = [span]
    elif isinstance(value, float):
        span = FloatingPointRange(
            from_value=float(low if low is not None else -1e300),
            to_value=float(high if high is not None else 1e300),
            step=0.0,
        )
        out.floating_point_range = [span]
    return out


def declare(node, *groups: type[Group]) -> None:
    """Declare every setting of the groups; overrides from YAML and the command line win, those that mean nothing are told."""
    known = {"use_sim_time", "start_type_description_service"}
    given = dict(node._parameter_overrides)  # rclpy has no public way to see what nobody declared
    for group in groups:
        for name, info, value in dotted_fields(group):
            known.add(name)
            old = next((o for o, new in RENAMED.items() if new == name and o in given and name not in given), None)
            if old is not None:
                node.get_logger().warning(f"parameter {old} is called {name} now")
                known.add(old)
                value = given[old].value
            node.declare_parameter(name, value, describe(info, value))
    for name in sorted(set(given) - known):
        if not name.startswith("qos_overrides"):
            node.get_logger().warning(f"unknown parameter {name} is ignored (see config/{node.get_name()}.yaml)")


def read(node, group: type[Group]) -> Any:
    """A validated group from the node's parameters. Raises ValueError that names the parameter."""
    names = [name for name, _, _ in dotted_fields(group)]
    values = {name: node.get_parameter(name).value for name in names}
    return settings_from_dotted(
        {k: list(v) if isinstance(v, (tuple, list)) else v for k, v in values.items() if v is not None}, group
    )


def refuse_late_changes(node, groups: Sequence[type[Group]], is_fixed) -> None:
    """Refuse changes of the groups' parameters while `is_fixed()`, and at any time values that their settings refuse."""
    fixed = {name: group for group in groups for name in names_of(group)}

    def check(parameters) -> SetParametersResult:
        late = [p.name for p in parameters if p.name in fixed and is_fixed()]
        if late:
            return SetParametersResult(
                successful=False, reason=f"{', '.join(late)}: read when the node is configured; clean it up first"
            )
        if any(isinstance(p.value, float) and not math.isfinite(p.value) for p in parameters):
            return SetParametersResult(successful=False, reason="values must be finite")
        for p in parameters:
            if p.name in fixed and p.value is not None:
                value = list(p.value) if isinstance(p.value, (tuple, list)) else p.value
                try:
                    settings_from_dotted({p.name: value}, fixed[p.name])
                except ValueError as error:
                    return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)


def names_of(group: type[Group] = Settings) -> set[str]:
    """Dotted names of a group."""
    return {name for name, _, _ in dotted_fields(group)}


def parameter_file(*groups: type[Group]) -> str:
    """The YAML file that holds every parameter of the groups with its default, range and meaning."""
    lines = ["/**:", "  ros__parameters:"]
    for group in groups:
        for name, info, value in dotted_fields(group):
            low, high = _bounds(info)
            span = (
                ""
                if low is None and high is None
                else f" [{'' if low is None else low} .. {'' if high is None else high}]"
            )
            lines += [f"    # {info.description}{span}", f"    {name}: {json.dumps(value)}"]
    return "\n".join(lines) + "\n"
