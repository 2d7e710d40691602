"""A picture of an affordance answer."""

from pathlib import Path

import numpy as np

from sab3r_ros.affordance.pipeline import AffordanceAnswer
from sab3r_ros.files import replacing


def draw_answer(path: Path, answer: AffordanceAnswer, title: str) -> None:
    """A PNG of the object from three sides, coloured by score, with the best grasp of every region."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 5.5), dpi=90)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    points = answer.points
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
