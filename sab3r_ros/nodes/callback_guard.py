"""Lets callbacks in while a node is configured, and lets go of nothing while one of them is inside."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CallbackGuard:
    """Callbacks of several threads pass while it is open; who closes it waits until the last of them has left."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._open = False

    @contextmanager
    def entered(self) -> Iterator[bool]:
        """Whether the guard was open; while the block runs, `close` waits."""
        with self._changed:
            is_open = self._open
            self._inside += is_open
        try:
            yield is_open
        finally:
            if is_open:
                with self._changed:
                    self._inside -= 1
                    self._changed.notify_all()

    def open(self) -> None:
        """Let callbacks pass from now on."""
        with self._changed:
            self._open = True

    def close(self, timeout: float = 10.0) -> bool:
        """Let nobody in any more; whether all who were inside left within `timeout` seconds. Not to be called from inside."""
        with self._changed:
            self._open = False
            return self._changed.wait_for(lambda: not self._inside, timeout)
