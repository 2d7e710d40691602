"""The node `frame_player`: a recording published as a camera."""

import signal
import sys
import time
from collections.abc import Iterator

import cv2
import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, ShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from sab3r_ros.msg import MapStatus
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes import parameters
from sab3r_ros.nodes.qos import LATCHED, RELIABLE, image_qos
from sab3r_ros.nodes.usage import arguments_of
from sab3r_ros.sources.base import Source, SourceError
from sab3r_ros.sources.open import open_source
from sab3r_ros.types import Frame

_JPEG_QUALITY = 95
_FOLLOW_TIMEOUT = 10.0  # seconds; the next image is sent then, whatever became of this one


class FramePlayerNode(Node):
    """Publishes frames at a fixed rate. Raises SourceError or FileNotFoundError for an input that cannot be read."""

    def __init__(self, **kwargs):
        super().__init__("frame_player", **kwargs)
        parameters.declare(self, parameters.FramePlayerSettings)
        self.settings: parameters.FramePlayerSettings = parameters.read(self, parameters.FramePlayerSettings)
        cfg = self.settings
        self.source: Source = open_source(cfg.input, cfg.rate, cfg.publish_depth, cfg.topic)
        qos = image_qos(cfg.image_reliability)
        compressed = cfg.image_transport == "compressed"
        kind, topic = (CompressedImage, "image/compressed") if compressed else (Image, "image")
        self._image_out = self.create_publisher(kind, topic, qos)
        self._info_out = self.create_publisher(CameraInfo, "camera_info", qos)
        self._depth_out = self.create_publisher(Image, "depth", qos) if cfg.publish_depth else None
        self._clock_out = self.create_publisher(Clock, "/clock", RELIABLE) if cfg.publish_clock else None
        self.sent = 0
        self._dealt_with = 0  # stamp of the newest image that the mapper it follows has dealt with
        self._follows = cfg.follow not in ("", "none")
        if self._follows:
            self.create_subscription(MapStatus, f"{cfg.follow}/status", self._on_status, LATCHED)

    def _on_status(self, message: MapStatus) -> None:
        self._dealt_with = max(self._dealt_with, convert.nanoseconds(message.header.stamp))

    def wait_for_subscribers(self) -> None:
        """Wait until someone listens, at most as long as configured."""
        end = time.monotonic() + self.settings.wait_for_subscribers
        while rclpy.ok() and not self._image_out.get_subscription_count() and time.monotonic() < end:
            rclpy.spin_once(self, timeout_sec=0.1)

    def play(self) -> None:
        """Publish every frame at its time; late frames are sent at once and the rhythm goes on from there."""
        period, due = 1.0 / self.settings.rate, time.monotonic()
        for frame in self._frames():
            rclpy.spin_once(self, timeout_sec=0)
            delay = due - time.monotonic()
            if delay > 0:
                time.sleep(delay)
            due = max(due + period, time.monotonic() - period)
            if not rclpy.ok():
                return
            stamp = self._publish(frame)
            end = time.monotonic() + _FOLLOW_TIMEOUT
            while self._follows and self._dealt_with < stamp and time.monotonic() < end and rclpy.ok():
                rclpy.spin_once(self, timeout_sec=0.05)

    def _frames(self) -> Iterator[Frame]:
        while True:
            before = self.sent
            yield from self.source
            if not self.settings.loop or self.sent == before:
                return

    def _publish(self, frame: Frame) -> int:
        """Send a frame; returns its stamp."""
        stamp = self.get_clock().now().nanoseconds if self.settings.restamp else frame.stamp
        if self._clock_out is not None:
            self._clock_out.publish(Clock(clock=convert.to_stamp(stamp)))
        head = convert.header(self.settings.frame_id, stamp)
        if self.settings.image_transport == "compressed":
            _, data = cv2.imencode(".jpg", frame.rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            self._image_out.publish(
                CompressedImage(header=head, format="rgb8; jpeg compressed bgr8", data=data.tobytes())
            )
        else:
            self._image_out.publish(convert.rgb_to_image(frame.rgb, head))
        height, width = frame.rgb.shape[:2]
        if frame.camera is not None:
            self._info_out.publish(convert.camera_info(frame.camera.intrinsics, width, height, head))
        if self._depth_out is not None and frame.depth is not None:
            self._depth_out.publish(convert.depth_to_image(frame.depth, head))
        self.sent += 1
        return stamp


def main(args=None) -> None:
    """Play the recording, then end; exit status 1 where it cannot be read."""
    summary = "Publishes a recording as a camera: image, camera_info, and depth where asked."
    given = arguments_of("frame_player", summary, [parameters.FramePlayerSettings], args, "INPUT")
    node = None
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # rclpy's own handler takes its place
        rclpy.init(args=args)
        overrides = [Parameter("input", value=given[0])] if given else []
        node = FramePlayerNode(parameter_overrides=overrides)
        for note in node.source.notes:
            node.get_logger().info(note)
        node.wait_for_subscribers()
        node.get_logger().info(f"playing {node.source.name} ({len(node.source) or 'unknown number of'} frames)")
        node.play()
        node.get_logger().info("; ".join(filter(None, [f"sent {node.sent} frames", node.source.faults.summary()])))
        end = time.monotonic() + node.settings.linger
        while rclpy.ok() and time.monotonic() < end:
            rclpy.spin_once(node, timeout_sec=0.1)
    except (KeyboardInterrupt, ExternalShutdownException, ShutdownException):
        pass
    except (SourceError, FileNotFoundError, ValueError, ParameterException) as error:
        print(f"frame_player: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if rclpy.ok():  # else the context was taken away in the midst of a message
            print(f"frame_player: unexpected {type(error).__name__}: {error}", file=sys.stderr)
            sys.exit(1)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not cut short what ends here
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
