"""What all recordings have in common."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

from sab3r_ros.faults import Faults
from sab3r_ros.types import Frame

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm", ".jp2",
        ".heic", ".heif", ".avif",
    }
)  # fmt: skip
VIDEO_SUFFIXES = frozenset(
    {
        ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".3gp", ".3g2", ".wmv",
        ".flv", ".ogv", ".mxf", ".h264", ".hevc", ".mjpeg", ".gif",
    }
)  # fmt: skip
BAG_SUFFIXES = frozenset({".mcap", ".db3", ".bag"})
ARCHIVE_SUFFIXES = (".zip", ".r3d", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
URL_SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "tcp://")


class SourceError(ValueError):
    """A recording that cannot be read; the message says why and what to do."""


@dataclass
class Source(ABC):
    """Frames in the order of their stamps; iterating again begins again.

    faults: what could not be read, counted by reason; notes: what was recognised and assumed, one line each.
    """

    name: str
    faults: Faults = field(default_factory=Faults)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of frames; 0 where it is not known beforehand."""
        return 0

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Every frame; images that cannot be read are passed over and noted in `faults`."""

    @property
    def skipped(self) -> list[str]:
        """One line per image that could not be read."""
        return self.faults.lines

    def note(self, text: str) -> None:
        """Keep a note; said where it comes while frames are read."""
        if text not in self.notes:
            self.notes.append(text)
            log.info("%s: %s", self.name, text)
