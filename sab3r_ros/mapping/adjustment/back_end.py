"""The back end: which keyframes to compare, what to adjust, and what came of it."""

import threading
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import torch

from sab3r_ros.config import AdjustmentSettings
from sab3r_ros.geometry.sim3 import split_sim3
from sab3r_ros.mapping.adjustment.bundle import BundleProblem, BundleSolution, Lens, ViewMotion
from sab3r_ros.mapping.adjustment.pose_graph import MatchedPair, PoseGraph
from sab3r_ros.mapping.adjustment.tracks import MIN_INLIERS, Tracks, build_tracks, thinned, verified_match
from sab3r_ros.mapping.depth_grid import correction_factors
from sab3r_ros.mapping.odometry import Odometry
from sab3r_ros.types import Keyframe

_NEWEST = 5  # keyframes before each that it is compared with, wherever they look
_NEIGHBOURS = 16  # more of them whose cameras look at the same places, by the map as it is
_SIMILAR = 6  # more of them whose global descriptors are most alike
_PARTNERS = 30  # older keyframes that hold a window in place
_LOOP_INLIERS = 40  # matches that a pair needs which the map does not expect to look at the same place
_PAIRS_A_KEYFRAME = 2  # matching pairs: fewer make a chain, which tracking knows better than an adjustment
LOOP = 15  # keyframes between two that see the same place, from which on a pair counts as a loop
_FEW = 60  # observations below which nothing is adjusted
_LARGEST_LOG_SCALE = 0.5  # of one keyframe's depth
_MIN_RANGES = 15  # observations that tell a keyframe's depth scale
_EDGE, _EDGE_REACH = 0.08, 0.01  # step of depth, and how near, of the image's width, that make a pixel one of an edge
_FEWEST_POINTS = 12  # of a pair, with depth, that tell how its cameras stand to each other
_GRID = 12  # points a side of a keyframe that tell what other cameras see of it


class Pair(NamedTuple):
    """Ids of two keyframes, the older one first."""

    older: int
    newer: int


@dataclass
class MatchStore:
    """Matches of pairs of keyframes that were compared, None where there are too few; kept between adjustments."""

    found: dict[Pair, np.ndarray | None] = field(default_factory=dict)

    def compare(self, older: Keyframe, newer: Keyframe, least: int) -> None:
        """Match a pair that was not compared before; fewer than `least` matches are none."""
        pair = Pair(older.id, newer.id)
        if pair not in self.found and older.keypoints is not None and newer.keypoints is not None:
            self.found[pair] = verified_match(older.keypoints, newer.keypoints, least)

    def forget(self, keyframe: int) -> None:
        """Forget a keyframe that was let go."""
        self.found = {p: m for p, m in self.found.items() if keyframe not in (p.older, p.newer)}

    def among(self, ids: Container[int]) -> Iterator[tuple[Pair, np.ndarray]]:
        """The pairs of these keyframes that match."""
        for pair, match in self.found.items():
            if match is not None and pair.older in ids and pair.newer in ids:
                yield pair, match


@dataclass(frozen=True)
class Adjustment:
    """What an adjustment found: poses (4,4) by keyframe id, similarities as `Keyframe.pose`; the lens; the similarity (4,4)
    that brought the solution to metres; root mean square error in pixels."""

    poses: dict[int, np.ndarray]
    lens: Lens
    to_metres: np.ndarray
    pixel_error: float


@dataclass(frozen=True)
class Prepared:
    """A problem, the keyframes and tracks it was made of, the matches of their pairs, and how many of these are far apart in time.

    units (K,): what makes lengths in a keyframe's pointmap to those that are expected of it in the map.
    """

    keyframes: list[Keyframe]
    tracks: Tracks
    problem: BundleProblem
    units: np.ndarray
    matches: dict[tuple[int, int], np.ndarray]
    loops: int

    @property
    def pairs(self) -> int:
        """Number of keyframes' pairs that match."""
        return len(self.matches)


