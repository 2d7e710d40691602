"""Training of the grasps' score: hands that fit household objects, tried in physics, and a logistic model of the outcomes."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from sab3r_ros.affordance.clouds import prepare
from sab3r_ros.affordance.grasp_score import FEATURES
from sab3r_ros.affordance.grasps import Gripper, fitting_grasps
from sab3r_ros.affordance.surface import estimate_normals, neighbourhoods, roughness, smoothed
from sab3r_ros.files import write_json
from sab3r_ros.lab.evaluation.grasp_bench import CLOUDS, observe, table_points
from sab3r_ros.lab.evaluation.grasp_objects import HELD, household_object, varied_object
from sab3r_ros.lab.evaluation.grasp_physics import try_grasp
from sab3r_ros.lab.evaluation.metrics import area_under_roc, calibration_error

_TRIED = 14  # hands tried per cloud
_NOISES = (0.0005, 0.004)  # metres
_STRENGTH = 0.03  # inverse of the decay of weights of standardised features
_FOLDS = 6  # kinds are left out in as many groups to tell how good the fit is on others


class Model(NamedTuple):
    """weights (F,) of features and start: their sum is the logit of lifting."""

    weights: np.ndarray
    start: float

    def logit(self, features: np.ndarray) -> np.ndarray:
        """Logits (G,) of features (G,F)."""
        return features @ self.weights + self.start


class Outcomes(NamedTuple):
    """Hands that were tried: features (G,F), whether they lifted (G,), and the number of the object's kind (G,)."""

    features: np.ndarray
    lifted: np.ndarray
    kind: np.ndarray


def outcomes_of(label: str, seed: int, model: Model | None) -> tuple[np.ndarray, np.ndarray]:
    """Features (G,F) and outcomes (G,) of hands on one object, seen one way; half of them the best by a model, if there is one.

    Objects of even seeds are as households have them, upright; the others of any size, weight and resting side.
    """
    rng = np.random.default_rng([seed, sum(label.encode())])
    item = (varied_object if seed % 2 else household_object)(label, seed)
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


def gather(objects: int, first: int, model: Model | None, workers: int) -> Outcomes:
    """Outcomes of `objects` objects of every kind, beginning at a seed."""
    jobs = [(label, first + k, model) for k in range(objects) for label in HELD]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        parts = [f.result() for f in tqdm([pool.submit(outcomes_of, *job) for job in jobs], unit="object")]
    kind = np.repeat(np.arange(len(parts)) % len(HELD), [len(lifted) for _, lifted in parts])
    return Outcomes(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), kind)


def fit_logistic(features: np.ndarray, lifted: np.ndarray) -> Model:
    """The logistic model of features (G,F), whose weights are held back."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    found = LogisticRegression(C=_STRENGTH, max_iter=5000).fit(scaler.transform(features), lifted > 0.5)
    weights = found.coef_[0] / scaler.scale_
    return Model(weights, float(found.intercept_[0] - weights @ scaler.mean_))


def train_grasp_score(
    out: Path, objects: int = 8, first: int = 70_000, workers: int = 2, rounds: int = 1
) -> dict[str, float]:
    """Gather outcomes, fit, and write the model; returns how good it is on kinds of objects left out of the fit.

    The first round tries hands at random, later ones half of them the best by what was learnt so far.
    """
    parts: list[Outcomes] = []
    model = None
    for number in range(rounds):
        parts.append(gather(objects, first + number * objects, model, workers))
        found = Outcomes(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        model = fit_logistic(found.features, found.lifted)
    assert model is not None
    write_json(
        out, {"features": list(FEATURES), "weights": model.weights.round(5).tolist(), "start": round(model.start, 5)}
    )
    return {"tried": float(len(found.lifted)), "lifted": float(found.lifted.mean()), **on_other_kinds(found)}


def on_other_kinds(found: Outcomes) -> dict[str, float]:
    """auc and ece of models fitted without the kinds that they are tried on."""
    share = np.zeros(len(found.lifted))
    for fold in range(_FOLDS):
        left_out = found.kind % _FOLDS == fold
        if left_out.any() and len(np.unique(found.lifted[~left_out])) == 2:
            fitted = fit_logistic(found.features[~left_out], found.lifted[~left_out])
            share[left_out] = 1 / (1 + np.exp(-fitted.logit(found.features[left_out])))
    true = found.lifted > 0.5
    return {"auc": area_under_roc(share, true), "ece": calibration_error(list(zip(share, true, strict=True)))}
