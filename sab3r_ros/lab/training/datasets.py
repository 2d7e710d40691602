"""The data sets that SAB3R can be trained on: household rooms, rendered or from a cache, and folders of posed RGB-D."""

import re
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.geometry.projection import scaled_intrinsics
from sab3r_ros.lab.synthetic.rooms import check_training_seeds
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.lab.training.groups import GroupSource, PosedView
from sab3r_ros.lab.training.view_cache import ViewCache, concepts
from sab3r_ros.sources.calibration import read_intrinsics

_SEVEN_SCENES = np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]])  # the data set's own constant, for 640 x 480
_NO_DEPTH = 65535
_FARTHEST_FRAME = 60  # frames between the members of a group


class HouseholdRooms(GroupSource):
    """Walks of four views rendered when they are asked for; group k is the room of seed `first_seed + k`.

    Raises ValueError when the seeds would reach the held-out ones.
    """

    def __init__(self, length: int, first_seed: int = 0, size=(128, 96), views: int = 4):
        check_training_seeds(first_seed, length)
        self.length, self.first_seed, self.size, self.views = length, first_seed, size, views

    def __len__(self):
        return self.length

    def group(self, index):
        sequence = render_sequence(self.first_seed + index, self.views, *self.size)
        concept = concepts(sequence.views, sequence.room.objects)
        return [
            PosedView(v.rgb, v.depth, v.cam2world, v.intrinsics, c)
            for v, c in zip(sequence.views, concept, strict=True)
        ]


class CachedRooms(GroupSource):
    """The walks of a `ViewCache`. Raises ValueError for one of another size."""

    def __init__(self, folder: Path, size=(128, 96)):
        self._arrays = ViewCache(folder).arrays
        height, width = self._arrays["depth"].shape[-2:]
        if (width, height) != tuple(size):
            raise ValueError(f"{folder} holds images of {width} x {height}, training needs {size[0]} x {size[1]}")

    def __len__(self):
        return len(self._arrays["rgb"])

    def group(self, index):
        rgb, depth, concept, pose, matrix = (
            np.array(self._arrays[k][index]) for k in ("rgb", "depth", "concept", "cam2world", "intrinsics")
        )
        return [
            PosedView(rgb[k], depth[k].astype(np.float32), pose[k], matrix[k], concept[k].astype(np.int64))
            for k in range(len(rgb))
        ]


class PosedFolder(GroupSource):
    """One scene of posed RGB-D: ScanNet's export (color/, depth/, pose/, intrinsic/) or 7-Scenes' sequence folder.

    Group k starts at usable frame k; its other members follow at random distances. Frames whose pose was lost are
    left out. Images are scaled and centre-cropped to `size`.
    Raises ValueError when the folder has neither layout, or fewer usable frames than a group needs.
    """

    def __init__(self, folder: Path, size=(128, 96), views: int = 4):
        self.folder, self.size, self.views = folder, size, views
        if (folder / "color").is_dir():
            self._frames = [self._scannet(p) for p in sorted((folder / "color").iterdir(), key=_number)]
            self._matrices = tuple(_matrix(folder / "intrinsic" / f"intrinsic_{k}.txt") for k in ("color", "depth"))
        else:
            self._frames = [self._seven_scenes(p) for p in sorted(folder.glob("*.color.*"), key=_number)]
            own = read_intrinsics(folder)
            self._matrices = (_SEVEN_SCENES if own is None else own,) * 2
        if not self._frames:
            raise ValueError(f"{folder} has neither color/, depth/, pose/ (ScanNet) nor *.color.png files (7-Scenes)")
        poses = [(f, _pose(f[2])) for f in self._frames]
        self._usable = [(color, depth, pose) for (color, depth, _), pose in poses if pose is not None]
        if len(self._usable) < views:
            raise ValueError(f"{folder} has {len(self._usable)} frames with a pose; a group needs {views}")

    def __len__(self):
        return len(self._usable)

    def group(self, index):
        rng = np.random.default_rng([index, 17])
        reach = min(_FARTHEST_FRAME, len(self._usable) - 1)
        others = rng.choice(reach, min(self.views - 1, reach), replace=False) + 1
        return [self._view(*self._usable[(index + k) % len(self._usable)]) for k in (0, *sorted(others.tolist()))]

    def _scannet(self, color):
        return color, self.folder / "depth" / f"{color.stem}.png", self.folder / "pose" / f"{color.stem}.txt"

    def _seven_scenes(self, color):
        stem = color.name.split(".color.")[0]
        return color, color.with_name(f"{stem}.depth.png"), color.with_name(f"{stem}.pose.txt")

    def _view(self, color, depth, pose):
        bgr, raw = cv2.imread(str(color)), cv2.imread(str(depth), cv2.IMREAD_UNCHANGED)
        if bgr is None or raw is None:
            raise ValueError(f"cannot read {color if bgr is None else depth}")
        metres = np.where(raw == _NO_DEPTH, 0, raw).astype(np.float32) / 1000
        rgb, matrix = _fitted(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), self._matrices[0], self.size, cv2.INTER_AREA)
        return PosedView(rgb, _registered(metres, self._matrices[1], matrix, self.size), pose, matrix)


