"""Affordance of public data sets: LASO (questions in words), PIAD and PIADv2 (images of the action)."""

import csv
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.faults import Faults
from sab3r_ros.lab.evaluation.affordance import laso_metrics, repository_figures
from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.encodings import read_image

# The columns of PIAD's point files, in their order.
PIAD_AFFORDANCES = (
    "grasp", "contain", "lift", "open", "lay", "sit", "support", "wrapgrasp", "pour", "move", "display", "push", "listen", "wear",
    "press", "cut", "stab",
)  # fmt: skip
_PIAD_FIELDS = 5 + len(PIAD_AFFORDANCES)  # shape, class, x, y, z
_IN_WORDS = {"wrapgrasp": "wrap_grasp"}
_Y_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # to z up


@dataclass(frozen=True)
class AffordanceQuestion:
    """One shape and what is asked of it: name for messages; points (N,3) and target (N,) in [0, 1]; the question, or an image (H,W,3)
    uint8; object and affordance as the data set calls them."""

    name: str
    points: np.ndarray
    target: np.ndarray
    prompt: str
    image: np.ndarray | None
    object: str
    affordance: str


class _Plain(pickle.Unpickler):
    """Reads arrays and built-in types alone: a pickle from elsewhere could run anything."""

    def find_class(self, module: str, name: str) -> Any:
        """Raises UnpicklingError for all other types."""
        if module.split(".")[0] == "numpy" and name in {"ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer"}:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no plain data")


@dataclass(frozen=True)
class Laso:
    """LASO's test split: `anno_test.pkl`, `objects_test.pkl`, `Affordance-Question.csv`; question: number of the wording."""

    folder: Path
    question: int = 0

    @cached_property
    def _annotations(self) -> list[dict[str, Any]]:
        return _unpickled(self.folder / "anno_test.pkl")

    def __len__(self) -> int:
        return len(self._annotations)

    def readers(self) -> Iterator[tuple[str, Callable[[], AffordanceQuestion]]]:
        """Every entry's name, and what reads it; that raises ValueError or OSError where it cannot be used."""
        objects, wording = _unpickled(self.folder / "objects_test.pkl"), self._wordings()
        for number, entry in enumerate(self._annotations):
            yield f"anno_test.pkl, entry {number}", partial(_laso_question, entry, objects, wording)

    def _wordings(self) -> dict[tuple[str, str], str]:
        file, column = self.folder / "Affordance-Question.csv", f"Question{self.question}"
        try:
            with file.open(newline="", encoding="utf-8-sig") as text:
                rows = list(csv.DictReader(text))
        except OSError as error:
            raise SourceError(f"{file} cannot be read: {error.strerror}") from error
        if not rows or not {"Object", "Affordance", column} <= set(rows[0]):
            raise SourceError(f"{file} has no columns Object, Affordance and {column}")
        return {(r["Object"].lower(), r["Affordance"].lower()): r[column] for r in rows}


def _laso_question(entry: Any, objects: Any, wording: dict[tuple[str, str], str]) -> AffordanceQuestion:
    try:
        kind, affordance, shape = str(entry["class"]), str(entry["affordance"]), str(entry["shape_id"])
        mask = np.asarray(entry["mask"], np.float64).ravel()
    except (KeyError, TypeError) as error:
        raise ValueError(f"it lacks {error}") from error
    if shape not in objects:
        raise ValueError(f"shape {shape} is not in objects_test.pkl")
    asked = wording.get((kind.lower(), affordance.lower()))
    if not asked:
        raise ValueError(f"Affordance-Question.csv has no question about {affordance} of {kind}")
    points = np.asarray(objects[shape], np.float64)
    return _checked(AffordanceQuestion(shape, points, mask, asked, None, kind.lower(), affordance))


@dataclass(frozen=True)
class Piad:
    """PIAD's or PIADv2's test split: lists of point files and of images, line by line of the same thing."""

    folder: Path
    points: Path
    images: Path

    @cached_property
    def _pairs(self) -> list[tuple[str, str]]:
        points, images = _lines(self.points), _lines(self.images)
        if len(points) != len(images):
            raise SourceError(
                f"{self.points} has {len(points)} lines, {self.images} {len(images)}: they belong together"
            )
        return list(zip(points, images, strict=True))

    def __len__(self) -> int:
        return len(self._pairs)

    def readers(self) -> Iterator[tuple[str, Callable[[], AffordanceQuestion]]]:
        """As `Laso.readers`."""
        for points, image in self._pairs:
            yield points, partial(self._question, points, image)

    def _question(self, listed: str, image: str) -> AffordanceQuestion:
        cloud, picture = _located(self.folder, listed), _located(self.folder, image)
        # .../OBJECT/AFFORDANCE/image in PIAD, .../OBJECT/SOURCE/AFFORDANCE/image in PIADv2
        affordance = picture.parent.name.lower().replace("_", "")
        kind = picture.parents[2 if cloud.suffix == ".npy" else 1].name
        if kind.lower() not in (part.lower() for part in Path(listed).parts) and kind.lower() not in cloud.name.lower():
            raise ValueError(f"it is listed beside {image}, which shows a {kind}: the lists are not in the same order")
        if cloud.suffix == ".npy":
            values = np.load(cloud, allow_pickle=False)
            if values.ndim != 2 or values.shape[1] < 4:
                raise ValueError(f"it holds an array {values.shape} instead of (N,4)")
            points, target = values[:, :3], values[:, 3]
        else:
            points, target = _piad_cloud(cloud, affordance)
        words = _IN_WORDS.get(affordance, affordance)
        return _checked(
            AffordanceQuestion(listed, points, target, words, read_image(picture), kind.lower(), affordance)
        )


