"""Grasps and the parts they take hold of: the asked part first, another one where it offers none."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.affordance.grasps import Grasp, apart
from sab3r_ros.affordance.regions import AffordanceRegion, region_of

_APART = 0.02  # metres between the grasps of a region
_HELD = 0.02  # metres about a contact: the points that a finger covers
_ASKED = 0.3  # how much the asked part counts where none of it can be grasped well
_HALF_ON_IT = 0.6  # what a grasp counts with one contact on the region, against one with both
_WORTH = 0.6  # of the likeliest grasp's score: an asked part that offers less comes after another part, if it surely is that part


def offer_grasps(regions: Sequence[AffordanceRegion], grasps: Sequence[Grasp], points: np.ndarray, count: int) -> None:
    """Give every region the best of the grasps that touch its rows of points (N,3), with both contacts sooner than with one."""
    if not grasps or not regions:
        return
    touched = cKDTree(points).query(np.array([g.contacts for g in grasps]))[1]  # (G,2)
    for region in regions:
        on_it = np.isin(touched, region.rows).sum(1)
        value = [g.score * (0, _HALF_ON_IT, 1)[n] for g, n in zip(grasps, on_it, strict=True)]
        order = [k for k in np.argsort(-np.array(value), kind="stable") if on_it[k]]
        region.grasps = apart([grasps[k] for k in order], count, _APART)


def hardly_holds(regions: Sequence[AffordanceRegion], grasps: Sequence[Grasp]) -> bool:
    """Whether the first grasp that regions offer is much less likely to lift than another one of the object, or there is none.

    How much less, depends on how surely it is on the asked part: a doubtful part is not worth a doubtful grasp.
    """
    offered = [g for region in regions for g in region.grasps]
    best = max((g.score for g in grasps), default=0.0)
    return not offered or offered[0].score < _WORTH ** offered[0].serves * best


def other_regions(
    grasps: Sequence[Grasp], points: np.ndarray, normals: np.ndarray, scores: np.ndarray, count: int
) -> list[AffordanceRegion]:
    """One region, marked as a fallback, around the contacts of the best grasps of the object wherever they are."""
    ranked = sorted(grasps, key=lambda g: -g.score * (1 - _ASKED + _ASKED * g.serves))
    best = apart(ranked, count, _APART)
    if not best:
        return []
    rows = np.unique(np.concatenate(cKDTree(points).query_ball_point(best[0].contacts, _HELD)).astype(int))
    region = region_of(points, normals, np.maximum(scores, 1e-6), rows)
    region.grasps, region.fallback = best, True
    return [region]
