"""Training of the grasps' score: hands that fit household objects, tried in physics, and a logistic model of the outcomes."""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from tqdm import tqdm

from sab3r_ros.affordance.clouds import prepare
from sab3r_ros.affordance.grasp_score import FEATURES
from sab3r_ros.affordance.grasps import Gripper, fitting_grasps
from sab3r_ros.affordance.surface import estimate_normals, neighbourhoods, roughness, smoothed
from sab3r_ros.files import write_json
from sab3r_ros.lab.evaluation.grasp_bench import CLOUDS, observe, table_points
from sab3r_ros.lab.evaluation.grasp_objects import HELD, household_object
from sab3r_ros.lab.evaluation.grasp_physics import try_grasp

_TRIED = 12  # hands tried per cloud
_NOISES = (0.001, 0.003)  # metres
_DECAY = 1.0  # of the squared weights, against the sum of losses


def outcomes_of(label: str, seed: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (G,F) and outcomes (G,) of hands on one object, seen one way; half of them the best by present weights."""
    rng = np.random.default_rng([seed, sum(label.encode())])
    item = household_object(label, seed)
    cloud, noise = CLOUDS[int(rng.integers(len(CLOUDS)))], float(rng.choice(_NOISES))
    points = observe(item, cloud, noise, rng)
    ready = prepare(points)
    near = neighbourhoods(ready.points)
    normals = estimate_normals(ready.points, near)
    surface, _ = smoothed(ready.points, normals, near)
    around = table_points(points, rng, noise) - ready.origin
    rough = roughness(ready.points, normals, near)
    grasps, features = fitting_grasps(surface, normals, np.ones(len(surface)), Gripper(), around, rough)
    order = np.argsort(-(features @ weights)) if len(grasps) else np.empty(0, int)
    rows = np.unique(np.concatenate([order[: _TRIED // 2], rng.permutation(len(grasps))[: _TRIED // 2]])).astype(int)
    lifted = []
    for k in rows:
        grasps[k].pose[:3, 3] += ready.origin
        lifted.append(try_grasp(item, grasps[k], Gripper()).lifted)
    return features[rows], np.array(lifted, float)


def gather(objects: int, first: int, weights: np.ndarray, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and outcomes of `objects` objects of every kind, beginning at a seed."""
    jobs = [(label, first + k, weights) for k in range(objects) for label in HELD]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        parts = [f.result() for f in tqdm([pool.submit(outcomes_of, *job) for job in jobs], unit="object")]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def fit_logistic(features: np.ndarray, lifted: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (F,) and start of the logistic model with the largest likelihood, slightly held back."""

    def loss(values):
        logit = features @ values[:-1] + values[-1]
        share = 1 / (1 + np.exp(-logit))
        gradient = np.append(features.T @ (share - lifted) + 2 * _DECAY * values[:-1], (share - lifted).sum())
        return np.logaddexp(0, logit).sum() - lifted @ logit + _DECAY * np.square(values[:-1]).sum(), gradient

    found = minimize(loss, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return found[:-1], float(found[-1])


def train_grasp_score(out: Path, objects: int = 6, first: int = 70_000, workers: int = 2) -> dict[str, float]:
    """Gather outcomes, fit, and write the model; returns how well it separates them on objects left out of the fit."""
    present = np.array(json.loads(out.read_text())["weights"]) if out.is_file() else np.zeros(len(FEATURES))
    if len(present) != len(FEATURES):
        present = np.zeros(len(FEATURES))
    features, lifted = gather(objects, first, present, workers)
    split = int(0.8 * len(lifted))
    weights, start = fit_logistic(features[:split], lifted[:split])
    held = features[split:] @ weights + start
    better = held[lifted[split:] > 0.5][:, None] > held[lifted[split:] < 0.5][None]
    weights, start = fit_logistic(features, lifted)
    write_json(out, {"features": list(FEATURES), "weights": weights.round(5).tolist(), "start": round(start, 5)})
    return {"tried": float(len(lifted)), "lifted": float(lifted.mean()), "auc_left_out": float(better.mean())}
