"""Adjustment beside a stream: of the window as keyframes come, of the whole map when the camera rests."""

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sab3r_ros.mapping.mapper import Mapper

_LOG = logging.getLogger("sab3r_ros")
_LOOKS_EVERY = 0.2  # seconds
_PAUSE = 2.0  # times as long as it took to adjust all keyframes it is not done again: others need the processor too
_FIRST = 20  # keyframes: some seconds of motion


class BackgroundAdjustment:
    """A thread that adjusts a mapper's keyframes, never on the frame's path; `close` ends it, also in the midst of one.

    The whole map is adjusted once `settings.adjustment.rest` seconds went by without a new keyframe, and when it has grown by
    `settings.adjustment.growth`, for a robot that never rests.
    """

    def __init__(self, mapper: "Mapper"):
        self._mapper = mapper
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="adjustment", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 2.0) -> None:
        """End the thread; an adjustment on its way is given up."""
        self._ending.set()
        end = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < end:
            self._mapper.stop_adjusting()  # again, for the solver may have been about to start
            self._thread.join(_LOOKS_EVERY)

    def _run(self) -> None:
        mapper, rest = self._mapper, self._mapper.settings.adjustment.rest
        keyframes, last_change, whole_at, not_before = 0, time.monotonic(), 0, 0.0
        while not self._ending.wait(_LOOKS_EVERY):
            now = mapper.status().keyframes
            if now != keyframes:
                keyframes, last_change = now, time.monotonic()
            try:
                if mapper.wants_adjustment():
                    mapper.adjust(whole=False, stop=self._ending)
                elif time.monotonic() >= not_before and (
                    mapper.wants_settling(_FIRST)
                    or (rest > 0 and keyframes > whole_at and time.monotonic() - last_change > rest)
                ):
                    whole_at, began = keyframes, time.monotonic()
                    mapper.settle(self._ending)
                    not_before = time.monotonic() + _PAUSE * (time.monotonic() - began)
                whole_at = min(whole_at, keyframes)  # a reset begins anew
            except Exception as error:
                if not self._ending.is_set():  # the map goes on as it is
                    _LOG.warning("keyframes were not adjusted: %s: %s", type(error).__name__, error)
