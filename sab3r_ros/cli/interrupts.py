"""Ctrl-C, and SIGTERM as another one."""

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


class Interrupts:
    """Within it, SIGINT and SIGTERM raise KeyboardInterrupt at once, and again before the next item of `until_asked`.

    An exception that is raised while Python runs a finaliser or a trace function is printed and forgotten; the second one is
    not. A first SIGTERM is enough: further ones are ignored, also afterwards, where the map is saved. In other threads than the
    main one, which get no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._asked = self._terminated = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._before.items():
            if not (number == signal.SIGTERM and self._terminated):
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._asked = True
        if number == signal.SIGTERM:
            self._terminated = True
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    def until_asked(self, items: Iterable[T]) -> Iterator[T]:
        """The items, until a signal came."""
        for item in items:
            if self._asked:
                raise KeyboardInterrupt
            yield item
