"""Figures on procedural rooms that no training has seen."""

import json
import time
from collections.abc import Callable, Iterator

import numpy as np

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.metrics import finite_mean
from sab3r_ros.lab.evaluation.stream import geometry_metrics, point_iou
from sab3r_ros.lab.synthetic.objects import LABELS, STRUCTURE
from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.lab.synthetic.sequence import Sequence, render_sequence
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import Run, map_stream
from sab3r_ros.models.base import Backend
from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.objects import LocatedObject
from sab3r_ros.types import Frame, nth_stamp

_RATE = 10.0
_FOUND = 0.3  # smallest IoU that counts as found


SEEN_WELL = 0.015  # share of a walk's pixels


def shares_of(sequence: Sequence) -> dict[str, float]:
    """Per label of furniture and things that a walk shows: the share of all pixels that show the largest one.

    What is under a counter's worktop is a cabinet (`objects.part_label`), here as in training.
    """
    numbers = np.stack([np.where(v.instance >= 0, v.instance * len(LABELS) + v.label, -1) for v in sequence.views])
    best: dict[str, float] = {}
    for number, count in zip(*np.unique(numbers[numbers >= 0], return_counts=True), strict=True):
        label = LABELS[number % len(LABELS)]
        if label not in STRUCTURE:
            best[label] = max(best.get(label, 0.0), float(count / numbers.size))
    return best


def query_targets(sequence: Sequence, min_share: float = SEEN_WELL) -> list[str]:
    """Labels of furniture and things of which one is seen in at least `min_share` of all pixels; most visible first."""
    return [label for label, share in sorted(shares_of(sequence).items(), key=lambda i: -i[1]) if share >= min_share]


def absent_labels(sequence: Sequence) -> list[str]:
    """Labels of furniture and things that the room has none of."""
    there = {LABELS[k] for k in sequence.room.part_label} | {item.label for item in sequence.room.objects}
    return [label for label in LABELS if label not in there and label not in STRUCTURE]


def locate_metrics(
    mapper: Mapper, query: MapQuery, sequence: Sequence, labels: list[str], rate: float = _RATE
) -> tuple[list[dict], list[LocatedObject]]:
    """For every label: the best answer's score, and its IoU with a true object of that label (the one it fits best).

    Also returns the answers themselves.
    """
    snapshot = mapper.snapshot()
    figures, answers = [], []
    for label in labels:
        found = query.locate(snapshot, [label], max_objects=1)
        best = 0.0
        for masks in _true_masks(sequence, LABELS.index(label), rate) if found else ():
            best = max(best, point_iou(mapper, found[0], masks))
        figures.append({"query": label, "iou": round(best, 4), "score": round(found[0].score, 4) if found else 0.0})
        answers += found
    return figures, answers


def _true_masks(sequence: Sequence, label: int, rate: float) -> Iterator[dict[int, np.ndarray]]:
    """The pixels (H,W) of every object that shows this label, by stamp."""
    views = sequence.views
    for k in np.unique(np.concatenate([v.instance[v.label == label] for v in views])):
        if k >= 0:
            yield {nth_stamp(i, rate): (v.instance == k) & (v.label == label) for i, v in enumerate(views)}


def sequence_frames(sequence: Sequence, rate: float = _RATE) -> list[Frame]:
    """The frames of a rendered walk, stamped from zero."""
    return [Frame(v.rgb, nth_stamp(k, rate)) for k, v in enumerate(sequence.views)]


def evaluate_rooms(
    settings: Settings,
    backend: Backend,
    query: MapQuery,
    rooms: int = 10,
    frames: int = 24,
    first: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> dict:
    """Mean figures over `rooms` held-out rooms from number `first` on, with each room's own under "rooms".

    located: rooms in which the query for the most visible object is answered with an IoU of at least 0.3;
    visible_located: the same over everything that is seen well, of visible_asked. false_positives: of absent_asked queries for
    things that no room of theirs has, how many get an answer at all.
    """
    started = time.perf_counter()
    each = []
    for seed in HELD_OUT_SEEDS[first : first + rooms]:
        sequence = render_sequence(seed, frames, 320, 240)
        mapper = Mapper(settings, backend)
        run: Run = map_stream(mapper, sequence_frames(sequence))
        figures: dict = geometry_metrics(run, sequence.views, backend.geometry)
        targets = query_targets(sequence)
        answers, _ = locate_metrics(mapper, query, sequence, targets + absent_labels(sequence))
        figures["visible"], figures["absent"] = answers[: len(targets)], answers[len(targets) :]
        figures["located"] = figures["visible"][:1]
        figures["fps"] = run.fps
        each.append({"seed": seed, **figures})
        report(json.dumps(each[-1]))
    means = {
        k: finite_mean([r[k] for r in each]) for k in ("rra15", "rta15", "abs_rel", "abs_rel_metric", "ate", "fps")
    }
    asked, visible, absent = ([item for r in each for item in r[k]] for k in ("located", "visible", "absent"))
    return {
        **means, "frames_kept": sum(r["frames_kept"] for r in each), "frames": sum(r["frames"] for r in each),
        "pairs": sum(r["pairs"] for r in each), "located": sum(a["iou"] >= _FOUND for a in asked), "asked": len(asked),
        "iou": finite_mean([a["iou"] for a in asked]),
        "visible_located": sum(v["iou"] >= _FOUND for v in visible), "visible_asked": len(visible),
        "false_positives": sum(a["score"] > 0 for a in absent), "absent_asked": len(absent), "seconds": time.perf_counter() - started, "rooms": each,
    }  # fmt: skip
