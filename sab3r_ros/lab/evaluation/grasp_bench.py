"""How many grasps lift: objects on a table, clouds as a robot gets them, every offered grasp tried in physics."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from tqdm import tqdm

from sab3r_ros.affordance.grasps import Grasp, Gripper
from sab3r_ros.affordance.pipeline import RegionRequest, affordance_regions
from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.lab.evaluation.grasp_clutter import neighbours, together
from sab3r_ros.lab.evaluation.grasp_objects import HELD, household_object
from sab3r_ros.lab.evaluation.grasp_physics import Body, Outcome, read_body, try_grasp
from sab3r_ros.lab.evaluation.metrics import calibration_error

CLOUDS = ("whole", "two", "one")
CLUTTER = "clutter"  # as "two", with two other objects close to the one that is asked for
_POINTS = {"whole": 4096, "two": 3000, "one": 3000, CLUTTER: 3000}  # of the surface, or a view
_DISTANCE, _ELEVATION = 0.6, (25.0, 60.0)  # metres, degrees: where cameras stand
_TABLE, _GRID = 0.25, 0.01  # metres: half side and spacing of the table's points around the object
_TOP = 5
_SEEN = 50  # points of an object behind others, below which nothing is asked
_SURFACE = 20_000  # points of a mesh among which the one nearest to a contact tells its face


@dataclass(frozen=True)
class Trial:
    """One object seen one way: the outcomes of the grasps that were offered, best first, and their scores.

    right_part: whether both contacts of the first lie on parts that afford what was asked; None where that is not known, or
    where all parts do.
    """

    name: str
    cloud: str
    outcomes: tuple[Outcome, ...]
    scores: tuple[float, ...]
    right_part: bool | None = None

    @property
    def best_lifts(self) -> bool:
        """Whether the first one lifts."""
        return bool(self.outcomes) and self.outcomes[0].lifted

    @property
    def any_lifts(self) -> bool:
        """Whether one of the first five does."""
        return any(o.lifted for o in self.outcomes[:_TOP])


def observe(item: Body, cloud: str, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Points (N,3) of an object: its whole surface, or what cameras see of it; noise: standard deviation in metres."""
    return observe_among([item], cloud, noise, rng)[0]


