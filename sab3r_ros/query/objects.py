"""Objects found in a map: what they are made of, their boxes, and ids that stay."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.types import MapSnapshot

_SURROUNDINGS = 0.4  # metres: what is farther from an object cannot be in a gripper's way
_SAME_OBJECT = 0.3  # share of the smaller one's voxels that two answers must have in common
_REMEMBERED = 200  # objects per label
BOX_EDGES = [(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit]  # of `box_corners`


@dataclass(frozen=True)
class LocatedObject:
    """A connected set of voxels that answers a prompt.

    id: stays while the map lives; label: the prompt; score in [0,1]: mean relevancy of its voxels; probability that it is what
    was asked for; centroid (3,); box_pose
    (4,4): rigid, z up, of the oriented box's middle, size (3,) along its axes in metres; points (N,3); rgb (N,3) uint8;
    views (N,): keyframes that saw each voxel; last_seen: stamp (ns) of the newest image that saw it; rows (N,): numbers of its
    voxels in the map; index (N,): into the snapshot it was found in.
    """

    id: str
    label: str
    prompt_index: int
    score: float
    probability: float
    centroid: np.ndarray
    box_pose: np.ndarray
    size: np.ndarray
    points: np.ndarray
    rgb: np.ndarray
    views: np.ndarray
    last_seen: int
    rows: np.ndarray
    index: np.ndarray


class ObjectIds:
    """Gives objects the id of the object they overlap in an earlier answer, else a new one."""

    def __init__(self) -> None:
        self._map = -1
        self._known: dict[str, dict[int, np.ndarray]] = {}
        self._next: dict[str, int] = {}

    def assign(self, map_uid: int, label: str, objects: list[np.ndarray]) -> list[str]:
        """Ids of objects, given as arrays of voxel numbers (N,) without common ones; another map forgets all of them."""
        if map_uid != self._map:
            self._map, self._known, self._next = map_uid, {}, {}
        known = self._known.setdefault(label, {})
        overlaps = []
        owner = np.repeat(np.arange(len(objects)), [len(rows) for rows in objects])
        voxels = np.concatenate([*objects, np.zeros(0, np.int64)])
        order = np.argsort(voxels, kind="stable")
        owner, voxels = owner[order], voxels[order]
        for number, old in known.items():
            at = np.searchsorted(voxels, old)
            same = at < len(voxels)
            same[same] = voxels[at[same]] == old[same]
            for k, common in enumerate(np.bincount(owner[at[same]], minlength=len(objects)).tolist()):
                if common and common >= _SAME_OBJECT * min(len(objects[k]), len(old)):
                    overlaps.append((-common, k, number))
        found: dict[int, int] = {}
        for _, k, number in sorted(overlaps):
            if k not in found and number not in found.values():
                found[k] = number
        for k, rows in enumerate(objects):
            if k not in found:
                found[k] = self._next.get(label, 0)
                self._next[label] = found[k] + 1
            known.pop(found[k], None)  # the newest last, so that the oldest are forgotten first
            known[found[k]] = rows
        for number in list(known)[:-_REMEMBERED]:
            del known[number]
        return [f"{label}-{found[k]}" for k in range(len(objects))]


def describe_object(
    snapshot: MapSnapshot, index: np.ndarray, score: float, probability: float, label: str = "", number: str = ""
) -> LocatedObject:
    """The object that consists of voxels `index` (N,) of a snapshot."""
    points = snapshot.points[index]
    pose, size = upright_box(points)
    return LocatedObject(
        number, label, 0, score, probability, points.mean(0), pose, size, points, snapshot.colours[index],
        snapshot.column("hits").numpy()[index], int(snapshot.column("stamp").numpy()[index].max()),
        snapshot.rows.numpy()[index], index,
    )  # fmt: skip


def whole_region(snapshot: MapSnapshot) -> list[LocatedObject]:
    """All voxels of a snapshot as one object; none where it has none."""
    if not len(snapshot):
        return []
    return [describe_object(snapshot, np.arange(len(snapshot)), 1.0, 1.0, "region of interest", "region")]


def upright_box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest box (pose (4,4), size (3,)) around points (N,3) that stands upright in a z-up frame."""
    (cx, cy), (width, depth), angle = cv2.minAreaRect(points[:, :2].astype(np.float32))
    low, high = points[:, 2].min(), points[:, 2].max()
    yaw = np.deg2rad(angle)
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:3, 3] = cx, cy, (low + high) / 2
    return pose, np.array([width, depth, high - low])


def box_corners(pose: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Corners (8,3) of a box with pose (4,4) and size (3,); two share an edge where their numbers differ in one bit."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * size
    return corners @ pose[:3, :3].T + pose[:3, 3]


def surroundings(points: np.ndarray, cloud: np.ndarray, radius: float = _SURROUNDINGS) -> np.ndarray:
    """Those of a cloud (M,3) within `radius` metres of points (N,3) that are none of them; what is not finite is left out."""
    points, cloud = (x[np.isfinite(x).all(1)] for x in (points, cloud))
    if not len(points) or not len(cloud):
        return cloud[:0]
    near = ((cloud >= points.min(0) - radius) & (cloud <= points.max(0) + radius)).all(1)
    cloud = cloud[near]
    distance = cKDTree(points).query(cloud, distance_upper_bound=radius)[0]
    return cloud[(distance > 1e-3) & np.isfinite(distance)]
