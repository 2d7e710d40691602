"""What others read: PLY clouds, TUM trajectories, a preview picture."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
from plyfile import PlyData, PlyElement
from scipy.spatial.transform import Rotation

from sab3r_ros.files import replacing
from sab3r_ros.mapping.query import UNLABELLED, LocatedObject


def write_ply(path: Path, xyz: np.ndarray, rgb: np.ndarray, score: np.ndarray, label: np.ndarray) -> None:
    """A binary PLY with x y z, red green blue, score and label; written as a whole or not at all."""
    fields = [
        ("x", "f4"),
        ("y", "f4"),
        ("z", "f4"),
        ("red", "u1"),
        ("green", "u1"),
        ("blue", "u1"),
        ("score", "f4"),
        ("label", "u2"),
    ]
    vertex = np.empty(len(xyz), fields)
    for k, name in enumerate(("x", "y", "z")):
        vertex[name] = xyz[:, k]
    for k, name in enumerate(("red", "green", "blue")):
        vertex[name] = rgb[:, k]
    vertex["score"], vertex["label"] = score, label
    with replacing(path) as part:
        PlyData([PlyElement.describe(vertex, "vertex")], byte_order="<").write(str(part))


def write_tum(path: Path, trajectory: Iterable[tuple[int, np.ndarray]]) -> None:
    """Stamped poses as "seconds tx ty tz qx qy qz qw", the camera's optical frame in the map."""
    lines = ["# timestamp tx ty tz qx qy qz qw"]
    for stamp, pose in trajectory:
        values = [*pose[:3, 3], *Rotation.from_matrix(pose[:3, :3]).as_quat()]
        lines.append(f"{stamp // 10**9}.{stamp % 10**9:09d} " + " ".join(f"{v:.7f}" for v in values))
    with replacing(path) as part:
        part.write_text("\n".join(lines) + "\n")


def render_preview(
    path: Path,
    xyz: np.ndarray,
    rgb: np.ndarray,
    label: np.ndarray,
    names: list[str],
    colours: np.ndarray,
    trajectory: np.ndarray,
    objects: list[LocatedObject] | None = None,
) -> None:
    """A PNG with the map from above (colours, labels) and from the side, the path, and boxes of found objects.

    trajectory (T,3) camera positions.
    """  # fmt: skip
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(18, 6.5), dpi=90)
    painted = np.full((len(label), 3), 0.75)
    known = label != UNLABELLED
    painted[known] = colours[label[known]] / 255
    ceiling = np.quantile(xyz[:, 2], 0.93) if len(xyz) else 0  # looking down, a ceiling would hide everything
    low = xyz[:, 2] <= ceiling
    for axis, colour, (a, b, depth), title in (
        (axes[0], rgb / 255, (0, 1, 2), "from above"), (axes[1], painted, (0, 1, 2), "labels"), (axes[2], rgb / 255, (0, 2, 1), "from the side"),
    ):  # fmt: skip
        rows = np.flatnonzero(low) if b == 1 else np.arange(len(xyz))
        order = rows[np.argsort(xyz[rows, depth] * (1 if b == 1 else -1))]
        axis.scatter(xyz[order, a], xyz[order, b], c=colour[order], s=3, linewidths=0)
        if len(trajectory):
            axis.plot(trajectory[:, a], trajectory[:, b], color="crimson", linewidth=1.5)
            axis.plot(*trajectory[0, [a, b]], "o", color="crimson")
        axis.set_aspect("equal")
        axis.set_title(title)
        axis.set_xlabel("xyz"[a] + " [m]")
        axis.set_ylabel("xyz"[b] + " [m]")
    for item in objects or []:
        _draw_box(axes[0], item, (0, 1))
        _draw_box(axes[2], item, (0, 2))
    counts = np.bincount(label[known], minlength=len(names)) if known.any() else np.zeros(len(names), int)
    for k in np.argsort(-counts)[:12]:
        if counts[k]:
            axes[1].scatter([], [], color=colours[k] / 255, label=names[k])
    if counts.any():
        axes[1].legend(fontsize=7, loc="upper right")
    figure.tight_layout()
    with replacing(path) as part:
        figure.savefig(part)
    pyplot.close(figure)


def _draw_box(axis, item: LocatedObject, dims):
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * item.size
    corners = corners @ item.box_pose[:3, :3].T + item.box_pose[:3, 3]
    for i in range(8):
        for j in (i ^ 1, i ^ 2, i ^ 4):
            if i < j:
                axis.plot(corners[[i, j], dims[0]], corners[[i, j], dims[1]], color="black", linewidth=1)
    axis.annotate(
        f"{item.label} {item.score:.2f}", item.centroid[list(dims)], fontsize=8, backgroundcolor=(1, 1, 1, 0.6)
    )
