"""The lifecycle node `semantic_mapper`: images in, map, odometry and answers out."""

import time
from functools import partial

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu

from sab3r_ros.config import Settings
from sab3r_ros.mapping.adjustment.background import BackgroundAdjustment
from sab3r_ros.mapping.first_pose import level_first_pose
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.models.backends import load_backend
from sab3r_ros.msg import MapStatus
from sab3r_ros.nodes import parameters
from sab3r_ros.nodes.imu_gravity import ImuGravity
from sab3r_ros.nodes.lifecycle import ManagedNode, run_nodes
from sab3r_ros.nodes.map_labels import MapLabels
from sab3r_ros.nodes.map_services import MapServices
from sab3r_ros.nodes.object_tracker import ObjectTracker
from sab3r_ros.nodes.publishers import MapPublishers, diagnostic_level, map_status
from sab3r_ros.nodes.qos import explain_silence, image_qos
from sab3r_ros.nodes.transforms import Transforms, TransformUnavailable, make_transforms
from sab3r_ros.nodes.usage import arguments_of
from sab3r_ros.nodes.worker import LastFrame, MappingWorker
from sab3r_ros.query.map_query import MapQuery, query_for
from sab3r_ros.query.places import here
from sab3r_ros.sources.calibration import is_rectified_topic
from sab3r_ros.types import FrameResult


