"""`sab3r afford` and `sab3r eval affordance`."""

from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np

from sab3r_ros.affordance.engine import AffordanceAnswer, RegionRequest, affordance_regions
from sab3r_ros.affordance.grasps import Grasp, Gripper
from sab3r_ros.affordance.regions import Region
from sab3r_ros.affordance.segmenter import AffordanceRequestError, AffordanceSegmenter
from sab3r_ros.cli.mapping import open_map
from sab3r_ros.config import Settings
from sab3r_ros.files import replacing
from sab3r_ros.sources.encodings import read_picture


def afford(
    source: Path, item: str, prompt: str, settings: Settings, checkpoint: str, min_score: float, max_regions: int, width: float,
    png: Path | None, picture: Path | None = None,
) -> dict:  # fmt: skip
    """Regions of an object in a saved map, or of a cloud in a .ply file, for JSON.

    item: what to look for in the map; picture: an image file that shows the action. Raises AffordanceRequestError when it is not found or the cloud cannot be answered.
    """
    surroundings = None
    if source.suffix.lower() == ".ply":
        points, name = read_cloud(source), item or source.stem
    else:
        content, query = open_map(source, settings)
        if not item:
            raise AffordanceRequestError("a map holds many things: say which one with --object")
        found = query.locate(content.snapshot, [item], content.info["voxel_size"], max_objects=1)
        if not found:
            raise AffordanceRequestError(f"nothing in {source} answers {item!r}; try `sab3r locate` with other words")
        points, name = found[0].points.astype(np.float64), item
        everything = content.snapshot["xyz"].numpy().astype(np.float64)
        surroundings = np.delete(everything, found[0].rows, axis=0)
    gripper = replace(Gripper(), max_width=width) if width else None
    request = RegionRequest(min_score, max_regions, gripper=gripper)
    image = read_picture(picture) if picture else None
    answer = affordance_regions(
        AffordanceSegmenter(checkpoint), points, prompt, request, surroundings=surroundings, image=image
    )
    if png is not None:
        draw_answer(png, points, answer, f"{prompt}: {name}")
    return {
        "object": name,
        "affordance": prompt,
        "points": len(points),
        "regions": [_region(r) for r in answer.regions],
    }


def read_cloud(path: Path) -> np.ndarray:
    """Points (N,3) of a PLY file. Raises AffordanceRequestError for one that is missing, damaged or empty."""
    from plyfile import PlyData, PlyParseError

    try:
        vertex = PlyData.read(path)["vertex"]
        points = np.stack([np.asarray(vertex[k], np.float64) for k in "xyz"], 1)
    except (OSError, PlyParseError, KeyError, ValueError) as error:
        raise AffordanceRequestError(f"cannot read points from {path}: {error}") from error
    if not len(points):
        raise AffordanceRequestError(f"{path} holds no points")
    return points


def _rounded(values, digits=4):
    return np.round(np.asarray(values, float), digits).tolist()


def _region(region: Region) -> dict:
    return {
        "score": round(region.score, 4), "peak_score": round(region.peak_score, 4), "points": len(region.rows),
        "centroid": _rounded(region.centroid), "contact": _rounded(region.contact), "normal": _rounded(region.normal),
        "pose": _rounded(region.pose), "size": _rounded(region.size), "grasps": [_grasp(g) for g in region.grasps],
    }  # fmt: skip


def _grasp(grasp: Grasp) -> dict:
    return {
        "score": round(grasp.score, 4), "pose": _rounded(grasp.pose), "width": round(grasp.width, 4), "depth": round(grasp.depth, 4),
        "approach_distance": round(grasp.approach_distance, 4), "contacts": _rounded(grasp.contacts),
    }  # fmt: skip


def draw_answer(path: Path, points: np.ndarray, answer: AffordanceAnswer, title: str) -> None:
    """A PNG of the object from three sides, coloured by score, with the best grasp of every region."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(15, 5.5), dpi=90)
    for axis, (a, b, depth) in zip(axes, ((0, 1, 2), (0, 2, 1), (1, 2, 0)), strict=True):
        order = np.argsort(points[:, depth] * (1 if depth == 2 else -1))
        shown = axis.scatter(
            points[order, a], points[order, b], c=answer.scores[order], s=6, cmap="inferno", vmin=0, vmax=1
        )
        for region in answer.regions:
            axis.plot(*region.centroid[[a, b]], "*", color="cyan", markersize=12, markeredgecolor="black")
            for grasp in region.grasps[:1]:
                axis.plot(*grasp.contacts[:, [a, b]].T, "-o", color="lime", markersize=4)
                tip, back = grasp.pose[:3, 3], grasp.pose[:3, 3] - 0.06 * grasp.pose[:3, 2]
                axis.annotate("", tip[[a, b]], back[[a, b]], arrowprops={"color": "lime", "arrowstyle": "->"})
        axis.set_aspect("equal")
        axis.set_xlabel("xyz"[a] + " [m]")
        axis.set_ylabel("xyz"[b] + " [m]")
    figure.colorbar(shown, ax=axes, label="score")
    figure.suptitle(title)
    with replacing(path) as part:
        figure.savefig(part)
    pyplot.close(figure)


def affordance_figures(checkpoint: str, shapes: int, first: int) -> dict:
    """Figures on held-out household shapes from number FIRST on."""
    from tqdm import tqdm

    from sab3r_ros.evaluation.affordance_shapes import evaluate_affordance

    segmenter = AffordanceSegmenter(checkpoint)
    with tqdm(total=(2 if segmenter.checkpoint.image is None else 3) * shapes, unit="shape") as bar:
        return evaluate_affordance(segmenter, shapes, first, bar.update)


def scan_figures(checkpoint: str, folder: Path, out: Path | None) -> dict:
    """Figures on the scanned objects of FOLDER, per object and affordance; pictures of all answers into OUT."""
    from tqdm import tqdm

    from sab3r_ros.evaluation.affordance_scans import evaluate_scan, read_scan

    files = sorted(folder.glob("*.npz"))
    if not files:
        raise ValueError(f"{folder} holds no .npz scans")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)

    def draw(name, points, answer, title):
        if out is not None:
            draw_answer(out / f"{name}.png", points, answer, title)

    segmenter, figures = AffordanceSegmenter(checkpoint), {}
    views, right = 0, 0.0
    for path in tqdm(files, unit="scan"):
        scan = read_scan(path)
        for affordance, values in evaluate_scan(segmenter, scan, draw=draw).items():
            figures |= {f"{scan.name} {affordance} {k}": v for k, v in values.items()}
            if values["views"]:
                views += values["views"]
                right += values["right_part_partial"] * values["views"]
    figures["right_part_views"] = right / max(views, 1)
    return figures
