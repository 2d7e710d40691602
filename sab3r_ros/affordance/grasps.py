"""Grasps of a parallel gripper: antipodal pairs of surface points, reached from where there is room."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.geometry.groups import perpendicular

_DIRECTIONS = 12  # approach directions tried around the closing axis
_PAIRS = 120  # candidate pairs looked at
_PALM_DEPTH = 0.05  # metres along the approach
_GAP = 0.002  # metres between an open finger and the surface


@dataclass(frozen=True)
class Gripper:
    """A parallel gripper in metres. max_width: opening; finger_*: a finger's size along approach, closing and the third
    axis; palm_reach: how far before the tips the palm begins; friction: half angle of the friction cone in radians."""

    max_width: float = 0.085
    finger_length: float = 0.045
    finger_thickness: float = 0.012
    finger_width: float = 0.02
    palm_reach: float = 0.045
    palm_width: float = 0.12
    insertion: float = 0.02
    friction: float = 0.45
    clearance: float = 0.1

    @property
    def reach(self) -> float:
        """Radius in metres around a grasp within which something can be in the way."""
        return self.palm_reach + _PALM_DEPTH + self.clearance + self.max_width / 2


@dataclass
class Grasp:
    """pose (4,4): origin midway between the finger TIPS, +z the approach from palm to object, +y the closing direction.

    contacts (2,3): where the fingers touch; width: distance between them; depth: how far the tips reach past the
    contacts; approach_distance: free way before contact, at most the gripper's clearance; score in [0, 1].
    """

    pose: np.ndarray
    contacts: np.ndarray
    width: float
    depth: float
    approach_distance: float
    score: float


def find_grasps(
    points: np.ndarray,
    normals: np.ndarray,
    scores: np.ndarray,
    rows: np.ndarray,
    gripper: Gripper | None = None,
    surroundings: np.ndarray | None = None,
    max_grasps: int = 5,
) -> list[Grasp]:
    """Grasps on the points `rows` of an object, best first and apart from each other; empty when none fits the gripper.

    points, normals (N,3) and scores (N,) of the whole object, metres; surroundings (M,3): what else the gripper must not
    touch.
    """  # fmt: skip
    gripper = gripper or Gripper()
    pairs = _antipodal_pairs(points, normals, scores, rows, gripper)
    obstacles = points if surroundings is None or not len(surroundings) else np.concatenate([points, surroundings])
    tree = cKDTree(obstacles)
    found: list[Grasp] = []
    best: list[Grasp] = []
    for a, b, quality in pairs:
        # A grasp scores at most its pair's quality, and these fall: nothing better can come any more.
        if best and len(best) == max_grasps and best[-1].score >= quality:
            break
        grasp = _best_approach(points[a], points[b], quality, gripper, obstacles, tree)
        if grasp is not None:
            found.append(grasp)
            best = _apart(sorted(found, key=lambda g: -g.score), max_grasps, 0.25 * gripper.max_width)
    return best


def _antipodal_pairs(points, normals, scores, rows, gripper):
    """Index pairs within the region whose normals face along the line between them, best first, with a quality in [0, 1]."""
    if len(rows) < 2:
        return []
    order = rows[np.argsort(-scores[rows])]
    seeds = order[:: max(1, len(order) // 120)]
    tree = cKDTree(points[rows])
    out = []
    cone = np.cos(gripper.friction)
    for a in seeds:
        near = rows[tree.query_ball_point(points[a], gripper.max_width)]
        line = points[near] - points[a]
        width = np.linalg.norm(line, axis=1)
        usable = width > 1e-4
        near, line, width = near[usable], line[usable] / width[usable, None], width[usable]
        facing = np.minimum(-(line @ normals[a]), (line * normals[near]).sum(1))  # fingers press against both normals
        for k in np.argsort(-facing)[:4]:
            if facing[k] >= cone:
                quality = float((facing[k] - cone) / (1 - cone)) * 0.5 + 0.5
                out.append((int(a), int(near[k]), quality * float(scores[a] + scores[near[k]]) / 2))
    out.sort(key=lambda p: -p[2])
    return out[:_PAIRS]


def _best_approach(first, second, quality, gripper, obstacles, tree):
    """The freest direction around the closing axis, preferably against the surface's outward normal; None where all collide."""
    middle, width = (first + second) / 2, float(np.linalg.norm(second - first))
    closing = (second - first) / max(width, 1e-9)
    side = perpendicular(closing)
    third = np.cross(closing, side)
    angle = np.arange(_DIRECTIONS)[:, None] * 2 * np.pi / _DIRECTIONS
    approach = np.cos(angle) * side + np.sin(angle) * third
    depth = min(gripper.insertion, gripper.finger_length / 2)
    near = obstacles[tree.query_ball_point(middle, gripper.reach)] - middle
    across = near @ closing
    # Most of what is around lies beside the gripper whichever way it comes.
    beside = np.abs(across) >= max(gripper.palm_width / 2, width / 2 + _GAP + gripper.finger_thickness)
    near, across = near[~beside], across[~beside]
    u, v = near @ side, near @ third
    free = _free_way(
        np.cos(angle) * v - np.sin(angle) * u, across, np.cos(angle) * u + np.sin(angle) * v - depth, width, gripper
    )
    outward = middle - obstacles[tree.query(middle, k=min(64, len(obstacles)))[1]].mean(0)
    facing = -(approach @ outward) / max(float(np.linalg.norm(outward)), 1e-6)
    score = quality * (
        0.6 + 0.2 * facing.clip(0, 1) + 0.1 * (-approach[:, 2]).clip(0, 1) + 0.1 * free / gripper.clearance
    )
    score[free <= 0] = 0
    best = int(score.argmax())
    if score[best] <= 0:
        return None
    pose = np.eye(4)
    pose[:3, :3] = np.stack([np.cross(closing, approach[best]), closing, approach[best]], 1)
    pose[:3, 3] = middle + depth * approach[best]
    return Grasp(pose, np.stack([first, second]), width, depth, float(free[best]), float(min(score[best], 1.0)))


def _free_way(x, y, z, width, gripper):
    """How far back from contact the open gripper can come straight, (D,) metres; 0 where it collides at contact.

    x (D,M), y (M,), z (D,M): obstacles in the frame of the tips of each direction, y closing, z approach, tips at z = 0.
    The fingers stand outside the contacts, the palm behind them.
    """
    inner = width / 2 + _GAP
    finger = (
        (np.abs(y) > inner) & (np.abs(y) < inner + gripper.finger_thickness) & (np.abs(x) < gripper.finger_width / 2)
    )
    palm = (np.abs(y) < gripper.palm_width / 2) & (np.abs(x) < gripper.finger_width)
    back = gripper.palm_reach + _PALM_DEPTH
    hit = (finger & (z < 0) & (z > -gripper.finger_length)) | (palm & (z < -gripper.palm_reach) & (z > -back))
    behind = np.where((finger | palm) & (z <= -back), -z - back, gripper.clearance).min(1, initial=gripper.clearance)
    return np.where(hit.any(1), 0.0, behind)


def _apart(grasps, count, distance):
    kept: list[Grasp] = []
    for grasp in grasps:
        if len(kept) == count:
            break
        if all(np.linalg.norm(grasp.pose[:3, 3] - k.pose[:3, 3]) > distance for k in kept):
            kept.append(grasp)
    return kept
