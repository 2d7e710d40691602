"""Ctrl-C and SIGTERM: taken at once, and also where the exception is swallowed."""

import contextlib
import os
import signal

import pytest

from sab3r_ros.cli.interrupts import Interrupts


@pytest.fixture(autouse=True)
def handlers():
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def take(seen, number):
    with Interrupts() as interrupts:
        for item in interrupts.until_asked(range(100)):
            seen.append(item)
            if item == 3:
                with contextlib.suppress(KeyboardInterrupt):  # what Python does with an exception in a finaliser
                    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_swallowed_ends_before_the_next_item(number):
    seen = []
    with pytest.raises(KeyboardInterrupt):
        take(seen, number)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_taken_at_once_and_what_was_before_comes_back(number, handlers):
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), number)
    assert signal.getsignal(signal.SIGINT) == handlers[signal.SIGINT]
    ignored = number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == (signal.SIG_IGN if ignored else handlers[signal.SIGTERM])


def test_without_a_signal_nothing_changes(handlers):
    with Interrupts() as interrupts:
        assert list(interrupts.until_asked("abc")) == ["a", "b", "c"]
    assert {n: signal.getsignal(n) for n in handlers} == handlers
