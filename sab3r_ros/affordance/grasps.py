"""Grasps of a parallel gripper: hands that fit around the object, ranked by how likely it comes up in them."""

from dataclasses import dataclass

import cv2
import numpy as np

from sab3r_ros.affordance.clouds import evenly
from sab3r_ros.affordance.grasp_score import CONTACT, FEATURES, Thing, features_of, probability
from sab3r_ros.affordance.hand_fitting import PALM_DEPTH, fit_hands
from sab3r_ros.affordance.solid import solid_below
from sab3r_ros.affordance.surface import densified

_THINNED = 1200  # points that stand for the object where hands are fitted
_SOLID = 800  # points that stand for its inside
_EXAMINED = 12_000  # points that stand for it where they are looked at closely
_LOOKED_AT, _LOOKED_AT_ASKED = 300, 120  # hands looked at closely: anywhere, and at the asked part
_SOME, _MOST = 0.4, 0.7  # scores from which on points belong to the asked part, and share of the object that is no part
_GAP = 0.003  # metres between an open finger and a surface that is known exactly
_GAP_PER_NOISE = 2.0  # further metres per metre of the surface's standard deviation
_FEWEST = 4  # points between the fingers
_DENSE = 0.003  # metres between points from which on a surface is filled up
_STRAYS = 2  # points that may lie in a finger's way: noise, not surface
_TABLE_GAP = 0.001  # metres between an open hand and the table, whose height many points tell
_OPENING_GAP = 0.002  # metres that the hand opens beyond the object at least
_NEIGHBOUR = 0.012  # metres about a hand's part in which other things' points count as a collision
_MAP_SPACING = 0.012  # metres: the table's points lie within this of their height


@dataclass(frozen=True)
class Gripper:
    """A parallel gripper in metres. max_width: opening; finger_*: a finger's size along approach, closing and the third
    axis; palm_reach: how far before the tips the palm begins; clearance: way that must be free before contact."""

    max_width: float = 0.085
    finger_length: float = 0.045
    finger_thickness: float = 0.012
    finger_width: float = 0.02
    palm_reach: float = 0.045
    palm_width: float = 0.12
    clearance: float = 0.1


@dataclass
class Grasp:
    """pose (4,4): origin midway between the finger TIPS, +z the approach from palm to object, +y the closing direction.

    contacts (2,3): where the fingers touch; width: distance between them; depth: how far the tips reach past the
    front of what is between them; approach_distance: free way before contact, at most the gripper's clearance; score: estimated
    probability that the object comes up; serves: mean score of the points between the fingers for what was asked.
    """

    pose: np.ndarray
    contacts: np.ndarray
    width: float
    depth: float
    approach_distance: float
    score: float
    serves: float = 1.0


def find_grasps(
    points: np.ndarray, normals: np.ndarray, scores: np.ndarray, gripper: Gripper | None = None,
    surroundings: np.ndarray | None = None, noise: float = 0.0,
) -> list[Grasp]:  # fmt: skip
    """Grasps of an object, most promising first; empty when the hand fits nowhere.

    points, normals (N,3) and scores (N,) of the object, metres, z up; surroundings (M,3): table and neighbours, which the
    gripper must not touch; noise: standard deviation of the points across the surface, metres.
    """
    found, features = fitting_grasps(points, normals, scores, gripper, surroundings, noise)
    for grasp, score in zip(found, probability(features), strict=True):
        grasp.score = float(score)
    return sorted(found, key=lambda g: -g.score)


