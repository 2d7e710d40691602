"""Run the mapper over frames with ground truth and measure it."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from sab3r_ros.evaluation.depth import abs_rel
from sab3r_ros.evaluation.figures import finite_mean
from sab3r_ros.evaluation.poses import absolute_trajectory_error, relative_pose_accuracy, wide_pairs
from sab3r_ros.geometry.sim3 import transform_points
from sab3r_ros.mapping.frames import BadFrame, Frame, FrameResult
from sab3r_ros.mapping.mapper import SemanticMapper
from sab3r_ros.mapping.query import LocatedObject
from sab3r_ros.models.preprocess import fitted_nearest


@dataclass
class TruthView:
    """Ground truth of one frame: depth (H,W) metres with 0 or NaN = none, cam2world (4,4), intrinsics (3,3)."""

    depth: np.ndarray
    cam2world: np.ndarray
    intrinsics: np.ndarray


@dataclass
class Run:
    """What the mapper made of a stream; `results` has None for refused frames."""

    results: list[FrameResult | None]
    seconds: float
    refused: list[str] = field(default_factory=list)

    @property
    def poses(self) -> list[np.ndarray | None]:
        """Camera poses (4,4) in the map, None where lost or refused."""
        return [r.pose if r else None for r in self.results]

    @property
    def fps(self) -> float:
        """Frames per second of mapping alone."""
        return len(self.results) / max(self.seconds, 1e-9)


def map_stream(mapper: SemanticMapper, frames: Iterable[Frame], progress: Callable[[], None] | None = None) -> Run:
    """Register every frame; pictures that cannot be used are noted and passed over."""
    results: list[FrameResult | None] = []
    refused: list[str] = []
    seconds = 0.0
    for frame in frames:
        started = time.perf_counter()
        try:
            results.append(mapper.register_frame(frame))
        except BadFrame as error:
            results.append(None)
            refused.append(f"frame {len(results) - 1}: {error}")
        seconds += time.perf_counter() - started
        if progress:
            progress()
    return Run(results, seconds, refused)


def geometry_figures(run: Run, truth: Sequence, image_size: int, max_depth: float = np.inf) -> dict[str, float]:
    """rra15, rta15 (percent), ate (m), scale, abs_rel and abs_rel_metric (fractions), frames_kept, pairs.

    truth: one view per frame with depth, cam2world and intrinsics, in the frames' resolution.
    """
    pairs = wide_pairs(truth)
    poses = [t.cam2world for t in truth]
    rra, rta = relative_pose_accuracy(run.poses, poses, pairs)
    ate, scale = absolute_trajectory_error(run.poses, poses)
    aligned, metric = [], []
    for result, view in zip(run.results, truth, strict=True):
        if result is None or result.pose is None or result.depth is None:
            continue
        target = fitted_nearest(view.depth.astype(np.float32), image_size)
        aligned.append(abs_rel(result.depth, target, max_depth))
        metric.append(abs_rel(result.depth, target, max_depth, align=False))
    return {
        "frames": len(run.results), "frames_kept": sum(p is not None for p in run.poses),
        "keyframes": sum(bool(r and r.is_keyframe) for r in run.results), "pairs": len(pairs),
        "rra15": rra, "rta15": rta, "ate": ate, "scale": scale,
        "abs_rel": finite_mean(aligned), "abs_rel_metric": finite_mean(metric),
    }  # fmt: skip


def point_iou(mapper: SemanticMapper, found: LocatedObject | None, truth_masks: dict[int, np.ndarray]) -> float:
    """IoU over the pixels of all keyframes: those whose voxel belongs to `found`, against those of the true object.

    truth_masks: (H,W) bool by keyframe stamp. Pixels that were not fused count for neither.
    """
    rows = torch.from_numpy(found.rows) if found is not None else torch.zeros(0, dtype=torch.long)
    both = either = 0
    for keyframe in mapper.keyframes:
        if keyframe.stamp not in truth_masks:
            continue
        mask = truth_masks[keyframe.stamp]
        fitted = fitted_nearest(mask.astype(np.uint8), mapper.perception.image_size)
        wanted = torch.from_numpy(fitted.astype(bool)).flatten()
        xyz = transform_points(keyframe.pose.to(keyframe.points), keyframe.points.reshape(-1, 3))
        voxel = mapper.voxels.rows_at(xyz).cpu()
        hit = torch.isin(voxel, rows) & (voxel >= 0)
        wanted &= voxel >= 0
        both += int((hit & wanted).sum())
        either += int((hit | wanted).sum())
    return both / either if either else 0.0
