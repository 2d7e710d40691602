"""Point clouds from files: PLY, PCD, XYZ, NPY, and meshes through trimesh."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.pcd import read_pcd

_TEXT_SUFFIXES = (".xyz", ".txt", ".csv", ".pts", ".asc")
_MESH_SUFFIXES = (".obj", ".stl", ".glb", ".gltf", ".off")
CLOUD_SUFFIXES = frozenset({".ply", ".pcd", ".npy", ".npz", *_TEXT_SUFFIXES, *_MESH_SUFFIXES})
_SAMPLES = 20_000  # points on a mesh's surface
_SPARSE = 5000  # vertices of a mesh below which its faces are sampled: they say where the surface is, vertices do not


def read_cloud(path: Path) -> np.ndarray:
    """Points (N,3) float64 of a file, in its own unit; the surface of a mesh is sampled.

    Raises SourceError for one that is missing, damaged, empty or of an unknown kind.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    if suffix not in CLOUD_SUFFIXES:
        raise SourceError(f"{path}: unknown kind of cloud {suffix!r}; known: {', '.join(sorted(CLOUD_SUFFIXES))}")
    try:
        if suffix == ".ply":
            points = _ply(path)
        elif suffix == ".pcd":
            points = read_pcd(path)
        elif suffix in (".npy", ".npz"):
            points = _numpy(path)
        elif suffix in _TEXT_SUFFIXES:
            points = _text(path)
        else:
            points = _mesh(path)
    except SourceError:
        raise
    except MemoryError as error:
        raise SourceError(f"cannot read points from {path}: it claims to hold more than fits into memory") from error
    # Readers of damaged files fail in every way there is.
    except Exception as error:
        raise SourceError(
            f"cannot read points from {path}: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise SourceError(f"{path} holds an array {points.shape}, not points (N,3)")
    if not len(points):
        raise SourceError(f"{path} holds no points")
    return points


def _ply(path: Path) -> np.ndarray:
    from plyfile import PlyData, PlyElement, PlyElementParseError, PlyListProperty

    # plyfile reads headers as ASCII; comments may hold anything.
    raw = path.read_bytes()
    end = raw.find(b"end_header")
    head = re.sub(rb"[^\x00-\x7f]", b"?", raw[: end if end >= 0 else 0])
    try:
        data = PlyData.read(io.BytesIO(head + raw[len(head) :]))
    except PlyElementParseError as error:
        if "early end-of-file" in str(error) and str(error).startswith("element 'vertex'"):
            raise SourceError(f"{path} is cut short: {error}") from error
        raise
    vertex: PlyElement = data["vertex"]
    points = np.stack([np.asarray(vertex[k], np.float64) for k in "xyz"], 1)
    if "face" in data and len(data["face"]) and len(points) < _SPARSE:
        name = next((p.name for p in data["face"].properties if isinstance(p, PlyListProperty)), None)
        faces = [f for f in data["face"][name] if len(f) >= 3] if name else []
        triangles = np.array([[f[0], f[k], f[k + 1]] for f in faces for k in range(1, len(f) - 1)], np.int64)
        if len(triangles) and triangles.min() >= 0 and triangles.max() < len(points):
            return sample_surface(points, triangles)
    return points


def sample_surface(vertices: np.ndarray, triangles: np.ndarray, count: int = _SAMPLES) -> np.ndarray:
    """Points (count,3) spread evenly over the faces of a mesh; the same every time."""
    rng = np.random.default_rng(0)
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if not np.isfinite(area).all() or area.sum() <= 0:
        return vertices
    rows = rng.choice(len(triangles), count, p=area / area.sum())
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    return (1 - u)[:, None] * a[rows] + (u * (1 - v))[:, None] * b[rows] + (u * v)[:, None] * c[rows]


def _numpy(path: Path) -> np.ndarray:
    values = np.load(path, allow_pickle=False)
    if isinstance(values, np.lib.npyio.NpzFile):
        if "points" not in values:
            raise SourceError(f"{path} has no array 'points' (it has: {', '.join(values.files)})")
        values = values["points"]
    if values.dtype.names and {"x", "y", "z"} <= set(values.dtype.names):
        return np.stack([values[k].ravel() for k in "xyz"], 1)
    if values.ndim == 2 and values.shape[1] > 3:
        return values[:, :3]
    return values


def _text(path: Path) -> np.ndarray:
    """Columns x y z and more, with blanks, commas or semicolons; a count or a heading in the first lines is passed over."""
    rows = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines()):
        parts = re.split(r"[\s,;]+", line.partition("#")[0].strip())
        if parts == [""] or parts[0].startswith("//"):
            continue
        try:
            rows.append([float(v) for v in parts[:3]])
        except ValueError:
            if number == 0:
                continue
            raise SourceError(f"{path}, line {number + 1} is no point: {line[:60]!r}") from None
        if len(rows[-1]) < 3:
            if number == 0:
                rows.pop()
                continue
            raise SourceError(f"{path}, line {number + 1} has fewer than three numbers")
    return np.array(rows, np.float64).reshape(-1, 3)


def _mesh(path: Path) -> np.ndarray:
    try:
        import trimesh
    except ImportError:
        raise SourceError(f"reading {path.suffix} needs trimesh: pip install trimesh, or convert it to .ply") from None
    loaded: Any = trimesh.load(path, force="scene")
    parts = [part for part in loaded.dump() if hasattr(part, "vertices") and len(part.vertices)]
    meshes = [p for p in parts if hasattr(p, "faces") and len(p.faces)]
    if not meshes:
        return np.concatenate([np.asarray(p.vertices, float) for p in parts]) if parts else np.empty((0, 3))
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    vertices = np.concatenate([np.asarray(m.vertices, float) for m in meshes])
    triangles = np.concatenate([np.asarray(m.faces) + o for m, o in zip(meshes, offsets, strict=True)])
    return sample_surface(vertices, triangles)