def prepare(
    keyframes: list[Keyframe],
    lens: Lens,
    known: bool,
    store: MatchStore,
    settings: AdjustmentSettings,
    metres: float | None,
    window: int = 0,
    held: Container[int] = (),
    stop: threading.Event | None = None,
    odometry: Odometry | None = None,
) -> Prepared | None:
    """The problem over keyframes with keypoints, oldest first; None where too little matches.

    lens: as far as it is known; known: whether it is a calibration. metres: the map's unit over the network's; None where depth
    was measured, which is in every keyframe's pose. window: only the newest so many move, and those that share points with
    them hold the map in place; 0 = all but the first move. held: ids of keyframes that stay where they are; stop: once it
    is set, None comes as soon as may be; odometry: motions between keyframes. Keyframes of another image size than the newest one's are left out.
    """
    usable = [k for k in keyframes if k.keypoints is not None and k.points.shape == keyframes[-1].points.shape]
    if len(usable) < 3:
        return None
    newest = max(len(usable) - window, 0) if window else 0
    pairs = _pairs(usable, lens, newest)
    for a, b, expected in pairs:
        if stop is not None and stop.is_set():
            return None
        store.compare(usable[a], usable[b], MIN_INLIERS if expected else _LOOP_INLIERS)
    chosen = usable if not window else _with_partners(usable, newest, store)
    number = {k.id: n for n, k in enumerate(chosen)}
    matches = {(number[p.older], number[p.newer]): m for p, m in store.among(number)}
    tracks = build_tracks([len(k.keypoints) for k in chosen], matches)  # type: ignore[arg-type]
    with_matches = len({view for pair in matches for view in pair})
    if len(tracks.track) < _FEW or len(matches) < _PAIRS_A_KEYFRAME * with_matches:
        return None
    tracks = tracks.where(thinned(tracks, len(chosen), settings.points_per_keyframe)[tracks.track])
    oldest_free = usable[newest].id
    free = np.array([bool(newest) and k.id >= oldest_free for k in chosen])
    if not newest:
        free[1:] = True
    free &= np.array([k.id not in held for k in chosen])
    if free.all() or not free.any():
        return None
    loops = sum(newer - older > LOOP for older, newer in matches)
    units = np.array([_rigid(k)[0] if metres is None else metres / k.depth_factor for k in chosen])
    problem = _problem(chosen, tracks, free, lens, known, units, odometry or Odometry())
    return Prepared(chosen, tracks, problem, units, matches, loops)


def _with_partners(keyframes: list[Keyframe], newest: int, store: "MatchStore") -> list[Keyframe]:
    """The keyframes from `newest` on, and the older ones that share most matches with them."""
    window = {k.id for k in keyframes[newest:]}
    shared: Counter[int] = Counter()
    for pair, match in store.found.items():
        if match is not None and pair.newer in window and pair.older not in window:
            shared[pair.older] += len(match)
    partners = {number for number, _ in shared.most_common(_PARTNERS)}
    return [k for k in keyframes if k.id in window or k.id in partners]


def _pairs(keyframes: list[Keyframe], lens: Lens, newest: int) -> list[tuple[int, int, bool]]:
    """Pairs of keyframes to compare, and whether the map expects them to look at the same place."""
    shared = _shared_views(keyframes, lens, newest)
    descriptors = torch.stack([k.descriptor for k in keyframes]).cpu().numpy()
    pairs = []
    for b in range(max(newest, 1), len(keyframes)):
        seen = shared[b, :b]
        close = set(range(max(0, b - _NEWEST), b))
        close |= {int(a) for a in np.argsort(-seen, kind="stable")[:_NEIGHBOURS] if seen[a] > 0.1}
        alike = descriptors[:b] @ descriptors[b] if descriptors.shape[1] else np.zeros(0)
        further = [int(a) for a in np.argsort(-alike, kind="stable")[:_SIMILAR]]
        pairs += [(a, b, True) for a in sorted(close)] + [(a, b, False) for a in further if a not in close]
    return pairs


