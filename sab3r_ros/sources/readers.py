"""One way to open any recording: folder of pictures, video file, rosbag2/mcap, camera number, built-in sequence."""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.mapping.frames import Frame, nth_stamp
from sab3r_ros.sources.encodings import ImageError, decode_compressed, decode_compressed_depth

log = logging.getLogger(__name__)
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}
_VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}
_BAGS = {".mcap", ".db3", ".bag"}


class SourceError(ValueError):
    """A recording that cannot be read; the message says why and what to do."""


@dataclass
class Source(ABC):
    """Frames in the order of their stamps. `skipped` names pictures that could not be read, one line each."""

    name: str
    skipped: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of frames; 0 where it is not known beforehand."""
        return 0

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Every frame; pictures that cannot be read are passed over and named in `skipped`."""

    def _skip(self, what: str, why: object) -> None:
        self.skipped.append(f"{what}: {why}")
        log.warning("skipped %s: %s", what, why)


def open_source(text: str, rate: float = 10.0, depth: bool = False, topic: str = "") -> Source:
    """The source that a path, a camera number or "demo" / "demo:SEED" stands for.

    rate: frames per second assumed where pictures have no stamps. depth: also read depth images and
    intrinsics where the recording has them. topic: the image topic of a bag (default: the only one).
    Raises FileNotFoundError, SourceError.
    """
    if re.fullmatch(r"demo(:\d+)?", text):
        from sab3r_ros.sources.demo import DemoSource

        return DemoSource(int(text.partition(":")[2] or 0), rate)
    if text.isdigit():
        return VideoSource(int(text), rate)
    path = Path(text).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"no such input: {text} (give a folder of pictures, a video, a bag, a camera number or demo)"
        )
    if path.suffix.lower() in _BAGS or (path / "metadata.yaml").is_file():
        from sab3r_ros.sources.bags import BagSource

        return BagSource(path, topic)
    if path.is_dir():
        return FolderSource(path, rate, depth)
    if path.suffix.lower() in _VIDEOS:
        return VideoSource(path, rate)
    if path.suffix.lower() in _PICTURES:
        raise SourceError(f"{path} is a single picture; give the folder it lies in")
    raise SourceError(
        f"{path}: unknown kind of input {path.suffix!r}; known: folders, {', '.join(sorted(_VIDEOS | _BAGS))}"
    )


class FolderSource(Source):
    """Pictures of a folder in natural order.

    Understood layouts: 7-Scenes (`*.color.*` with `*.depth.png`, `*.pose.txt`), TUM (`rgb/` with stamps as
    names), and plain folders. Stamps come from numeric TUM names, else from the order and `rate`.
    """

    def __init__(self, path: Path, rate: float = 10.0, depth: bool = False):
        super().__init__(str(path))
        self.pictures = list_pictures(path)
        if not self.pictures:
            raise SourceError(f"no pictures in {path} (looked for {', '.join(sorted(_PICTURES))})")
        self.rate, self.depth = rate, depth
        self.intrinsics = read_intrinsics(path)

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[Frame]:
        seconds = [re.fullmatch(r"\d{9,}\.\d+", p.stem) for p in self.pictures]
        stamped = all(seconds)
        for k, path in enumerate(self.pictures):
            stamp = parse_stamp(path.stem) if stamped else nth_stamp(k, self.rate)
            try:
                rgb = decode_compressed(path.read_bytes())
                depth = self._depth_of(path) if self.depth else None
            except (ImageError, OSError) as error:
                self._skip(path.name, error)
                continue
            yield Frame(rgb, stamp, depth, self.intrinsics if self.depth else None)

    @staticmethod
    def _depth_of(path: Path) -> np.ndarray | None:
        other = path.with_name(re.sub(r"\.color\.\w+$", ".depth.png", path.name))
        if other == path:
            other = path.parent.parent / "depth" / f"{path.stem}.png"
        return decode_compressed_depth(other.read_bytes()) if other.is_file() else None


def list_pictures(path: Path) -> list[Path]:
    """The colour pictures of a folder in natural order (10 after 9)."""
    for inner in ("rgb", "color", "colour", "images"):
        if (path / inner).is_dir():
            path = path / inner
            break
    files = [p for p in path.iterdir() if p.suffix.lower() in _PICTURES and not p.name.startswith(".")]
    colour = [p for p in files if ".color." in p.name]
    plain = [p for p in files if not re.search(r"\.(depth|label)\.", p.name)]
    return sorted(colour or plain, key=lambda p: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", p.name)])


def read_intrinsics(path: Path) -> np.ndarray | None:
    """The (3,3) matrix in a folder's intrinsics.txt (also 7-Scenes' camera-intrinsics.txt), or None.

    Raises SourceError for a file that holds no such matrix.
    """
    for name in ("intrinsics.txt", "camera-intrinsics.txt"):
        if (path / name).is_file():
            try:
                values = np.loadtxt(path / name).reshape(-1)
            except ValueError as error:
                raise SourceError(f"{path / name} is not a matrix of numbers: {error}") from error
            if values.size == 4:  # fx fy cx cy
                return np.array([[values[0], 0, values[2]], [0, values[1], values[3]], [0, 0, 1]])
            if values.size not in (9, 16):
                raise SourceError(
                    f"{path / name} should hold a 3 x 3 matrix or fx fy cx cy, it has {values.size} numbers"
                )
            side = int(values.size**0.5)
            return values.reshape(side, side)[:3, :3]
    return None


def parse_stamp(text: str) -> int:
    """ "seconds.fraction" to nanoseconds without losing digits to floating point."""
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0") or 0)


class VideoSource(Source):
    """A video file or, given a number, a camera."""

    def __init__(self, which: Path | int, rate: float = 10.0):
        super().__init__(str(which))
        self.which, self.live = which, isinstance(which, int)
        self._capture = cv2.VideoCapture(which if isinstance(which, int) else str(which))
        if not self._capture.isOpened():
            what = (
                f"camera {which} cannot be opened: not there, in use, or not permitted"
                if self.live
                else f"{which} is damaged or not a video"
            )
            raise SourceError(what)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = fps if np.isfinite(fps) and 0 < fps < 1000 else rate
        self._count = 0 if self.live else max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        started = cv2.getTickCount()
        while True:
            ok, bgr = self._capture.read()
            if not ok:
                break
            elapsed = (cv2.getTickCount() - started) / cv2.getTickFrequency() if self.live else index / self.rate
            yield Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), round(elapsed * 1e9))
            index += 1
        self._capture.release()
        if index == 0:
            raise SourceError(f"{self.name}: not a single frame could be read")
