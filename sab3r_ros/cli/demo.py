"""`sab3r demo`: the shipped sequence, mapped and asked."""

from pathlib import Path

from sab3r_ros.affordance.pipeline import affordance_regions
from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.cli.mapping import map_source, summarise
from sab3r_ros.config import Settings
from sab3r_ros.files import finite, write_json
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.models.backends import load_backend
from sab3r_ros.outputs import write_outputs
from sab3r_ros.query.map_query import query_for
from sab3r_ros.query.objects import LocatedObject, surroundings
from sab3r_ros.sources.demo import DemoSource
from sab3r_ros.viewer.affordance_picture import draw_answer

QUERIES = ("door", "shelves", "picture")
QUESTIONS = (("door", "open"), ("door", "push"), ("shelves", "support"))


def best_answers(found: list[LocatedObject]) -> list[LocatedObject]:
    """The best object of every query that has one, in the order of QUERIES; found: best first."""
    first: dict[str, LocatedObject] = {}
    for item in found:
        first.setdefault(item.label, item)
    return [first[name] for name in QUERIES if name in first]


def run_demo(out: Path, settings: Settings, measure: bool = False) -> dict:
    """Map the sequence, look for some of its objects, ask what they afford, write everything into OUT; the summary.

    measure: compare with the ground truth, which needs the extra [lab].
    """
    source = DemoSource()
    backend = load_backend(settings.model, settings.window.size)
    query = query_for(backend.features, settings.query)
    if query is None:
        raise ValueError("this checkpoint has no text-aligned features; the demo needs them")
    mapper, run = map_source(source, settings, backend)
    found = query.locate(mapper.snapshot(), QUERIES)
    best = best_answers(found)
    write_outputs(mapper, query, out, overwrite=True, objects=best)
    summary = summarise(mapper, run, source)
    summary["located"] = [
        {"query": o.label, "score": round(o.score, 4), "probability": round(o.probability, 4), "points": len(o.points)}
        for o in best
    ]
    answers = _affordances(mapper, best, out)
    summary["affords"] = [about for about, _ in answers]
    if measure:
        from sab3r_ros.lab.evaluation.demo import demo_metrics

        summary |= demo_metrics(mapper, run, best, answers)
    write_json(out / "summary.json", finite(summary))
    return summary


def _affordances(mapper: Mapper, objects: list[LocatedObject], out: Path) -> list[tuple[dict, tuple]]:
    """For every question: what is said of the answer, and the object with the rows of its best region.

    Draws each answer as OUT/OBJECT_AFFORDANCE.png.
    """
    by_label = {o.label: o for o in objects}
    cloud = mapper.snapshot(columns=("xyz",)).points.astype(float)
    segmenter, answers = AffordanceSegmenter(), []
    for name, affordance in QUESTIONS:
        if name not in by_label:
            continue
        item = by_label[name]
        points = item.points.astype(float)
        answer = affordance_regions(segmenter, points, affordance, surroundings=surroundings(points, cloud))
        draw_answer(out / f"{name}_{affordance}.png", answer, f"{affordance}: {name}")
        regions = answer.regions
        about = {
            "object": name, "affordance": affordance, "regions": len(regions),
            "score": round(regions[0].score, 4) if regions else 0.0, "grasps": sum(len(r.grasps) for r in regions),
        }  # fmt: skip
        answers.append((about, (item, item.rows[regions[0].rows] if regions else None)))
    return answers
