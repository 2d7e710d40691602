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
    worker = threading.Thread(target=lambda: got.extend([slot.take(5), slot.take(5)]))
    worker.start()
    time.sleep(0.05)
    slot.put("a")
    time.sleep(0.05)
    slot.close()
    worker.join(2)
    assert got == ["a", None]
    assert slot.closed


def test_a_slow_worker_never_blocks_the_callback_and_sees_only_newer_items():
    slot = NewestSlot()
    seen = []

    def work():
        while (item := slot.take()) is not None:
            seen.append(item)
            time.sleep(0.01)

    worker = threading.Thread(target=work)
    worker.start()
    longest = 0.0
    for k in range(1, 200):
        started = time.perf_counter()
        slot.put(k)
        longest = max(longest, time.perf_counter() - started)
        time.sleep(0.0005)
    time.sleep(0.05)
    slot.close()
    worker.join(2)
    assert seen == sorted(seen)
    assert seen[-1] == 199
    assert len(seen) + slot.dropped == 199
    assert longest < 0.01
