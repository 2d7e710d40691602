"""Callbacks pass an open guard; closing it waits for those inside."""

import threading
from contextlib import suppress

from sab3r_ros.nodes.callback_guard import CallbackGuard


def test_nobody_passes_before_it_opens_and_after_it_closes():
    guard = CallbackGuard()
    with guard.entered() as configured:
        assert not configured
    guard.open()
    with guard.entered() as configured:
        assert configured
    assert guard.close(0)
    with guard.entered() as configured:
        assert not configured


def test_closing_waits_for_who_is_inside_even_where_they_fail():
    guard, entered, leave, left = CallbackGuard(), threading.Event(), threading.Event(), []
    guard.open()

    def callback():
        with suppress(ZeroDivisionError), guard.entered() as configured:
            entered.set()
            leave.wait(10)
            left.append(configured)
            left.append(1 / 0)

    thread = threading.Thread(target=callback)
    thread.start()
    assert entered.wait(10)
    assert not guard.close(0.05)
    assert not left
    threading.Timer(0.05, leave.set).start()
    assert guard.close(10)
    assert left == [True]
    thread.join(10)


def test_one_who_came_while_it_was_shut_does_not_count():
    guard = CallbackGuard()
    with guard.entered():
        guard.open()
        assert guard.close(0)
