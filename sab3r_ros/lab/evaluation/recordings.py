"""Recordings with true poses and measured depth, and labels where they have them: the truth that evaluations need."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.lab.evaluation.nyu40 import NYU40
from sab3r_ros.lab.evaluation.stream import VOID, GroundTruthView
from sab3r_ros.lab.evaluation.true_poses import true_poses
from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.depth_files import read_depth
from sab3r_ros.sources.encodings import ImageError, decode_compressed
from sab3r_ros.sources.folders import FolderSource

MAX_DEPTH = 4.0  # metres, beyond which a depth camera's own error is centimetres
_LABEL_MAP = "scannetv2-labels.combined.tsv"
UNKNOWN = -2  # in a table of labels: a number that may not occur
_LABEL_FOLDERS = ("label-filt", "label", "labels")


class TrueRecording:
    """A recording with a true pose of (nearly) every image: TUM, ICL-NUIM, Bonn, 7-Scenes, ScanNet, Replica, EuRoC.

    poses: (4,4) camera to world, None where unknown; intrinsics (3,3) or None. Raises SourceError without true poses.
    """

    def __init__(self, path: Path, rate: float = 30.0, max_depth: float = MAX_DEPTH):
        self.path, self.max_depth = Path(path), max_depth
        self.source = FolderSource(self.path, rate, depth=True)
        self.poses = true_poses(self.source, self.path)
        self.intrinsics = self.source.intrinsics
        self.depths = self.source.layout.depths
        self._shapes: dict[int, tuple[int, int]] = {}
        self.source.depth = False  # a mapper gets colour images alone

    def __len__(self) -> int:
        return len(self.source.images)

    @property
    def has_depth(self) -> bool:
        """Whether there are depth images and the matrix to make points of them."""
        return self.intrinsics is not None and any(self.depths)

    def image(self, number: int) -> np.ndarray:
        """Colour (H,W,3) uint8. Raises SourceError."""
        file = self.source.images[number]
        try:
            rgb = decode_compressed(file.read_bytes())
        except (ImageError, OSError) as error:
            raise SourceError(f"{file} cannot be read as an image: {error}") from error
        self._shapes[number] = rgb.shape[0], rgb.shape[1]
        return rgb

    def depth(self, number: int) -> np.ndarray:
        """Depth (H,W) float32 of an image in metres; 0 where there is none, or where it is too far. Raises SourceError."""
        file = self.depths[number]
        shape = self._shape(number)
        if file is None:
            return np.zeros(shape, np.float32)
        try:
            depth = read_depth(file, self.source.layout.factor, shape)
        except (ImageError, OSError) as error:
            raise SourceError(f"{file}: {error}") from error
        return np.where(np.isfinite(depth) & (depth <= self.max_depth), depth, 0).astype(np.float32)

    def _shape(self, number: int) -> tuple[int, int]:
        """Height and width of an image, which is decoded once for it."""
        if number not in self._shapes:
            self.image(number)
        return self._shapes[number]

    def view(self, number: int) -> GroundTruthView:
        """Depth, pose and matrix of an image. Raises SourceError where one is not known."""
        pose = self.poses[number]
        if pose is None or self.intrinsics is None:
            missing = "true pose" if pose is None else "intrinsics"
            raise SourceError(f"{self.source.images[number]} has no {missing}")
        return GroundTruthView(self.depth(number), pose, self.intrinsics)


class RecordedLabels:
    """A label of every pixel: labels.json with *.label.png, or ScanNet's label-filt folder with its label map.

    names: what label numbers mean. Raises SourceError where there are none, or where files do not belong together.
    """

    def __init__(self, source: FolderSource):
        path, self._images = Path(source.name), source.images
        names_file = _names_file(source)
        if names_file is not None:
            self.names, self._table = _json_names(names_file)
            self._files = [
                i.with_name(i.name.split(".color.")[0].removesuffix(i.suffix) + ".label.png") for i in self._images
            ]
            return
        folder = _label_folder(source)
        if folder is None:
            raise SourceError(
                f"{path} has no labels: labels.json with *.label.png, or {', '.join(_LABEL_FOLDERS)} with {_LABEL_MAP} (ScanNet), are read"
            )
        table = next((p / _LABEL_MAP for p in (path, *path.parents[:3]) if (p / _LABEL_MAP).is_file()), None)
        if table is None:
            raise SourceError(f"{folder} holds ScanNet's own label numbers; {_LABEL_MAP} is needed beside the scenes")
        self.names, self._table = list(NYU40), _scannet_table(table)
        self._files = [folder / f"{i.stem}.png" for i in self._images]

    @classmethod
    def beside(cls, source: FolderSource) -> "RecordedLabels | None":
        """The labels of a folder, None where it has none. Raises SourceError for what cannot be read."""
        return cls(source) if _names_file(source) or _label_folder(source) else None

    def image(self, number: int) -> np.ndarray:
        """Numbers into `names` (H,W), VOID where unlabelled. Raises SourceError."""
        file = self._files[number]
        values = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) if file.is_file() else None
        if values is None or values.ndim != 2:
            raise SourceError(f"{file} is missing or is no image of label numbers")
        if int(values.max(initial=0)) >= len(self._table) or (self._table[values] == UNKNOWN).any():
            known = values[values < len(self._table)]
            odd = sorted({int(v) for v in np.unique(known) if self._table[v] == UNKNOWN} | {int(v) for v in np.unique(values) if v >= len(self._table)})  # fmt: skip
            raise SourceError(f"{file} has label numbers that nothing names: {', '.join(map(str, odd[:5]))}")
        return self._table[values].astype(np.int64)


def _names_file(source: FolderSource) -> Path | None:
    files = (source.images[0].with_name("labels.json"), Path(source.name) / "labels.json")
    return next((f for f in files if f.is_file()), None)


def _label_folder(source: FolderSource) -> Path | None:
    path = Path(source.name)
    return next((path / f for f in _LABEL_FOLDERS if (path / f).is_dir()), None)


def _json_names(file: Path) -> tuple[list[str], np.ndarray]:
    try:
        ids = {int(k): str(name) for k, name in json.loads(file.read_text()).items() if int(k) != 0}
    except (ValueError, AttributeError, OSError) as error:
        raise SourceError(f"{file} is no table of label numbers and names: {error}") from error
    if not ids or min(ids) < 0 or max(ids) > 65535:
        raise SourceError(f"{file} names no labels, or numbers outside 1 to 65535")
    table = np.full(max(max(ids), 255) + 1, UNKNOWN)
    table[0] = VOID
    table[list(ids)] = range(len(ids))
    return list(ids.values()), table


def _scannet_table(file: Path) -> np.ndarray:
    """ScanNet's label numbers to NYU40's, which begin at 0 here; what has none is VOID."""
    table = np.full(65536, VOID)
    try:
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                nyu = int(row["nyu40id"] or 0)
                if 1 <= nyu <= len(NYU40):
                    table[int(row["id"])] = nyu - 1
    except (KeyError, ValueError, IndexError, TypeError, OSError) as error:
        raise SourceError(f"{file} is no label map of ScanNet (columns id and nyu40id): {error}") from error
    return table


def scenes_of(folder: Path) -> list[Path]:
    """The scenes of a data set: `folder` itself where it holds images, else its folders of images, in order.

    Raises SourceError where there are none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder")
    for place in (folder, folder / "scans"):
        try:
            FolderSource(place, 30.0)
            return [place]
        except (SourceError, OSError):
            inside = [p for p in sorted(place.iterdir()) if p.is_dir()] if place.is_dir() else []
        scenes = [p for p in inside if _is_scene(p)]
        if scenes:
            return scenes
    raise SourceError(f"no recordings in {folder}: a folder of images, or a folder of such folders, is expected")


def _is_scene(path: Path) -> bool:
    try:
        FolderSource(path, 30.0)
    except (SourceError, OSError):
        return False
    return not re.fullmatch("|".join((*_LABEL_FOLDERS, "depth", "pose", "intrinsic")), path.name)
