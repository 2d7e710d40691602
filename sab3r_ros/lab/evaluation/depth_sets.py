"""Depth of single images: NYUv2, KITTI, and any folder of images with depth."""

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.faults import Faults
from sab3r_ros.lab.evaluation.depth import abs_rel, delta_1_25
from sab3r_ros.lab.evaluation.metrics import finite_mean
from sab3r_ros.lab.evaluation.report import Report, depth_colours
from sab3r_ros.models.base import GeometryModel
from sab3r_ros.models.preprocess import framing_for, resize_and_crop
from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.depth_files import read_depth
from sab3r_ros.sources.encodings import ImageError, decode_compressed
from sab3r_ros.sources.folders import FolderSource
from sab3r_ros.sources.layouts import natural_order

_KITTI_FACTOR, _KITTI_FAR, _NEAR_FAR = 256.0, 80.0, 10.0  # units per metre; metres
_PICTURED = 30  # images on a page
_KITTI_FOLDERS = ("image", "groundtruth_depth")


def depth_pairs(folder: Path) -> tuple[list[tuple[Path, Path]], float, float]:
    """Images with their depth files, depth units per metre, and the farthest depth that counts (m).

    KITTI's depth_selection/val_selection_cropped (image, groundtruth_depth), or a layout with depth that `sab3r map` knows.
    Raises SourceError without any.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder")
    for place in (folder, folder / "val_selection_cropped", folder / "depth_selection" / "val_selection_cropped"):
        images, truth = (place / name for name in _KITTI_FOLDERS)
        if images.is_dir() and truth.is_dir():
            files = natural_order(list(images.glob("*.png")))
            pairs = [(f, truth / f.name.replace("sync_image", "sync_groundtruth_depth")) for f in files]
            found = [(image, depth) for image, depth in pairs if depth.is_file()]
            if not found:
                raise SourceError(f"{images}: no image has its depth in {truth}")
            return found, _KITTI_FACTOR, _KITTI_FAR
    source = FolderSource(folder, 30.0, depth=True)
    pairs = [
        (image, depth) for image, depth in zip(source.images, source.layout.depths, strict=True) if depth is not None
    ]
    if not pairs:
        raise SourceError(f"{folder} has no depth images beside its images")
    return pairs, source.layout.factor, _NEAR_FAR


def evaluate_depth(
    geometry: GeometryModel, folder: Path, limit: int = 0, report: Callable[[], None] = lambda: None,
    page: Report | None = None,
) -> dict:  # fmt: skip
    """abs_rel and delta (percent within a factor of 1.25) after scaling medians, and as metres; means over images.

    Every image is predicted by itself, as a pair with itself. An image that cannot be read is named in "faults"; page: gets
    pictures of the first ones. Raises SourceError where none can be evaluated.
    """
    started = time.perf_counter()
    pairs, factor, far = depth_pairs(folder)
    faults, rows = Faults(), []
    for image, depth in pairs[: limit or None]:
        try:
            rgb = decode_compressed(image.read_bytes())
            truth = read_depth(depth, factor, rgb.shape[:2])
            plan = framing_for(geometry, rgb)
        except (ImageError, OSError, ValueError) as error:
            faults.add(image.name, error)
            continue
        tokens = geometry.encode(resize_and_crop(rgb, plan))
        found = geometry.predict_pairs(tokens, [tokens]).frame_points[0, ..., 2].float().cpu().numpy()
        truth = truth[plan.covered(truth.shape)]  # sparse truth is never resampled
        at_truth = cv2.resize(found, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
        rows.append([
            abs_rel(at_truth, truth, far), delta_1_25(at_truth, truth, far),
            abs_rel(at_truth, truth, far, align=False), delta_1_25(at_truth, truth, far, align=False),
        ])  # fmt: skip
        if page is not None and len(rows) <= _PICTURED:
            page.picture(
                _beside(rgb[plan.covered(rgb.shape[:2])], at_truth, truth, far),
                f"{image.name}: predicted and true depth",
            )
        report()
    if not rows:
        raise SourceError(f"{folder}: no image could be evaluated; {faults.lines[0]}")
    names = ("abs_rel", "delta125", "abs_rel_metric", "delta125_metric")
    figures = {name: finite_mean(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return figures | {"images": len(rows), "faults": list(faults.lines), "seconds": time.perf_counter() - started}


def _beside(rgb: np.ndarray, found: np.ndarray, truth: np.ndarray, far: float) -> np.ndarray:
    """An image with its predicted and true depth (H,W), the former with the median of the latter, in the same colours."""
    known = (truth > 0) & (truth <= far)
    scale = np.median(truth[known]) / max(float(np.median(found[known])), 1e-6) if known.any() else 1.0
    largest = float(truth[known].max(initial=0)) or far
    return np.hstack([rgb, depth_colours(found * scale, largest), depth_colours(np.where(known, truth, 0), largest)])
