"""A pose graph: where cameras are by their relative poses alone, for a start from which bundle adjustment finds its way.

A track that broke, before a blank wall, say, leaves a part of the map metres from where it belongs. What is seen again later tells
so, but bundle adjustment takes matches that miss by half an image for wrong ones. Here every pair of keyframes that match
has a relative pose by PnP (the network's points of one, the keypoints of the other); the tree of the pairs with most
agreeing matches gives a start that owes nothing to the track, and Levenberg-Marquardt with Cauchy's robust function makes the pairs agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from sab3r_ros.geometry.pointmaps import pose_from_pnp
from sab3r_ros.mapping.adjustment.bundle import Lens, ViewMotion

_MISSES = 0.1  # of the image's width: a pair whose matches miss by more, at the median, contradicts the poses
_CONTRADICT, _FEWEST_CONTRADICT = 0.02, 5  # share and number of such pairs from which poses are looked for anew
_AGREES = 0.02  # of the image's width, of a match with a pair's relative pose: points are as deep as a network says
_SURE = 30  # matches that agree on it: of 320 such pairs 2 were wrong, of those with 12 to 20 a fifth to a half (a chequered floor)
_TRIES = 100  # samples of RANSAC
_MOST = 1200  # pairs that are asked
_PAIR_STD = 0.03, 0.08  # radians and metres of a relative pose by PnP
_TRACK_STD = 0.3, 0.3  # of neighbours that share no matches: what the track says of them
_FIXED_STD = 1e-4
_BY_ODOMETRY = 30  # matches that odometry between neighbours is worth, when the tree is chosen
_ANNEALED = (30.0, 8.0, 2.0)  # of Cauchy's function, in standard deviations


@dataclass(frozen=True)
class MatchedPair:
    """Two views by number: points (M,3) of the first, in its camera and the map's unit, and the pixels (M,2) of the second that see them."""

    first: int
    second: int
    points: np.ndarray
    pixels: np.ndarray


@dataclass(frozen=True)
class PoseGraph:
    """poses (V,4,4): rigid, camera to map, as the track has them; free (V,) bool: which may move; motions: by odometry."""

    poses: np.ndarray
    free: np.ndarray
    pairs: tuple[MatchedPair, ...]
    motions: tuple[ViewMotion, ...]
    lens: Lens


@dataclass(frozen=True)
class _Link(ViewMotion):
    """matches: how many agree on it, or what it is worth beside those."""

    matches: float


def is_contradicted(graph: PoseGraph) -> bool:
    """Whether many pairs of views match that could not, if the cameras stood at its poses."""
    return _many(_contradicted(graph.pairs, graph.poses, graph.lens), len(graph.pairs))


