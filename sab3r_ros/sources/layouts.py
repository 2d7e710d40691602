"""Layouts of recorded folders: where images, depth and calibration lie, and what depth values mean."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from sab3r_ros.sources.base import IMAGE_SUFFIXES, SourceError
from sab3r_ros.sources.calibration import read_camera, replica_depth_scale
from sab3r_ros.sources.depth_files import DEPTH_SUFFIXES, is_measurement
from sab3r_ros.sources.stamps import parse_stamp, stamps_of_names
from sab3r_ros.types import Camera

IMAGE_FOLDERS = (
    "rgb",
    "color",
    "colour",
    "images",
    "image",
    "mav0/cam0/data",
    "cam0/data",
    "data",
    "results",
    "rgbd",
    "frames",
)
_DEPTH_FOLDERS = ("depth", "aligned_depth", "depth_aligned", "depths", "depth_images")
_NOT_COLOUR = re.compile(
    r"(^|[._-])(depth|disparity|label|labels|semantic|instance|mask|normals?|conf|confidence)(?![a-z])", re.I
)
_MILLIMETRES, _TUM, _REPLICA = 1000.0, 5000.0, 6553.5  # depth units per metre
_TOLERANCE = 20_000_000  # ns between an image and its depth image, as TUM's tools have it


@dataclass(frozen=True)
class Layout:
    """What lies in a folder.

    name: of the layout; images in order; depths: of every image, None where it has none; factor: depth units per metre of
    integer depth images (others are metres); stamps in ns and, in words, where they come from; camera: its calibration; problem: why
    a calibration that lies there is not used, "" where there is none or it is.
    """

    name: str
    images: list[Path]
    depths: list[Path | None]
    factor: float
    stamps: list[int]
    stamp_source: str
    camera: Camera | None
    problem: str = ""

    def describe(self) -> str:
        """One line for people."""
        found = sum(d is not None for d in self.depths)
        depth = f", {found} with depth ({self.factor:g} units per metre)" if found else ", no depth"
        camera = ", calibrated" if self.camera is not None else ""
        return f"layout {self.name}: {len(self.images)} images{depth}{camera}; stamps: {self.stamp_source}"


def recognise(path: Path, rate: float) -> Layout:
    """The layout of a folder; rate: images per second where nothing has stamps. Raises SourceError without images."""
    folder = next((path / inner for inner in IMAGE_FOLDERS if _has_images(path / inner)), path)
    images = list_images(folder)
    if not images:
        raise SourceError(_nothing_in(path))
    listed = _listed(path, images)
    if listed is not None:
        images, stamps, words = *listed, "rgb.txt"
    else:
        stamps, words = stamps_of_names([p.stem for p in images], rate)
    name, depths, factor = _depth_beside(path, folder, images)
    if name == "Record3D" and (told := _record3d_stamps(path / "metadata.json", len(images))):
        stamps, words = told, "metadata.json"
    candidates = (path, folder, folder.parent, path.parent if folder == path and path.name == "results" else path)
    camera, problem = None, ""
    try:
        camera = next((c for place in candidates if (c := read_camera(place)) is not None), None)
    except SourceError as error:
        problem = str(error)
    scale = next((s for place in candidates if (s := replica_depth_scale(place)) is not None), None)
    if scale and name == "Replica":
        factor = scale
    paired = _paired(images, depths, stamps if words in ("rgb.txt", "seconds in the names") else None)
    return Layout(name, images, paired, factor, stamps, words, camera, problem)


def list_images(folder: Path) -> list[Path]:
    """The colour images of a folder in natural order (10 after 9); depth, labels and masks beside them are left out."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    colour = [p for p in files if ".color." in p.name]
    plain = colour or [p for p in files if not re.search(r"\.(depth|label)\.", p.name)]
    photographs = {p.stem for p in plain if p.suffix.lower() in (".jpg", ".jpeg")}
    companions = {p for p in plain if p.suffix.lower() == ".png" and p.stem in photographs}
    named = {p for p in plain if _NOT_COLOUR.search(p.stem)}
    if len(named) < len(plain):
        numbers = {_number(p) for p in plain if p not in named} - {None}
        companions |= {p for p in named if _number(p) in numbers or is_measurement(p)}
    plain = [p for p in plain if p not in companions]
    return natural_order(plain)


def natural_order(files: Sequence[Path]) -> list[Path]:
    """Files with 10 after 9."""
    return sorted(
        files, key=lambda p: [(int(t), "") if t.isdigit() else (-1, t) for t in re.split(r"([0-9]+)", p.name)]
    )


def _number(path: Path) -> int | None:
    found = re.findall(r"[0-9]+", path.stem.partition(".")[0] or path.stem)
    return int(found[-1]) if found else None


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and any(p.suffix.lower() in IMAGE_SUFFIXES for p in folder.iterdir())