class SemanticMapperNode(ManagedNode):
    """Configure loads the model, activate listens to images, deactivate stops listening and keeps answering.

    Between configure and clean-up `mapper`, `query` and `map_publishers` are set; `worker` only while active. Callbacks that use
    them pass the guard. What is made anew has a callback group of its own: rclpy leaves a group blocked for good where
    something of it is destroyed at the moment it became ready.
    """

    def __init__(self, **kwargs):
        super().__init__("semantic_mapper", **kwargs)
        parameters.declare(self, Settings, parameters.MapperNodeSettings)
        groups = (Settings, parameters.MapperNodeSettings)
        parameters.refuse_late_changes(self, groups, lambda: self.mapper is not None)
        self.settings: parameters.MapperNodeSettings = parameters.MapperNodeSettings()
        self.mapper: Mapper | None = None
        self.query: MapQuery | None = None
        self.worker: MappingWorker | None = None
        self._adjustment: BackgroundAdjustment | None = None
        self.map_publishers: MapPublishers | None = None
        self.transforms: Transforms = make_transforms(self)
        self._last = LastFrame()
        self._counts = (0, 0)
        self._lost_in_transport = 0
        self._periodic: list = []
        self._subscriptions_made: list = []
        self._published: tuple | None = None
        self._last_image_time = 0.0
        self._mismatch_told = False
        self._needs_gravity = False
        self._imu: ImuGravity | None = None
        self._services_made = MapServices(self, MutuallyExclusiveCallbackGroup())
        self._jump = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(seconds=-0.1), on_clock_change=False),
            post_callback=self._clock_jumped,
        )

    def do_configure(self) -> None:
        """Load model and text encoder."""
        self.settings = parameters.read(self, parameters.MapperNodeSettings)
        settings = parameters.read(self, Settings)
        backend = load_backend(settings.model, settings.window.size)
        self.query = query_for(backend.features, settings.query)
        self.map_publishers = MapPublishers(self, self.settings, self.transforms)
        self._needs_gravity = bool(self.settings.base_frame)
        self._published = None
        self.mapper = Mapper(settings, backend)
        self.things = ObjectTracker()
        self._labels = MapLabels()
        self.mapper.up_is_known |= self._needs_gravity  # TF will tell
        self._periodic = [
            self.create_timer(period, self.while_configured(tick), callback_group=MutuallyExclusiveCallbackGroup())
            for period, tick in ((1.0 / self.settings.map_rate, self._map_tick), (1.0, self._diagnostics_tick))
        ]
        if self.query:
            self.map_publishers.publish_labels(self.query, 0)
        else:
            self.get_logger().warning(
                "this checkpoint has no text-aligned features: the map has no labels and cannot be searched"
            )
        self.map_publishers.status.publish(self.status())
        self.get_logger().info(
            f"model {backend.geometry.id} ({backend.licence}) on {backend.geometry.device}; deactivated nodes answer queries too"
        )

    def do_activate(self) -> None:
        """Start the worker and listen to images."""
        cfg = self.settings
        tolerance = cfg.depth_tolerance if cfg.use_depth else None
        self.worker = MappingWorker(
            self.mapper,
            self.get_logger(),
            lambda: self.get_clock().now().nanoseconds,
            tolerance,
            cfg.camera_frame,
            self._is_rectified(),
            self._on_result,
            self._odometry_at if cfg.odom_frame and self.mapper.settings.tracking.use_odometry else None,
        )
        self._adjustment = BackgroundAdjustment(self.mapper) if self.mapper.adjusts else None
        qos = image_qos(cfg.image_reliability)
        kind, topic = (CompressedImage, "image/compressed") if cfg.image_transport == "compressed" else (Image, "image")
        make = partial(self.create_subscription, qos_profile=qos, callback_group=MutuallyExclusiveCallbackGroup())
        events = SubscriptionEventCallbacks(message_lost=self._on_lost)
        self._subscriptions_made = [make(kind, topic, self._on_image, event_callbacks=events)]
        if cfg.use_camera_info:
            self._subscriptions_made.append(make(CameraInfo, "camera_info", self.worker.put_camera_info))
        if cfg.use_depth:
            self._subscriptions_made.append(make(Image, "depth", self.worker.put_depth))
        self._imu = ImuGravity(self.transforms) if cfg.use_imu else None
        if self._imu is not None:
            self._subscriptions_made.append(make(Imu, "imu", self._imu.put, qos_profile=qos_profile_sensor_data))
        self._last_image_time = time.monotonic()
        self._mismatch_told = False

    def do_deactivate(self) -> None:
        """Stop listening; the map stays and queries are answered."""
        for subscription in self._subscriptions_made:
            self.destroy_subscription(subscription)
        self._subscriptions_made = []
        worker, self.worker = self.worker, None  # at once: the process may end while a clean-up is under way
        adjustment, self._adjustment = self._adjustment, None
        if adjustment is not None:
            adjustment.close()
        if worker is not None:
            worker.stop()
            received, dropped = self._counts
            self._counts = received + worker.slot.received, dropped + worker.dropped

    def do_cleanup(self) -> None:
        """Let go of the model and everything published."""
        for timer in self._periodic:
            self.destroy_timer(timer)
        self._periodic = []
        if self.map_publishers is not None:
            self.map_publishers.destroy()
        self.mapper = self.query = self.map_publishers = None

    def _is_rectified(self) -> bool:
        """Whether the images are rectified: as configured, else by the convention that their topic says so."""
        if self.settings.image_rectified != "auto":
            return self.settings.image_rectified == "yes"
        return is_rectified_topic(self.resolve_topic_name("image"))

    def _on_image(self, message):
        self._last_image_time = time.monotonic()
        if self.worker is not None:
            self.worker.put_image(message)

    def _on_lost(self, event):
        self._lost_in_transport = event.total_count

    def _on_result(self, result: FrameResult, last: LastFrame):
        """Publish what became of a frame; runs on one of the worker's threads at a time."""
        if last.is_news or result.pose is None:
            self._last = last
        if self._needs_gravity:
            self._take_gravity(last.camera_frame)
        if self._imu is not None and not self.mapper.status().upright:
            up = self._imu.up(result, last.camera_frame)
            if up is not None:
                degrees = self.mapper.tell_up(up, "the IMU's accelerations")
                self.get_logger().info(
                    f"the IMU's accelerations show which way is up: the map was turned by {degrees:.0f} degrees"
                )
        if self.query:
            self.things.look(result)
        if last.is_news:
            self.map_publishers.publish_pose(result, last.camera_frame, self.mapper.status().scale.stddev)
        if result.pose is not None and result.estimate is not None and result.estimate.has_points:
            self.map_publishers.publish_window(self.mapper)
        self.map_publishers.status.publish(self.status())

    def _odometry_at(self, camera_frame: str, stamp: int) -> np.ndarray:
        """The camera (4,4) in the frame of odometry at an image's stamp. Raises TransformUnavailable."""
        return self.transforms.lookup(self.settings.odom_frame, camera_frame, stamp, self.settings.tf_timeout)

    def _take_gravity(self, camera_frame: str):
        """Once base -> camera is on TF, begin the map anew with z up as the base has it."""
        try:
            base_from_camera = self.transforms.lookup(self.settings.base_frame, camera_frame)
        except TransformUnavailable:
            return
        self._needs_gravity = False
        self.mapper.first_pose = level_first_pose(base_from_camera[:3, :3])
        if self.settings.base_frame.endswith("footprint") and not self.mapper.camera_height:  # on the floor: REP-120
            self.mapper.camera_height = max(0.0, float(base_from_camera[2, 3]))
        self.reset_map(f"{self.settings.base_frame} -> {camera_frame} is on TF now and tells which way is up")

    def _map_tick(self):
        """Publish the map where it changed, or where a late joiner has come."""
        readers = self.map_publishers.map.get_subscription_count() + self._object_readers()
        state = (self.mapper.status().points_mark, id(self.query and self.query.vocabulary))
        if not readers or self._published == (state, readers):
            return
        self._published = (state, readers)
        stamp = self.map_stamp()
        self.map_publishers.publish_map(self._labels(self.mapper, self.query, self.settings.max_map_points), stamp)
        if self.query and self._object_readers():
            self._publish_objects(stamp)

    def _object_readers(self) -> int:
        publishers = self.map_publishers
        return publishers.markers.get_subscription_count() + publishers.objects.get_subscription_count()

    def _publish_objects(self, stamp: int):
        """The map's things, as messages and as markers."""
        self.things.update(self.query, self.mapper)
        things = self.things.objects
        self.map_publishers.publish_objects(things, self.mapper.status().scale.stddev, stamp)
        shown = [o for o in here(things) if o.labels[0][1] >= self.settings.marker_min_share]
        self.map_publishers.publish_markers(shown, self.query, stamp)

    def _diagnostics_tick(self):
        waited = time.monotonic() - self._last_image_time
        worker, mapper = self.worker, self.mapper
        none_came = worker is not None and not worker.slot.received
        if none_came and waited > self.settings.warn_after and not self._mismatch_told:
            self._mismatch_told = True
            self._warn_qos_mismatch()
        state = mapper.status()
        level, message = diagnostic_level(
            state, waited, worker is not None and not worker.paused, self.settings.warn_after
        )
        status = self.status()
        values = {
            name: getattr(status, name)
            for name in ("frames_received", "frames_dropped", "num_keyframes", "num_points", "revision")
        }
        values |= {
            "inference_ms": f"{status.inference_ms:.1f}",
            "age_ms": f"{status.age_ms:.1f}",
            "gpu_memory_mb": status.gpu_memory_mb,
            "tracking": state.tracking.name,
        }
        values |= {
            "map_mb": f"{state.megabytes:.1f}",
            "scale": f"{state.scale.source.name} +- {state.scale.stddev:.3f}",
            "voxels_rejected": state.rejected_voxels,
            "frames_lost_in_transport": self._lost_in_transport,
        }
        if mapper.adjusted is not None:
            values["adjusted_keyframes"] = mapper.adjusted.keyframes
            values["adjusted_pixel_error"] = f"{mapper.adjusted.pixel_error:.2f}"
            values["focal_length"] = f"{mapper.adjusted.focal:.1f}"
        if self._imu is not None and not state.upright:
            values["imu"] = self._imu.problem or "waits for images"
        values |= {f"problem/{kind}": count for kind, count in (worker.problems if worker else {}).items() if count}
        self.map_publishers.publish_diagnostics(level, message, values, self.get_clock().now().nanoseconds)

    def _warn_qos_mismatch(self):
        """Say why no image comes, as far as the graph tells."""
        compressed = self.settings.image_transport == "compressed"
        topic = self.resolve_topic_name("image/compressed" if compressed else "image")
        kind = f"sensor_msgs/msg/{'CompressedImage' if compressed else 'Image'}"
        wanted = image_qos(self.settings.image_reliability)
        self.get_logger().warning(explain_silence(topic, wanted, kind, self.get_publishers_info_by_topic(topic)))

    def _clock_jumped(self, jump):
        with self.guard.entered() as configured:
            if configured and jump.delta.nanoseconds < 0:
                self.reset_map(f"the ROS clock jumped back by {-jump.delta.nanoseconds * 1e-9:.1f} s")

    def reset_map(self, why: str) -> None:
        """Empty the map and say why."""
        self.get_logger().warning(f"map reset: {why}")
        self.mapper.reset()
        self.map_replaced()

    def map_replaced(self) -> None:
        """Tell everyone that the map is another one now."""
        self.map_publishers.forget_path()
        if self._imu is not None:
            self._imu.forget()
        self.map_publishers.status.publish(self.status())

    def vocabulary_changed(self) -> None:
        """Publish the new labels; the map follows at the next tick."""
        self.map_publishers.publish_labels(self.query, self.map_stamp())

    def map_stamp(self) -> int:
        """Stamp (ns) of the newest image processed; a map may be published before the rest of a frame's results."""
        newest = self.mapper.newest_stamp if self.mapper is not None else 0
        return max(self._last.stamp, newest)

    def status(self) -> MapStatus:
        """The present state."""
        received, dropped = self._counts
        worker = self.worker
        if worker is not None:
            received, dropped = received + worker.slot.received, dropped + worker.dropped
        return map_status(
            self.mapper,
            self.settings.map_frame,
            self._last.stamp,
            received,
            dropped,
            self._last.inference_ms,
            self._last.age_ms,
        )


def main(args=None) -> None:
    """Run the node until it is told to end."""
    summary = "Maps the images of a camera and answers where things are. Topics: image, camera_info, depth (see docs/robot.md)."
    arguments_of("semantic_mapper", summary, (Settings, parameters.MapperNodeSettings), args)
    run_nodes([SemanticMapperNode], "semantic_mapper", args)


if __name__ == "__main__":
    main()
