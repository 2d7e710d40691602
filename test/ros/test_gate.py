"""Callbacks pass an open gate; closing it waits for those inside."""

import threading
from contextlib import suppress

from sab3r_ros.nodes.gate import Gate


def test_nobody_passes_before_it_opens_and_after_it_closes():
    gate = Gate()
    with gate.passing() as configured:
        assert not configured
    gate.open()
    with gate.passing() as configured:
        assert configured
    assert gate.close(0)
    with gate.passing() as configured:
        assert not configured


def test_closing_waits_for_who_is_inside_even_where_they_fail():
    gate, entered, leave, left = Gate(), threading.Event(), threading.Event(), []
    gate.open()

    def callback():
        with suppress(ZeroDivisionError), gate.passing() as configured:
            entered.set()
            leave.wait(10)
            left.append(configured)
            left.append(1 / 0)

    thread = threading.Thread(target=callback)
    thread.start()
    assert entered.wait(10)
    assert not gate.close(0.05)
    assert not left
    threading.Timer(0.05, leave.set).start()
    assert gate.close(10)
    assert left == [True]
    thread.join(10)


def test_one_who_came_while_it_was_shut_does_not_count():
    gate = Gate()
    with gate.passing():
        gate.open()
        assert gate.close(0)
