"""Ctrl-C and SIGTERM while a recording is mapped."""

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


class Interrupts:
    """Within it, SIGINT and SIGTERM raise KeyboardInterrupt at once, and again before the next item of `until_asked`.

    An exception that is raised while Python runs a finaliser or a trace function is printed and forgotten; the second one is
    not. Afterwards SIGTERM is ignored if there was one: what follows saves the map. In other threads than the main one, which
    get no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._asked: set[int] = set()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._before.items():
            ignored = number == signal.SIGTERM and number in self._asked
            signal.signal(number, signal.SIG_IGN if ignored else handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._asked.add(number)
        raise KeyboardInterrupt

    def until_asked(self, items: Iterable[T]) -> Iterator[T]:
        """The items, until a signal came."""
        for item in items:
            if self._asked:
                raise KeyboardInterrupt
            yield item
