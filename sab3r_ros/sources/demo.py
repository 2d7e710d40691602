"""The recorded sequence that is shipped: a walk through a synthetic room."""

from pathlib import Path

from sab3r_ros.sources.folders import FolderSource

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "demo"
FRAME_RATE = 10.0  # images per second of the recording


class DemoSource(FolderSource):
    """The images of the shipped sequence; `lab` knows the ground truth."""

    def __init__(self, rate: float = FRAME_RATE):
        super().__init__(FOLDER / "images", rate)
        self.name = "demo"
