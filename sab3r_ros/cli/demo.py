"""`sab3r demo`: the built-in sequence, mapped and measured."""

from pathlib import Path

from sab3r_ros.cli.mapping import finite, map_source, summarise, write_outputs
from sab3r_ros.config import Settings
from sab3r_ros.evaluation.rooms import located_figures, query_targets
from sab3r_ros.evaluation.stream import geometry_figures
from sab3r_ros.files import write_json
from sab3r_ros.mapping.perception import Perception
from sab3r_ros.mapping.query import query_for
from sab3r_ros.sources.demo import DemoSource

_QUERIES = 3


def run_demo(out: Path, settings: Settings) -> dict:
    """Map the sequence, ask for the objects seen best, write everything into OUT and return the summary."""
    source = DemoSource()
    perception = Perception(settings.model)
    query = query_for(perception.checkpoint, settings.query)
    if query is None:
        raise ValueError("this checkpoint has no text-aligned features; the demo needs them")
    mapper, run = map_source(source, settings, perception)
    targets = query_targets(source.sequence)[:_QUERIES]
    located, objects = located_figures(mapper, query, source.sequence, targets, source.rate)
    write_outputs(mapper, query, out, overwrite=True, objects=objects)
    figures = geometry_figures(run, source.sequence.views, perception.image_size)
    summary = summarise(mapper, run, source) | {k: figures[k] for k in ("rra15", "rta15", "abs_rel", "ate", "pairs")}
    summary["located"] = located
    write_json(out / "summary.json", finite(summary))
    return summary