def _shared_views(keyframes: list[Keyframe], lens: Lens, newest: int) -> np.ndarray:
    """Share (K,K) of the points of keyframe j that lie inside the image of keyframe i, for i from `newest` on."""
    poses, clouds = [], []
    for keyframe in keyframes:
        scale, pose = _rigid(keyframe)
        poses.append(pose)
        h, w = keyframe.points.shape[:2]
        rows, columns = (np.linspace(0, n - 1, _GRID).round().astype(int) for n in (h, w))
        points = keyframe.points[rows][:, columns].reshape(-1, 3).double().cpu().numpy() * scale
        clouds.append(points @ pose[:3, :3].T + pose[:3, 3])
    world = np.concatenate(clouds)
    shared = np.zeros((len(keyframes), len(keyframes)))
    width, height = 2 * lens.u + 1, 2 * lens.v + 1
    for i in range(newest, len(keyframes)):
        pixel = lens.project((world - poses[i][:3, 3]) @ poses[i][:3, :3])
        with np.errstate(invalid="ignore"):
            inside = ((pixel >= 0) & (pixel <= [width - 1, height - 1])).all(1)
        shared[i] = inside.reshape(len(keyframes), -1).mean(1)
    return shared


def _rigid(keyframe: Keyframe) -> tuple[float, np.ndarray]:
    """Scale and rigid pose (4,4) of a keyframe."""
    scale, rotation, translation = split_sim3(keyframe.host_pose)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.numpy(), translation.numpy()
    return float(scale), pose


def _problem(
    keyframes: list[Keyframe], tracks: Tracks, free: np.ndarray, lens: Lens, known: bool, units: np.ndarray,
    odometry: Odometry,
) -> BundleProblem:  # fmt: skip
    pixels = np.zeros((len(tracks.track), 2))
    ranges = np.full(len(tracks.track), np.nan)
    for number, keyframe in enumerate(keyframes):
        mine = tracks.view == number
        assert keyframe.keypoints is not None
        pixels[mine] = keyframe.keypoints.pixels[tracks.keypoint[mine]]
        ranges[mine] = predicted_ranges(keyframe, pixels[mine], lens) * units[number]
    joined, motions = [], []
    for number, (older, newer) in enumerate(pairwise(keyframes)):
        motion = odometry.motion(older.id, newer.id) if newer.id == older.id + 1 else None
        if motion is None:
            joined.append((number, number + 1))
        else:
            motions.append(ViewMotion(number, number + 1, motion.pose, motion.std))
    sigma = max(k.keypoints.sigma for k in keyframes if k.keypoints is not None)
    poses = np.stack([_rigid(k)[1] for k in keyframes])
    return BundleProblem(
        poses, free, tracks.track, tracks.view, pixels, sigma, ranges, lens, known,
        np.array(joined, int).reshape(-1, 2), tuple(motions),
    )  # fmt: skip


def pose_graph_of(prepared: Prepared) -> PoseGraph:
    """The pairs of a problem's keyframes that match, with the points that the network sees at their keypoints."""
    problem = prepared.problem
    pixels, points = [], []
    for keyframe, unit in zip(prepared.keyframes, prepared.units, strict=True):
        assert keyframe.keypoints is not None
        seen = keyframe.keypoints.pixels
        pixels.append(np.asarray(seen, np.float64))
        ranges = predicted_ranges(keyframe, seen, problem.lens) * unit
        points.append(problem.lens.rays(seen) * ranges[:, None])
    pairs = []
    for (older, newer), match in prepared.matches.items():
        known = match[np.isfinite(points[older][match[:, 0], 0])]
        pairs.append(MatchedPair(older, newer, points[older][known[:, 0]], pixels[newer][known[:, 1]]))
    usable = tuple(pair for pair in pairs if len(pair.points) >= _FEWEST_POINTS)
    return PoseGraph(problem.poses, problem.free, usable, problem.motions, problem.lens)