def open_data(name: str, size=(128, 96)) -> list[GroupSource]:
    """The data sets that a name stands for: "rooms", "rooms:N" (the first N), or a folder.

    A folder is a cache of rendered views, a scene of posed RGB-D, or holds several such scenes.
    Raises ValueError when it is none of these.
    """
    if name.split(":")[0] == "rooms":
        count = name.partition(":")[2] or "1000000"
        if not count.isdigit():
            raise ValueError(f"rooms:N needs a number of rooms, got {name!r}")
        return [HouseholdRooms(int(count), size=size)]
    folder = Path(name)
    if not folder.is_dir():
        raise ValueError(f"no data set {name!r}: neither rooms nor a folder")
    if (folder / "done.npy").exists():
        return [CachedRooms(folder, size)]
    if (folder / "color").is_dir() or next(folder.glob("*.color.*"), None):
        return [PosedFolder(folder, size)]
    scenes = [
        p
        for p in sorted(folder.iterdir())
        if (p / "color").is_dir() or (p.is_dir() and next(p.glob("*.color.*"), None))
    ]
    if not scenes:
        raise ValueError(f"{folder} holds no rendered views and no posed RGB-D in ScanNet's or 7-Scenes' layout")
    return [PosedFolder(scene, size) for scene in scenes]


def _number(path):
    return [int(n) for n in re.findall(r"\d+", path.name)]


def _matrix(path):
    try:
        return np.loadtxt(path)[:3, :3]
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the intrinsics {path}: {error}") from error


def _pose(path):
    """The pose in a file, or None where tracking was lost."""
    try:
        pose = np.loadtxt(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the pose {path}: {error}") from error
    if pose.shape != (4, 4):
        raise ValueError(f"{path} is not a 4 x 4 pose")
    return pose if np.isfinite(pose).all() else None


def _fitted(image, intrinsics, size, interpolation):
    """Scale to cover `size` and crop its middle; the intrinsics follow."""
    height, width = image.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    resized = max(round(width * scale), size[0]), max(round(height * scale), size[1])
    left, top = (resized[0] - size[0]) // 2, (resized[1] - size[1]) // 2
    out = cv2.resize(image, resized, interpolation=interpolation)[top : top + size[1], left : left + size[0]]
    return out, scaled_intrinsics(intrinsics, (width, height), resized, (left, top))


def _registered(depth, depth_matrix, matrix, size):
    """Depth at the pixels of an image with another pinhole matrix and the same centre: the nearest pixel's."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(matrix).T
    u, v = (np.round((rays @ depth_matrix.T)[..., k]).astype(int) for k in (0, 1))
    inside = (u >= 0) & (v >= 0) & (u < depth.shape[1]) & (v < depth.shape[0])
    return np.where(inside, depth[v.clip(0, depth.shape[0] - 1), u.clip(0, depth.shape[1] - 1)], 0).astype(np.float32)
