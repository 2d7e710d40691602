"""Small recordings with true poses, depth and labels, in the layouts of public data sets."""

from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.lab.synthetic.sequence import Sequence

SCANNET_NUMBERS = {0: 0, 1: 700, 2: 3, 3: 1191}  # of our labels modulo 4: one is void, others as ScanNet numbers them
NYU_OF = {700: 2, 3: 5, 1191: 40}


def write_label_map(folder: Path) -> Path:
    """ScanNet's table with the numbers that `write_scannet` uses; columns in another order than usual."""
    rows = (
        ["raw_category\tid\tnyu40class\tnyu40id"] + [f"thing\t{k}\tx\t{v}" for k, v in NYU_OF.items()] + ["odd\t9\t\t"]
    )
    file = folder / "scannetv2-labels.combined.tsv"
    file.write_text("\n".join(rows))
    return file


def write_scannet(folder: Path, sequence: Sequence, lost: int | None = None) -> Path:
    """A walk as ScanNet's exporter writes it: depth of half the size, label numbers of 16 bits; frame `lost` has no pose."""
    for name in ("color", "depth", "pose", "intrinsic", "label-filt"):
        (folder / name).mkdir(parents=True)
    matrix = np.eye(4)
    matrix[:3, :3] = sequence.views[0].intrinsics
    np.savetxt(folder / "intrinsic" / "intrinsic_color.txt", matrix)
    table = np.array([SCANNET_NUMBERS[k] for k in range(4)], np.uint16)
    for k, view in enumerate(sequence.views):
        cv2.imwrite(str(folder / "color" / f"{k}.jpg"), view.rgb[..., ::-1])
        depth = np.round(np.nan_to_num(view.depth[::2, ::2]) * 1000).astype(np.uint16)
        cv2.imwrite(str(folder / "depth" / f"{k}.png"), depth)
        cv2.imwrite(str(folder / "label-filt" / f"{k}.png"), table[view.label % 4])
        np.savetxt(folder / "pose" / f"{k}.txt", np.full((4, 4), -np.inf) if k == lost else view.cam2world)
    return folder


def write_seven_scenes(folder: Path, sequence: Sequence, names: list[str] | None = None) -> Path:
    """A walk in 7-Scenes' layout; with label images where `names` has what their numbers, from 1 on, mean."""
    import json

    folder.mkdir(parents=True)
    matrix = sequence.views[0].intrinsics
    (folder / "intrinsics.txt").write_text(f"{matrix[0, 0]} {matrix[1, 1]} {matrix[0, 2]} {matrix[1, 2]}")
    if names is not None:
        (folder / "labels.json").write_text(json.dumps({str(k): n for k, n in enumerate(["void", *names])}))
    for k, view in enumerate(sequence.views):
        stem = folder / f"frame-{k:06d}"
        cv2.imwrite(f"{stem}.color.png", view.rgb[..., ::-1])
        cv2.imwrite(f"{stem}.depth.png", np.round(np.nan_to_num(view.depth) * 1000).astype(np.uint16))
        np.savetxt(f"{stem}.pose.txt", view.cam2world)
        if names is not None:
            cv2.imwrite(f"{stem}.label.png", (view.label.astype(int) % len(names) + 1).astype(np.uint8))
    return folder
