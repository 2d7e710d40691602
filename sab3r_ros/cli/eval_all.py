"""`sab3r eval all`: one evaluation over many folders, each a job."""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sab3r_ros.cli.kinds import Kind
from sab3r_ros.cli.map_all import aligned, folder_names, for_one_of_many
from sab3r_ros.config import Settings
from sab3r_ros.files import finite, write_json
from sab3r_ros.many import run_many

_SHOWN = 7  # figures in the table on the terminal; the page has all


@dataclass(frozen=True)
class EvaluationJob:
    """A folder, and the file for its figures."""

    folder: Path
    file: Path


def evaluate_all(
    kind: Kind, folders: Sequence[Path], out: Path, settings: Settings, limit: int, workers: int, cluster: str, gpus: float
) -> dict:  # fmt: skip
    """Evaluate every folder; figures that OUT has of the same evaluation are taken from there, one that fails does not stop the others.

    limit: images (or sequences) of each, 0 = all; of recordings and sessions always all. Returns {"kind", "rows", "mean"}, which is also
    OUT/summary.json and, as a page, OUT/index.html. Raises ValueError as `run_many`, OSError where OUT cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = folder_names(_told_apart(folders))
    jobs = [EvaluationJob(folder, out / f"{name}.json") for folder, name in zip(folders, names, strict=True)]
    marks = [_mark(kind, job.folder, settings, limit) for job in jobs]
    known = [_stored(job.file, mark) for job, mark in zip(jobs, marks, strict=True)]
    rows: list[dict[str, Any]] = [
        {"folder": str(job.folder), "name": job.file.stem, "ended": "waiting" if figures is None else "complete", **(figures or {})}
        for job, figures in zip(jobs, known, strict=True)
    ]  # fmt: skip
    waiting = [k for k, figures in enumerate(known) if figures is None]
    if len(waiting) < len(jobs):
        print(f"{len(jobs) - len(waiting)} of {len(jobs)} folders were evaluated before", file=sys.stderr)
    job = partial(_evaluate_one, kind=kind, settings=for_one_of_many(settings, workers, cluster), limit=limit)
    summary = _write_summary(kind, rows, out)
    with tqdm(total=len(waiting), unit="folder") as bar:
        for outcome in run_many(job, [jobs[k] for k in waiting], workers, cluster, gpus):
            number = waiting[outcome.number]
            if outcome.error:
                rows[number]["ended"] = f"failed: {outcome.error}"
                print(f"{jobs[number].folder}: {outcome.error}", file=sys.stderr)
            else:
                rows[number] |= {"ended": "complete", **outcome.result}
                write_json(jobs[number].file, {"of": marks[number], "figures": finite(outcome.result)})
            summary = _write_summary(kind, rows, out)
            bar.update()
    return summary


def _evaluate_one(job: EvaluationJob, kind: Kind, settings: Settings, limit: int) -> dict:
    from sab3r_ros.lab.evaluation import commands

    functions: dict[Kind, Callable[[], dict]] = {
        Kind.TRAJECTORY: lambda: commands.trajectory_metrics(settings, job.folder, None, limit),
        Kind.RECORDING: lambda: commands.recording_metrics(settings, job.folder, None),
        Kind.SESSIONS: lambda: commands.sessions_metrics(settings, job.folder, 0),
        Kind.MAP_AND_LOCATE: lambda: commands.map_and_locate_metrics(settings, job.folder, 0, 0, 2, None, None, None),
        Kind.DEPTH: lambda: commands.depth_metrics(settings, job.folder, limit),
        Kind.POSE: lambda: commands.pose_metrics(settings, job.folder, 10, 0, limit),
        Kind.SEGMENTATION: lambda: commands.segmentation_metrics(settings, job.folder, True, limit),
    }
    return functions[kind]()


def _told_apart(folders: Sequence[Path]) -> list[str]:
    """The folders' names; those of one name with their parents': a data set calls a sequence of every scene the same."""
    names = [folder.resolve().name for folder in folders]
    return [
        f"{folder.resolve().parent.name}_{name}" if names.count(name) > 1 else name
        for folder, name in zip(folders, names, strict=True)
    ]


def _mark(kind: Kind, folder: Path, settings: Settings, limit: int) -> str:
    """What figures belong to: they are not taken for those of another evaluation."""
    text = json.dumps([kind.value, str(folder.resolve()), limit, settings.model_dump(mode="json")], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _stored(file: Path, mark: str) -> dict | None:
    try:
        stored = json.loads(file.read_text())
        return stored["figures"] if stored["of"] == mark else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in row.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _write_summary(kind: Kind, rows: list[dict[str, Any]], out: Path) -> dict:
    from sab3r_ros.lab.evaluation.metrics import finite_mean
    from sab3r_ros.lab.evaluation.report import Report

    done = [_numbers(row) for row in rows if row["ended"] == "complete"]
    columns = list(dict.fromkeys(name for row in done for name in row))
    mean = {name: finite_mean([row[name] for row in done if name in row]) for name in columns}
    summary = {"kind": kind.value, "rows": finite(rows), "mean": finite(mean)}
    write_json(out / "summary.json", summary)
    page = Report(out, f"sab3r eval all {kind.value}")
    page.table(["", *columns, "ended"], [[r["name"], *(r.get(c) for c in columns), r["ended"]] for r in rows])
    page.heading("Means over folders")
    page.figures(mean)
    page.write()
    return summary


def table(summary: dict) -> str:
    """The rows and their means as text for people: the first figures."""
    columns = list(summary["mean"])[:_SHOWN]
    lines = [*summary["rows"], {"name": "mean", "ended": "", **summary["mean"]}]
    cells = [["", *columns, "ended"]]
    for row in lines:
        values = [row.get(c) for c in columns]
        cells.append(
            [row["name"], *(f"{v:.3f}" if isinstance(v, float) else str("-" if v is None else v) for v in values), row["ended"]]
        )  # fmt: skip
    return aligned(cells)
