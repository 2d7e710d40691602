"""A ROS topic as a recording that never ends: what the command line maps and shows without a node of its own running."""

import threading
from collections.abc import Iterator

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.frame_slot import NewestSlot
from sab3r_ros.nodes.qos import image_qos
from sab3r_ros.sources.base import Source, SourceError
from sab3r_ros.sources.calibration import CalibrationError, is_rectified_topic
from sab3r_ros.sources.encodings import ImageDecoder, ImageError
from sab3r_ros.sources.stamps import FrameTimes
from sab3r_ros.types import Camera, Frame

_TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
_LOOKS = 0.2  # seconds between two looks for the topic
_PATIENCE = 10.0  # seconds until a topic that nobody publishes is given up


class TopicSource(Source):
    """The newest images of a topic, with the calibration of the camera_info beside it.

    Raises SourceError where nobody publishes images there within `patience` seconds.
    """

    def __init__(self, topic: str, patience: float = _PATIENCE):
        super().__init__(name=topic)
        self._topic, self._patience = topic, patience
        self._slot: NewestSlot[Image | CompressedImage] = NewestSlot()
        self._camera_info: CameraInfo | None = None
        self._decoder = ImageDecoder()

    def __iter__(self) -> Iterator[Frame]:
        """Frames as they come; images that come while one is worked on are passed over."""
        context = Context()
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        node = Node("sab3r_view", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        spinning = threading.Thread(target=executor.spin, name="topic", daemon=True)
        try:
            self._subscribe(node)
            spinning.start()
            times = FrameTimes(self.note)
            while True:
                message = self._slot.take(_LOOKS)
                if message is not None:
                    frame = self._frame(message, times, node.get_clock().now().nanoseconds)
                    if frame is not None:
                        yield frame
        finally:
            executor.shutdown(timeout_sec=1.0)
            node.destroy_node()
            context.try_shutdown()

    def _subscribe(self, node: Node) -> None:
        kind = self._wait_for_type(node)
        # Best effort is compatible with every publisher.
        node.create_subscription(_TYPES[kind], self._topic, self._slot.put, image_qos("best_effort"))
        beside = self._topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
        node.create_subscription(CameraInfo, beside, self._take_camera_info, image_qos("best_effort"))

    def _take_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _wait_for_type(self, node: Node) -> str:
        waiting = threading.Event()
        for _ in range(max(1, round(self._patience / _LOOKS))):
            types = dict(node.get_topic_names_and_types()).get(self._topic, [])
            if kind := next((t for t in types if t in _TYPES), None):
                return kind
            if types:
                raise SourceError(f"{self._topic} has {', '.join(types)}; give a topic of images")
            waiting.wait(_LOOKS)
        raise SourceError(
            f"nobody publishes {self._topic} (waited {self._patience:.0f} s): is the camera started, ROS_DOMAIN_ID the same?"
        )

    def _frame(self, message: Image | CompressedImage, times: FrameTimes, arrived: int) -> Frame | None:
        try:
            rgb = convert.image_to_rgb(message, self._decoder)
        except ImageError as error:
            self.faults.add(f"{self._topic}", error)
            return None
        stamp = times(convert.nanoseconds(message.header.stamp), arrived)
        return Frame(rgb, stamp, camera=self._camera(rgb.shape[1], rgb.shape[0]))

    def _camera(self, width: int, height: int) -> Camera | None:
        if self._camera_info is None:
            return None
        try:
            return convert.to_camera(self._camera_info, width, height, is_rectified_topic(self._topic))
        except CalibrationError as error:
            self.note(f"camera_info is not used: {error}")
            return None
