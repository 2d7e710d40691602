"""Point clouds with questions and affording points: household shapes, LASO, PIAD, PIADv2 and 3D AffordanceNet."""

import csv
import io
import pickle
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy.spatial.transform import Rotation
from torch.utils.data import Dataset

from sab3r_ros.lab.synthetic.clouds import ObjectCloud, ObjectSampler, simulate_map_noise
from sab3r_ros.lab.synthetic.interaction_images import SIZE as PICTURE_SIZE
from sab3r_ros.lab.synthetic.interaction_images import interaction_image
from sab3r_ros.lab.synthetic.objects import BUILDERS, build_object
from sab3r_ros.lab.synthetic.parts import AFFORDANCES
from sab3r_ros.lab.synthetic.questions import question
from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.lab.training.wordings import with_distractors
from sab3r_ros.sources.encodings import read_image

POINTS = 2048
_TILT = 0.15  # radians: a map's up is not exact, and things lean
_EXEMPLARS = 16  # images per kind and action
LEAST_POINTS = 8  # points: fewer of an affordance cannot be asked for


@dataclass
class AffordanceSample:
    """points (N,3) as the source has them; target (N,) in [0, 1]; question ("" = only the image asks); label and
    affordance names; image: an image (H,W,3) uint8 that shows the action, or a file of one, or None."""

    points: np.ndarray
    target: np.ndarray
    question: str
    label: str
    affordance: str
    image: np.ndarray | Path | None = None


class AffordanceSource(ABC):
    """A data set; sample k is drawn with the generator it is given. questions: how many different ones a cloud has."""

    questions = 1

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def sample(self, index: int, rng: np.random.Generator) -> AffordanceSample:
        """Sample `index`."""

    def samples(self, index: int, rng: np.random.Generator, count: int) -> list[AffordanceSample]:
        """`count` samples with the same points and different questions, as far as the data set has such."""
        return [self.sample(index, rng)] * count


class HouseholdShapes(AffordanceSource):
    """Objects of every kind, a new one for each index.

    one_sided: share of clouds as seen from one side; mapped: share with a map's noise, holes and thinning; with_image:
    share of samples with an image of the action on another object of the kind, half of them without words. With
    first_seed in HELD_OUT_SEEDS the questions are of held-out wordings too.
    """

    questions = 4

    def __init__(
        self,
        length: int,
        first_seed: int = 0,
        one_sided: float = 0.5,
        mapped: float = 0.5,
        labels: Sequence[str] = tuple(BUILDERS),
        with_image: float = 0.0,
    ):
        self.length, self.first_seed = length, first_seed
        self.one_sided, self.mapped, self.labels, self.with_image = one_sided, mapped, tuple(labels), with_image
        self._interaction_images: dict[tuple[str, str, int], np.ndarray | None] = {}

    def __len__(self):
        return self.length

    def object_and_cloud(self, index: int) -> tuple[ObjectSampler, ObjectCloud]:
        """The object of a sample and its cloud, always the same."""
        seed = self.first_seed + index
        rng = np.random.default_rng([seed, 37])
        for _ in range(20):
            item = build_object(self.labels[rng.integers(len(self.labels))], rng)
            sampler = ObjectSampler(item)
            if rng.random() < self.one_sided:
                direction = rng.normal(size=3)
                direction[2] = abs(direction[2])  # from above, as cameras look at things
                cloud = sampler.one_sided(direction, rng, POINTS)
            else:
                cloud = sampler.whole(POINTS, rng)
            if len(cloud.points) < POINTS // 8:
                continue
            if rng.random() < self.mapped:
                cloud = simulate_map_noise(cloud, rng, noise=0.012 * sampler.radius)
            if cloud.affordance.sum(0).max() >= LEAST_POINTS:
                return sampler, cloud
        raise ValueError(f"no usable object for seed {seed}")

    def sample(self, index, rng):
        return self.samples(index, rng, 1)[0]

    def samples(self, index, rng, count):
        return self.questions_about(self.object_and_cloud(index)[1], rng, count)

    def questions_about(self, cloud: ObjectCloud, rng: np.random.Generator, count: int = 1) -> list[AffordanceSample]:
        """The cloud with questions about the affordances that it has, each one's turn before any comes again."""
        known = np.flatnonzero(cloud.affordance.sum(0) >= LEAST_POINTS)
        order = np.resize(rng.permutation(known), count)
        return [self._question(cloud, int(chosen), rng) for chosen in order]

    def _question(self, cloud, chosen, rng):
        name = AFFORDANCES[chosen]
        asked = question(cloud.label, name, rng, held_out=self.first_seed in HELD_OUT_SEEDS)
        image = None
        if rng.random() < self.with_image:
            image = self._exemplar(cloud.label, name, int(rng.integers(_EXEMPLARS)))
            asked = asked if image is None or rng.random() < 0.5 else ""
        return AffordanceSample(
            cloud.points, cloud.affordance[:, chosen].astype(np.float32), asked, cloud.label, name, image
        )

    def _exemplar(self, label, affordance, number):
        """One of a limited number of images for each kind and action, rendered once."""
        key = label, affordance, number
        if key not in self._interaction_images:
            seed = [self.first_seed, number, AFFORDANCES.index(affordance), 61]
            self._interaction_images[key] = interaction_image(label, affordance, np.random.default_rng(seed))
        return self._interaction_images[key]


