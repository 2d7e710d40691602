"""What every benchmark reports about the machine it ran on."""

import json
import os
import platform

import torch


def report(name: str, **figures) -> None:
    """Print one JSON object."""
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps({"benchmark": name, **figures, "machine": machine}))
