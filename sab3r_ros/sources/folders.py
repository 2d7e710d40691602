"""Folders of images, with depth and intrinsics beside them where the layout has them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from sab3r_ros.sources.base import Source
from sab3r_ros.sources.depth_files import read_depth
from sab3r_ros.sources.encodings import ImageError, decode_compressed
from sab3r_ros.sources.layouts import recognise
from sab3r_ros.types import Frame


class FolderSource(Source):
    """Images of a folder in natural order; see `layouts` for the layouts that are understood.

    rate: images per second where nothing has stamps; depth: also read depth images and the calibration; depth_scale: depth
    units per metre, 0 = those of the layout. Raises SourceError.
    """

    def __init__(self, path: Path, rate: float = 10.0, depth: bool = False, depth_scale: float = 0.0):
        super().__init__(str(path))
        self.rate, self.depth = rate, depth
        self.layout = recognise(path, rate)
        if depth_scale:
            self.layout = replace(self.layout, factor=depth_scale)
        self.images = self.layout.images
        self.intrinsics = None if self.layout.camera is None else self.layout.camera.intrinsics
        self.note(self.layout.describe())
        if self.layout.problem:
            self.note(f"calibration left out: {self.layout.problem}")
        if depth and not any(self.layout.depths):
            self.note("no depth images found: --depth does nothing here")

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Frame]:
        camera = self.layout.camera if self.depth else None
        for path, depth, stamp in zip(self.images, self.layout.depths, self.layout.stamps, strict=True):
            try:
                rgb = decode_compressed(path.read_bytes())
            except (ImageError, OSError) as error:
                self.faults.add(path.name, error)
                continue
            yield Frame(rgb, stamp, self._depth(depth, rgb.shape[:2]), camera)

    def _depth(self, path: Path | None, shape: tuple[int, int]) -> np.ndarray | None:
        """An image's depth; one that cannot be read costs itself, not the image."""
        if not self.depth or path is None:
            return None
        try:
            return read_depth(path, self.layout.factor, shape)
        except (ImageError, OSError) as error:
            self.faults.add(f"depth {path.name}", error)
            return None