class _Plain(pickle.Unpickler):
    """Reads arrays and containers; anything else in a pickle is refused."""

    _ALLOWED = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"),
                ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"), ("_codecs", "encode")}  # fmt: skip

    def find_class(self, module, name):
        if (module, name) in self._ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _unpickled(path: Path) -> Any:
    """A pickle of plain data. Raises ValueError for a missing or damaged file, or one that holds anything else."""
    try:
        return _Plain(io.BytesIO(path.read_bytes())).load()
    except (OSError, pickle.UnpicklingError, EOFError, AttributeError, IndexError) as error:
        raise ValueError(f"cannot read {path}: {error or type(error).__name__}") from error


class Laso(AffordanceSource):
    """LASO: objects_{split}.pkl, anno_{split}.pkl, Affordance-Question.csv. Training draws any wording, the others Question0."""

    def __init__(self, folder: Path, split: str = "train"):
        self.split = split
        self._objects = _unpickled(folder / f"objects_{split}.pkl")
        self._entries = _unpickled(folder / f"anno_{split}.pkl")
        questions = folder / "Affordance-Question.csv"
        if not questions.is_file():
            raise ValueError(f"{questions} is missing")
        with questions.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        self._questions = {
            (r["Object"].lower(), r["Affordance"]): [v for k, v in r.items() if k and k.startswith("Question") and v]
            for r in rows
        }

    def __len__(self):
        return len(self._entries)

    def sample(self, index, rng):
        entry = self._entries[index]
        key = (entry["class"].lower(), entry["affordance"])
        wordings = self._questions.get(key) or [f"{entry['affordance']} {entry['class']}"]
        wording = wordings[rng.integers(len(wordings))] if self.split == "train" else wordings[0]
        return AffordanceSample(
            np.asarray(self._objects[str(entry["shape_id"])], np.float64),
            np.asarray(entry["mask"], np.float32).ravel(),
            wording,
            *key,
        )


class AffordanceNet(AffordanceSource):
    """3D AffordanceNet: {full_shape,partial,...}_{split}_data.pkl; one sample per shape and affordance that it has."""

    _NAMES = {"openable": "open", "layable": "lay", "sittable": "sit", "pourable": "pour", "displaY": "display", "pushable": "push"}  # fmt: skip

    def __init__(self, path: Path):
        self._pairs: list[tuple[np.ndarray, np.ndarray, str, str]] = []
        for entry in _unpickled(path):
            views = [entry["full_shape"]] if "full_shape" in entry else list(entry["partial"].values())
            for view in views:
                points = np.asarray(view["coordinate"], np.float64)
                for name, mask in view["label"].items():
                    mask = np.asarray(mask, np.float32).ravel()
                    if mask.max() > 0:
                        self._pairs.append((points, mask, entry["semantic class"], self._NAMES.get(name, name)))
        if not self._pairs:
            raise ValueError(f"{path} has no labelled shapes")

    def __len__(self):
        return len(self._pairs)

    def sample(self, index, rng):
        points, mask, label, name = self._pairs[index]
        wording = question(label.lower(), name, rng) if name in AFFORDANCES else f"{name} {label}"
        return AffordanceSample(points, mask, wording, label.lower(), name)


_PIAD = ("grasp", "contain", "lift", "open", "lay", "sit", "support", "wrapgrasp", "pour", "move", "display", "push", "listen", "wear",
         "press", "cut", "stab")  # fmt: skip


class Piad(AffordanceSource):
    """PIAD and PIADv2: Point_{Split}.txt and Img_{Split}.txt list files below `root`; version 1 or 2.

    An image is paired with a random cloud of its class (and, in version 2, affordance) in training, and with the
    cloud of its own line otherwise.
    """

    def __init__(self, folder: Path, root: Path, split: str = "Train", version: int = 1):
        self.version, self.training = version, split.lower() == "train"
        self._images = _listed(folder / f"Img_{split}.txt", root)
        self._clouds = _listed(folder / f"Point_{split}.txt", root)
        self._by_kind: dict[tuple[str, ...], list[Path]] = {}
        for path in self._clouds:
            self._by_kind.setdefault(self._kind(path, image=False), []).append(path)

    def __len__(self):
        return len(self._images)

    def _kind(self, path: Path, image: bool) -> tuple[str, ...]:
        if self.version == 2:  # .../<Object>/<source>/<affordance>/file
            return path.parts[-4], path.parts[-2]
        return (path.parts[-3] if image else path.stem.split("_")[-2],)

    def sample(self, index, rng):
        image = self._images[index]
        kind = self._kind(image, image=True)
        alike = self._by_kind.get(kind, [])
        path = alike[rng.integers(len(alike))] if self.training and alike else self._clouds[index]
        affordance = image.parts[-2]
        points, target = self._read(path, affordance)
        return AffordanceSample(points, target, f"{affordance} {kind[0].lower()}", kind[0].lower(), affordance, image)

    def _read(self, path, affordance):
        try:
            if self.version == 2:
                table = np.load(path, allow_pickle=False)
                return table[:, :3].astype(np.float64), table[:, 3].astype(np.float32)
            rows = [line.replace(",", " ").split()[2:] for line in path.read_text().splitlines() if line.strip()]
            table = np.array(rows, float)
            return table[:, :3], table[:, 3 + _PIAD.index(affordance)].astype(np.float32)
        except (OSError, ValueError, IndexError) as error:
            raise ValueError(f"cannot read the cloud {path}: {error}") from error


def _listed(path: Path, root: Path) -> list[Path]:
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty")
    return [root / line for line in lines]


class AffordanceSamples(Dataset):
    """Sample k of a training run: `points` points in the unit sphere, repeated where there are fewer.

    augment: clouds are turned about z, tilted, stretched and jittered, and distractor words put into questions.

    Yields a dict: points (N,3); places (M,3), those of the points at which answers count, at most `places`; for each of
    `questions` questions a column of target (M,Q), question (a list), image (Q,H,W,3) uint8 and with_image (Q,), false
    where the image is blank because the question has none.
    """

    def __init__(
        self, source: AffordanceSource, augment: bool = True, seed: int = 0, points: int = POINTS, places: int = POINTS, questions: int = 1
    ):  # fmt: skip
        self.source, self.augment, self.seed = source, augment, seed
        self.points, self.places, self.questions = points, places, questions

    def __len__(self):
        return 2**31

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index, 41])
        samples = self.source.samples(index % len(self.source), rng, self.questions)
        cloud = samples[0].points
        rows = rng.permutation(len(cloud))[: self.points]
        rows = np.concatenate([rows, rng.choice(rows, self.points - len(rows))])
        points = cloud[rows] - cloud[rows].mean(0)
        points = points / max(np.linalg.norm(points, axis=1).max(), 1e-9)
        if self.augment:
            points = _augmented(points, rng)
        target = np.stack([s.target[rows[: self.places]] for s in samples], -1)
        return {
            "points": torch.from_numpy(points.astype(np.float32)),
            "places": torch.from_numpy(points[: self.places].astype(np.float32)),
            "target": torch.from_numpy(target),
            "question": [with_distractors(s.question, rng) if self.augment else s.question for s in samples],
            "image": torch.from_numpy(np.stack([_picture(s.image) for s in samples])),
            "with_image": torch.tensor([s.image is not None for s in samples]),
        }


def _augmented(points, rng):
    """Turned about z and a little tilted, stretched, jittered, and brought back into the unit sphere."""
    turn = Rotation.from_euler("z", rng.uniform(0, 2 * np.pi)) * Rotation.from_rotvec([*rng.normal(0, _TILT, 2), 0])
    points = turn.apply(points) * rng.uniform(0.85, 1.15, 3) + rng.normal(0, 0.004, points.shape)
    points -= points.mean(0)
    return points / np.linalg.norm(points, axis=1).max()


def _picture(image: np.ndarray | Path | None) -> np.ndarray:
    """The image at the size that all of a batch have, cropped at the sides that are too long."""
    if image is None:
        return np.zeros((PICTURE_SIZE[1], PICTURE_SIZE[0], 3), np.uint8)
    rgb = read_image(image) if isinstance(image, Path) else image
    return np.array(ImageOps.fit(Image.fromarray(rgb), PICTURE_SIZE))