def _nothing_in(path: Path) -> str:
    inside = [p.name for p in sorted(path.iterdir()) if p.is_dir() and _has_images(p)]
    if inside:
        return f"no images in {path} itself; give one of its folders: {', '.join(inside[:5])}"
    names = ", ".join(sorted(IMAGE_SUFFIXES))
    return f"no images in {path} (looked for {names})"


def _listed(path: Path, images: list[Path]) -> tuple[list[Path], list[int]] | None:
    """Images and stamps of TUM's rgb.txt, None without one."""
    entries = _entries(path / "rgb.txt")
    if not entries:
        return None
    known = {p.name: p for p in images}
    rows = sorted((stamp, known.get(Path(name).name, path / name)) for stamp, name in entries)
    return [image for _, image in rows], [stamp for stamp, _ in rows]


def _entries(file: Path) -> list[tuple[int, str]]:
    """(stamp, name) of TUM's lists; [] where there is none or it is something else."""
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(errors="replace").splitlines():
        parts = line.split()
        if len(parts) >= 2 and re.fullmatch(r"[0-9]+(\.[0-9]+)?", parts[0]):
            rows.append((parse_stamp(parts[0]), parts[1]))
    return rows


def _record3d_stamps(file: Path, count: int) -> list[int]:
    """Stamps (ns) of Record3D's images: one each, else by its rate; [] where the file tells neither."""
    try:
        values = json.loads(file.read_text())
        seconds = [float(s) for s in values.get("frameTimestamps", ())]
        if len(seconds) != count or any(b <= a for a, b in pairwise(seconds)):
            seconds = [k / float(values["fps"]) for k in range(count)]
        return [round(s * 1e9) for s in seconds]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
        return []


def _depth_beside(path: Path, folder: Path, images: list[Path]) -> tuple[str, list[Path], float]:
    """The layout's name, its depth images, and what their values mean."""
    for root in dict.fromkeys((path, folder.parent)):
        for name in _DEPTH_FOLDERS:
            if (root / name).is_dir() and folder != root / name:
                files = _depth_files(root / name)
                if files and folder.name == "rgb" and name == "depth" and files[0].suffix != ".exr":
                    return "TUM", files, _TUM
                if files:
                    exr = files[0].suffix == ".exr"
                    return ("Record3D" if exr else "ScanNet"), files, 1.0 if exr else _MILLIMETRES
    beside = [p for p in _depth_files(folder) if p not in set(images)]
    if any(".depth." in p.name for p in beside):
        return "7-Scenes", [p for p in beside if ".depth." in p.name], _MILLIMETRES
    if any(p.suffix == ".depth" for p in beside):
        return "Record3D", [p for p in beside if p.suffix == ".depth"], 1.0
    depth = [p for p in beside if "depth" in p.stem.lower() and is_measurement(p)]
    if depth and images[0].stem.startswith("frame"):
        return "Replica", depth, _REPLICA
    if depth:
        return "NYU", depth, _MILLIMETRES
    stems = {p.stem for p in images}
    same = [p for p in beside if p.stem in stems and is_measurement(p)]
    if same:
        return "NYU", same, _MILLIMETRES
    if "cam0" in folder.parts:
        return "EuRoC", [], _MILLIMETRES
    return "plain folder", [], _MILLIMETRES


def _depth_files(folder: Path) -> list[Path]:
    return natural_order(
        [p for p in folder.iterdir() if p.suffix.lower() in DEPTH_SUFFIXES and not p.name.startswith(".")]
    )


def _paired(images: list[Path], depths: list[Path], stamps: list[int] | None) -> list[Path | None]:
    """The depth image of every image: by stamp where names are stamps, else by name or number."""
    if stamps is not None and depths and all(re.fullmatch(r"[0-9]+\.[0-9]+", d.stem) for d in depths):
        times, wanted = np.array([parse_stamp(d.stem) for d in depths]), np.array(stamps)
        order = np.argsort(times, kind="stable")
        after = np.searchsorted(times[order], wanted).clip(1 if len(times) > 1 else 0, len(times) - 1)
        before = (after - 1).clip(0)
        nearer = np.abs(times[order[before]] - wanted) <= np.abs(times[order[after]] - wanted)
        near = order[np.where(nearer, before, after)]
        return [depths[k] if abs(times[k] - s) <= _TOLERANCE else None for k, s in zip(near, wanted, strict=True)]
    by_name = {d.name.partition(".depth.")[0] if ".depth." in d.name else d.stem: d for d in depths}
    by_number = {_number(d): d for d in depths}
    return [
        by_name.get(p.name.partition(".color.")[0] if ".color." in p.name else p.stem) or by_number.get(_number(p))
        if depths else None
        for p in images
    ]  # fmt: skip
