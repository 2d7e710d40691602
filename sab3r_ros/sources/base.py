"""What all recordings have in common."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

from sab3r_ros.types import Frame

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})
BAG_SUFFIXES = frozenset({".mcap", ".db3", ".bag"})


class SourceError(ValueError):
    """A recording that cannot be read; the message says why and what to do."""


@dataclass
class Source(ABC):
    """Frames in the order of their stamps. `skipped` names images that could not be read, one line each."""

    name: str
    skipped: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of frames; 0 where it is not known beforehand."""
        return 0

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Every frame; images that cannot be read are passed over and named in `skipped`."""

    def _skip(self, what: str, why: object) -> None:
        self.skipped.append(f"{what}: {why}")
        log.warning("skipped %s: %s", what, why)
