"""Is the thing there? Questions for what a room has and for what it has not, and how well the answers tell them apart.

Every question asks one map for one word. True are words for furniture and things that were seen well; false are words for
what the room has none of. What is there but was hardly seen is no question of this test, and is counted apart.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.metrics import area_under_roc, calibration_error
from sab3r_ros.lab.evaluation.models import searchable_models
from sab3r_ros.lab.evaluation.recordings import RecordedLabels
from sab3r_ros.lab.evaluation.rooms import SEEN_WELL, absent_labels, sequence_frames, shares_of
from sab3r_ros.lab.synthetic.objects import STRUCTURE
from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.models.base import Backend
from sab3r_ros.query.exploration import explored_share, views_of
from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.presence import NULL_WORDS, Verdict
from sab3r_ros.query.relevancy import in_basis, unit_features
from sab3r_ros.sources.folders import FolderSource
from sab3r_ros.types import MapSnapshot

# Nothing of this is in a made-up room, nor in the real kitchen.
ABSENT_WORDS = (
    "bicycle", "piano", "guitar", "bathtub", "fireplace", "washing machine", "ironing board", "surfboard", "motorcycle", "car",
    "dog", "cat", "horse", "umbrella", "skateboard", "suitcase", "stroller", "ladder", "fire extinguisher", "printer", "violin",
    "drum kit", "telescope", "microscope", "sewing machine", "lawn mower", "wheelbarrow", "tent", "canoe", "treadmill",
    "dumbbell", "basketball hoop", "chandelier", "banana", "pizza", "traffic light", "fire hydrant", "globe", "elephant", "tree",
)  # fmt: skip
FIRST_ROOM, FIRST_CALIBRATION_ROOM = 80_000, 90_000  # among the held-out ones
FRAMES = 12


@dataclass(frozen=True)
class Asked:
    """One question and what was known of it.

    there: whether the room has it; share: of the pixels that show the largest one; probability of the answer;
    evidence (E,) of the best candidate and relative (E,), the same against words for absent things, None without a candidate;
    cosine: the best voxels' mean; softmax: the same of the share among all prompts asked.
    """

    room: str
    word: str
    there: bool
    share: float
    probability: float
    verdict: Verdict
    evidence: np.ndarray | None
    relative: np.ndarray | None
    cosine: float
    softmax: float


def ask_all(
    query: MapQuery, snapshot: MapSnapshot, there: dict[str, float], room: str, absent: Sequence[str], explored: float
) -> list[Asked]:
    """Ask a map for what it has (`there`, with its share of the pixels) and for what it has not."""
    words = [*dict.fromkeys([*there, *absent])]
    cosine, softmax = _baselines(query, snapshot, words)
    out = []
    for k, word in enumerate(words):
        answer = query.ask(snapshot, word, explored=explored)
        evidence, relative = query.evidence(snapshot, word) or (None, None)
        out.append(Asked(
            room, word, word in there, there.get(word, 0.0), answer.presence.probability, answer.presence.verdict, evidence,
            relative, float(cosine[k]), float(softmax[k]),
        ))  # fmt: skip
    return out


def _baselines(query: MapQuery, snapshot: MapSnapshot, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """What the field does instead: the best voxels' cosine (Clio), and their softmax over the prompts at hand (RayFronts)."""
    unit, seen = unit_features(snapshot)
    cosines = unit[seen] @ in_basis(query.embed(words), snapshot.basis, unit.shape[1]).T
    if not len(cosines):
        return np.zeros(len(words)), np.zeros(len(words))
    top = min(20, len(cosines))
    shares = (cosines * 100).softmax(1)  # CLIP's own temperature
    return cosines.topk(top, 0).values.mean(0).numpy(), shares.topk(top, 0).values.mean(0).numpy()


_LOADED: dict[str, tuple[Backend, MapQuery]] = {}  # of this process, by their settings


def _models(settings: Settings) -> tuple[Backend, MapQuery]:
    key = settings.model_dump_json()
    if key not in _LOADED:
        _LOADED[key] = searchable_models(settings)
    return _LOADED[key]


def ask_room(settings: Settings, number: int, frames: int = FRAMES) -> list[Asked]:
    """All questions to a walk through a held-out room."""
    torch.set_num_threads(1)
    backend, query = _models(settings)
    walk = render_sequence(HELD_OUT_SEEDS[number], frames, 320, 240)
    mapper = Mapper(settings, backend)
    map_stream(mapper, sequence_frames(walk))
    absent = [*absent_labels(walk), *ABSENT_WORDS]
    return ask_all(query, mapper.snapshot(), shares_of(walk), f"room {number}", absent, _explored(mapper))


def ask_rooms(
    settings: Settings, numbers: Iterable[int], frames: int, workers: int, report: Callable[[], None] = lambda: None
) -> list[Asked]:
    """All questions to several rooms, each in a process of a pool."""
    out = []
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for asked in pool.map(partial(ask_room, settings, frames=frames), numbers):
            out += asked
            report()
    return out


