"""What benchmarks share: what is reported about the machine, and models with random weights."""

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


def random_network(cfg, device: str):
    """A SAB3R of these sizes with random weights, ready to predict."""
    from sab3r_ros.models.sab3r import Sab3r

    return Sab3r(cfg).to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def maskclip(device: str):
    """MaskCLIP on ViT-B/16 with FeatUp's upsampler, random weights: the module, and a function of an image's tensor."""
    import open_clip

    from sab3r_ros.models.featup import FeatUpTeacher, JbuStack
    from sab3r_ros.models.maskclip import MaskClip

    clip = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None).eval()
    teacher = FeatUpTeacher(MaskClip(clip), JbuStack(512)).to(device).requires_grad_(False)

    def features(pixels):
        with torch.inference_mode():
            return teacher(pixels)

    return teacher, features
