"""A mapper in two threads: poses as fast as keypoints give them, the map as fast as the network goes."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.placing import StartedFrame
from sab3r_ros.nodes.frame_slot import NewestSlot
from sab3r_ros.types import Frame, FrameResult

Deliver = Callable[[FrameResult, bool], None]


@dataclass(frozen=True)
class _Waiting:
    started: StartedFrame
    deliver: Deliver


class LiveMapping:
    """Takes frames in the order they come; the network's thread looks at the newest of those that need it.

    guard: calls a function for one frame and deals with what it raises.
    """

    def __init__(self, mapper: Mapper, guard: Callable[[Callable[[], None]], None]):
        self._mapper, self._guard = mapper, guard
        self._waiting: NewestSlot[_Waiting] = NewestSlot()
        self._told = -1  # number of the newest frame whose pose was delivered
        self._order = threading.Lock()
        self.overtaken = 0  # frames that keypoints did not place and that waited for the network until a newer one came
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    def __call__(self, frame: Frame, deliver: Deliver) -> None:
        """Place a frame by its keypoints, or leave it to the network.

        deliver(result, is_news) is called with what became of it, by this thread or the network's, twice where both have
        something to say; is_news: whether its pose is newer than all those delivered before. Raises BadFrame as
        `Mapper.register` does.
        """
        started = self._mapper.start(frame, live=True)
        if started.result is not None:
            self._deliver(started, started.result, deliver)
        if started.needs_network:
            before = self._waiting.put(_Waiting(started, deliver))
            self.overtaken += before is not None and before.started.result is None

    def stop(self, timeout: float) -> None:
        """End the network's thread after the frame in hand."""
        self._waiting.close()
        self._thread.join(timeout)

    def clear(self) -> None:
        """Forget a frame that waits."""
        self._waiting.clear()

    def _run(self) -> None:
        while not self._waiting.closed:
            item = self._waiting.take()
            if item is not None:
                self._guard(partial(self._look, item))

    def _look(self, item: _Waiting) -> None:
        self._deliver(item.started, self._mapper.look(item.started), item.deliver)

    def _deliver(self, started: StartedFrame, result: FrameResult, deliver: Deliver) -> None:
        with self._order:
            news = result.pose is not None and started.number > self._told
            if news:
                self._told = started.number
            deliver(result, news)
