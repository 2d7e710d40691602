"""`sab3r eval`."""

from pathlib import Path

from tqdm import tqdm

from sab3r_ros.cli.mapping import write_outputs
from sab3r_ros.config import Settings
from sab3r_ros.evaluation.recording import evaluate_recording
from sab3r_ros.mapping.perception import Perception
from sab3r_ros.mapping.query import MapQuery, query_for


def rooms_figures(settings: Settings, rooms: int, frames: int, first: int) -> dict:
    """Figures on walks through held-out rooms from number FIRST on. Raises ValueError as `_with_text`."""
    from sab3r_ros.evaluation.rooms import evaluate_rooms

    perception, query = _with_text(settings)
    with tqdm(total=rooms, unit="room") as bar:
        return evaluate_rooms(settings, perception, query, rooms, frames, first, lambda line: bar.update())


def household_figures(settings: Settings, groups: int, first: int) -> dict:
    """Figures on groups of a few held-out views from number FIRST on. Raises ValueError as `_with_text`."""
    from sab3r_ros.evaluation.household import evaluate_household

    perception, query = _with_text(settings)
    with tqdm(total=groups, unit="group") as bar:
        return evaluate_household(settings, perception, query, groups, first, bar.update)


def _with_text(settings: Settings) -> tuple[Perception, MapQuery]:
    """The network and its text encoder. Raises ValueError for a checkpoint without text-aligned features."""
    perception = Perception(settings.model)
    query = query_for(perception.checkpoint, settings.query)
    if query is None:
        raise ValueError("this checkpoint has no text-aligned features, which this evaluation needs")
    return perception, query


def recording_figures(settings: Settings, folder: Path, out: Path | None) -> dict:
    """Figures on a posed RGB-D recording; with OUT also its map."""
    perception = Perception(settings.model)
    query = query_for(perception.checkpoint, settings.query)
    figures, mapper = evaluate_recording(settings, perception, folder, query=query)
    if out is not None:
        write_outputs(mapper, query, out, overwrite=True)
    return figures
