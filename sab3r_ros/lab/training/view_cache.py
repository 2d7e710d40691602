"""Rendered walks kept on disk as memory-mapped arrays, so that training reads instead of casting rays."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from sab3r_ros.lab.synthetic.catalogue import Catalogue
from sab3r_ros.lab.synthetic.materials import COLOUR_NAMES
from sab3r_ros.lab.synthetic.rooms import check_training_seeds
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.lab.training import array_folder

SIZE, VIEWS = (320, 240), 5


def _fields(size: tuple[int, int]):
    width, height = size
    return {
        "rgb": (np.uint8, (height, width, 3)),
        "depth": (np.float16, (height, width)),  # metres; 2 mm at 4 m
        "concept": (np.uint16, (height, width)),
        "cam2world": (np.float64, (4, 4)),
        "intrinsics": (np.float64, (3, 3)),
    }


def concepts(views, objects) -> list[np.ndarray]:
    """Per view (H,W) uint16: label * number of colours + colour of the object that a pixel shows."""
    colours = np.array([COLOUR_NAMES.index(o.colour) for o in objects])
    return [
        (v.label.astype(np.uint16) * len(COLOUR_NAMES) + colours[v.instance.clip(0)]).astype(np.uint16) for v in views
    ]


class ViewCache:
    """Groups of four views of one room each; group k is the walk of seed `first_seed + k`.

    Raises ValueError when the folder holds no finished cache.
    """

    def __init__(self, folder: Path):
        self.arrays = array_folder.finished(folder, "sab3r train render")

    def __len__(self):
        return len(self.arrays["rgb"])


def render_cache(
    folder: Path, first_seed: int, groups: int, workers: int, report: Callable[[], None] = lambda: None,
    size: tuple[int, int] = SIZE, views: int = VIEWS, furniture: Path | None = None,
) -> None:  # fmt: skip
    """Render `groups` walks into FOLDER; an interrupted run goes on where it stopped.

    size: width and height in pixels; views: of each walk; furniture: a packed catalogue of models (`pack_catalogue`).
    Raises ValueError when FOLDER holds a cache of another length, the seeds would reach the held-out ones, or the
    furniture cannot be read.
    """
    check_training_seeds(first_seed, groups)
    if furniture is not None:
        Catalogue(furniture)
    fields = {k: (dtype, (views, *shape)) for k, (dtype, shape) in _fields(size).items()}
    missing = array_folder.begin(folder, fields, groups)
    render = partial(_render_group, folder, first_seed, size, views)
    with ProcessPoolExecutor(workers, initializer=_open_furniture, initargs=(furniture,)) as pool:
        for _ in pool.map(render, missing):
            report()


_furniture: Catalogue | None = None  # of a worker process


def _open_furniture(path: Path | None) -> None:
    global _furniture
    _furniture = Catalogue(path) if path is not None else None


def _render_group(folder: Path, first_seed: int, size: tuple[int, int], count: int, index: int) -> None:
    sequence = render_sequence(first_seed + index, count, *size, catalogue=_furniture)
    views = sequence.views
    sample = {k: np.stack([getattr(v, k) for v in views]) for k in ("rgb", "depth", "cam2world", "intrinsics")}
    array_folder.write(folder, index, sample | {"concept": np.stack(concepts(views, sequence.room.objects))})
