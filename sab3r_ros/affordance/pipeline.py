"""From an object's points and a prompt to graspable regions: scores, regions, grasps."""

from dataclasses import dataclass

import numpy as np

from sab3r_ros.affordance.grasps import Gripper, find_grasps
from sab3r_ros.affordance.regions import AffordanceRegion, find_regions
from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.affordance.surface import estimate_normals, neighbourhoods, smoothed

# Metres; the standard error is of about ten neighbours: 3.5 of these are 5 mm, and fingers forgive no more.
_CONTACT_ERROR = 0.005 / 3.5


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
    """Regions, best first, and of every point of the object: position (N,3), score (N,) and normal (N,3)."""

    regions: list[AffordanceRegion]
    points: np.ndarray
    scores: np.ndarray
    normals: np.ndarray


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

    points (N,3) metres, z up; viewpoint (3,): from where they were seen, None for a whole object; surroundings (M,3): what
    grasps must not touch; prompt and image as for `AffordanceSegmenter.score`. Raises AffordanceRequestError as it does,
    ValueError for a bad min_score.
    """  # fmt: skip
    request = request or RegionRequest()
    scores = segmenter.score(points, prompt, image)
    finite = np.isfinite(points).all(-1)
    usable = np.flatnonzero(finite)
    near = neighbourhoods(points[usable])
    normals = np.zeros_like(points, dtype=np.float64)
    normals[usable] = estimate_normals(points[usable], near, viewpoint)
    regions = find_regions(
        points[usable], normals[usable], scores[usable], request.min_score, max_regions=request.max_regions
    )
    if regions and request.max_grasps:
        # A map's points scatter about the surface that fingers will meet; where it is not known well, none is offered.
        surface, error = smoothed(points[usable], normals[usable], near)
        for region in regions:
            sure = region.rows[error[region.rows] <= _CONTACT_ERROR]
            region.grasps = find_grasps(
                surface, normals[usable], scores[usable], sure, request.gripper or Gripper(max_width=10.0),
                surroundings, request.max_grasps,
            )  # fmt: skip
    for region in regions:
        region.rows = usable[region.rows]
    return AffordanceAnswer(regions, points, scores, normals)
