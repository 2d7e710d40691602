"""LAS 1.4, and COPC (a LAZ file in an octree that viewers on the web read piece by piece)."""

import json
from pathlib import Path

import numpy as np

from sab3r_ros.exports.content import ExportContent, octree

_SCALE = 0.001  # metres that coordinates are rounded to
_EXTRA = (("label", np.uint16, "number in names"), ("score", np.float32, "relevancy of label"), ("confidence", np.float32, "summed confidence"))  # fmt: skip
_FORMAT_7 = np.dtype([
    ("x", "<i4"), ("y", "<i4"), ("z", "<i4"), ("intensity", "<u2"), ("returns", "u1"), ("flags", "u1"), ("classification", "u1"),
    ("user_data", "u1"), ("scan_angle", "<i2"), ("source", "<u2"), ("gps_time", "<f8"), ("red", "<u2"), ("green", "<u2"),
    ("blue", "<u2"),
])  # fmt: skip
_SPACINGS = 128  # points that a cell would show along its side


def write_las(content: ExportContent, path: Path) -> None:
    """Points of format 7 (colour) with label, score and confidence as extra bytes; label names in a text record."""
    import laspy

    header = laspy.LasHeader(point_format=7, version="1.4")
    header.scales, header.offsets = np.full(3, _SCALE), np.floor(content.points.min(0)).astype(float)
    for name, kind, description in _EXTRA:
        header.add_extra_dim(laspy.ExtraBytesParams(name=name, type=kind, description=description))
    names = json.dumps(list(content.names)).encode()
    # A record holds at most 65535 bytes.
    header.vlrs.append(laspy.VLR("sab3r_ros", 1, "label names as JSON", names[:65_535]))
    las = laspy.LasData(header)
    las.x, las.y, las.z = content.points.astype(np.float64).T
    las.red, las.green, las.blue = content.colours.astype(np.uint16).T * 257  # 16 bits, as the standard has it
    las.label, las.score, las.confidence = content.labels, content.scores, content.confidence
    las.write(str(path))


def write_copc(content: ExportContent, path: Path) -> None:
    """Points of format 7 in an octree; `point_source_id` is the label's number, `intensity` its score times 65535.

    copclib cannot describe extra bytes, and `classification` has place for 256 labels only.
    """
    import copclib

    cells, low, side = octree(content.points)
    scale, offset = copclib.Vector3(_SCALE, _SCALE, _SCALE), copclib.Vector3(*np.floor(low))
    config = copclib.CopcConfigWriter(7, scale, offset)
    config.las_header.min = copclib.Vector3(*low)
    config.las_header.max = copclib.Vector3(*content.points.max(0).astype(float))
    half = side / 2
    config.copc_info.center_x, config.copc_info.center_y, config.copc_info.center_z = (low + half).tolist()
    config.copc_info.halfsize, config.copc_info.spacing = half, side / _SPACINGS
    records = _records(content, np.floor(low))
    writer = copclib.FileWriter(str(path), config)
    for cell in cells:
        raw = copclib.VectorChar(records[cell.rows].view(np.int8))  # signed characters
        writer.AddNode(copclib.VoxelKey(cell.level, *cell.place), raw)
    writer.Close()


def _records(content: ExportContent, offset: np.ndarray) -> np.ndarray:
    """Points as LAS 1.4 lays out format 7."""
    out = np.zeros(len(content.points), _FORMAT_7)
    whole = np.round((content.points.astype(np.float64) - offset) / _SCALE).astype(np.int32)
    out["x"], out["y"], out["z"] = whole.T
    out["returns"] = 0x11  # the first return of one
    out["red"], out["green"], out["blue"] = content.colours.astype(np.uint16).T * 257
    out["source"] = content.labels
    out["intensity"] = np.round(np.clip(content.scores, 0, 1) * 65_535)
    return out