def _piad_cloud(file: Path, affordance: str) -> tuple[np.ndarray, np.ndarray]:
    """Points (N,3) and the column of an affordance (N,). Raises ValueError."""
    if affordance not in PIAD_AFFORDANCES:
        raise ValueError(f"{affordance} is none of PIAD's affordances")
    rows = [line.split() for line in file.read_text().splitlines() if line.strip()]
    if not rows or {len(r) for r in rows} != {_PIAD_FIELDS}:
        raise ValueError(f"its lines have {sorted({len(r) for r in rows})} fields instead of {_PIAD_FIELDS}")
    values = np.array([r[2:] for r in rows], np.float64)
    return values[:, :3], values[:, 3 + PIAD_AFFORDANCES.index(affordance)]


def affordance_set(folder: Path, question: int = 0) -> Laso | Piad:
    """The data set in a folder. Raises SourceError where it is none of the three."""
    if (folder / "anno_test.pkl").is_file():
        return Laso(folder, question)
    for points, images in (("Point_Test.txt", "Img_Test.txt"), ("Point_test.txt", "Img_test.txt")):
        if (folder / points).is_file() and (folder / images).is_file():
            return Piad(folder, folder / points, folder / images)
    raise SourceError(
        f"{folder} is neither LASO (anno_test.pkl, objects_test.pkl, Affordance-Question.csv) nor PIAD or PIADv2 (Point_Test.txt and Img_Test.txt "
        "of one of its settings)"
    )


def evaluate_affordance_set(
    segmenter: AffordanceSegmenter, folder: Path, limit: int = 0, question: int = 0, words: bool = False, y_up: bool = False,
    report: Callable[[], None] = lambda: None,
) -> dict:  # fmt: skip
    """The peers' figures over a test split (aiou, auc in percent, sim, mae), by affordance, and the CMAT repository's.

    limit: the first so many, 0 = all; question: wording of LASO's; words: ask PIAD's affordances by their names instead of by images;
    y_up: turn the shapes so that their y axis points up. What cannot be read is named in "faults". Raises SourceError where nothing can.
    """
    started = time.perf_counter()
    data, faults = affordance_set(folder, question), Faults()
    scores: list[np.ndarray] = []
    asked: list[AffordanceQuestion] = []
    for number, (name, read) in enumerate(data.readers()):
        if limit and number >= limit:
            break
        report()
        try:
            one = read()
            points = one.points @ _Y_UP.T if y_up else one.points
            image = None if words else one.image
            score = segmenter.score(points, one.prompt if image is None else "", image)
        except (OSError, ValueError) as error:
            faults.add(name, error)
            continue
        scores.append(score.astype(np.float64))
        asked.append(one)
    if not asked:
        raise SourceError(f"{folder}: nothing could be evaluated; {faults.lines[0] if faults.lines else 'it is empty'}")
    targets = [one.target for one in asked]
    kinds = sorted({one.affordance for one in asked})
    by_affordance = {
        kind: laso_metrics(*zip(*[(s, o.target) for s, o in zip(scores, asked, strict=True) if o.affordance == kind], strict=True))
        for kind in kinds
    }  # fmt: skip
    return laso_metrics(scores, targets) | {
        "repository": repository_figures(scores, targets), "by_affordance": by_affordance, "shapes": len(asked),
        "faults": list(faults.lines), "seconds": time.perf_counter() - started,
    }  # fmt: skip


def _checked(question: AffordanceQuestion) -> AffordanceQuestion:
    """The question. Raises ValueError where points and target do not belong together, or are out of range."""
    points, target = question.points, question.target
    if points.ndim != 2 or points.shape[1] != 3 or target.shape != points.shape[:1]:
        raise ValueError(f"its points are {points.shape}, its labels {target.shape}")
    if not np.isfinite(points).all() or not ((target >= 0) & (target <= 1)).all():
        raise ValueError("its points are not finite, or its labels not between 0 and 1")
    return question


def _unpickled(file: Path) -> Any:
    try:
        with file.open("rb") as stored:
            return _Plain(stored).load()
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, ValueError) as error:
        raise SourceError(f"{file} cannot be read: {error}") from error


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in file.read_text().splitlines() if line.strip()]


def _located(folder: Path, listed: str) -> Path:
    """A file that a list names by a path which began elsewhere: the longest end of it that is there. Raises ValueError."""
    parts = Path(listed.replace("\\", "/")).parts
    for base in (folder, folder.parent):
        for start in range(len(parts)):
            place = base.joinpath(*[p for p in parts[start:] if p not in ("/", "..")])
            if place.is_file():
                return place
    raise ValueError(f"there is no such file below {folder}")
