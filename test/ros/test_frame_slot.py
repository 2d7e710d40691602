"""The newest item wins, drops are counted, putting never waits."""

import threading
import time

from sab3r_ros.nodes.frame_slot import NewestSlot


def test_the_newest_wins_and_drops_are_counted():
    slot = NewestSlot()
    for k in range(5):
        slot.put(k)
    assert slot.take(0) == 4
    assert slot.take(0) is None
    assert (slot.received, slot.dropped) == (5, 4)


def test_a_waiting_worker_is_woken_by_an_item_and_by_closing():
    slot = NewestSlot()
    got = []
    worker = threading.Thread(target=lambda: got.extend([slot.take(60), slot.take(60)]))
    worker.start()
    time.sleep(0.05)
    slot.put("a")
    time.sleep(0.05)
    slot.close()
    worker.join(60)
    assert got == ["a", None]
    assert slot.closed


def test_a_slow_worker_never_blocks_the_callback_and_sees_only_newer_items():
    slot = NewestSlot()
    seen, busy, go_on = [], threading.Event(), threading.Event()

    def work():
        while (item := slot.take()) is not None:
            seen.append(item)
            busy.set()
            go_on.wait(60)

    worker = threading.Thread(target=work)
    worker.start()
    slot.put(0)
    assert busy.wait(60)
    for k in range(1, 200):
        slot.put(k)  # returns while the worker is stuck in an item
    assert seen == [0]
    assert slot.dropped == 198
    slot.close()
    go_on.set()
    worker.join(60)
    assert seen == [0, 199]
