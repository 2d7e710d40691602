"""Image topics of rosbag2 (sqlite3, mcap) and rosbag1 recordings, with depth, calibration and odometry; no ROS needed."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sab3r_ros.sources.bag_files import BagFile, open_bag_files
from sab3r_ros.sources.bag_topics import COMPRESSED, choose_topics, video_codec
from sab3r_ros.sources.base import Source, SourceError
from sab3r_ros.sources.calibration import camera_of_info, is_rectified_topic
from sab3r_ros.sources.depth_files import fitted
from sab3r_ros.sources.encodings import (
    ImageDecoder,
    ImageError,
    decode_compressed,
    decode_compressed_depth,
    decode_depth,
)
from sab3r_ros.sources.odometry import BagOdometry, moving_topics
from sab3r_ros.sources.stamps import FrameTimes
from sab3r_ros.types import Camera, Frame

_TOLERANCE = 20_000_000  # ns between an image and its depth image
_PATIENCE = 500_000_000  # ns of recording in which depth and odometry of an image may still come
_TOLD_BY = 2000  # messages of a file that tell which frames there are
_QUEUE = 60  # images at most that wait for them


@dataclass
class _Waiting:
    """An image that waits for depth and odometry of its moment. header: the message's own stamp; times in ns; frame: the camera's."""

    rgb: np.ndarray
    stamp: int
    header: int
    recorded: int
    camera: Camera | None
    frame: str


class BagSource(Source):
    """One image topic of a bag with the headers' stamps; with `depth` also its depth images and camera_info.

    depth_scale: units per metre of 16-bit depth, 0 = millimetres; odometry: a frame of the bag's transforms, in which every image's
    camera is then known; "" for none. Raises SourceError.
    """

    def __init__(self, path: Path, topic: str = "", depth: bool = False, depth_scale: float = 0.0, odometry: str = ""):
        super().__init__(str(path))
        self._files = open_bag_files(path, self.faults)
        self._depth_factor = depth_scale or 1000.0
        topics = self.all_topics = [t for file in self._files for t in file.topics]
        self.topics = choose_topics(topics, topic, self._first_of, self.name)
        self._count = sum(t.count for t in topics if t.name == self.topics.image)
        self._wants_depth = depth and bool(self.topics.depth)
        chosen = [self.topics.image]
        if depth:
            chosen += [t for t in (self.topics.depth, self.topics.info) if t]
        self._odometry_frame = odometry
        if odometry:
            chosen += moving_topics(topics)
        self._chosen = chosen
        self.note(f"image topic {self.topics.image}, {self._count} messages")
        if self.topics.others:
            self.note(f"other image topics left aside: {', '.join(self.topics.others)}")
        if depth:
            self.note(f"depth topic {self.topics.depth or 'none: --depth does nothing here'}")
            self.note(f"camera_info topic {self.topics.info or 'none: the focal length is estimated'}")

    def _first_of(self, topic: str) -> Any:
        for file in self._files:
            try:
                for _, kind, _, raw in file.messages([topic]):
                    try:
                        return file.deserialize(raw, kind)
                    except SourceError:
                        continue
            except SourceError:
                continue
        return None

    def frames_above(self) -> list[str]:
        """The frames that the camera moves in by the bag's first transforms, nearest first; one of them may be `odometry`."""
        odometry = BagOdometry("", self._files)
        for file in self._files:
            try:
                for topic, kind, _, raw in islice(file.messages(odometry.topics), _TOLD_BY):
                    odometry.add(topic, file.deserialize(raw, kind))
            except (SourceError, AttributeError, TypeError, ValueError):
                continue
        first = self._first_of(self.topics.image)
        return [] if first is None else odometry.ancestors(first.header.frame_id)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Frame]:
        if not self._odometry_frame:
            yield from self._frames(None)
            return
        odometry = BagOdometry(self._odometry_frame, self._files)
        try:
            yield from self._frames(odometry)
        finally:  # also where not all frames are wanted
            self.note(odometry.in_words())

    def _frames(self, odometry: BagOdometry | None) -> Iterator[Frame]:
        times, decoder = FrameTimes(self.note), ImageDecoder()
        depths: deque[tuple[int, np.ndarray]] = deque(maxlen=_QUEUE)
        waiting: deque[_Waiting] = deque()
        info = self._first_of(self.topics.info) if self.topics.info in self._chosen else None
        for file in self._files:
            for topic, recorded, message in self._messages(file):
                if odometry is not None and topic in odometry.topics:
                    self._transforms(odometry, topic, message, recorded)
                elif topic == self.topics.image:
                    rgb = self._image(message, decoder, recorded)
                    if rgb is not None:
                        camera, header = self._camera(info, rgb.shape[:2]), _stamp(message)
                        waiting.append(_Waiting(
                            rgb, times(header, recorded), header or recorded, recorded, camera, message.header.frame_id
                        ))  # fmt: skip
                elif topic == self.topics.info:
                    info = message
                else:
                    depth = self._depth(message, recorded)
                    if depth is not None:
                        depths.append((_stamp(message) or recorded, depth))
                while waiting and self._ready(waiting[0], depths, odometry, recorded, len(waiting)):
                    yield self._frame(waiting.popleft(), depths, odometry)
        while waiting:
            yield self._frame(waiting.popleft(), depths, odometry)

    def _messages(self, file: BagFile) -> Iterator[tuple[str, int, Any]]:
        try:
            for topic, kind, recorded, raw in file.messages(self._chosen):
                try:
                    yield topic, recorded, file.deserialize(raw, kind)
                except SourceError as error:
                    self.faults.add(f"message at {recorded} ns", error)
        except SourceError as error:
            self.faults.add("the rest of a file", error)

    def _ready(self, first: _Waiting, depths, odometry: BagOdometry | None, recorded: int, count: int) -> bool:
        """Whether an image need not wait for its depth and its odometry any longer."""
        if count > _QUEUE or recorded - first.recorded > _PATIENCE:
            return True
        if odometry is not None and not odometry.is_known(first.frame, first.header):
            return False
        return not self._wants_depth or any(stamp >= first.header - _TOLERANCE // 10 for stamp, _ in depths)

    def _frame(self, item: _Waiting, depths, odometry: BagOdometry | None) -> Frame:
        depth = None
        if self._wants_depth:
            near = min(depths, key=lambda d: abs(d[0] - item.header), default=None)
            if near is None or abs(near[0] - item.header) > _TOLERANCE:
                self.note("some images have no depth image of the same moment; they are used without")
            else:
                try:
                    depth = fitted(near[1], item.rgb.shape[:2])
                except ImageError as error:
                    self.faults.add(f"depth at {near[0]} ns", error)
        pose = None if odometry is None else odometry.pose(item.frame, item.header)
        return Frame(item.rgb, item.stamp, depth, item.camera, pose)

    def _transforms(self, odometry: BagOdometry, topic: str, message: Any, recorded: int) -> None:
        try:
            odometry.add(topic, message)
        except (ValueError, TypeError, AttributeError) as error:
            self.faults.add(f"transforms at {recorded} ns", error)

    def _image(self, message: Any, decoder: ImageDecoder, recorded: int) -> np.ndarray | None:
        try:
            if message.__msgtype__ == COMPRESSED:
                if codec := video_codec(message):
                    raise ImageError(f"{codec} video cannot be read: republish it as raw images")
                return decode_compressed(message.data)
            return decoder(
                message.data, message.encoding, message.width, message.height, message.step, bool(message.is_bigendian)
            )
        except (ValueError, TypeError, AttributeError) as error:  # a definition may be damaged too
            self.faults.add(f"image at {recorded} ns", error)
            return None

    def _depth(self, message: Any, recorded: int) -> np.ndarray | None:
        try:
            if message.__msgtype__ == COMPRESSED:
                encoding = message.format.partition(";")[0].strip()
                depth = decode_compressed_depth(message.data, encoding)
            else:
                encoding = message.encoding
                depth = decode_depth(
                    message.data, encoding, message.width, message.height, message.step, bool(message.is_bigendian)
                )
        except (ValueError, TypeError, AttributeError) as error:
            self.faults.add(f"depth at {recorded} ns", error)
            return None
        return depth if encoding == "32FC1" else depth * np.float32(1000.0 / self._depth_factor)

    def _camera(self, info: Any, shape: tuple[int, int]) -> Camera | None:
        """The camera of an image of `shape` (H,W), as far as the calibration fits it."""
        if info is None:
            return None
        k, p, d = (getattr(info, name, getattr(info, name.upper(), ())) for name in "kpd")  # ROS 1 writes capitals
        roi = (info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height)
        rectified = is_rectified_topic(self.topics.image)
        try:
            camera = camera_of_info(
                (info.width, info.height), k, p, d, info.distortion_model, (info.binning_x, info.binning_y), roi,
                (shape[1], shape[0]), rectified,
            )  # fmt: skip
        except (ValueError, TypeError, AttributeError) as error:
            self.note(f"camera_info is not used: {error}")
            return None
        if camera is None:
            self.note("camera_info says that the camera is not calibrated: the focal length is estimated")
        return camera


def _stamp(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
