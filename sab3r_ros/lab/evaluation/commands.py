"""What `sab3r eval` runs: models from settings, a progress bar, and the figures as a dictionary."""

import time
from pathlib import Path

from tqdm import tqdm

from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.affordance_scans import evaluate_scan, read_scan
from sab3r_ros.lab.evaluation.affordance_sets import evaluate_affordance_set
from sab3r_ros.lab.evaluation.affordance_shapes import evaluate_affordance
from sab3r_ros.lab.evaluation.depth_sets import evaluate_depth
from sab3r_ros.lab.evaluation.household import evaluate_household
from sab3r_ros.lab.evaluation.identities import evaluate_identities
from sab3r_ros.lab.evaluation.loops import evaluate_loops
from sab3r_ros.lab.evaluation.map_and_locate_groups import evaluate_recorded_groups, evaluate_rooms_groups
from sab3r_ros.lab.evaluation.models import searchable_models
from sab3r_ros.lab.evaluation.peer_colmap import evaluate_colmap
from sab3r_ros.lab.evaluation.pose_sets import evaluate_poses
from sab3r_ros.lab.evaluation.presence import evaluate_presence
from sab3r_ros.lab.evaluation.recording import evaluate_recording
from sab3r_ros.lab.evaluation.recordings import TrueRecording
from sab3r_ros.lab.evaluation.relations import evaluate_relations
from sab3r_ros.lab.evaluation.report import Report
from sab3r_ros.lab.evaluation.rooms import evaluate_rooms
from sab3r_ros.lab.evaluation.segmentation_sets import evaluate_segmentation
from sab3r_ros.lab.evaluation.sessions import evaluate_sessions
from sab3r_ros.lab.evaluation.trajectory import evaluate_trajectory
from sab3r_ros.models.backends import load_backend
from sab3r_ros.models.base import Backend
from sab3r_ros.outputs import write_outputs
from sab3r_ros.query.map_query import query_for
from sab3r_ros.viewer.affordance_picture import draw_answer


def rooms_metrics(settings: Settings, rooms: int, frames: int, first: int) -> dict:
    """Metrics on walks through held-out rooms from number FIRST on. Raises ValueError as `searchable_models`."""
    backend, query = searchable_models(settings)
    with tqdm(total=rooms, unit="room") as bar:
        return evaluate_rooms(settings, backend, query, rooms, frames, first, lambda line: bar.update())


def household_metrics(settings: Settings, groups: int, first: int) -> dict:
    """Metrics on groups of a few held-out views from number FIRST on. Raises ValueError as `searchable_models`."""
    backend, query = searchable_models(settings)
    with tqdm(total=groups, unit="group") as bar:
        return evaluate_household(settings, backend, query, groups, first, bar.update)


def map_and_locate_metrics(
    settings: Settings, folder: Path | None, groups: int, first: int, each: int, manifest: Path | None, out: Path | None,
    page: Path | None,
) -> dict:  # fmt: skip
    """Map and Locate over GROUPS made-up rooms, or over EACH groups of every size of a data set's scenes.

    Raises SourceError where nothing can be evaluated, ValueError as `searchable_models`.
    """
    backend, query = searchable_models(settings)
    with tqdm(total=groups if folder is None else None, unit="group") as bar:
        if folder is None:
            return evaluate_rooms_groups(settings, backend, query, groups, first, bar.update, page)

        def report(total: int) -> None:
            if total:
                bar.reset(total)
            else:
                bar.update()

        return evaluate_recorded_groups(settings, backend, query, folder, each, first, manifest, out, report, page)


def depth_metrics(settings: Settings, folder: Path, limit: int, page: Report | None = None) -> dict:
    """Depth of single images of a data set; pictures of the first ones onto a page. Raises SourceError where none can be evaluated."""
    geometry = load_backend(settings.model).geometry
    with tqdm(unit="image") as bar:
        return evaluate_depth(geometry, folder, limit, bar.update, page)


def pose_metrics(settings: Settings, folder: Path, views: int, seed: int, limit: int) -> dict:
    """Relative poses of a few pictures of every sequence. Raises SourceError where none can be evaluated."""
    backend = Backend(load_backend(settings.model).geometry)
    with tqdm(unit="sequence") as bar:
        return evaluate_poses(settings, backend, folder, views, seed, limit, bar.update)


def segmentation_metrics(
    settings: Settings, folder: Path, background: bool, limit: int, page: Report | None = None
) -> dict:
    """Zero-shot segmentation of a data set; pictures of the first images onto a page. Raises SourceError where none can be evaluated, ValueError as `searchable_models`."""
    backend, query = searchable_models(settings)
    with tqdm(unit="image") as bar:
        return evaluate_segmentation(backend, query, folder, background, limit, bar.update, page)


def recording_metrics(settings: Settings, folder: Path, out: Path | None) -> dict:
    """Metrics on a posed RGB-D recording; with OUT also its map."""
    backend = load_backend(settings.model, settings.window.size)
    query = query_for(backend.features, settings.query)
    figures, mapper = evaluate_recording(settings, backend, folder, query=query)
    if out is not None:
        write_outputs(mapper, query, out, overwrite=True)
    return figures


