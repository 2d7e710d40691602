"""Everything the mapper's node publishes; costly messages are made only for subscribers."""

from functools import partial

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker, MarkerArray

from sab3r_ros.mapping.mapper import Mapper, MapperStatus
from sab3r_ros.mapping.pose_certainty import Certainty
from sab3r_ros.msg import MapStatus, ObjectArray, Vocabulary
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.map_labels import LabelledVoxels
from sab3r_ros.nodes.object_messages import thing_message
from sab3r_ros.nodes.parameters import MapperNodeSettings
from sab3r_ros.nodes.qos import LATCHED, RELIABLE
from sab3r_ros.nodes.transforms import Transforms, TransformUnavailable
from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.registry import MapObject
from sab3r_ros.types import FrameResult, Tracking

_VELOCITY_GAP = 2 * 10**9  # ns between frames beyond which their difference is no velocity
_COMPLAIN_EVERY = 5.0  # seconds


class MapPublishers:
    """Publishers of one configured node. Stamps are those of the images, in nanoseconds."""

    def __init__(self, node, settings: MapperNodeSettings, transforms: Transforms):
        self._node, self._settings, self._transforms = node, settings, transforms
        make = partial(node.create_publisher, callback_group=MutuallyExclusiveCallbackGroup())
        self.map = make(PointCloud2, "~/map", LATCHED)
        self.window = make(PointCloud2, "~/window", RELIABLE)
        self.odometry = make(Odometry, "~/odometry", RELIABLE)
        self.path = make(Path, "~/path", RELIABLE)
        self.status = make(MapStatus, "~/status", LATCHED)
        self.labels = make(Vocabulary, "~/labels", LATCHED)
        self.markers = make(MarkerArray, "~/markers", LATCHED)
        self.objects = make(ObjectArray, "~/objects", LATCHED)
        self.diagnostics = make(DiagnosticArray, "/diagnostics", RELIABLE)
        self._path = Path()
        self._moved: tuple[str, FrameResult, np.ndarray] | None = None

    def destroy(self) -> None:
        """Remove every publisher from the node."""
        for publisher in (
            self.map,
            self.window,
            self.odometry,
            self.path,
            self.status,
            self.labels,
            self.markers,
            self.objects,
            self.diagnostics,
        ):
            self._node.destroy_publisher(publisher)

    def forget_path(self) -> None:
        """Begin the path anew; velocities too."""
        self._moved = None
        self._path.poses.clear()

    def publish_pose(self, result: FrameResult, camera_frame: str, scale_stddev: float) -> None:
        """Odometry, path and TF of one tracked frame.

        Odometry is the base's where `base_frame` is set and on TF, else the camera's.
        """
        cfg, pose, stamp = self._settings, result.pose, result.stamp
        assert pose is not None
        child, moved = camera_frame, pose
        if cfg.base_frame:
            camera_from_base = self._camera_from(cfg.base_frame, camera_frame, stamp)
            if camera_from_base is not None:
                child, moved = cfg.base_frame, pose @ camera_from_base
        message = Odometry(header=convert.header(cfg.map_frame, stamp), child_frame_id=child)
        message.pose.pose = convert.to_pose(moved)
        message.pose.covariance = convert.pose_covariance(
            moved[:3, 3], scale_stddev, result.position_std, result.orientation_std
        )
        self._set_twist(message, child, moved, result)
        self.odometry.publish(message)
        self._path.header = message.header
        self._path.poses.append(PoseStamped(header=message.header, pose=message.pose.pose))
        if len(self._path.poses) > cfg.max_path_poses:
            del self._path.poses[: -cfg.max_path_poses]
        if self.path.get_subscription_count():
            self.path.publish(self._path)
        if cfg.publish_tf:
            self._broadcast(pose, stamp, camera_frame)

    def _set_twist(self, message: Odometry, child: str, pose: np.ndarray, result: FrameResult) -> None:
        """Velocity since the frame before, where there is one; else a covariance that says that nothing is known."""
        before, self._moved = self._moved, (child, result, pose)
        variances = np.full(6, convert.UNKNOWN_VARIANCE)
        if before is not None and before[0] == child and 0 < result.stamp - before[1].stamp <= _VELOCITY_GAP:
            seconds = (result.stamp - before[1].stamp) * 1e-9
            linear, angular = convert.body_velocity(before[2], pose, seconds)
            message.twist.twist.linear, message.twist.twist.angular = (
                convert.to_vector(linear),
                convert.to_vector(angular),
            )
            # Of the difference of two poses: what both err by, and what the second is less sure of than the first.
            sure, rest = (
                Certainty(),
                (result.position_std - before[1].position_std, result.orientation_std - before[1].orientation_std),
            )
            spread = np.hypot([2**0.5 * sure.position, 2**0.5 * sure.orientation], np.maximum(rest, 0)) / seconds
            variances = np.repeat(spread, 3) ** 2
        message.twist.covariance = np.diag(variances).reshape(-1).tolist()

    def _camera_from(self, frame: str, camera_frame: str, stamp: int) -> np.ndarray | None:
        """Frame to camera (4,4) at the image's stamp; None, and said, where TF does not have it."""
        try:
            return np.linalg.inv(self._transforms.lookup(frame, camera_frame, stamp, self._settings.tf_timeout))
        except TransformUnavailable as error:
            text = f"nothing is published for {frame} at this image: {error}"
            self._node.get_logger().warning(text, throttle_duration_sec=_COMPLAIN_EVERY)
            return None

    def _broadcast(self, pose, stamp, camera_frame):
        cfg = self._settings
        child = cfg.odom_frame or cfg.base_frame or camera_frame
        if child != camera_frame:
            camera_from_child = self._camera_from(child, camera_frame, stamp)
            if camera_from_child is None:
                return
            pose = pose @ camera_from_child
        self._transforms.send(convert.to_transform(pose, cfg.map_frame, child, stamp))

    def publish_window(self, mapper: Mapper) -> None:
        """Points of the newest frame that the network has seen."""
        if not self.window.get_subscription_count():
            return
        newest = mapper.newest_cloud()
        if newest is not None:
            cloud, stamp = newest
            head = convert.header(self._settings.map_frame, stamp)
            self.window.publish(
                convert.make_cloud(
                    head,
                    **convert.xyz_columns(cloud.xyz),
                    rgb=convert.packed_rgb(cloud.rgb),
                    score=cloud.confidence.astype(np.float32),
                )
            )

    def publish_map(self, voxels: LabelledVoxels, stamp: int) -> None:
        """A map's points with scores and labels."""
        head = convert.header(self._settings.map_frame, stamp)
        columns = convert.xyz_columns(voxels.snapshot.points) | {"rgb": convert.packed_rgb(voxels.snapshot.colours)}
        self.map.publish(convert.make_cloud(head, **columns, score=voxels.score, label=voxels.label))

    def publish_labels(self, query: MapQuery, stamp: int) -> None:
        """The vocabulary in force."""
        vocabulary = query.vocabulary
        self.labels.publish(
            Vocabulary(
                header=convert.header(self._settings.map_frame, stamp),
                labels=vocabulary.labels,
                colors=[convert.to_colour(c) for c in vocabulary.colours],
                prompt_template=query.template,
            )  # fmt: skip
        )

    def publish_objects(self, things: list[MapObject], scale_stddev: float, stamp: int) -> None:
        """All things of the map, those that are gone too."""
        head = convert.header(self._settings.map_frame, stamp)
        self.objects.publish(ObjectArray(header=head, objects=[thing_message(o, scale_stddev) for o in things]))

    def publish_markers(self, objects: list[MapObject], query: MapQuery, stamp: int) -> None:
        """Boxes and names of the map's things."""
        head = convert.header(self._settings.map_frame, stamp)
        markers = [Marker(header=head, action=Marker.DELETEALL)]
        for k, item in enumerate(objects):
            known = item.label in query.vocabulary.labels
            colour = query.vocabulary.colours[query.vocabulary.labels.index(item.label) if known else 0]
            box = Marker(
                header=head, ns="boxes", id=k, type=Marker.CUBE, action=Marker.ADD, pose=convert.to_pose(item.box_pose)
            )
            box.scale = convert.to_vector(np.maximum(item.size, 0.01))
            box.color = convert.to_colour(colour, 0.3)
            name = Marker(
                header=head,
                ns="names",
                id=k,
                type=Marker.TEXT_VIEW_FACING,
                action=Marker.ADD,
                text=f"{item.label} {item.labels[0][1]:.0%} ({item.id})",
            )
            name.pose.position = convert.to_point(item.box_pose[:3, 3] + [0, 0, item.size[2] / 2 + 0.08])
            name.scale.z = 0.1
            name.color = convert.to_colour((255, 255, 255))
            markers += [box, name]
        self.markers.publish(MarkerArray(markers=markers))

    def publish_diagnostics(self, level: bytes, message: str, values: dict[str, object], now: int) -> None:
        """One status in /diagnostics, stamped with the node's clock as that topic requires."""
        status = DiagnosticStatus(
            level=level, name=f"{self._node.get_fully_qualified_name()}: mapping", message=message, hardware_id="sab3r"
        )
        status.values = [KeyValue(key=k, value=str(v)) for k, v in values.items()]
        self.diagnostics.publish(DiagnosticArray(header=convert.header("", now), status=[status]))


