"""Records the sequence that is shipped, with its ground truth: `python -m sab3r_ros.lab.synthetic.record_demo`."""

import json
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.lab.synthetic.sequence import Sequence, render_sequence
from sab3r_ros.sources.demo import FOLDER

SEED = 900_050_007  # among the held-out rooms; chosen because its walk shows several pieces of furniture
_FRAMES, _SIZE, _SWEEP = 48, (320, 240), 1.3
_JPEG_QUALITY = 92
_TRUTH_STEP = 2  # truth is kept at half of the images' resolution


def record(folder: Path = FOLDER) -> None:
    """Render the walk and write images and truth."""
    sequence = render_sequence(SEED, _FRAMES, *_SIZE, _SWEEP)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for k, view in enumerate(sequence.views):
        quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        cv2.imwrite(str(folder / "images" / f"{k:03d}.jpg"), view.rgb[..., ::-1], quality)
    write_truth(folder / "truth.npz", sequence)


def write_truth(path: Path, sequence: Sequence) -> None:
    """Poses, intrinsics (of the truth's own resolution), depth in mm, objects and parts per pixel, and their names."""
    views, room, step = sequence.views, sequence.room, _TRUTH_STEP

    def every(name, kind):
        return np.stack([getattr(v, name)[::step, ::step] for v in views]).astype(kind)

    intrinsics = views[0].intrinsics.copy()
    intrinsics[:2] /= step
    np.savez_compressed(
        path, poses=np.stack([v.cam2world for v in views]), intrinsics=intrinsics,
        depth=np.stack([np.round(np.nan_to_num(v.depth[::step, ::step]) * 1000) for v in views]).astype(np.uint16),
        instance=every("instance", np.int16), part=every("part", np.int16), part_object=room.part_object,
        part_affordances=room.part_affordances, labels=json.dumps([o.label for o in room.objects]),
    )  # fmt: skip


if __name__ == "__main__":
    record()
