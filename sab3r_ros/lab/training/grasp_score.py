"""Training of the grasps' score: hands that fit household objects, tried in physics, and boosted trees over the outcomes."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from sab3r_ros.affordance.clouds import prepare
from sab3r_ros.affordance.grasp_score import FEATURES, Trees
from sab3r_ros.affordance.grasps import Gripper, fitting_grasps
from sab3r_ros.affordance.surface import estimate_normals, neighbourhoods, roughness, smoothed
from sab3r_ros.files import write_json
from sab3r_ros.lab.evaluation.grasp_bench import CLOUDS, observe, table_points
from sab3r_ros.lab.evaluation.grasp_objects import HELD, varied_object
from sab3r_ros.lab.evaluation.grasp_physics import try_grasp
from sab3r_ros.lab.evaluation.metrics import calibration_error

_TRIED = 14  # hands tried per cloud
_NOISES = (0.0005, 0.004)  # metres
_TREES, _DEPTH, _RATE, _LEAF = 160, 4, 0.06, 20
_LEFT_OUT = 5  # every fifth object tells how good the fit is


class Outcomes(NamedTuple):
    """Hands that were tried: features (G,F), whether they lifted (G,), and the number of the object and view (G,)."""

    features: np.ndarray
    lifted: np.ndarray
    group: np.ndarray


def outcomes_of(label: str, seed: int, model: Trees | None) -> tuple[np.ndarray, np.ndarray]:
    """Features (G,F) and outcomes (G,) of hands on one object, seen one way; half of them the best by a model, if there is one."""
    rng = np.random.default_rng([seed, sum(label.encode())])
    item = varied_object(label, seed)
    cloud, noise = CLOUDS[int(rng.integers(len(CLOUDS)))], float(rng.uniform(*_NOISES))
    points = observe(item, cloud, noise, rng)
    ready = prepare(points)
    near = neighbourhoods(ready.points)
    normals = estimate_normals(ready.points, near)
    surface, _ = smoothed(ready.points, normals, near)
    around = table_points(points, rng, noise) - ready.origin
    rough = roughness(ready.points, normals, near)
    grasps, features = fitting_grasps(surface, normals, np.ones(len(surface)), Gripper(), around, rough)
    rows = rng.permutation(len(grasps))[:_TRIED]
    if model is not None and len(grasps):
        order = np.argsort(-model.logit(features), kind="stable")
        rows = np.unique(np.concatenate([order[: _TRIED // 2], rows[: _TRIED // 2]]))
    lifted = []
    for k in rows:
        grasps[k].pose[:3, 3] += ready.origin
        lifted.append(try_grasp(item, grasps[k], Gripper()).lifted)
    return features[rows], np.array(lifted, float)


def gather(objects: int, first: int, model: Trees | None, workers: int) -> Outcomes:
    """Outcomes of `objects` objects of every kind, beginning at a seed."""
    jobs = [(label, first + k, model) for k in range(objects) for label in HELD]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        parts = [f.result() for f in tqdm([pool.submit(outcomes_of, *job) for job in jobs], unit="object")]
    group = np.repeat(np.arange(len(parts)), [len(lifted) for _, lifted in parts])
    return Outcomes(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), group)


def fit_trees(features: np.ndarray, lifted: np.ndarray) -> Trees:
    """Boosted trees for the logit of the outcome (Friedman 2001), each of a random half of the hands."""
    from sklearn.ensemble import GradientBoostingClassifier

    found = GradientBoostingClassifier(
        n_estimators=_TREES, max_depth=_DEPTH, learning_rate=_RATE, min_samples_leaf=_LEAF, subsample=0.5, max_features=0.4, random_state=0,
    ).fit(features, lifted)  # fmt: skip
    columns: dict[str, list] = {k: [] for k in ("feature", "threshold", "left", "right", "value")}
    roots, count = [], 0
    for (estimator,) in found.estimators_:
        tree = estimator.tree_
        roots.append(count)
        columns["feature"].append(np.maximum(tree.feature, -1))
        # Trees compare in single precision: the halves of a rounding step must fall on the same side here.
        columns["threshold"].append(tree.threshold)
        columns["left"].append(np.where(tree.children_left < 0, -1, tree.children_left + count))
        columns["right"].append(np.where(tree.children_right < 0, -1, tree.children_right + count))
        columns["value"].append(_RATE * tree.value[:, 0, 0])
        count += tree.node_count
    share = float(lifted.mean())
    return Trees(
        **{k: np.concatenate(v) for k, v in columns.items()},
        roots=np.array(roots),
        start=float(np.log(share / (1 - share))),
    )


def train_grasp_score(
    out: Path, objects: int = 8, first: int = 70_000, workers: int = 2, rounds: int = 2
) -> dict[str, float]:
    """Gather outcomes, fit, and write the model; returns how good it is on objects left out of the fit.

    The first round tries hands at random, later ones half of them the best by what was learnt so far.
    """
    parts: list[Outcomes] = []
    model = None
    for number in range(rounds):
        found = gather(objects, first + number * objects, model, workers)
        shift = parts[-1].group[-1] + 1 if parts else 0
        parts.append(found._replace(group=found.group + shift))
        together = Outcomes(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        model = fit_trees(together.features, together.lifted)
    assert model is not None
    held = together.group % _LEFT_OUT == 0
    part = fit_trees(together.features[~held], together.lifted[~held]).logit(together.features[held])
    better = part[together.lifted[held] > 0.5][:, None] > part[together.lifted[held] < 0.5][None]
    scored = list(zip(1 / (1 + np.exp(-part)), together.lifted[held] > 0.5, strict=True))
    write_json(out, trees_as_json(model))
    return {
        "tried": float(len(together.lifted)), "lifted": float(together.lifted.mean()), "auc_left_out": float(better.mean()),
        "ece_left_out": calibration_error(scored),
    }  # fmt: skip


def trees_as_json(model: Trees) -> dict:
    """What `grasp_score` reads."""
    return {
        "features": list(FEATURES), "start": round(model.start, 5), "roots": model.roots.tolist(), "feature": model.feature.tolist(),
        "threshold": [float(f"{v:.6g}") for v in model.threshold], "left": model.left.tolist(), "right": model.right.tolist(),
        "value": model.value.round(5).tolist(),
    }  # fmt: skip
