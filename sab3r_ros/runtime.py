"""What must be set before torch is loaded."""

import os


def share_the_cpu() -> None:
    """Let waiting OpenMP threads sleep.

    By default they spin, and on a machine whose cores are busy with other nodes a frame then takes twenty times
    as long. A choice made in the environment wins.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
