"""`sab3r map-all`: many recordings, each a job."""

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from sab3r_ros.config import Settings
from sab3r_ros.files import finite, write_json
from sab3r_ros.many import run_many

_COLUMNS = ("frames", "tracked", "keyframes", "points", "fps")


@dataclass(frozen=True)
class MapJob:
    """A recording and the folder for its map."""

    source: str
    out: Path


def map_all(
    sources: Sequence[str], out: Path, settings: Settings, rate: float, limit: int, depth: bool, workers: int, cluster: str,
    gpus: float,
) -> dict:  # fmt: skip
    """Map recordings into folders of OUT; those that are there as a whole are left alone, one that fails does not stop the others.

    Returns {"recordings": rows}, which is also OUT/summary.json. Raises ValueError as `run_many`, OSError where OUT cannot be
    written.
    """
    out.mkdir(parents=True, exist_ok=True)
    jobs = [MapJob(source, out / name) for source, name in zip(sources, folder_names(sources), strict=True)]
    rows = [
        {"recording": job.source, "map": str(job.out), **(_finished(job.out) or {"ended": "waiting"})} for job in jobs
    ]
    waiting = [k for k, row in enumerate(rows) if row["ended"] == "waiting"]
    if len(waiting) < len(rows):
        print(f"{len(rows) - len(waiting)} of {len(rows)} recordings were mapped before", file=sys.stderr)
    settings = for_one_of_many(settings, workers, cluster)
    job = partial(_map_one, settings=settings, rate=rate, limit=limit, depth=depth)
    write_json(out / "summary.json", {"recordings": finite(rows)})
    with tqdm(total=len(waiting), unit="recording") as bar:
        for outcome in run_many(job, [jobs[k] for k in waiting], workers, cluster, gpus):
            row = rows[waiting[outcome.number]]
            row |= outcome.result or {"ended": f"failed: {outcome.error}"}
            if outcome.error:
                print(f"{row['recording']}: {outcome.error}", file=sys.stderr)
            write_json(out / "summary.json", {"recordings": finite(rows)})
            bar.update()
    return {"recordings": rows}


def for_one_of_many(settings: Settings, workers: int, cluster: str) -> Settings:
    """Settings for a job beside others: on this machine every process would use all cores, unless the settings say how many."""
    if settings.model.threads or cluster:
        return settings
    return settings.with_values(model={"threads": max(1, (os.cpu_count() or 1) // workers)})


def _map_one(job: MapJob, settings: Settings, rate: float, limit: int, depth: bool) -> dict:
    from sab3r_ros.cli.mapping import map_input

    return map_input(job.source, job.out, settings, rate, limit, depth, "", overwrite=True)


def _finished(out: Path) -> dict | None:
    """The summary of a map that is there as a whole; None otherwise."""
    try:
        summary = json.loads((out / "summary.json").read_text())
        return summary if summary["ended"] == "complete" and (out / "map.json").is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def folder_names(sources: Sequence[str]) -> list[str]:
    """A folder's name for each recording, after it; twins get a number, which depends on the order."""
    names: list[str] = []
    for source in sources:
        stem = Path(source.rstrip("/")).stem or "recording"
        plain = re.sub(r"[^\w.-]+", "_", stem).strip("._") or "recording"
        name, number = plain, 2
        while name in names:
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
    return names


def table(rows: Sequence[dict]) -> str:
    """The rows as text for people."""
    cells = [["recording", *_COLUMNS, "ended"]]
    for row in rows:
        values = [row.get(name, "") for name in _COLUMNS]
        cells.append(
            [Path(row["map"]).name, *(f"{v:.1f}" if isinstance(v, float) else str(v) for v in values), row["ended"]]
        )
    return aligned(cells)


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, the columns below each other; the last one as it is."""
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]) - 1)]
    return "\n".join("  ".join([*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[-1]]) for line in cells)