def map_status(
    mapper: Mapper | None,
    frame: str,
    stamp: int,
    received: int,
    dropped: int,
    inference_ms: float,
    age_ms: float,
) -> MapStatus:
    """The state of a mapper (None before it is configured) as a message."""
    out = MapStatus(header=convert.header(frame, stamp), frames_received=received, frames_dropped=dropped)
    out.inference_ms, out.age_ms = float(inference_ms), float(age_ms)
    if mapper is None:
        out.scale_stddev = float("nan")
        return out
    status = mapper.status()
    out.tracking, out.scale_source = int(status.tracking), int(status.scale.source)
    out.scale_stddev, out.revision = float(status.scale.stddev), status.revision
    out.num_keyframes, out.num_points = status.keyframes, status.points
    out.gpu_memory_mb = mapper.geometry.memory_mb()
    return out


def diagnostic_level(
    status: MapperStatus, seconds_without_image: float, active: bool, warn_after: float
) -> tuple[bytes, str]:
    """Severity and words for /diagnostics."""
    if not active:
        return DiagnosticStatus.OK, "not active: queries are answered, images are not taken"
    if seconds_without_image > warn_after:
        return DiagnosticStatus.WARN, f"no image for {seconds_without_image:.0f} s"
    if status.tracking == Tracking.LOST:
        return DiagnosticStatus.WARN, "tracking lost"
    if status.certainty.is_guess:
        return DiagnosticStatus.WARN, f"too little to see: the pose is a guess, +- {status.certainty.position:.1f} m"
    if status.full:
        return DiagnosticStatus.WARN, "the map is full (map.max_voxels); nothing new is added"
    return DiagnosticStatus.OK, "mapping"
