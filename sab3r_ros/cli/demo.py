"""`sab3r demo`: the built-in sequence, mapped and measured."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from sab3r_ros.affordance.engine import affordance_regions
from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.cli.affordance import draw_answer
from sab3r_ros.cli.mapping import finite, map_source, summarise, write_outputs
from sab3r_ros.config import Settings
from sab3r_ros.evaluation.rooms import located_figures, query_targets
from sab3r_ros.evaluation.stream import geometry_figures, point_iou
from sab3r_ros.files import write_json
from sab3r_ros.mapping.frames import nth_stamp
from sab3r_ros.mapping.mapper import SemanticMapper
from sab3r_ros.mapping.perception import Perception
from sab3r_ros.mapping.query import LocatedObject, query_for
from sab3r_ros.sources.demo import DemoSource
from sab3r_ros.synthetic.parts import AFFORDANCES

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
    summary["affords"] = _affordances(mapper, source, objects, out)
    write_json(out / "summary.json", finite(summary))
    return summary


def _affordances(mapper: SemanticMapper, source: DemoSource, objects: list[LocatedObject], out: Path) -> list[dict]:
    """For every found object and each thing that its kind affords: regions, and the IoU of the best with the true parts.

    Draws each answer as OUT/OBJECT_AFFORDANCE.png.
    """
    room, views = source.sequence.room, source.sequence.views
    everything = mapper.snapshot()["xyz"].numpy().astype(np.float64)
    segmenter, figures = AffordanceSegmenter(), []
    for found in objects:
        of_kind = np.array([item.label == found.label for item in room.objects])[room.part_object]
        points, around = found.points.astype(np.float64), np.delete(everything, found.rows, axis=0)
        for column in np.flatnonzero(room.part_affordances[of_kind].any(0)):
            affordance = AFFORDANCES[column]
            answer = affordance_regions(segmenter, points, affordance, surroundings=around)
            draw_answer(out / f"{found.label}_{affordance}.png", points, answer, f"{affordance}: {found.label}")
            parts = of_kind & room.part_affordances[:, column]
            masks = {nth_stamp(k, source.rate): (v.part >= 0) & parts[v.part] for k, v in enumerate(views)}
            best = replace(found, rows=found.rows[answer.regions[0].rows]) if answer.regions else None
            figures.append(
                {
                    "object": found.label, "affordance": affordance, "regions": len(answer.regions),
                    "score": round(answer.regions[0].score, 4) if answer.regions else 0.0,
                    "grasps": sum(len(r.grasps) for r in answer.regions), "iou": round(point_iou(mapper, best, masks), 4),
                }
            )  # fmt: skip
    return figures
