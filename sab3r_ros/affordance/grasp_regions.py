"""Grasps and the parts they take hold of: the asked part first, another one where it offers none."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.affordance.grasps import Grasp, apart
from sab3r_ros.affordance.regions import AffordanceRegion, region_of

_APART = 0.02  # metres between the grasps of a region
_HELD = 0.02  # metres about a contact: the points that a finger covers
_ASKED = 0.3  # how much the asked part counts where none of it can be grasped


def offer_grasps(regions: Sequence[AffordanceRegion], grasps: Sequence[Grasp], points: np.ndarray, count: int) -> None:
    """Give every region the best of the grasps that touch its rows of points (N,3), with both contacts sooner than with one."""
    if not grasps or not regions:
        return
    touched = cKDTree(points).query(np.array([g.contacts for g in grasps]))[1]  # (G,2)
    for region in regions:
        on_it = np.isin(touched, region.rows).sum(1)
        both, one = ([g for g, n in zip(grasps, on_it, strict=True) if n == wanted] for wanted in (2, 1))
        region.grasps = apart([*both, *one], count, _APART)


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