def fitting_grasps(
    points: np.ndarray, normals: np.ndarray, scores: np.ndarray, gripper: Gripper | None = None,
    surroundings: np.ndarray | None = None, noise: float = 0.0,
) -> tuple[list[Grasp], np.ndarray]:  # fmt: skip
    """As `find_grasps`, without scores and in no order; and the features (G, len(FEATURES)) that scores are made from."""
    gripper = gripper or Gripper()
    around = np.empty((0, 3)) if surroundings is None else surroundings[np.isfinite(surroundings).all(-1)]
    support = support_height(points, around)
    obstacles = around if support is None else around[around[:, 2] > support + _MAP_SPACING]
    gap = _GAP + _GAP_PER_NOISE * noise
    measured = points
    points, origin = densified(points, normals, _DENSE)
    normals, scores = normals[origin], scores[origin]
    foot = float(points[:, 2].min()) if support is None else support
    inside = solid_below(points, normals, foot)
    inside = inside[evenly(inside, _SOLID)]
    thin = evenly(points, _THINNED)
    fits = fit_hands(points[thin], inside, gripper, gap, _TABLE_GAP + noise / 2, support, _asked_part(scores[thin]))
    kept = evenly(points, _EXAMINED)
    points, normals, scores, measured = points[kept], normals[kept], scores[kept], measured[origin[kept]]
    thing = Thing(np.concatenate([points, inside]).mean(0), np.ptp(points, axis=0), foot, noise)
    found, features = [], []
    order = np.argsort(-_promise(fits, thing.middle), kind="stable")
    for k in np.concatenate([order[~fits.asked[order]][:_LOOKED_AT], order[fits.asked[order]][:_LOOKED_AT_ASKED]]):
        looked_at = _examine(
            fits.rotation[k], fits.tips[k], float(fits.depth[k]), points, normals, scores, thing, gripper, gap, inside, obstacles, measured,
        )  # fmt: skip
        if looked_at is not None:
            found.append(looked_at[0])
            features.append(looked_at[1])
    return found, np.array(features).reshape(-1, len(FEATURES))


def why_none(points: np.ndarray, gripper: Gripper) -> str:
    """Why no hand fits an object (N,3), as far as its size tells."""
    (_, sides, _) = cv2.minAreaRect(np.ascontiguousarray(points[:, :2], np.float32))
    narrowest = min(*sides, float(np.ptp(points[:, 2])))
    if narrowest > gripper.max_width - _OPENING_GAP:
        return f"no grasp: the object is {1000 * narrowest:.0f} mm wide at its narrowest, the gripper opens {1000 * gripper.max_width:.0f} mm"
    return "no grasp: wherever the gripper could close around the object, the table or something else is in its way"


def support_height(points: np.ndarray, around: np.ndarray) -> float | None:
    """Height of the table under an object (N,3) from what is around it (M,3); None where nothing flat is near its foot."""
    if not len(around):
        return None
    low, high = points.min(0), points.max(0)
    near = (np.abs(around[:, :2] - (low + high)[:2] / 2) < (high - low)[:2] / 2 + 0.1).all(1)
    heights = around[near & (around[:, 2] < low[2] + 0.03), 2]
    if len(heights) < 12:
        return None
    values, counts = np.unique(np.round(heights / _MAP_SPACING).astype(int), return_counts=True)
    level = values[counts.argmax()] * _MAP_SPACING
    return float(np.median(heights[np.abs(heights - level) < _MAP_SPACING]))


def _asked_part(scores: np.ndarray) -> np.ndarray:
    """Points (N,) bool of the part that affords what was asked; none of them where that is nearly everything."""
    asked = scores >= _SOME
    return asked & (asked.mean() < _MOST)


def _promise(fits, middle: np.ndarray) -> np.ndarray:
    """What is known of hands (F,) without a closer look: from above, deep, about the middle."""
    arm = np.linalg.norm(np.cross(middle - fits.tips, fits.rotation[:, :, 2]), axis=1)
    return -fits.rotation[:, 2, 2] * 0.5 + 20 * fits.depth - 8 * arm


