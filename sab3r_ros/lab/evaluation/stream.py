"""Geometry of a mapped stream against ground truth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import Settings
from sab3r_ros.geometry.sim3 import transform_points
from sab3r_ros.lab.evaluation.depth import abs_rel
from sab3r_ros.lab.evaluation.metrics import finite_mean
from sab3r_ros.lab.evaluation.poses import absolute_trajectory_error, relative_pose_accuracy, wide_baseline_pairs
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import Run
from sab3r_ros.models.base import GeometryModel
from sab3r_ros.models.preprocess import fitted_nearest
from sab3r_ros.query.objects import LocatedObject

VOID = -1  # the label of what has none


def keeping_every_view(settings: Settings) -> Settings:
    """The settings with which every tracked view becomes a keyframe."""
    return settings.with_values(window={"keyframe_overlap": 1.0})


@dataclass
class GroundTruthView:
    """Ground truth of one frame: depth (H,W) metres with 0 or NaN = none, cam2world (4,4), intrinsics (3,3)."""

    depth: np.ndarray
    cam2world: np.ndarray
    intrinsics: np.ndarray


def geometry_metrics(run: Run, truth: Sequence, geometry: GeometryModel, max_depth: float = np.inf) -> dict[str, float]:
    """rra15, rta15 (percent), ate (m), scale, abs_rel and abs_rel_metric (fractions), frames_kept, pairs.

    truth: one view per frame with depth, cam2world and intrinsics, in the frames' resolution.
    """
    pairs = wide_baseline_pairs(truth)
    poses = [t.cam2world for t in truth]
    rra, rta = relative_pose_accuracy(run.poses, poses, pairs)
    ate, scale = absolute_trajectory_error(run.poses, poses)
    aligned, metric = [], []
    for result, view in zip(run.results, truth, strict=True):
        if result is None or result.pose is None or result.depth is None:
            continue
        target = fitted_nearest(view.depth.astype(np.float32), geometry)
        aligned.append(abs_rel(result.depth, target, max_depth))
        metric.append(abs_rel(result.depth, target, max_depth, align=False))
    return {
        "frames": len(run.results), "frames_kept": sum(p is not None for p in run.poses),
        "keyframes": sum(bool(r and r.is_keyframe) for r in run.results), "pairs": len(pairs),
        "rra15": rra, "rta15": rta, "ate": ate, "scale": scale,
        "abs_rel": finite_mean(aligned), "abs_rel_metric": finite_mean(metric),
    }  # fmt: skip


def point_iou(mapper: Mapper, found: LocatedObject | None, truth_masks: dict[int, np.ndarray]) -> float:
    """IoU over the pixels of all keyframes: those whose voxel belongs to `found`, against those of the true object.

    truth_masks: (H,W) bool by keyframe stamp. Pixels that were not fused count for neither.
    """
    rows = torch.from_numpy(found.rows) if found is not None else torch.zeros(0, dtype=torch.long)
    both = either = 0
    for voxel, wanted in _fused_pixels(mapper, truth_masks):
        hit = torch.isin(voxel, rows)
        both += int((hit & wanted).sum())
        either += int((hit | wanted).sum())
    return both / either if either else 0.0


def points_under(mapper: Mapper, truth_masks: dict[int, np.ndarray]) -> np.ndarray:
    """Positions (N,3) of the voxels that keyframes' pixels under true masks, (H,W) bool by stamp, were fused into."""
    rows = [voxel[wanted] for voxel, wanted in _fused_pixels(mapper, truth_masks)]
    snapshot = mapper.snapshot(columns=("xyz",))
    own = torch.isin(snapshot.rows, torch.cat(rows)) if rows else torch.zeros(len(snapshot), dtype=torch.bool)
    return snapshot.points[own.numpy()].astype(float)


def _fused_pixels(mapper: Mapper, truth_masks: dict[int, np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
    """Of every keyframe that has a mask: the row of the voxel of every fused pixel, and whether the mask holds it."""
    for keyframe in mapper.state.graph.keyframes:
        if keyframe.stamp in truth_masks:
            fitted = fitted_nearest(truth_masks[keyframe.stamp].astype(np.uint8), mapper.geometry)
            xyz = transform_points(keyframe.pose.to(keyframe.points), keyframe.points.reshape(-1, 3))
            voxel = mapper.state.scene.grid.rows_at(xyz).cpu()
            fused = voxel >= 0
            yield voxel[fused], torch.from_numpy(fitted.astype(bool)).flatten()[fused]
