"""The thread that takes the newest image, makes a frame of it and hands it to the mapper; results are published."""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from sab3r_ros.faults import reason_of
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.frame_slot import NewestSlot
from sab3r_ros.nodes.live import LiveMapping
from sab3r_ros.nodes.transforms import TransformUnavailable
from sab3r_ros.sources.calibration import CalibrationError
from sab3r_ros.sources.depth_files import fitted
from sab3r_ros.sources.encodings import ImageDecoder, ImageError
from sab3r_ros.sources.stamps import FrameTimes
from sab3r_ros.types import BadFrame, Camera, Frame, FrameResult, Tracking

_DEPTHS_KEPT = 10
_DEPTH_WAIT = 0.1  # seconds; a depth image that is registered to its image comes this much later at most
_TEXTS_TOLD = 50  # different texts said at once; a stream of ever new ones must not fill the log
_NS = 1e-9


@dataclass
class LastFrame:
    """What became of the newest image: its stamp (ns), camera frame, how long it took, and whether its pose is newer than all
    that were told before."""

    stamp: int = 0
    camera_frame: str = ""
    inference_ms: float = 0.0
    age_ms: float = 0.0
    is_news: bool = True


class MappingWorker:
    """Callbacks put messages in and return at once; everything else happens on the worker's thread, and on the network's."""

    def __init__(
        self, mapper: Mapper, logger, clock_ns: Callable[[], int], depth_tolerance: float | None,
        camera_frame: str, rectified: bool, on_result: Callable[[FrameResult, LastFrame], None],
        odometry: Callable[[str, int], np.ndarray] | None = None,
    ):  # fmt: skip
        self.mapper = mapper
        self.slot: NewestSlot[Image | CompressedImage] = NewestSlot()
        self.problems: Counter[str] = Counter()
        self.paused = False
        self.newest_camera_info: CameraInfo | None = None
        self._depths: OrderedDict[int, Image | CompressedImage] = OrderedDict()
        self._depth_came = threading.Condition()
        self._depth_tolerance = depth_tolerance
        self._camera_frame, self._rectified = camera_frame, rectified
        self._logger, self._clock_ns, self._on_result = logger, clock_ns, on_result
        self._odometry = odometry
        self._decoder = ImageDecoder()
        self._times = FrameTimes(lambda text: self._problem("stamps", text))
        self._told: set[str] = set()
        self._size: tuple[int, int] | None = None
        self._was_lost = False
        self._live = LiveMapping(mapper, self._guarded)
        self._thread = threading.Thread(target=self._run, name="mapping", daemon=True)
        self._thread.start()

    def put_image(self, message: Image | CompressedImage) -> None:
        """Newest wins."""
        if not self.paused:
            self.slot.put(message)

    def put_depth(self, message: Image | CompressedImage) -> None:
        """Kept until an image of the same moment comes."""
        with self._depth_came:
            self._depths[convert.nanoseconds(message.header.stamp)] = message
            while len(self._depths) > _DEPTHS_KEPT:
                self._depths.popitem(last=False)
            self._depth_came.notify_all()

    def put_camera_info(self, message: CameraInfo) -> None:
        """Newest wins."""
        self.newest_camera_info = message

    @property
    def dropped(self) -> int:
        """Images of which nothing came, since newer ones were there before their turn."""
        return self.slot.dropped + self._live.overtaken

    def clear(self) -> None:
        """Forget the images that wait."""
        self.slot.clear()
        self._live.clear()

    def stop(self, timeout: float = 30.0) -> None:
        """End the threads after the frames in hand."""
        self.slot.close()
        self._thread.join(timeout)
        self._live.stop(timeout)

    def _run(self):
        while not self.slot.closed:
            message = self.slot.take()
            if message is not None:
                self._guarded(partial(self._process, message))

    def _guarded(self, process: Callable[[], None]) -> None:
        try:
            process()
        except (ImageError, BadFrame, ValueError) as error:
            self._problem(type(error).__name__, str(error))
        except Exception as error:  # the node must stay up whatever a frame does, out of memory included
            self._problem("unexpected", f"{type(error).__name__}: {error}")

    def _process(self, message):
        arrived, started = self._clock_ns(), time.perf_counter()
        rgb = convert.image_to_rgb(message, self._decoder)
        header = convert.nanoseconds(message.header.stamp)
        stamp = self._times(header, arrived)
        size = rgb.shape[1], rgb.shape[0]
        if self._size not in (None, size):
            self._problem("size_change", f"the images' size changed from {self._size} to {size}; mapping goes on")
        self._size = size
        frame = self._camera_frame or message.header.frame_id or "camera_optical"
        odometry = self._odometry_of(frame, stamp)

        def deliver(result: FrameResult, is_news: bool) -> None:
            self._tell(result)
            took = (time.perf_counter() - started) * 1e3
            self._on_result(result, LastFrame(stamp, frame, took, (self._clock_ns() - stamp) * 1e-6, is_news))

        self._live(Frame(rgb, stamp, self._depth_for(header, size), self._camera(size), odometry), deliver)

    def _odometry_of(self, camera_frame: str, stamp: int) -> np.ndarray | None:
        """The camera's pose (4,4) in the frame of odometry; None where there is none, or not at this stamp."""
        if self._odometry is None:
            return None
        try:
            return self._odometry(camera_frame, stamp)
        except TransformUnavailable as error:
            self._problem("no_odometry", f"this image is used without odometry: {error}")
            return None

    def _camera(self, size: tuple[int, int]) -> Camera | None:
        """The calibration, as far as it fits images of this size (W,H)."""
        if self.newest_camera_info is None:
            return None
        try:
            return convert.to_camera(self.newest_camera_info, *size, self._rectified)
        except CalibrationError as error:
            self._problem("camera_info", f"camera_info is not used: {error}")
            return None

    def _depth_for(self, stamp: int, size: tuple[int, int]) -> np.ndarray | None:
        """Depth of the same moment; drivers often send it after the image, so it is waited for a little."""
        if self._depth_tolerance is None:
            return None
        with self._depth_came:
            self._depth_came.wait_for(lambda: self._near_depth(stamp) is not None, _DEPTH_WAIT)
            message = self._near_depth(stamp)
        if message is None:
            self._problem("no_depth", "no depth image of the same moment; this image is used without")
            return None
        try:
            return fitted(convert.image_to_depth(message), size[::-1])
        except ImageError as error:
            self._problem("bad_depth", f"depth image: {error}")
            return None

    def _near_depth(self, stamp: int) -> Image | CompressedImage | None:
        near = min(self._depths, key=lambda s: abs(s - stamp), default=None)
        if near is None or abs(near - stamp) * _NS > (self._depth_tolerance or 0.0):
            return None
        return self._depths[near]

    def _tell(self, result: FrameResult):
        lost = result.tracking == Tracking.LOST
        if lost and not self._was_lost:
            self._logger.warning(result.message)
        elif self._was_lost and not lost:
            self._logger.info("tracking found again")
        elif result.message and not lost:
            self._problem("frame_note", result.message)
        self.problems["lost_frames"] += lost
        self._was_lost = lost

    def _problem(self, kind: str, text: str):
        """Count a problem and say it: every text the first time, then every hundredth of its kind."""
        self.problems[kind] += 1
        reason = reason_of(text)
        new = reason not in self._told and len(self._told) < _TEXTS_TOLD
        self._told.add(reason)
        if new or self.problems[kind] % 100 == 1:
            again = "" if self.problems[kind] == 1 else f" ({self.problems[kind]} times so far)"
            self._logger.warning(f"{text}{again}")
