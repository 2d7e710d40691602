"""Videos, live cameras and network streams, through OpenCV."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.sources.base import URL_SCHEMES, Source, SourceError
from sab3r_ros.types import Frame

_OPEN_TIMEOUT = 10_000  # milliseconds to wait for a network stream


class VideoSource(Source):
    """A video file, a network stream (URL), or, given a number or a device file, a camera.

    Frames of a file have the file's own times, those of a camera the time since the first one.
    """

    def __init__(self, which: Path | str | int, rate: float = 10.0):
        super().__init__(str(which))
        self.which = which
        self.is_stream = isinstance(which, str) and which.startswith(URL_SCHEMES)
        self.is_camera = isinstance(which, int) or (isinstance(which, str) and not self.is_stream)
        self._capture: cv2.VideoCapture | None = self._open()
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = fps if np.isfinite(fps) and 0 < fps < 1000 else rate
        self._count = 0 if self.is_camera else max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def _open(self) -> cv2.VideoCapture:
        which = str(self.which) if isinstance(self.which, Path) else self.which
        if self.is_stream:
            timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _OPEN_TIMEOUT]
            capture = cv2.VideoCapture(which, cv2.CAP_FFMPEG, timeouts)
        else:
            capture = cv2.VideoCapture(which)
        if capture.isOpened():
            return capture
        if self.is_stream:
            raise SourceError(f"{which} does not answer, or sends no video (waited {_OPEN_TIMEOUT / 1000:.0f} s)")
        if self.is_camera:
            raise SourceError(f"camera {which} cannot be opened: not there, in use, or not permitted")
        raise SourceError(f"{which} is damaged, empty or not a video that OpenCV reads; convert it to mp4 (H.264)")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Frame]:
        capture, self._capture = self._capture or self._open(), None  # iterating again opens it again
        count, last = 0, -1
        started = cv2.getTickCount()
        try:
            while True:
                ok, bgr = capture.read()
                if not ok:
                    break
                stamp = self._stamp(capture, count, started)
                if stamp <= last:
                    self.note("frame times do not rise: the average rate is used for such frames")
                    stamp = last + round(1e9 / self.rate)
                last = stamp
                count += 1
                yield Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), stamp)
        finally:
            capture.release()
        if count == 0:
            raise SourceError(f"{self.name}: not a single frame could be read")
        if count < 0.9 * self._count:
            self.faults.add(
                "the end of the video",
                f"only {count} of {self._count} frames could be read: the file is damaged or cut",
            )

    def _stamp(self, capture: cv2.VideoCapture, index: int, started: int) -> int:
        if self.is_camera or (self.is_stream and not self._count):
            return round((cv2.getTickCount() - started) / cv2.getTickFrequency() * 1e9)
        milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)  # of the frame just read; variable frame rates are kept
        if np.isfinite(milliseconds) and (milliseconds > 0 or index == 0):
            return round(milliseconds * 1e6)
        return round(index / self.rate * 1e9)