def ask_recording(settings: Settings, folder: Path) -> list[Asked]:
    """Questions to a real recording with labels: for these, and for ABSENT_WORDS, since nobody labelled everything.

    Raises SourceError without labels.
    """
    backend, query = _models(settings)
    source = FolderSource(folder, 10.0)
    labels = RecordedLabels(source)
    names, images = labels.names, [labels.image(k) for k in range(len(source))]
    counts = np.bincount(np.concatenate([i[i >= 0] for i in images]), minlength=len(names))
    pixels = sum(i.size for i in images)
    there = {n: float(c) / pixels for n, c in zip(names, counts, strict=True) if c and n not in STRUCTURE}
    mapper = Mapper(settings, backend)
    map_stream(mapper, source)
    return ask_all(query, mapper.snapshot(), there, folder.name, ABSENT_WORDS, _explored(mapper))


def _explored(mapper: Mapper) -> float:
    return explored_share(mapper.snapshot().points, views_of(mapper.state.graph.keyframes))


def counts(asked: Asked, least_share: float) -> bool:
    """Whether it is a question of this test: a thing that is not there, or one that was seen well."""
    return not asked.there or asked.share >= least_share


def figures(asked: Sequence[Asked], least_share: float = SEEN_WELL) -> dict:
    """Over the questions that count: auroc, ece, false_at_recall90 and recall_at_false5 (percent), baselines, and per class."""
    mine = [a for a in asked if counts(a, least_share)]
    true, probability = np.array([a.there for a in mine]), np.array([a.probability for a in mine])
    if true.all() or not true.any():
        raise ValueError("questions for things that are there and for things that are not are needed")
    at90, at5 = np.quantile(probability[true], 0.1), np.quantile(probability[~true], 0.95)
    said = np.array([a.verdict == Verdict.PRESENT for a in mine])
    classes = []
    for word in sorted({a.word for a in mine if a.there}):
        own = [a for a in mine if a.word == word]
        there = np.array([a.there for a in own])
        score = np.array([a.probability for a in own])
        found = [a.verdict == Verdict.PRESENT for a in own if a.there]
        classes.append([word, len(found), sum(found), round(area_under_roc(score, there), 3)])
    return {
        "auroc": area_under_roc(probability, true), "ece": calibration_error([(a.probability, a.there) for a in mine]),
        "false_at_recall90": 100 * float((probability[~true] >= at90).mean()),
        "recall_at_false5": 100 * float((probability[true] > at5).mean()),
        "recall": 100 * float(said[true].mean()), "false_answers": 100 * float(said[~true].mean()),
        "hardly_seen": sum(not counts(a, least_share) for a in asked),
        "baseline_cosine_auroc": area_under_roc(np.array([a.cosine for a in mine]), true),
        "baseline_softmax_auroc": area_under_roc(np.array([a.softmax for a in mine]), true), "questions": len(mine),
        "there": int(true.sum()), "classes": classes,
    }  # fmt: skip


def vocabulary_shift(query: MapQuery, snapshot: MapSnapshot, words: Sequence[str]) -> float:
    """By how much a word's probability moves at most when the vocabulary grows from 2 to 1,000 labels; it is put back."""
    before, template = query.vocabulary.labels, query.template
    found = []
    for labels in (["wall", "rest"], [*NULL_WORDS, *(f"thing number {k}" for k in range(1000 - len(NULL_WORDS)))]):
        query.set_vocabulary(labels, template or "a photo of a {}")
        found.append([query.ask(snapshot, w).presence.probability for w in words])
    query.set_vocabulary(before, template)
    return float(np.abs(np.array(found[0]) - found[1]).max())


def evaluate_presence(
    settings: Settings, rooms: int, first: int, frames: int, recording: Path | None, workers: int,
    report: Callable[[], None] = lambda: None,
) -> dict:  # fmt: skip
    """Figures over held-out rooms, and beside them, as "recording_...", over a labelled recording. Raises as `ask_recording`."""
    started = time.perf_counter()
    numbers = range(FIRST_ROOM + first, FIRST_ROOM + first + rooms)
    out = figures(ask_rooms(settings, numbers, frames, workers, report))
    out["shift_vocabulary"] = _shift_in(settings, numbers[0])
    if recording is not None:
        own = figures(ask_recording(settings, recording), 0.0)
        out |= {f"recording_{k}": v for k, v in own.items()}
    return out | {"rooms": rooms, "seconds": time.perf_counter() - started}


def _shift_in(settings: Settings, number: int) -> float:
    backend, query = _models(settings)
    walk = render_sequence(HELD_OUT_SEEDS[number], 4, 320, 240)
    mapper = Mapper(settings, backend)
    map_stream(mapper, sequence_frames(walk))
    return vocabulary_shift(query, mapper.snapshot(), [*list(shares_of(walk))[:5], *ABSENT_WORDS[:5]])
