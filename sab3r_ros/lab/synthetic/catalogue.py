"""Designers' furniture: Sweet Home 3D's model libraries as objects of the made-up rooms.

Debian's package `sweethome3d-furniture` holds some 800 textured models (CC0 and CC-BY 3.0; each library names its authors).
`pack_catalogue` reduces those that show something with a label to one file; `Catalogue` gives them out as scene objects.
"""

import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from sab3r_ros.files import replacing
from sab3r_ros.lab.synthetic.materials import FaceColours, Material, colour_name
from sab3r_ros.lab.synthetic.parts import Part

_TEXTURE_SIDE = 96  # pixels; a model fills a part of an image only
_MAX_FACES = 9000
_SKIPPED = ("exterior", "vehicles", "characters", "staircases")
# Whole words of a model's name, tried from the top: what comes first is what the thing is.
_WORDS = (
    ("plate, glass", ""), ("toilet paper", ""), ("toilet brush", ""), ("toilets unit", "toilet"), ("shower", ""), ("television cabinet", "cabinet"),
    ("tv stand", "cabinet"), ("remote control", ""), ("knife stand", ""), ("cup cake", ""), ("piano", ""), ("table fan", ""), ("table tennis", ""),
    ("pool table", ""), ("football table", ""), ("changing table", "drawers"), ("dressing table", "desk"), ("dog house", ""), ("bedside table", "drawers"),
    ("drawers", "drawers"), ("sink cabinet", "sink"), ("filing cabinet", "drawers"), ("curtain", "curtain"), ("bookcase", "shelves"), ("shelves", "shelves"),
    ("coffee cup", "mug"), ("coffee mug", "mug"), ("plastic cup", "mug"), ("cup", "mug"), ("mug", "mug"), ("beer glass", ""), ("glass table", "table"),
    ("glass door cabinet", "cabinet"), ("coffee table", "table"), ("bar table", "table"), ("desk table", "desk"), ("desk lamp", "lamp"), ("table", "table"),
    ("workbench", "table"), ("desk", "desk"), ("bar chair", "stool"), ("bar stool", "stool"), ("stool", "stool"), ("wheelchair", ""), ("chair with", "chair"),
    ("armchair", "chair"), ("chair", "chair"), ("class seat", "chair"), ("sofa", "sofa"), ("couch", "sofa"), ("futon", "sofa"), ("bed", "bed"), ("crib", "bed"),
    ("wardrobe", "cabinet"), ("cupboard", "cabinet"), ("cabinet", "cabinet"), ("vanity", "sink"), ("island", "counter"), ("fridge", "refrigerator"),
    ("refrigerator", "refrigerator"), ("microwave", "microwave"), ("oven", "oven"), ("stove", "oven"), ("cooker", "oven"), ("washbasin", "sink"),
    ("sink", "sink"), ("lavatory", "sink"), ("basin", "sink"), ("tv", "television"), ("screen", "television"), ("imac", "television"), ("ibook", "laptop"),
    ("laptop", "laptop"), ("french window", "window"), ("window", "window"), ("door", "door"), ("lamp", "lamp"), ("light", "lamp"), ("lantern", "lamp"),
    ("frame", "picture"), ("carpet", "rug"), ("rug", "rug"), ("doormat", "rug"), ("bathmat", "rug"), ("trash", "trash can"), ("dustbin", "trash can"),
    ("bin", "trash can"), ("bottle", "bottle"), ("flacon", "bottle"), ("milk", "bottle"), ("bowl", "bowl"), ("plate", "plate"), ("pan", "pan"),
    ("kettle", "kettle"), ("teapot", "teapot"), ("knife", "knife"), ("spoon", "spoon"), ("scissors", "scissors"), ("hammer", "hammer"), ("drill", "drill"),
    ("screwdriver", "screwdriver"), ("box", "box"), ("crate", "box"), ("book", "book"), ("keyboard", ""), ("headphones", "headphones"), ("bag", "bag"),
    ("backpack", "bag"), ("handbag", "bag"), ("briefcase", "bag"), ("suitcase", "bag"), ("faucet", "faucet"), ("vase", "vase"), ("pottery", "vase"),
    ("plant", "plant"), ("cactus", "plant"), ("ficus", "plant"), ("flowers", "plant"), ("orchids", "plant"), ("bonsai", "plant"), ("tulips", "plant"),
    ("lily", "plant"), ("yucca", "plant"), ("spathiphyllum", "plant"), ("bamboo", "plant"), ("basketball", "ball"), ("ball", "ball"), ("hat", "hat"),
    ("cap", "hat"), ("clock", "clock"), ("phone", "phone"), ("iphone", "phone"), ("joystick", "game controller"), ("playstation", ""),
)  # fmt: skip


