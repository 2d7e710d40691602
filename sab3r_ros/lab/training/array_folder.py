"""Large sets of samples on disk: one memory-mapped array per field, and which samples are written already."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

Fields = Mapping[str, tuple[type, tuple[int, ...]]]


def begin(folder: Path, fields: Fields, count: int) -> list[int]:
    """Make FOLDER's arrays for `count` samples, or go on with an interrupted run; returns the samples still to write.

    fields: name to (type, shape of one sample). Raises ValueError when FOLDER was begun with another count.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "done.npy").exists():
        for name, (dtype, shape) in fields.items():
            open_memmap(folder / f"{name}.npy", "w+", dtype, (count, *shape)).flush()
        open_memmap(folder / "done.npy", "w+", bool, (count,)).flush()
    done = np.load(folder / "done.npy")
    if len(done) != count:
        raise ValueError(f"{folder} was begun with {len(done)} samples, not {count}; choose another folder")
    return np.flatnonzero(~done).tolist()


def write(folder: Path, index: int, sample: Mapping[str, np.ndarray]) -> None:
    """Write one sample and mark it as done; several processes may write different samples."""
    for name, value in sample.items():
        open_memmap(folder / f"{name}.npy", "r+")[index] = value
    open_memmap(folder / "done.npy", "r+")[index] = True


def finished(folder: Path, command: str) -> dict[str, np.ndarray]:
    """The arrays of a finished folder, memory-mapped. Raises ValueError, naming the command that writes one, otherwise."""
    done = folder / "done.npy"
    if not done.is_file():
        raise ValueError(f"{folder} holds no finished samples; make them with `{command} {folder}`")
    if not np.load(done).all():
        raise ValueError(f"the run that fills {folder} was interrupted; run `{command} {folder}` again to finish it")
    return {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy") if path.stem != "done"}


def begun(folder: Path, command: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The arrays of a folder that may still be filled, memory-mapped, and which samples (N,) bool are done.

    Raises ValueError, naming the command that writes one, for a folder in which nothing was begun.
    """
    done = folder / "done.npy"
    if not done.is_file():
        raise ValueError(f"{folder} holds no samples; make them with `{command} {folder}`")
    return {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy") if path.stem != "done"}, np.load(
        done
    )
