"""What must be set before torch is loaded."""

import os
import signal


def share_the_cpu() -> None:
    """Let waiting OpenMP threads sleep.

    By default they spin, and on a machine whose cores are busy with other nodes a frame then takes twenty times
    as long. A choice made in the environment wins.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")


def end_quietly_while_loading() -> None:
    """Let SIGINT and SIGTERM end a process that is still importing: nothing is lost, and a traceback says nothing.

    Who runs afterwards sets handlers of its own.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
