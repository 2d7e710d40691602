"""`sab3r affordance`: an object of a saved map or a cloud, a question, and the answer for JSON."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from sab3r_ros.affordance.clouds import check_size
from sab3r_ros.affordance.grasps import Grasp, Gripper
from sab3r_ros.affordance.pipeline import RegionRequest, affordance_regions
from sab3r_ros.affordance.regions import AffordanceRegion
from sab3r_ros.affordance.segmenter import AffordanceRequestError, AffordanceSegmenter
from sab3r_ros.config import Settings
from sab3r_ros.maps import open_map
from sab3r_ros.sources.clouds import CLOUD_SUFFIXES, read_cloud
from sab3r_ros.sources.encodings import read_image
from sab3r_ros.viewer.affordance_picture import draw_answer

_UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}


def affordance_of(
    source: Path, item: str, prompt: str, settings: Settings, checkpoint: str, min_score: float, max_regions: int, width: float,
    png: Path | None, image_file: Path | None = None, unit: str = "m",
) -> dict:  # fmt: skip
    """Regions of an object in a saved map, or of a cloud in a file; unit: of the file's coordinates, m, cm or mm.

    item: what to look for in the map; image_file: shows the action. Raises AffordanceRequestError when it is
    not found or the cloud cannot be answered.
    """
    gripper = replace(Gripper(), max_width=width) if width else None
    request = RegionRequest(min_score, max_regions, gripper=gripper)
    image = read_image(image_file) if image_file else None
    segmenter = AffordanceSegmenter(checkpoint)
    if source.suffix.lower() in CLOUD_SUFFIXES or source.is_file():
        name = item or source.stem
        points = read_cloud(source) * _UNITS[unit]
        if problem := check_size(points):
            raise AffordanceRequestError(f"{source}: {problem}")
        answer = affordance_regions(segmenter, points, prompt, request, image=image)
    else:
        name = item
        opened = open_map(source, settings=settings)
        if not item:
            raise AffordanceRequestError("a map holds many things: say which one with --object")
        try:
            answer = opened.affordance(item, prompt, image, request, segmenter)
        except LookupError as error:
            raise AffordanceRequestError(str(error)) from error
    if png is not None:
        draw_answer(png, answer, f"{prompt}: {name}")
    return {
        "object": name,
        "affordance": prompt,
        "points": len(answer.points),
        "notes": answer.notes,
        "regions": [_region(r) for r in answer.regions],
    }


def _rounded(values, digits=4):
    return np.round(np.asarray(values, float), digits).tolist()


def _region(region: AffordanceRegion) -> dict:
    return {
        "score": round(region.score, 4), "peak_score": round(region.peak_score, 4), "points": len(region.rows),
        "centroid": _rounded(region.centroid), "contact": _rounded(region.contact), "normal": _rounded(region.normal),
        "fallback": region.fallback, "pose": _rounded(region.pose), "size": _rounded(region.size), "grasps": [_grasp(g) for g in region.grasps],
    }  # fmt: skip


def _grasp(grasp: Grasp) -> dict:
    return {
        "score": round(grasp.score, 4), "pose": _rounded(grasp.pose), "width": round(grasp.width, 4), "depth": round(grasp.depth, 4),
        "approach_distance": round(grasp.approach_distance, 4), "contacts": _rounded(grasp.contacts),
    }  # fmt: skip
