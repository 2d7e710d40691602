"""A queue of one with one policy: the newest item wins, the older one is dropped and counted."""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestSlot(Generic[T]):
    """Hands items to one worker thread; `put` never waits."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._ready = threading.Condition()
        self._closed = False
        self.received = 0
        self.dropped = 0

    def put(self, item: T) -> T | None:
        """Store an item; one that was not yet taken is dropped, and returned."""
        with self._ready:
            self.received += 1
            self.dropped += self._item is not None
            before, self._item = self._item, item
            self._ready.notify()
            return before

    def take(self, timeout: float | None = None) -> T | None:
        """The newest item, or None after `timeout` seconds or once closed."""
        with self._ready:
            self._ready.wait_for(lambda: self._item is not None or self._closed, timeout)
            item, self._item = self._item, None
            return item

    def clear(self) -> None:
        """Forget an item that waits."""
        with self._ready:
            self._item = None

    def close(self) -> None:
        """Wake the worker for good."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed
