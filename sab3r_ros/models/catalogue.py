"""Models by name: what they are, where their files come from, and how they get onto a machine.

A model's files are looked for in `models_dir()/NAME` first, so that a machine without a network needs nothing but a copied
folder; hub files that are not there are downloaded on first use, others by `fetch`.
"""

import logging
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sab3r_ros.files import replacing, sha256

_log = logging.getLogger(__name__)
ASSETS = Path(__file__).resolve().parents[1] / "assets"
_NON_COMMERCIAL = "CC BY-NC-SA 4.0 (non-commercial)"
_DUNE_LICENCE = "NAVER Non-Commercial License (DUNE)"
_DUNE_HOST = "https://download.europe.naverlabs.com/dune/"
_CLIP_SHA256 = "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"
_FEATUP_HOST = "https://marhamilresearch4.blob.core.windows.net/feature-upsampling-public/pretrained/no_norm/"


class CheckpointError(ValueError):
    """A checkpoint that cannot be found, read or fitted; the message says what to do."""


@dataclass(frozen=True)
class ModelFile:
    """One file of a model.

    source: "owner/model" on the Hugging Face hub, or a URL; sha256: where it is published; folder: a folder that may lie in its
    place.
    """

    name: str
    source: str
    megabytes: int
    sha256: str = ""
    folder: str = ""

    def is_in(self, place: Path) -> bool:
        """Whether the file, or what may lie in its place, is in a folder."""
        return (place / self.name).is_file() or (bool(self.folder) and (place / self.folder).is_dir())


@dataclass(frozen=True)
class KnownModel:
    """A model that has a name.

    files: () for those in the package; image_size: long side in pixels; tasks: what it can do; geometry, features: the names
    of the two models that a composite consists of.
    """

    summary: str
    licence: str
    tasks: str
    image_size: int
    files: tuple[ModelFile, ...] = ()
    geometry: str = ""
    features: str = ""

    @property
    def bundled(self) -> bool:
        """Whether the weights are part of the package."""
        return not self.files and not self.geometry

    @property
    def parts(self) -> tuple[str, ...]:
        """The models it consists of, where it is a composite."""
        return tuple(filter(None, (self.geometry, self.features)))

    @property
    def megabytes(self) -> int:
        """Size of all files; of bundled weights as they lie in the package."""
        if self.parts:
            return sum(KNOWN[part].megabytes for part in self.parts)
        return sum(f.megabytes for f in self.files) or 20

    def is_present(self, name: str) -> bool:
        """Whether its files are on this machine (those in the hub's own cache are not looked for)."""
        if self.parts:
            return all(KNOWN[part].is_present(part) for part in self.parts)
        return all(f.is_in(models_dir() / name) for f in self.files)


_MAST3R_HUB = "naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric"
KNOWN: dict[str, KnownModel] = {
    "sab3r_small": KnownModel("default; ImageNet's trunk, trained on synthetic rooms", "Apache-2.0", "geometry, text", 320),
    "cast_tiny": KnownModel("affordances of an object's points (default of `affordance`)", "Apache-2.0", "affordance", 128),
    "mast3r": KnownModel(
        "MASt3R ViT-L, metric", _NON_COMMERCIAL, "geometry", 512,
        (ModelFile("config.json", _MAST3R_HUB, 1), ModelFile("model.safetensors", _MAST3R_HUB, 2755)),
    ),
    "maskclip": KnownModel(
        "MaskCLIP on OpenAI's ViT-B/16, upsampled by FeatUp", "MIT", "text features beside any geometry", 512,
        (
            ModelFile("ViT-B-16.pt", f"https://openaipublic.azureedge.net/clip/models/{_CLIP_SHA256}/ViT-B-16.pt", 351, _CLIP_SHA256, "clip"),
            ModelFile("maskclip_jbu_stack_cocostuff.ckpt", f"{_FEATUP_HOST}maskclip_jbu_stack_cocostuff.ckpt", 602),
        ),
    ),
    "mast3r_maskclip": KnownModel(
        "MASt3R with MaskCLIP: the paper's baseline", f"{_NON_COMMERCIAL}; MIT", "geometry, text", 512, geometry="mast3r", features="maskclip"
    ),
    "dune_small": KnownModel(
        "DUNE-MASt3R with ViT-S/14, for small GPUs", _DUNE_LICENCE, "geometry", 518,
        (
            ModelFile("dune_vitsmall14_448.pth", f"{_DUNE_HOST}dune_vitsmall14_448.pth", 115),
            ModelFile("dunemast3r_cvpr25_vitsmall.pth", f"{_DUNE_HOST}dunemast3r_cvpr25_vitsmall.pth", 1294),
        ),
    ),
    "dune_base": KnownModel(
        "DUNE-MASt3R with ViT-B/14", _DUNE_LICENCE, "geometry", 518,
        (
            ModelFile("dune_vitbase14_448_paper.pth", f"{_DUNE_HOST}dune_vitbase14_448_paper.pth", 440),
            ModelFile("dunemast3r_cvpr25_vitbase.pth", f"{_DUNE_HOST}dunemast3r_cvpr25_vitbase.pth", 1390),
        ),
    ),
    "sab3r": KnownModel(
        "the authors' SAB3R ViT-L", _NON_COMMERCIAL, "geometry, text", 512, (ModelFile("demo_ckpt/base/base.pt", "uva-cv-lab/SAB3R", 2900),)
    ),
}  # fmt: skip
_ALIASES = {"vit_large_512": "mast3r"}
_SUCCESSORS = {"sab3r_tiny": "sab3r_small", "tiny": "sab3r_small"}  # old names of weights that are no longer there


