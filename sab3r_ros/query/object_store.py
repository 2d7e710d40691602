"""The things of a saved map: objects.safetensors in its folder, which belongs to that very map and to no other."""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sab3r_ros.files import replacing
from sab3r_ros.query.registry import MapObject, ObjectRegistry, ObjectState

FILE = "objects.safetensors"
_ARRAYS = ("points", "rgb", "box_pose", "size", "feature", "moved_from", "anchor")


def save_objects(folder: Path, map_mark: str, registry: ObjectRegistry) -> Path:
    """Write all things of a registry beside the map whose tensors have the SHA-256 `map_mark`; written as a whole or not at all."""
    arrays, rows = {}, []
    for k, item in enumerate(registry.objects):
        values = {f.name: getattr(item, f.name) for f in fields(item)}
        for name in _ARRAYS:
            value = values.pop(name)
            if value is not None:
                arrays[f"{k}.{name}"] = np.ascontiguousarray(value, np.uint8 if name == "rgb" else np.float32)
        rows.append(values | {"state": int(item.state)})
    path = Path(folder) / FILE
    content = {"map": map_mark, "next": registry.next_number, "objects": rows}
    with replacing(path) as part:
        save_file(arrays, part, {"sab3r_objects": json.dumps(content)})
        part.chmod(0o644)
    return path


def load_objects(folder: Path, map_mark: str) -> tuple[list[MapObject], int] | None:
    """Things and the number of the next one; None where there are none, or those of another state of the map.

    Raises ValueError for a damaged file.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "np") as file:
            content = json.loads((file.metadata() or {})["sab3r_objects"])
            if content["map"] != map_mark:
                return None
            held = set(file.keys())
            return [_read(file, held, k, row) for k, row in enumerate(content["objects"])], int(content["next"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged: {type(error).__name__}: {error}; without it the things are found anew"
        ) from error


def _read(file, held: set[str], number: int, row: dict) -> MapObject:
    values: dict[str, Any] = {n: file.get_tensor(f"{number}.{n}") if f"{number}.{n}" in held else None for n in _ARRAYS}
    for name in ("box_pose", "size", "anchor"):
        if values[name] is not None:
            values[name] = values[name].astype(np.float64)
    values |= row
    values["labels"] = tuple((str(name), float(share)) for name, share in row["labels"])
    values["state"], values["view_box"] = ObjectState(row["state"]), tuple(row["view_box"])
    return MapObject(**values)


def new_registry(stored: tuple[Sequence[MapObject], int] | None) -> ObjectRegistry:
    """A registry that goes on from stored things, or from none."""
    registry = ObjectRegistry()
    if stored is not None:
        registry.restore(*stored)
    return registry