def trajectory_metrics(
    settings: Settings, folder: Path, out: Path | None, limit: int, peer: bool = False, page: Report | None = None,
    degradation: str = "",
) -> dict:  # fmt: skip
    """Trajectory and surfaces of a recording with true poses; with OUT also its map. Raises SourceError without them.

    peer: COLMAP's figures on the same images, too, as they are. Raises ModuleNotFoundError where it is not installed. degradation: done to
    the images first.
    """
    beside = evaluate_colmap(TrueRecording(folder), limit) if peer else {}
    backend = load_backend(settings.model, settings.window.size)
    figures, mapper = evaluate_trajectory(settings, backend, folder, limit=limit, page=page, degradation=degradation)
    if out is not None:
        write_outputs(mapper, None, out, overwrite=True)
    return figures | beside


def relations_metrics(settings: Settings, rooms: int, first: int) -> dict:
    """Questions with relations to held-out rooms from number FIRST on."""
    with tqdm(total=rooms, unit="room") as bar:
        return evaluate_relations(settings, rooms, first, bar.update)


def identities_metrics(settings: Settings, walks: int, first: int, frames: int) -> dict:
    """Whether things keep their ids on walks through held-out rooms from number FIRST on."""
    backend = load_backend(settings.model, settings.window.size)
    with tqdm(total=walks * frames, unit="frame") as bar:
        return evaluate_identities(settings, backend, walks, first, frames, bar.update)


def sessions_metrics(settings: Settings, folder: Path, rooms: int) -> dict:
    """Halves of a recording merged, a second pass, and rooms that are elsewhere. Raises SourceError without true poses."""
    backend = load_backend(settings.model, settings.window.size)
    with tqdm(unit="step") as bar:

        def told(step: str) -> None:
            bar.set_postfix_str(step)
            bar.update()

        return evaluate_sessions(settings, backend, folder, rooms, progress=told)


def presence_metrics(
    settings: Settings, rooms: int, first: int, frames: int, recording: Path | None, workers: int
) -> dict:
    """How well answers tell what is there from what is not, in held-out rooms from number FIRST on and in RECORDING."""
    with tqdm(total=rooms, unit="room") as bar:
        return evaluate_presence(settings, rooms, first, frames, recording, workers, bar.update)


def loops_metrics(
    settings: Settings, walks: int, first: int, oracle: bool, length: float, workers: int, odometry: bool
) -> dict:
    """Long walks mapped without adjustment and with it, by the network or by an oracle that errs as one."""
    with tqdm(total=walks, unit="walk") as bar:
        return evaluate_loops(settings, walks, first, oracle, length, workers, odometry, lambda result: bar.update())


def affordance_metrics(checkpoint: str, shapes: int, first: int) -> dict:
    """Metrics on held-out household shapes from number FIRST on."""
    segmenter = AffordanceSegmenter(checkpoint)
    with tqdm(total=(2 if segmenter.checkpoint.image is None else 3) * shapes, unit="shape") as bar:
        return evaluate_affordance(segmenter, shapes, first, bar.update)


def affordance_set_metrics(checkpoint: str, folder: Path, limit: int, question: int, words: bool, y_up: bool) -> dict:
    """Metrics on LASO, PIAD or PIADv2. Raises SourceError where nothing can be evaluated."""
    with tqdm(unit="question") as bar:
        return evaluate_affordance_set(
            AffordanceSegmenter(checkpoint), folder, limit, question, words, y_up, lambda: bar.update()
        )


def scan_metrics(checkpoint: str, folder: Path, out: Path | None) -> dict:
    """Metrics on the scanned objects of FOLDER, per object and affordance; images of all answers into OUT."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise ValueError(f"{folder} holds no .npz scans")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)

    def draw(name, points, answer, title):
        if out is not None:
            draw_answer(out / f"{name}.png", answer, title)

    segmenter = AffordanceSegmenter(checkpoint)
    figures: dict = {}
    views, right = 0.0, 0.0
    for path in tqdm(files, unit="scan"):
        scan = read_scan(path)
        for affordance, values in evaluate_scan(segmenter, scan, draw=draw).items():
            figures |= {f"{scan.name} {affordance} {k}": v for k, v in values.items()}
            if values["views"]:
                views += values["views"]
                right += values["top1_part_partial"] * values["views"]
    figures["top1_part_views"] = right / max(views, 1)
    return figures


def grasp_metrics(folder: Path | None, noise: float, prompt: str, tries: int, workers: int, first: int) -> dict:
    """Percent of objects that come up, whole, seen from two sides and from one, and from two with two others close by (clutter),
    beside the baseline from above; lift3_*: with three times the noise."""
    from sab3r_ros.lab.evaluation.grasp_bench import CLOUDS, CLUTTER, figures, household_paths, run_bench

    started = time.perf_counter()
    paths = household_paths(first) if folder is None else sorted(folder.glob("*.npz"))
    if not paths:
        raise ValueError(f"no objects (.npz) in {folder}")
    every = (*CLOUDS, CLUTTER) if len(paths) > 2 else CLOUDS
    ours = figures(run_bench(paths, noise, first, prompt, tries, workers, every))
    noisy = figures(run_bench(paths, 3 * noise, first, prompt, tries, workers))
    ours |= {k.replace("lift_", "lift3_"): v for k, v in noisy.items() if k.startswith("lift_")}
    above = figures(run_bench(paths, noise, first, None, tries, workers, every), "topdown_")
    baseline = {k.replace("topdown_lift_", "topdown_"): v for k, v in above.items() if k.startswith("topdown_lift_")}
    return {"objects": len(paths), **ours, **baseline, "seconds": round(time.perf_counter() - started, 1)}