def _examine(
    rotation, tips, depth, points, normals, scores, thing, gripper, gap, inside, obstacles, measured,
) -> tuple[Grasp, np.ndarray] | None:  # fmt: skip
    """A hand with its contacts, and its features; None where it would hit something or has nothing between its fingers."""
    own = (points - tips) @ rotation
    within = (inside - tips) @ rotation
    held, filled = (_held(p, gripper, gripper.max_width / 2 + gap) for p in (own, within))
    if held.sum() < _FEWEST:
        return None
    low, high = np.quantile(own[held, 1], [0.01, 0.99])
    if filled.any():
        low, high = min(low, within[filled, 1].min()), max(high, within[filled, 1].max())
    width, shift = float(high - low), (high + low) / 2
    if width > gripper.max_width - _OPENING_GAP:
        return None
    tips = tips + shift * rotation[:, 1]
    own[:, 1] -= shift
    within[:, 1] -= shift
    if _collides(own, width, gripper, gap, _STRAYS) or _collides(within, width, gripper, gap, _STRAYS):
        return None
    if len(obstacles):
        other = (obstacles - tips) @ rotation
        if _collides(other, width, gripper, gap + _NEIGHBOUR / 2, allowed=0) or _between_fingers(other, width, gripper):
            return None
    features = features_of(
        own[held], normals[held] @ rotation[:, 1], int(filled.sum()), width, depth, rotation, tips, gripper.max_width - width, thing,
        (gripper.finger_width, gripper.finger_length),
    )  # fmt: skip
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, tips
    rows, turned = np.flatnonzero(held), own[held]
    touched = np.abs(turned[:, 1]) > width / 2 - CONTACT
    contacts = np.stack([_typical(measured[rows[touched & (sign * turned[:, 1] > 0)]], tips) for sign in (-1, 1)])
    serves = float(scores[rows[touched]].mean()) if touched.any() else float(scores[rows].mean())
    return Grasp(pose, contacts, width, depth, gripper.clearance, 0.0, serves), features


def _held(own: np.ndarray, gripper: Gripper, half: float) -> np.ndarray:
    """Which points, in the hand's frame, lie between its fingers and within `half` of their middle."""
    held = (np.abs(own[:, 0]) < gripper.finger_width / 2) & (np.abs(own[:, 1]) < half)
    return held & (own[:, 2] < 0) & (own[:, 2] > -gripper.finger_length)


def _typical(points: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """The one of points (N,3) that is nearest to their mean; `otherwise` where there are none."""
    if not len(points):
        return otherwise
    return points[np.linalg.norm(points - points.mean(0), axis=1).argmin()]


def _collides(own: np.ndarray, width: float, gripper: Gripper, gap: float, allowed: float) -> bool:
    """Whether more than `allowed` points, in the hand's frame, lie in what the open hand fills or sweeps while it comes."""
    x, y, z = np.abs(own[:, 0]), np.abs(own[:, 1]), own[:, 2]
    coming = (z < 0) & (z > -gripper.finger_length - gripper.clearance)
    fingers = (
        coming
        & (x < gripper.finger_width / 2)
        & (y > width / 2 + gap / 2)
        & (y < width / 2 + gap / 2 + gripper.finger_thickness)
    )
    palm = (z < -gripper.palm_reach) & (z > -gripper.palm_reach - PALM_DEPTH - gripper.clearance)
    palm &= (x < gripper.finger_width) & (y < gripper.palm_width / 2)
    return bool((fingers | palm).sum() > allowed)


def _between_fingers(other: np.ndarray, width: float, gripper: Gripper) -> bool:
    """Whether something else lies where the fingers close."""
    return bool(_held(other, gripper, width / 2).any())


def apart(grasps: list[Grasp], count: int, distance: float) -> list[Grasp]:
    """The first `count` grasps (0 = none) that are farther than `distance` from each other, or turned by more than 30 degrees."""
    kept: list[Grasp] = []
    for grasp in grasps:
        if len(kept) >= count:
            break
        if all(_differs(grasp.pose, k.pose, distance) for k in kept):
            kept.append(grasp)
    return kept


def _differs(a: np.ndarray, b: np.ndarray, distance: float) -> bool:
    turned = abs(float(a[:3, 1] @ b[:3, 1])) < 0.866 or float(a[:3, 2] @ b[:3, 2]) < 0.866
    return turned or float(np.linalg.norm(a[:3, 3] - b[:3, 3])) > distance
