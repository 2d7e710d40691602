"""The formats that a map can be exported to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sab3r_ros.exports.content import ExportContent, content_of
from sab3r_ros.exports.gltf import write_3dtiles, write_glb
from sab3r_ros.exports.las import write_copc, write_las
from sab3r_ros.exports.mcap_file import write_mcap
from sab3r_ros.exports.rerun_file import write_rrd
from sab3r_ros.files import replacing
from sab3r_ros.mapping.export import write_ply

if TYPE_CHECKING:
    from sab3r_ros.maps import Map


class ExportError(ValueError):
    """A map that cannot be exported; the message says why."""


@dataclass(frozen=True)
class Format:
    """suffix of the file, "" for a folder; write: content to a path of this suffix."""

    suffix: str
    write: Callable[[ExportContent, Path], None]
    summary: str


def _write_ply(content: ExportContent, path: Path) -> None:
    write_ply(path, content.points, content.colours, content.scores, content.labels)


FORMATS = {
    "ply": Format(".ply", _write_ply, "points; MeshLab, CloudCompare, Open3D"),
    "glb": Format(".glb", write_glb, "points, path and boxes; web viewers, Blender, Unity"),
    "las": Format(".las", write_las, "points; surveying and GIS"),
    "copc": Format(".copc.laz", write_copc, "points in an octree; QGIS, web viewers"),
    "rrd": Format(".rrd", write_rrd, "points, boxes and the camera over time; Rerun"),
    "mcap": Format(".mcap", write_mcap, "ROS 2 messages; Foxglove, rosbag2"),
    "3dtiles": Format("", write_3dtiles, "points in an octree; Cesium"),
}


def export_map(saved: "Map", kind: str, out: Path, overwrite: bool = False) -> Path:
    """Write a map in a format of FORMATS to a file (3dtiles: a folder), whole or not at all; returns where.

    out: the suffix is added where it lacks. Raises ExportError for an unknown format, an empty map or a library
    that is missing, FileExistsError where something is there and not to be overwritten, MapFileError as `content_of`.
    """
    if kind not in FORMATS:
        raise ExportError(f"unknown format {kind!r}; known: {', '.join(FORMATS)}")
    form, out = FORMATS[kind], Path(out)
    if form.suffix and not out.name.endswith(form.suffix):
        out = out.with_name(out.name + form.suffix)
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; give --overwrite, or another place")
    if not len(saved.points):
        raise ExportError(f"{saved.path} has no points to export")
    content = content_of(saved)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(out) as part:
            form.write(content, part)
    except ModuleNotFoundError as error:
        hint = f'{kind} needs {error.name}, which is not installed: pip install "sab3r_ros[export]"'
        raise ExportError(hint) from error
    return out