def label_of(name: str, category: str) -> str:
    """The label of a model by its English name and category; "" for what has none."""
    if category.lower() in _SKIPPED:
        return ""
    for words, label in _WORDS:
        if re.search(rf"\b{re.escape(words)}s?\b", name.lower()):
            return label
    return ""


@dataclass
class Model:
    """A textured mesh in an object's frame: z up, front to +x, standing on the origin.

    vertices (V,3) metres; faces (F,3); face_colour (F,3) linear in [0, 1]; uv (F,3,2); texture (F,) number among
    `textures` (h,w,3) uint8, -1 = none; top: lower and upper corner (3,) of a flat top that carries things, or None.
    """

    label: str
    name: str
    vertices: np.ndarray
    faces: np.ndarray
    face_colour: np.ndarray
    uv: np.ndarray
    texture: np.ndarray
    textures: list[np.ndarray]
    top: np.ndarray | None = None


@dataclass
class ModelPart(Part):
    """A whole model as the single part of its object; `size` are its extents."""

    model: Model = field(kw_only=True)

    def mesh(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Part.mesh`."""
        return self.model.vertices, self.model.faces

    @property
    def flat_top(self) -> np.ndarray | None:
        """See `Part.flat_top`."""
        return self.model.top

    def face_colours(self) -> FaceColours:
        """What each triangle is painted with."""
        m = self.model
        return FaceColours(m.face_colour, m.uv, m.texture, m.textures)


class Catalogue:
    """The models of a packed file by label. Raises ValueError for a file that is none."""

    def __init__(self, path: Path):
        try:
            with np.load(path) as packed:
                arrays = {name: packed[name] for name in packed.files}
            listed = json.loads(bytes(arrays["index"]))
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(
                f"{path} is no packed furniture ({error}); make one with `sab3r train furniture`"
            ) from error
        self._models: dict[str, list[Model]] = {}
        for entry in listed:
            model = _unpack(entry, arrays)
            self._models.setdefault(model.label, []).append(model)

    def __len__(self):
        return sum(len(m) for m in self._models.values())

    def has(self, label: str) -> bool:
        """Whether there is a model with this label."""
        return label in self._models

    def part(self, label: str, rng: np.random.Generator) -> tuple[ModelPart, str]:
        """A random model as a part, of slightly other proportions, and the name of its main colour."""
        models = self._models[label]
        model = models[rng.integers(len(models))]
        scale = rng.uniform(0.92, 1.08) * rng.uniform(0.95, 1.05, 3)
        tint = np.clip(rng.uniform(0.75, 1.2) + rng.normal(0, 0.04, 3), 0.5, 1.4)
        vertices = model.vertices * scale
        scaled = replace(
            model, vertices=vertices, face_colour=np.clip(model.face_colour * tint, 0, 1),
            textures=[np.clip(t * tint, 0, 255).astype(np.uint8) for t in model.textures], top=None if model.top is None else model.top * scale,
        )  # fmt: skip
        low, high = vertices.min(0), vertices.max(0)
        surface = Material("plain", np.full(3, 0.5), np.full(3, 0.5), 1.0, 0.0, float(rng.uniform(0, 0.3)))
        part = ModelPart(model.name, "box", high - low, (low + high) / 2, surface, (), model=scaled)
        return part, colour_name(_main_colour(scaled))


def _main_colour(model: Model) -> np.ndarray:
    corners = model.vertices[model.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    colour = model.face_colour.copy()
    for k, texture in enumerate(model.textures):
        colour[model.texture == k] = texture.reshape(-1, 3).mean(0) / 255
    return (colour * area[:, None]).sum(0) / max(area.sum(), 1e-9)


def read_library(path: Path) -> Iterator[tuple[dict[str, str], str]]:
    """Properties of every model of a `.sh3f` file that has a label, and the label. Raises ValueError for another file."""
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read("PluginFurnitureCatalog.properties").decode("latin1")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no furniture library of Sweet Home 3D: {error}") from error
    entries: dict[str, dict[str, str]] = {}
    for key, number, value in re.findall(r"^(\w+)#(\d+)\s*=(.*)$", text, re.MULTILINE):
        entries.setdefault(number, {})[key] = value.strip()
    for entry in entries.values():
        label = label_of(entry.get("name", ""), entry.get("category", ""))
        if label and "model" in entry:
            yield entry, label


def pack_catalogue(libraries: list[Path], out: Path, workers: int, report: Callable[[], None] = lambda: None) -> int:
    """Pack every labelled model of the libraries into one file; returns how many. Raises ValueError for unreadable ones."""
    jobs = [(path, entry, label) for path in libraries for entry, label in read_library(path)]
    arrays: dict[str, np.ndarray] = {}
    listed: list[dict] = []
    with ProcessPoolExecutor(workers) as pool:
        for model in pool.map(_read_model, jobs, chunksize=8):
            report()
            if model is not None:
                listed.append(_pack(model, len(listed), arrays))
    arrays["index"] = np.frombuffer(json.dumps(listed).encode(), np.uint8)
    with replacing(out) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return len(listed)


def _pack(model: Model, number: int, arrays: dict[str, np.ndarray]) -> dict:
    names = {
        "vertices": np.float32,
        "faces": np.uint16,
        "face_colour": np.float16,
        "uv": np.float16,
        "texture": np.int8,
    }
    for name, dtype in names.items():
        arrays[f"{number}.{name}"] = getattr(model, name).astype(dtype)
    for k, texture in enumerate(model.textures):
        buffer = io.BytesIO()
        Image.fromarray(texture).save(buffer, "JPEG", quality=85)
        arrays[f"{number}.image{k}"] = np.frombuffer(buffer.getvalue(), np.uint8)
    top = None if model.top is None else model.top.tolist()
    return {"number": number, "label": model.label, "name": model.name, "images": len(model.textures), "top": top}


def _unpack(entry: dict, arrays: dict[str, np.ndarray]) -> Model:
    number = entry["number"]
    images = [np.asarray(Image.open(io.BytesIO(bytes(arrays[f"{number}.image{k}"])))) for k in range(entry["images"])]
    vertices, faces, colour, uv, texture = (
        arrays[f"{number}.{name}"] for name in ("vertices", "faces", "face_colour", "uv", "texture")
    )
    top = None if entry["top"] is None else np.array(entry["top"])
    return Model(
        entry["label"], entry["name"], vertices.astype(float), faces.astype(np.int64), colour.astype(float), uv.astype(float),
        texture.astype(np.int64), images, top,
    )  # fmt: skip


def _read_model(job: tuple[Path, dict[str, str], str]) -> Model | None:
    """A model reduced to what a room needs; None for one that cannot be read or is too detailed."""
    path, entry, label = job
    member = entry["model"].lstrip("/")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        prefix = member.rsplit("/", 1)[0] + "/"
        for name in archive.namelist():
            if name.startswith(prefix) and ".." not in name:
                archive.extract(name, folder)
        try:
            scene = trimesh.load(Path(folder) / member, process=False, force="scene")
            return _assembled(scene, entry, label)
        except Exception:  # noqa: BLE001 - trimesh and Pillow raise anything on odd files; such a model is left out
            return None


def _assembled(scene, entry: dict[str, str], label: str) -> Model | None:
    parts = [g for g in scene.geometry.values() if isinstance(g, trimesh.Trimesh) and len(g.faces)]
    if not parts:
        return None
    vertices, faces, colours, uvs, texture = [], [], [], [], []
    textures: list[np.ndarray] = []
    count = 0
    for part in parts:
        material = getattr(part.visual, "material", None)
        uv = getattr(part.visual, "uv", None)
        image = getattr(material, "image", None)
        diffuse = np.asarray(getattr(material, "diffuse", (160, 160, 160, 255)))[:3] / 255
        number = -1
        if image is not None and uv is not None and len(textures) < 60:
            number = len(textures)
            small = image.convert("RGB")
            small.thumbnail((_TEXTURE_SIDE, _TEXTURE_SIDE))
            textures.append(np.asarray(small))
        vertices.append(np.asarray(part.vertices, float))
        faces.append(np.asarray(part.faces) + count)
        count += len(part.vertices)
        colours.append(np.tile(diffuse, (len(part.faces), 1)))
        uvs.append(np.zeros((len(part.faces), 3, 2)) if uv is None else np.mod(np.asarray(uv)[part.faces], 64.0))
        texture.append(np.full(len(part.faces), number))
    points = np.concatenate(vertices)
    if "modelRotation" in entry:
        points = points @ np.array(entry["modelRotation"].split(), float).reshape(3, 3).T
    triangles = np.concatenate(faces)
    low, high = points.min(0), points.max(0)
    size = np.array([float(entry[k]) / 100 for k in ("width", "height", "depth")])
    points = (points - [(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2]) * (size / np.maximum(high - low, 1e-9))
    points = points[:, [2, 0, 1]]  # Sweet Home 3D: x right, y up, front to +z
    points, triangles, kept = _simplified(points, triangles)
    if not 4 <= len(triangles) <= 2 * _MAX_FACES or len(points) > 65_000:
        return None
    colour, uv, texture = (np.concatenate(a)[kept] for a in (colours, uvs, texture))
    return Model(label, entry["name"], points, triangles, colour, uv, texture, textures, _flat_top(points, triangles))


def _simplified(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices joined on a grid, coarser until few faces are left; also which faces were kept."""
    cell = np.ptp(points, axis=0).max() / 400
    while True:
        _, first, joined = np.unique(
            np.round(points / cell).astype(np.int64), axis=0, return_index=True, return_inverse=True
        )
        moved = joined.reshape(-1)[faces]
        kept = (moved[:, 0] != moved[:, 1]) & (moved[:, 1] != moved[:, 2]) & (moved[:, 0] != moved[:, 2])
        if kept.sum() <= _MAX_FACES or cell > np.ptp(points, axis=0).max() / 40:
            return points[first], moved[kept], kept
        cell *= 1.4


def _flat_top(points: np.ndarray, faces: np.ndarray) -> np.ndarray | None:
    """Corners of the flat upper side where it covers most of the ground that the thing stands on."""
    corners = points[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normals, axis=-1)
    height = corners[..., 2].mean(-1)
    up = (np.abs(normals[:, 2]) > 0.95 * area) & (height > points[:, 2].max() - 0.02)
    if not up.any():
        return None
    low, high = corners[up].reshape(-1, 3).min(0), corners[up].reshape(-1, 3).max(0)
    footprint = np.prod(np.ptp(points[:, :2], axis=0))
    return np.stack([low, high]) if area[up].sum() / 2 > 0.6 * footprint else None
