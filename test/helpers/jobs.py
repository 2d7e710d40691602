"""A job that other processes can import."""

import os
import signal
import time


def job(number):
    """Squares; three is refused, four kills its process."""
    if number == 3:
        raise ValueError("three\nis refused")
    if number == 4:
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number
