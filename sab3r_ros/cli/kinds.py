"""What `sab3r eval` can evaluate, and do to images; apart from the work, since every command line is built with these names."""

from enum import Enum


class Kind(str, Enum):
    """Evaluations of a folder."""

    TRAJECTORY = "trajectory"
    RECORDING = "recording"
    SESSIONS = "sessions"
    MAP_AND_LOCATE = "map-and-locate"
    DEPTH = "depth"
    POSE = "pose"
    SEGMENTATION = "segmentation"


class Degradation(str, Enum):
    """What `sab3r eval trajectory` may do to the images first (`lab/evaluation/degradation.py`)."""

    FLICKER = "flicker"
    BLUR = "blur"
    NOISE = "noise"
    JPEG = "jpeg"
    DARK = "dark"
    GREY = "grey"
    VIGNETTE = "vignette"
