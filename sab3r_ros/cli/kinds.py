"""What `sab3r eval all` can evaluate; apart from it, since every command line is built with these names."""

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