def predicted_ranges(keyframe: Keyframe, pixels: np.ndarray, lens: Lens) -> np.ndarray:
    """Distances (N,) from the camera at pixels (N,2), in the unit of the keyframe's pointmap, as they were before any adjustment.

    NaN where it has none, and at edges of depth, where it lies between what is near and what is far.
    """
    column, row = np.round(pixels).astype(int).T
    depth = network_depth(keyframe)
    around = np.ones([2 * max(1, round(_EDGE_REACH * depth.shape[-1])) + 1] * 2, np.uint8)
    largest, smallest = cv2.dilate(depth, around), cv2.erode(depth, around)
    found = depth[row, column]
    smooth = (smallest[row, column] > 1e-3) & (largest[row, column] < (1 + _EDGE) * smallest[row, column])
    return np.where(smooth, found, np.nan) / lens.rays(pixels)[:, 2]


def network_depth(keyframe: Keyframe) -> np.ndarray:
    """Depth (h,w) of a keyframe's pointmap without the correction of an earlier adjustment, which must not confirm itself; 0 for NaN."""
    depth = np.nan_to_num(keyframe.host_depth.numpy())
    if keyframe.depth_correction is None:
        return depth
    return depth / correction_factors(keyframe.depth_correction, depth.shape)


def finished(prepared: Prepared, solution: BundleSolution, rescale: bool) -> Adjustment:
    """The similarities of all keyframes after a solution.

    rescale: bring the whole map to the unit in which the keyframes' expected ranges are right on average, about the first
    keyframe; otherwise the unit stays that of the keyframes which were held.
    """
    problem, tracks, count = prepared.problem, prepared.tracks, len(prepared.keyframes)
    offset = solution.points[tracks.track] - solution.poses[tracks.view, :3, 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(np.linalg.norm(offset, axis=1) / problem.ranges)
    told = solution.inliers & np.isfinite(ratio)
    scales = np.full(count, np.nan)
    for view in range(count):
        mine = told & (tracks.view == view)
        if mine.sum() >= _MIN_RANGES:
            scales[view] = np.median(ratio[mine])
    before = np.log([_rigid(k)[0] for k in prepared.keyframes] / prepared.units)
    middle = float(np.nanmedian(scales)) if np.isfinite(scales).any() else float(np.median(before))
    scales = np.clip(scales, middle - _LARGEST_LOG_SCALE, middle + _LARGEST_LOG_SCALE)
    if np.isfinite(scales).any():
        middle = float(np.nanmean(scales))
    change = -middle if rescale else 0.0
    scales = np.where(np.isfinite(scales), scales, before - np.median(before) + middle) + change
    to_metres = np.diag([np.exp(change)] * 3 + [1.0])
    to_metres[:3, 3] = solution.poses[0, :3, 3] * (1 - np.exp(change))
    moved = {}
    for number, keyframe in enumerate(prepared.keyframes):
        if rescale or problem.free[number]:
            pose = rescaled(to_metres, solution.poses[number])
            pose[:3, :3] *= np.exp(scales[number]) * prepared.units[number]
            moved[keyframe.id] = pose
    seen = np.einsum("nji,nj->ni", solution.poses[tracks.view, :3, :3], offset)[solution.inliers]
    error = ((solution.lens.project(seen) - problem.pixels[solution.inliers]) ** 2).sum(1)
    rms = float(np.sqrt(error.mean())) if len(error) else float("nan")
    return Adjustment(moved, solution.lens, to_metres, rms)


def rescaled(to_metres: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """A rigid pose (4,4) after a change of the map's unit (4,4): it moves, and stays rigid."""
    out = to_metres @ pose
    out[:3, :3] = pose[:3, :3]
    return out
