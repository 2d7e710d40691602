"""Metrics of the shipped sequence against its ground truth."""

import json
from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.geometry.projection import backproject, transform
from sab3r_ros.lab.evaluation.flatness import distances_to_plane
from sab3r_ros.lab.evaluation.poses import align_poses
from sab3r_ros.lab.evaluation.stream import GroundTruthView, geometry_metrics, point_iou, points_under
from sab3r_ros.lab.synthetic.parts import AFFORDANCES
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import Run
from sab3r_ros.query.objects import LocatedObject
from sab3r_ros.sources.demo import FOLDER, FRAME_RATE
from sab3r_ros.types import nth_stamp

_GEOMETRY = ("rra15", "rta15", "abs_rel", "ate", "pairs")
_WALL = 100  # voxels, for a plane to be fitted


def demo_metrics(mapper: Mapper, run: Run, objects: list[LocatedObject], answers: list[tuple[dict, tuple]]) -> dict:
    """Accuracy of poses and depth, the IoU of every located object and of every region's points, and `wall_distance`: the median
    distance (m) of the walls' points to the plane that fits their wall, and `surface_distance`: the mean distance (m) of the map's
    points to the nearest true one.

    answers: as `cli.demo` makes them.
    """
    with np.load(FOLDER / "truth.npz") as stored:
        truth = dict(stored)
    views = [
        GroundTruthView(depth / np.float32(1000), pose, truth["intrinsics"])
        for depth, pose in zip(truth["depth"], truth["poses"], strict=True)
    ]
    figures = geometry_metrics(run, views, mapper.geometry)
    labels = np.array(json.loads(str(truth["labels"])))
    located = [
        {
            "query": o.label,
            "score": round(o.score, 4),
            "points": len(o.points),
            "iou": _object_iou(mapper, o, truth, labels),
        }
        for o in objects
    ]
    affords = [
        about | {"iou": _part_iou(mapper, item, rows, about["affordance"], truth, labels)}
        for about, (item, rows) in answers
    ]
    walls = [points_under(mapper, _masks(truth["instance"] == k)) for k in np.flatnonzero(labels == "wall")]
    off = np.concatenate([distances_to_plane(w) for w in walls if len(w) >= _WALL] or [np.full(1, np.nan)])
    return {k: figures[k] for k in _GEOMETRY} | {
        "wall_distance": round(float(np.median(off)), 4), "surface_distance": round(_surface_distance(mapper, run, views), 4),
        "located": located, "affords": affords,
    }  # fmt: skip


def _surface_distance(mapper: Mapper, run: Run, views: list[GroundTruthView]) -> float:
    both = [(p, v.cam2world) for p, v in zip(run.poses, views, strict=True) if p is not None]
    to_truth = align_poses([p for p, _ in both], [t for _, t in both])
    true = [transform(v.cam2world, backproject(v.depth, v.intrinsics)[::2, ::2][v.depth[::2, ::2] > 0]) for v in views]
    mapped = transform(to_truth, mapper.snapshot(columns=("xyz",)).points.astype(float))
    return float(cKDTree(np.concatenate(true)).query(mapped)[0].mean())


def _masks(images: np.ndarray) -> dict[int, np.ndarray]:
    return {nth_stamp(k, FRAME_RATE): mask for k, mask in enumerate(images)}


def _object_iou(mapper: Mapper, item: LocatedObject, truth: dict, labels: np.ndarray) -> float:
    """With the true object of that label that it fits best."""
    each = [point_iou(mapper, item, _masks(truth["instance"] == k)) for k in np.flatnonzero(labels == item.label)]
    return round(max(each, default=0.0), 4)


def _part_iou(mapper: Mapper, item: LocatedObject, rows, affordance: str, truth: dict, labels: np.ndarray) -> float:
    """Of a region's points with all true parts of such objects that afford it."""
    of_kind = labels[truth["part_object"]] == item.label
    parts = of_kind & truth["part_affordances"][:, AFFORDANCES.index(affordance)]
    masks = _masks((truth["part"] >= 0) & parts[truth["part"]])
    return round(point_iou(mapper, None if rows is None else replace(item, rows=rows), masks), 4)