def solve_pose_graph(graph: PoseGraph) -> np.ndarray | None:
    """Poses (V,4,4) at which the pairs with many matches agree; None where they do as it is, or where no poses are found at which they do.

    Raises ImportError where GTSAM is not installed.
    """
    step = -(-len(graph.pairs) // _MOST)
    by_matches = [(pair, _relative(pair, graph.lens)) for pair in graph.pairs[::step]]
    sure = [(pair, link) for pair, link in by_matches if link is not None]
    pairs = [pair for pair, _ in sure]
    before = _contradicted(pairs, graph.poses, graph.lens)
    if not _many(before, len(pairs)):
        return None
    links = _links(graph, [link for _, link in sure])
    found = _optimised(graph, links, _from_tree(graph, links))
    if not np.isfinite(found).all() or 2 * _contradicted(pairs, found, graph.lens) > before:
        return None
    return found


def _many(contradicted: int, pairs: int) -> bool:
    return contradicted >= max(_FEWEST_CONTRADICT, _CONTRADICT * pairs)


def _contradicted(pairs: Sequence[MatchedPair], poses: np.ndarray, lens: Lens) -> int:
    """How many pairs miss each other by far, if the cameras stand at poses (V,4,4)."""
    limit = _MISSES * 2 * lens.u
    relative = [np.linalg.inv(poses[pair.first]) @ poses[pair.second] for pair in pairs]
    return sum(float(np.median(_misses(p, r, lens))) > limit for p, r in zip(pairs, relative, strict=True))


def _links(graph: PoseGraph, by_matches: list[_Link]) -> list[_Link]:
    """Relative poses of matching pairs, by odometry, and, for want of both, of neighbours by the track."""
    links = [_Link(m.first, m.second, m.pose, m.std, _BY_ODOMETRY) for m in graph.motions] + by_matches
    known = {(link.first, link.second) for link in links}
    for first in range(len(graph.poses) - 1):
        if (first, first + 1) not in known:
            relative = np.linalg.inv(graph.poses[first]) @ graph.poses[first + 1]
            links.append(_Link(first, first + 1, relative, _TRACK_STD, 1))
    return links


def _relative(pair: MatchedPair, lens: Lens) -> _Link | None:
    """The pose of a pair's second camera in its first, by PnP; None where too few matches agree."""
    limit = _AGREES * 2 * lens.u
    centre = lens.u, lens.v
    pose = pose_from_pnp(pair.points, pair.pixels, lens.pinhole_focal, centre, _TRIES, limit)
    if pose is None:
        return None
    agree = _misses(pair, pose, lens) < limit
    if agree.sum() < _SURE:
        return None
    inverse = np.linalg.inv(pose)
    turn, shift = cv2.solvePnPRefineLM(
        pair.points[agree], pair.pixels[agree], lens.matrix, lens.distortion,
        cv2.Rodrigues(inverse[:3, :3])[0], inverse[:3, 3:].copy(),
    )  # fmt: skip
    inverse[:3, :3], inverse[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    pose = np.linalg.inv(inverse)
    agree = _misses(pair, pose, lens) < limit
    return _Link(pair.first, pair.second, pose, _PAIR_STD, float(agree.sum())) if agree.sum() >= _SURE else None


def _misses(pair: MatchedPair, pose: np.ndarray, lens: Lens) -> np.ndarray:
    """Pixels (M,) by which the second view's keypoints miss, with its camera (4,4) in the first one's."""
    seen = lens.project((pair.points - pose[:3, 3]) @ pose[:3, :3])
    return np.nan_to_num(np.linalg.norm(seen - pair.pixels, axis=1), nan=np.inf)


def _from_tree(graph: PoseGraph, links: list[_Link]) -> np.ndarray:
    """Poses (V,4,4) along the tree of the links with most matches, from the first view that is held."""
    count, root = len(graph.poses), int(np.argmin(graph.free))
    best: dict[tuple[int, int], _Link] = {}
    for link in sorted(links, key=lambda link: link.matches):
        best[link.first, link.second] = link
    cost = coo_matrix(([1 / link.matches for link in best.values()], np.array(list(best)).T), (count, count))
    tree = minimum_spanning_tree(cost)
    order, before = breadth_first_order(tree, root, directed=False)
    poses = graph.poses.copy()
    for view in order[1:].tolist():
        parent = int(before[view])
        if not graph.free[view]:
            continue
        ahead = best.get((parent, view))
        relative = np.linalg.inv(best[view, parent].pose) if ahead is None else ahead.pose
        poses[view] = poses[parent] @ relative
    return poses


def _optimised(graph: PoseGraph, links: list[_Link], start: np.ndarray) -> np.ndarray:
    """Poses (V,4,4) at which the links agree best, from these on; the kernel becomes narrower from round to round."""
    import gtsam
    from gtsam.symbol_shorthand import X

    noise = gtsam.noiseModel
    fixed = noise.Isotropic.Sigma(6, _FIXED_STD)
    for width in _ANNEALED:
        cauchy = noise.mEstimator.Cauchy.Create(width)
        factors, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        for view, pose in enumerate(start):
            values.insert(X(view), gtsam.Pose3(pose))
            if not graph.free[view]:
                factors.add(gtsam.PriorFactorPose3(X(view), gtsam.Pose3(graph.poses[view]), fixed))
        for link in links:
            model = noise.Robust.Create(cauchy, noise.Diagonal.Sigmas(np.repeat(link.std, 3)))
            factors.add(gtsam.BetweenFactorPose3(X(link.first), X(link.second), gtsam.Pose3(link.pose), model))
        found = gtsam.LevenbergMarquardtOptimizer(factors, values, gtsam.LevenbergMarquardtParams()).optimize()
        start = np.array([found.atPose3(X(view)).matrix() for view in range(len(start))])
    return start
