"""Rendered walks kept on disk as memory-mapped arrays, so that training reads instead of casting rays."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from sab3r_ros.synthetic.materials import COLOUR_NAMES
from sab3r_ros.synthetic.sequence import render_sequence

_SIZE, _VIEWS = (128, 96), 4
_FIELDS = {
    "rgb": (np.uint8, (_SIZE[1], _SIZE[0], 3)),
    "depth": (np.float16, (_SIZE[1], _SIZE[0])),  # metres; 2 mm at 4 m
    "concept": (np.uint16, (_SIZE[1], _SIZE[0])),
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
        done = folder / "done.npy"
        if not done.is_file():
            raise ValueError(f"{folder} holds no rendered views; make them with `sab3r train render {folder}`")
        if not np.load(done).all():
            raise ValueError(
                f"the rendering in {folder} was interrupted; run `sab3r train render {folder}` again to finish it"
            )
        self.arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _FIELDS}

    def __len__(self):
        return len(self.arrays["rgb"])


def render_cache(
    folder: Path, first_seed: int, groups: int, workers: int, report: Callable[[], None] = lambda: None
) -> None:
    """Render `groups` walks into FOLDER; an interrupted run goes on where it stopped.

    Raises ValueError when FOLDER holds a cache of another length.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "done.npy").exists():
        for name, (dtype, shape) in _FIELDS.items():
            open_memmap(folder / f"{name}.npy", "w+", dtype, (groups, _VIEWS, *shape)).flush()
        open_memmap(folder / "done.npy", "w+", bool, (groups,)).flush()
    done = np.load(folder / "done.npy")
    if len(done) != groups:
        raise ValueError(f"{folder} was begun with {len(done)} groups, not {groups}; choose another folder")
    missing = np.flatnonzero(~done).tolist()
    with ProcessPoolExecutor(workers) as pool:
        for _ in pool.map(partial(_render_group, folder, first_seed), missing, chunksize=4):
            report()


def _render_group(folder: Path, first_seed: int, index: int) -> None:
    sequence = render_sequence(first_seed + index, _VIEWS, *_SIZE)
    arrays = {name: open_memmap(folder / f"{name}.npy", "r+") for name in (*_FIELDS, "done")}
    for k, (view, concept) in enumerate(
        zip(sequence.views, concepts(sequence.views, sequence.room.objects), strict=True)
    ):
        arrays["rgb"][index, k], arrays["depth"][index, k], arrays["concept"][index, k] = view.rgb, view.depth, concept
        arrays["cam2world"][index, k], arrays["intrinsics"][index, k] = view.cam2world, view.intrinsics
    arrays["done"][index] = True
