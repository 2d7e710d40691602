"""Videos and live cameras, through OpenCV."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.sources.base import Source, SourceError
from sab3r_ros.types import Frame


class VideoSource(Source):
    """A video file or, given a number, a camera."""

    def __init__(self, which: Path | int, rate: float = 10.0):
        super().__init__(str(which))
        self.which, self.live = which, isinstance(which, int)
        self._capture = cv2.VideoCapture(which if isinstance(which, int) else str(which))
        if not self._capture.isOpened():
            what = (
                f"camera {which} cannot be opened: not there, in use, or not permitted"
                if self.live
                else f"{which} is damaged or not a video"
            )
            raise SourceError(what)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = fps if np.isfinite(fps) and 0 < fps < 1000 else rate
        self._count = 0 if self.live else max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        started = cv2.getTickCount()
        while True:
            ok, bgr = self._capture.read()
            if not ok:
                break
            elapsed = (cv2.getTickCount() - started) / cv2.getTickFrequency() if self.live else index / self.rate
            yield Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), round(elapsed * 1e9))
            index += 1
        self._capture.release()
        if index == 0:
            raise SourceError(f"{self.name}: not a single frame could be read")
