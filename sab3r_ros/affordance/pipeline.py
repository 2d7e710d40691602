"""From an object's points and a prompt to graspable regions: scores, regions, grasps."""

import re
from dataclasses import dataclass, field

import numpy as np

from sab3r_ros.affordance.clouds import PreparedCloud, prepare
from sab3r_ros.affordance.grasp_regions import hardly_holds, offer_grasps, other_regions
from sab3r_ros.affordance.grasps import Gripper, find_grasps, why_none
from sab3r_ros.affordance.regions import AffordanceRegion, find_regions
from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.affordance.surface import estimate_normals, neighbourhoods, roughness, smoothed

_ANY_WIDTH = 0.3  # metres: the widest hand that is tried where the request has no gripper
# What asks to hold something; where the asked part offers no grasp, another part of the object may.
_HOLDING = re.compile(r"\b(grasp|hold|lift|pick|carry|take|grab|wrap|grip)", re.I)


@dataclass(frozen=True)
class RegionRequest:
    """What to answer with. min_score in [0, 1]; max_regions, max_grasps (per region): 0 regions = no limit, 0 grasps =
    none; gripper: None = no limit to the width."""

    min_score: float = 0.4
    max_regions: int = 0
    max_grasps: int = 5
    gripper: Gripper | None = Gripper()


@dataclass(frozen=True)
class AffordanceAnswer:
    """Regions, best first, and of every point of the object: position (N,3), score (N,) and normal (N,3).

    notes: what was dropped, merged or thinned, one line each.
    """

    regions: list[AffordanceRegion]
    points: np.ndarray
    scores: np.ndarray
    normals: np.ndarray
    notes: list[str] = field(default_factory=list)


def affordance_regions(
    segmenter: AffordanceSegmenter,
    points: np.ndarray,
    prompt: str,
    request: RegionRequest | None = None,
    viewpoint: np.ndarray | None = None,
    surroundings: np.ndarray | None = None,
    image: np.ndarray | None = None,
) -> AffordanceAnswer:
    """Where an object affords what the prompt asks, and how to take hold of it there.

    The points are made ready first (see `clouds.prepare`): the answer depends neither on their order nor on doubles.
    points (N,3) metres, z up; viewpoint (3,): from where they were seen, None for a whole object; surroundings (M,3): what
    grasps must not touch; prompt and image as for `AffordanceSegmenter.score`. Raises AffordanceRequestError as it does,
    ValueError for a bad min_score.
    """  # fmt: skip
    request = request or RegionRequest()
    cloud = prepare(points)
    scores = segmenter.score(cloud.points, prompt, image)
    near = neighbourhoods(cloud.points)
    eye = None if viewpoint is None else np.asarray(viewpoint, np.float64) - cloud.origin
    normals = estimate_normals(cloud.points, near, eye)
    regions = find_regions(cloud.points, normals, scores, request.min_score, max_regions=request.max_regions)
    if request.max_grasps:
        around = None if surroundings is None else np.asarray(surroundings, np.float64) - cloud.origin
        surface, _ = smoothed(cloud.points, normals, near)
        grasps = find_grasps(
            surface,
            normals,
            scores,
            request.gripper or Gripper(max_width=_ANY_WIDTH),
            around,
            roughness(cloud.points, normals, near),
        )
        if not grasps:
            cloud.notes.append(why_none(surface, request.gripper or Gripper(max_width=_ANY_WIDTH)))
        offer_grasps(regions, grasps, surface, request.max_grasps)
        if _HOLDING.search(prompt) and hardly_holds(regions, grasps):
            other = other_regions(grasps, surface, normals, scores, request.max_grasps)
            regions = other + regions
    for region in regions:
        _restore(region, cloud)
    return AffordanceAnswer(regions, points, cloud.spread(scores), cloud.spread(normals), cloud.notes)


def _restore(region: AffordanceRegion, cloud: PreparedCloud) -> None:
    """From the prepared cloud's rows and origin to those of the given one."""
    region.rows = np.flatnonzero(np.isin(cloud.rows, region.rows))
    region.centroid, region.contact = region.centroid + cloud.origin, region.contact + cloud.origin
    region.middle = region.middle + cloud.origin
    region.pose[:3, 3] += cloud.origin
    for grasp in region.grasps:
        grasp.pose[:3, 3] += cloud.origin
        grasp.contacts = grasp.contacts + cloud.origin