@dataclass(frozen=True)
class Place:
    """Where a name leads: a file or folder, the model's own name, and its licence."""

    path: Path
    name: str
    licence: str


def models_dir() -> Path:
    """Where fetched models lie: $SAB3R_MODELS, else ~/.cache/sab3r_ros/models."""
    return Path(os.environ.get("SAB3R_MODELS") or Path.home() / ".cache" / "sab3r_ros" / "models").expanduser()


def known_model(name: str) -> KnownModel | None:
    """The model of a name or an alias; None where there is none."""
    return KNOWN.get(_own_name(name))


def _own_name(name: str) -> str:
    if name in _SUCCESSORS:
        _log.warning("%s was replaced by %s, which is used instead", name, _SUCCESSORS[name])
        return _SUCCESSORS[name]
    return _ALIASES.get(name, name)


def locate(name: str) -> Place:
    """The file or folder that a path, a known name or a hub name stands for; hub files are downloaded where they must be.

    Raises CheckpointError that says what is missing and how to bring it.
    """
    name = _own_name(name)
    known = KNOWN.get(name)
    if known is None:
        return _unnamed(name)
    if known.bundled:
        return Place(ASSETS / name, name, known.licence)
    if known.geometry:
        raise CheckpointError(f"{name} consists of two models, {' and '.join(known.parts)}; ask for one of them here")
    folder = models_dir() / name
    missing = [f for f in known.files if not f.is_in(folder)]
    if not missing:
        only = known.files[0].name if len(known.files) == 1 else ""
        return Place(folder / only, name, known.licence)
    if any(is_url(f.source) for f in known.files):
        raise CheckpointError(
            f"{name} is not on this machine: {folder} lacks {', '.join(f.name for f in missing)}. "
            f"Run `sab3r fetch {name}`, or copy the files there from a machine that has them."
        )
    paths = [_from_hub(f, name) for f in known.files]
    return Place(paths[0] if len(paths) == 1 else paths[0].parent, name, known.licence)


def _unnamed(name: str) -> Place:
    path = Path(name).expanduser()
    if path.exists():
        return Place(path, path.name, "see the checkpoint's origin")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise CheckpointError(
            f"no checkpoint {name!r}: not a file or folder, not a known name ({', '.join(KNOWN)}) and not a hub name owner/model"
        )
    _from_hub(ModelFile("config.json", name, 0), name)
    weights = _from_hub(ModelFile("model.safetensors", name, 0), name)
    return Place(weights.parent, name, "see the checkpoint's origin")


def is_url(source: str) -> bool:
    """Whether a file comes from a URL rather than from the hub."""
    return "://" in source


def _from_hub(file: ModelFile, name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(file.source, file.name))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot download {file.source} from the hub ({type(error).__name__}). Download it by hand and give its path as "
            f"the checkpoint, or put {file.name} into {models_dir() / name}."
        ) from error


def fetch(name: str, source: Path | None = None, progress: Callable[[str, int, int], None] | None = None) -> list[Path]:
    """Bring a model's files into `models_dir()`; files that are there already are left alone.

    source: a folder to copy them from instead of downloading; progress: called with a file's name, bytes so far and in all
    (0 = not known). Returns the files. Raises CheckpointError; what was whole before stays.
    """
    known = known_model(name)
    if known is None:
        raise CheckpointError(f"no model is called {name!r}; known: {', '.join(KNOWN)}")
    if known.bundled:
        return [ASSETS / _own_name(name)]
    if known.parts:
        return [path for part in known.parts for path in fetch(part, source, progress)]
    folder = models_dir() / _own_name(name)
    return [_bring(file, folder / file.name, source, progress or (lambda *_: None)) for file in known.files]


def _bring(file: ModelFile, target: Path, source: Path | None, progress: Callable[[str, int, int], None]) -> Path:
    if target.is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            if source is not None:
                given = source / file.name if (source / file.name).is_file() else source / Path(file.name).name
                shutil.copyfile(given, part)
            elif is_url(file.source):
                _download(file, part, progress)
            else:
                shutil.copyfile(_from_hub(file, file.source), part)
            if file.sha256 and sha256(part) != file.sha256:
                raise CheckpointError(f"{file.name} is damaged: its SHA-256 is not the published one; fetch it again")
    except (OSError, urllib.error.URLError) as error:
        where = source or file.source
        raise CheckpointError(f"cannot bring {file.name} from {where} to {target.parent}: {error}") from error
    return target


def _download(file: ModelFile, part: Path, progress: Callable[[str, int, int], None]) -> None:
    with urllib.request.urlopen(file.source, timeout=60) as answer, part.open("wb") as out:
        total, done = int(answer.headers.get("Content-Length") or 0), 0
        while block := answer.read(2**20):
            out.write(block)
            done += len(block)
            progress(file.name, done, total)
    if total and done != total:
        raise CheckpointError(f"{file.name}: the connection ended after {done} of {total} bytes; fetch it again")
