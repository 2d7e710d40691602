"""Recordings in archives: zip (also Record3D's .r3d) and tar, compressed or not, unpacked into a folder that goes with the source."""

import contextlib
import lzma
import shutil
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm import tqdm

from sab3r_ros.sources.base import IMAGE_SUFFIXES, Source, SourceError
from sab3r_ros.sources.layouts import IMAGE_FOLDERS

_ZIP = (".zip", ".r3d")
_DAMAGED = (
    OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError,
)  # fmt: skip
_Member = tuple[str, int, Callable[[], Any]]  # a name, its size in bytes, and what opens it
_LEFT_FREE = 10**9  # bytes of the disk
_CHUNK = 1 << 20
_LONGEST = 200  # characters of a message


def open_archive(path: Path, open_path: Callable[[Path], Source]) -> Source:
    """The recording in an archive: `open_path` of where it was unpacked, which lasts as long as the source does.

    Members that cannot be read are passed over and noted in its faults. Raises SourceError where nothing can be read, or the disk is too small.
    """
    folder = Path(tempfile.mkdtemp(prefix="sab3r_"))
    try:
        count, faults = _unpack(path, folder)
        if not count:
            raise SourceError("it holds no files that can be read" + "".join(f": {a}: {b}" for a, b in faults[:1]))
        source = open_path(_root(folder))
    except (FileNotFoundError, *_DAMAGED) as error:
        shutil.rmtree(folder, ignore_errors=True)
        text = _one_line(error).replace(str(folder), path.name)
        raise SourceError(f"{path} cannot be used: {text}") from error
    weakref.finalize(source, shutil.rmtree, folder, ignore_errors=True)
    source.name = str(path)
    source.note(f"unpacked {count} files")
    for what, why in faults:
        source.faults.add(what, why)
    return source


def _unpack(path: Path, folder: Path) -> tuple[int, list[tuple[str, str]]]:
    """Unpack what can be read; returns how many files, and what was left out and why. An archive that breaks off is read as far as it goes."""
    count, faults = 0, []
    members = (_of_zip if path.name.lower().endswith(_ZIP) else _of_tar)(path)
    try:
        for name, size, opened in tqdm(members, f"unpacking {path.name}", unit="file", leave=False, disable=None):
            out = _place(folder, name, path.suffix.lower() == ".r3d")
            if out is None:
                continue
            if size + _LEFT_FREE > shutil.disk_usage(folder).free:
                raise SourceError(
                    f"the disk of {folder.parent} is too small for it: unpack it elsewhere and give the folder, or set TMPDIR"
                )
            try:
                out.parent.mkdir(parents=True, exist_ok=True)
                _copy(opened(), out, size)
                count += 1
            except _DAMAGED as error:
                with contextlib.suppress(OSError):
                    out.unlink()
                faults.append((_one_line(name), f"cannot be unpacked: {_one_line(error)}"))
    except SourceError:
        raise
    except _DAMAGED as error:
        if not count:
            raise
        faults.append(("the end of the archive", f"cannot be unpacked: {_one_line(error)}"))
    return count, faults


def _place(folder: Path, name: str, is_record3d: bool) -> Path | None:
    """Where a member goes; None for what would lie outside, and for what a Mac adds."""
    inside = PurePosixPath(name.replace("\\", "/"))
    if inside.is_absolute() or ".." in inside.parts or "__MACOSX" in inside.parts or inside.name.startswith("._"):
        return None
    out = folder / inside
    return out.with_suffix(".json") if is_record3d and out.name == "metadata" else out


def _one_line(what: object) -> str:
    """An error, or the name of a member, of a damaged archive: it may hold anything."""
    text = " ".join(str(what).split()) or type(what).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:_LONGEST]


def _of_zip(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, member.file_size, partial(archive.open, member)


def _of_tar(path: Path) -> Iterator[_Member]:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile():
                yield member.name, member.size, partial(archive.extractfile, member)


def _copy(stream: IO[bytes], out: Path, size: int) -> None:
    """Copy no more than an archive promised. Raises ValueError for a member that holds more or less."""
    done = 0
    with stream, out.open("wb") as file:
        while chunk := stream.read(_CHUNK):
            done += len(chunk)
            if done > size:
                break
            file.write(chunk)
    if done != size:
        raise ValueError("not as long as the archive says")


def _root(path: Path) -> Path:
    """The recording in a folder: it, or the only thing in it, unless that is an image or has a meaning by its name (`rgb`, `rgbd`)."""
    while path.is_dir() and len(inside := list(path.iterdir())) == 1:
        only = inside[0]
        if only.suffix.lower() in IMAGE_SUFFIXES or (only.is_dir() and only.name in IMAGE_FOLDERS):
            return path
        path = only
    return path
