"""PCD files of the Point Cloud Library (format 0.7): ascii, binary and binary_compressed."""

from pathlib import Path

import numpy as np

from sab3r_ros.sources.base import SourceError

_TYPES = {"F": "f", "U": "u", "I": "i"}


def read_pcd(path: Path) -> np.ndarray:
    """Points (N,3) float64. Raises SourceError, ValueError for a damaged file."""
    raw = path.read_bytes()
    head, body = _header(raw, path)
    count = int(head["POINTS"][0]) if "POINTS" in head else int(head["WIDTH"][0]) * int(head["HEIGHT"][0])
    names, counts = head["FIELDS"], [int(v) for v in head.get("COUNT", ["1"] * len(head["FIELDS"]))]
    kinds = [np.dtype(f"<{_TYPES[t]}{int(s)}") for t, s in zip(head["TYPE"], head["SIZE"], strict=True)]
    if not {"x", "y", "z"} <= set(names):
        raise SourceError(f"{path} has no fields x, y and z (it has: {' '.join(names)})")
    if not 0 <= count <= len(raw):
        raise SourceError(f"{path} is damaged: its header claims {count} points")
    record = np.dtype(
        [
            (name if names.index(name) == k else f"{name}.{k}", kind, (n,))
            for k, (name, kind, n) in enumerate(zip(names, kinds, counts, strict=True))
        ]
    )
    layout = head["DATA"][0]
    if layout == "ascii":
        starts = np.cumsum([0, *counts[:-1]])
        rows = [line.split() for line in body.decode("latin-1").splitlines() if line.strip()]
        if len(rows) < count:
            raise SourceError(f"{path} is cut short: {len(rows)} of {count} points")
        places = [int(starts[names.index(k)]) for k in "xyz"]
        return np.array([[float(row[c]) for c in places] for row in rows[:count]], np.float64).reshape(-1, 3)
    if layout == "binary":
        if len(body) < count * record.itemsize:
            raise SourceError(f"{path} is cut short: {len(body) // record.itemsize} of {count} points")
        table = np.frombuffer(body, record, count)
        return np.stack([table[k][:, 0] for k in "xyz"], 1).astype(np.float64)
    if layout == "binary_compressed":
        packed, size = np.frombuffer(body[:8], "<u4")
        if size != count * record.itemsize:
            raise SourceError(f"{path} is damaged: {size} bytes of data for {count} points of {record.itemsize}")
        data = lzf_decompress(body[8 : 8 + int(packed)], int(size))
        columns: dict[str, np.ndarray] = {}
        start = 0
        for name, kind, n in zip(names, kinds, counts, strict=True):  # field by field, not point by point
            columns.setdefault(name, np.frombuffer(data, kind, count * n, start)[::n])
            start += kind.itemsize * n * count
        return np.stack([columns[k] for k in "xyz"], 1).astype(np.float64)
    raise SourceError(f"{path} has data {layout!r}; known: ascii, binary, binary_compressed")


def _header(raw: bytes, path: Path) -> tuple[dict[str, list[str]], bytes]:
    head: dict[str, list[str]] = {}
    start = 0
    while start < len(raw):
        end = raw.find(b"\n", start)
        end = len(raw) if end < 0 else end
        words = raw[start:end].decode("latin-1").split()
        start = end + 1
        if words and not words[0].startswith("#"):
            head[words[0].upper()] = words[1:]
            if words[0].upper() == "DATA":
                break
    if missing := {"FIELDS", "SIZE", "TYPE", "DATA"} - head.keys():
        raise SourceError(f"{path} is no PCD file: its header has no {', '.join(sorted(missing))}")
    return head, raw[start:]


def lzf_decompress(data: bytes, size: int) -> bytes:
    """Undo LZF (liblzf's format). Raises ValueError for data that do not give `size` bytes."""
    out, k = bytearray(), 0
    try:
        while k < len(data):
            control = data[k]
            k += 1
            if control < 32:  # literals
                out += data[k : k + control + 1]
                k += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += data[k]
                k += 1
            offset = len(out) - ((control & 31) << 8) - data[k] - 1
            k += 1
            if offset < 0:
                raise ValueError("the compressed points are damaged")
            for _ in range(length + 2):  # may overlap what it writes
                out.append(out[offset])
                offset += 1
    except IndexError:
        raise ValueError("the compressed points are cut short") from None
    if len(out) != size:
        raise ValueError(f"the compressed points give {len(out)} of {size} bytes")
    return bytes(out)
