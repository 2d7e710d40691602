"""glTF (GLB), and 3D Tiles 1.1 whose tiles are GLB files. Both have y up and coordinates in metres."""

import json
from pathlib import Path

import numpy as np

from sab3r_ros.exports.content import Cell, ExportContent, octree
from sab3r_ros.geometry.walks import walks
from sab3r_ros.query.objects import BOX_EDGES, box_corners

_CAMERA_PATH = (255, 140, 0, 255)
_THIN = 1e-3  # metres: a side of a box is not shorter
_ERROR = 1 / 128  # of a cell's side: how coarse its own points look


def write_glb(content: ExportContent, path: Path) -> None:
    """Points with colours, the camera's path as a line, and a box around each thing, named by it."""
    import trimesh

    scene = trimesh.Scene()
    scene.add_geometry(_cloud(trimesh, content, np.arange(len(content.points))), geom_name="points")
    for number, positions in enumerate(walks(content.trajectory)):
        if len(positions) > 1:
            line = trimesh.load_path(_y_up(positions))
            line.colors = [_CAMERA_PATH] * len(line.entities)
            scene.add_geometry(line, geom_name="camera path" if not number else f"camera path {number + 1}")
    for item in content.objects:
        edges = box_corners(item.box_pose, np.maximum(item.size, _THIN))[BOX_EDGES]
        scene.add_geometry(trimesh.load_path(_y_up(edges)), geom_name=f"{item.label} ({item.id})")
    path.write_bytes(scene.export(file_type="glb"))


def write_3dtiles(content: ExportContent, folder: Path) -> None:
    """tileset.json and a tile a cell of an octree; children add to what their parents show."""
    import trimesh

    folder.mkdir()
    cells, low, side = octree(content.points)
    nodes: dict[tuple[int, tuple[int, int, int]], dict] = {}
    for number, cell in enumerate(cells):
        name = f"{number}.glb"
        cloud = trimesh.Scene(_cloud(trimesh, content, cell.rows))
        (folder / name).write_bytes(cloud.export(file_type="glb"))
        node = _tile(cell, name, low, side)
        nodes[cell.level, cell.place] = node
        if cell.level:
            parent = nodes[cell.level - 1, tuple(k // 2 for k in cell.place)]  # type: ignore[index]
            parent.setdefault("children", []).append(node)
    for node in nodes.values():
        if "children" not in node:
            node["geometricError"] = 0.0
    root = nodes[0, (0, 0, 0)]
    tileset = {"asset": {"version": "1.1"}, "geometricError": side, "root": root | {"refine": "ADD"}}
    (folder / "tileset.json").write_text(json.dumps(tileset))


def _tile(cell: Cell, name: str, low: np.ndarray, side: float) -> dict:
    """A tile's entry; bounding volumes of 3D Tiles have z up, glTF inside is turned by the viewer."""
    half = side / 2 ** (cell.level + 1)
    middle = low + (np.array(cell.place) * 2 + 1) * half
    box = [*middle.tolist(), half, 0, 0, 0, half, 0, 0, 0, half]
    return {"boundingVolume": {"box": box}, "geometricError": 2 * half * _ERROR, "content": {"uri": name}}


def _cloud(trimesh, content: ExportContent, rows: np.ndarray):
    opaque = np.full((len(rows), 1), 255, np.uint8)
    return trimesh.PointCloud(_y_up(content.points[rows]), colors=np.hstack([content.colours[rows], opaque]))


def _y_up(points: np.ndarray) -> np.ndarray:
    """Points (...,3) with z up as points with y up: x stays, y becomes -z."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)
