"""Folders of images, with depth and intrinsics beside them where the layout has them."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sab3r_ros.sources.base import IMAGE_SUFFIXES, Source, SourceError
from sab3r_ros.sources.encodings import ImageError, decode_compressed, decode_compressed_depth
from sab3r_ros.types import Camera, Frame, nth_stamp


class FolderSource(Source):
    """Images of a folder in natural order.

    Understood layouts: 7-Scenes (`*.color.*` with `*.depth.png`, `*.pose.txt`), TUM (`rgb/` with stamps as
    names), and plain folders. Stamps come from numeric TUM names, else from the order and `rate`.
    """

    def __init__(self, path: Path, rate: float = 10.0, depth: bool = False):
        super().__init__(str(path))
        self.images = list_images(path)
        if not self.images:
            raise SourceError(f"no images in {path} (looked for {', '.join(sorted(IMAGE_SUFFIXES))})")
        self.rate, self.depth = rate, depth
        self.intrinsics = read_intrinsics(path)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Frame]:
        seconds = [re.fullmatch(r"\d{9,}\.\d+", p.stem) for p in self.images]
        stamped = all(seconds)
        for k, path in enumerate(self.images):
            stamp = parse_stamp(path.stem) if stamped else nth_stamp(k, self.rate)
            try:
                rgb = decode_compressed(path.read_bytes())
                depth = self._depth_of(path) if self.depth else None
            except (ImageError, OSError) as error:
                self._skip(path.name, error)
                continue
            yield Frame(
                rgb, stamp, depth, Camera(self.intrinsics) if self.depth and self.intrinsics is not None else None
            )

    @staticmethod
    def _depth_of(path: Path) -> np.ndarray | None:
        other = path.with_name(re.sub(r"\.color\.\w+$", ".depth.png", path.name))
        if other == path:
            other = path.parent.parent / "depth" / f"{path.stem}.png"
        return decode_compressed_depth(other.read_bytes()) if other.is_file() else None


def list_images(path: Path) -> list[Path]:
    """The colour images of a folder in natural order (10 after 9)."""
    for inner in ("rgb", "color", "colour", "images"):
        if (path / inner).is_dir():
            path = path / inner
            break
    files = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
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
