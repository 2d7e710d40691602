"""Writing files so that a good one is only ever replaced by a whole one, and telling files apart."""

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path`, of the same kind, to write to; it takes `path`'s place when the block ends without an error.

    What is made there may be a file or a folder; a folder takes the place of whatever was there, one step after it is gone.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    _remove(part)  # of a process that was killed
    try:
        yield part
        if part.is_dir():
            _remove(path)
        part.replace(path)
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def finite(value):
    """The same content with null for what is not a number: JSON has no NaN."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, content: Any) -> None:
    """JSON, indented, as a whole or not at all. Raises ValueError for numbers that JSON does not have."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    return sha256_of([path])


def sha256_of(paths: Iterable[Path]) -> str:
    """The hexadecimal SHA-256 of several files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()
