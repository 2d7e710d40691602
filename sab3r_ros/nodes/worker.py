"""The thread that owns the network: takes the newest image, registers it, publishes the result."""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from sab3r_ros.mapping.frames import BadFrame, Frame, FrameResult, Tracking
from sab3r_ros.mapping.mapper import SemanticMapper
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.frame_slot import NewestSlot
from sab3r_ros.sources.encodings import ImageError

_DEPTHS_KEPT = 10
_NS = 1e-9


@dataclass
class LastFrame:
    """What became of the newest image: its stamp (ns), camera frame, and how long it took."""

    stamp: int = 0
    camera_frame: str = ""
    inference_ms: float = 0.0
    age_ms: float = 0.0


class MappingWorker:
    """Callbacks put messages in and return at once; everything else happens on the worker's thread."""

    def __init__(
        self, mapper: SemanticMapper, logger, clock_ns: Callable[[], int], depth_tolerance: float | None,
        camera_frame: str, on_result: Callable[[FrameResult, LastFrame], None],
    ):  # fmt: skip
        self.mapper = mapper
        self.slot: NewestSlot[Image | CompressedImage] = NewestSlot()
        self.problems: Counter[str] = Counter()
        self.paused = False
        self.newest_intrinsics: CameraInfo | None = None
        self._depths: OrderedDict[int, Image | CompressedImage] = OrderedDict()
        self._depth_tolerance = depth_tolerance
        self._camera_frame = camera_frame
        self._logger, self._clock_ns, self._on_result = logger, clock_ns, on_result
        self._size: tuple[int, int] | None = None
        self._was_lost = False
        self._thread = threading.Thread(target=self._run, name="mapping", daemon=True)
        self._thread.start()

    def put_image(self, message: Image | CompressedImage) -> None:
        """Newest wins."""
        if not self.paused:
            self.slot.put(message)

    def put_depth(self, message: Image | CompressedImage) -> None:
        """Kept until an image of the same moment comes."""
        self._depths[convert.nanoseconds(message.header.stamp)] = message
        while len(self._depths) > _DEPTHS_KEPT:
            self._depths.popitem(last=False)

    def put_camera_info(self, message: CameraInfo) -> None:
        """Newest wins."""
        self.newest_intrinsics = message

    def stop(self, timeout: float = 30.0) -> None:
        """End the thread after the frame in hand."""
        self.slot.close()
        self._thread.join(timeout)

    def _run(self):
        while not self.slot.closed:
            message = self.slot.take()
            if message is None:
                continue
            try:
                self._process(message)
            except (ImageError, BadFrame, ValueError) as error:
                self._problem(type(error).__name__, str(error))
            except Exception as error:  # the node must stay up whatever a frame does, out of memory included
                self._problem("unexpected", f"{type(error).__name__}: {error}")

    def _process(self, message):
        stamp = convert.nanoseconds(message.header.stamp)
        started = time.perf_counter()
        rgb = convert.image_to_rgb(message)
        size = rgb.shape[1], rgb.shape[0]
        if self._size not in (None, size):
            self._problem("size_change", f"the pictures' size changed from {self._size} to {size}; mapping goes on")
        self._size = size
        intrinsics = None
        if self.newest_intrinsics is not None:
            intrinsics = convert.intrinsics_of(self.newest_intrinsics, *size)
        result = self.mapper.register_frame(Frame(rgb, stamp, self._depth_for(stamp), intrinsics))
        self._tell(result)
        took = (time.perf_counter() - started) * 1e3
        frame = self._camera_frame or message.header.frame_id or "camera_optical"
        self._on_result(result, LastFrame(stamp, frame, took, (self._clock_ns() - stamp) * 1e-6))

    def _depth_for(self, stamp: int) -> np.ndarray | None:
        if self._depth_tolerance is None:
            return None
        near = min(list(self._depths), key=lambda s: abs(s - stamp), default=None)
        if near is None or abs(near - stamp) * _NS > self._depth_tolerance:
            self._problem("no_depth", "no depth image of the same moment; this picture is used without")
            return None
        try:
            return convert.image_to_depth(self._depths[near])
        except (ImageError, KeyError) as error:
            self._problem("bad_depth", f"depth image: {error}")
            return None

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
        """Count a problem and say it: the first time, then every hundredth."""
        self.problems[kind] += 1
        if self.problems[kind] % 100 == 1:
            again = "" if self.problems[kind] == 1 else f" ({self.problems[kind]} times so far)"
            self._logger.warning(f"{text}{again}")