def observe_among(
    bodies: Sequence[Body], cloud: str, noise: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points (N,3) of the first of some bodies as in `observe`, and points (M,3) of the others in the same images."""
    import trimesh

    vertices, faces, owner = together(bodies)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    count = _POINTS[cloud]
    if cloud == "whole":
        points, _ = trimesh.sample.sample_surface(mesh, count, seed=int(rng.integers(2**31)))
        return np.asarray(points) + rng.normal(0, noise, (count, 3)), np.empty((0, 3))
    first = rng.uniform(0, 2 * np.pi)
    seen, of_body = [], []
    own = bodies[0].vertices
    for azimuth in [first] if cloud == "one" else [first, first + np.radians(rng.uniform(60, 180))]:
        elevation = np.radians(rng.uniform(*_ELEVATION))
        middle = (own.min(0) + own.max(0)) / 2
        away = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
        hits, face = _view(mesh, middle + _DISTANCE * away, count * len(bodies), rng)
        seen.append(hits)
        of_body.append(owner[face])
    points, number = np.concatenate(seen), np.concatenate(of_body)
    points = points + rng.normal(0, noise, points.shape)
    return points[number == 0], points[number > 0]


def _view(mesh, eye: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points (N,3) of a mesh that are visible from `eye` (3,), spread as on a camera's image, and their faces (N,)."""
    import trimesh

    aims, _ = trimesh.sample.sample_surface(mesh, 40 * count // 8, seed=int(rng.integers(2**31)))
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    aims = np.concatenate([np.asarray(aims), rng.uniform(low, high, (4 * count, 3))])
    rays = aims - eye
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    hits, _, face = mesh.ray.intersects_location(np.broadcast_to(eye, rays.shape), rays, multiple_hits=False)
    some = rng.permutation(len(hits))[:count]
    return hits[some], face[some]


def table_points(points: np.ndarray, rng: np.random.Generator, noise: float) -> np.ndarray:
    """The table (M,3) around an object, as the map has it."""
    line = np.arange(-_TABLE, _TABLE, _GRID)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2) + points[:, :2].mean(0)
    return np.column_stack([grid, rng.normal(0, noise, len(grid))])


Planner = Callable[[np.ndarray, np.ndarray], list[Grasp]]


def product_planner(segmenter: AffordanceSegmenter, prompt: str, gripper: Gripper) -> Planner:
    """What `affordance_regions` offers, best first."""

    def plan(points: np.ndarray, table: np.ndarray) -> list[Grasp]:
        request = RegionRequest(max_grasps=_TOP, gripper=gripper)
        answer = affordance_regions(segmenter, points, prompt, request, surroundings=table)
        return [g for region in answer.regions for g in region.grasps]

    return plan


def from_above(points: np.ndarray, _table: np.ndarray) -> list[Grasp]:
    """The baseline of a dozen lines: from above, closing along the cloud's shorter horizontal axis."""
    flat = points[:, :2] - points[:, :2].mean(0)
    short = np.array([*np.linalg.svd(flat, full_matrices=False)[2][1], 0.0])
    across = points @ short
    near = np.abs((points - points.mean(0)) @ np.array([short[1], -short[0], 0])) < 0.01
    low, high = np.quantile(across[near] if near.sum() > 10 else across, [0.01, 0.99])
    middle = points.mean(0) + ((low + high) / 2 - points.mean(0) @ short) * short
    approach = np.array([0, 0, -1.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([np.cross(short, approach), short, approach], 1)
    pose[:3, 3] = *middle[:2], max(0.004, np.quantile(points[:, 2], 0.99) - 0.04)
    contacts = np.stack([middle + s * (high - low) / 2 * short for s in (-1, 1)])
    return [Grasp(pose, contacts, float(high - low), 0.04, 0.1, 1.0)]


HOUSEHOLD_FIRST = 900_080_000  # seeds that no training has seen


def household_paths(first: int = 0, of_a_kind: int = 3) -> list[str]:
    """Names of held-out household objects, `of_a_kind` of every kind that hands hold."""
    return [f"{label}-{HOUSEHOLD_FIRST + first + k}" for label in HELD for k in range(of_a_kind)]


def load_object(name: Path | str) -> Body:
    """The object of a file, or the household object "kind-seed". Raises ValueError."""
    if isinstance(name, Path):
        return read_body(name)
    label, _, seed = name.rpartition("-")
    return household_object(label, int(seed))


def trials_of(
    path: Path | str, clouds: Sequence[str], noise: float, seed: int, prompt: str | None, tries: int, others: Sequence[Path | str] = ()
) -> list[Trial]:  # fmt: skip
    """All trials of one object; prompt: what is asked, None for the baseline from above; others: what may stand beside it in
    clutter, at least two. Runs in a process of its own.
    """
    import torch

    torch.set_num_threads(1)
    item, gripper = load_object(path), Gripper()
    plan = from_above if prompt is None else product_planner(_segmenter(), prompt, gripper)
    out = []
    for cloud in clouds:
        for number in range(1 if cloud == "whole" else tries):
            rng = np.random.default_rng([seed, number, sum(item.name.encode()), (*CLOUDS, CLUTTER).index(cloud)])
            beside = []
            if cloud == CLUTTER:
                beside = neighbours(item, [load_object(others[k]) for k in rng.permutation(len(others))[:2]], rng)
            points, more = observe_among([item, *beside], cloud, noise, rng)
            around = np.concatenate([table_points(points, rng, noise), more])
            grasps = plan(points, around)[:_TOP] if len(points) >= _SEEN else []
            outcomes = tuple(try_grasp(item, g, gripper, beside) for g in grasps)
            right = on_right_part(item, grasps[0], prompt) if grasps and prompt else None
            out.append(Trial(item.name, cloud, outcomes, tuple(g.score for g in grasps), right))
    return out


def on_right_part(item: Body, grasp: Grasp, asked: str) -> bool | None:
    """Whether the faces nearest to both contacts afford what is asked; None where none or all of the object's do."""
    import trimesh

    affords = item.affording.get(asked)
    if affords is None or affords.all():
        return None
    surface, face = trimesh.sample.sample_surface(
        trimesh.Trimesh(item.vertices, item.faces, process=False), _SURFACE, seed=0
    )
    return bool(affords[face[cKDTree(surface).query(grasp.contacts)[1]]].all())


_LOADED: dict[str, AffordanceSegmenter] = {}


def _segmenter() -> AffordanceSegmenter:
    if "default" not in _LOADED:
        _LOADED["default"] = AffordanceSegmenter()
    return _LOADED["default"]


def run_bench(
    items: Sequence[Path | str], noise: float = 0.001, seed: int = 0, prompt: str | None = "grasp", tries: int = 2, workers: int = 2,
    clouds: Sequence[str] = CLOUDS,
) -> list[Trial]:  # fmt: skip
    """Trials of every object: a file, or "kind-seed" of a household object. Raises ValueError for one that cannot be read."""
    jobs = [(item, tuple(clouds), noise, seed, prompt, tries, [o for o in items if o != item]) for item in items]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        futures = [pool.submit(trials_of, *job) for job in jobs]
        return [trial for f in tqdm(futures, unit="object", desc=prompt or "from above") for trial in f.result()]


def figures(trials: Sequence[Trial], prefix: str = "") -> dict[str, float]:
    """Percent of the trials in which the best grasp lifts, one of the top five does, one was offered at all, and the best one
    lies on the part that was asked for."""
    out = {}
    for cloud in (*CLOUDS, CLUTTER):
        own = [t for t in trials if t.cloud == cloud]
        if own:
            out[f"{prefix}lift_{cloud}"] = 100 * float(np.mean([t.best_lifts for t in own]))
            out[f"{prefix}top5_{cloud}"] = 100 * float(np.mean([t.any_lifts for t in own]))
            out[f"{prefix}offered_{cloud}"] = 100 * float(np.mean([bool(t.outcomes) for t in own]))
        parts = [t.right_part for t in own if t.right_part is not None]
        if parts:
            out[f"{prefix}right_part_{cloud}"] = 100 * float(np.mean(parts))
    best = [t.outcomes[0] for t in trials if t.outcomes]
    if best:
        out[f"{prefix}table_hits"] = 100 * float(np.mean([o.reason.startswith("enters") for o in best]))
        out[f"{prefix}ece"] = calibration_error(list(_scored(trials)))
    return {k: round(v, 3) for k, v in out.items()}


def _scored(trials: Sequence[Trial]) -> Iterator[tuple[float, bool]]:
    for trial in trials:
        yield from ((s, o.lifted) for s, o in zip(trial.scores, trial.outcomes, strict=True))
