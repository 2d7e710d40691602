"""The map's unit from a camera that is carried at a known height: how far below it the floor is in the map.

What is level and lies about as far below a keyframe as the network's own metres let expect speaks for the floor, the nearer to the
camera the more: there a lean of the map does least harm. The height that most of it agrees on is taken.
"""

from collections.abc import Sequence

import numpy as np

from sab3r_ros.geometry.sim3 import split_sim3
from sab3r_ros.mapping.odometry import MeasuredUnit
from sab3r_ros.mapping.up import flat_patches
from sab3r_ros.types import Keyframe

_ASKED = 40  # keyframes, spread evenly
_LEVEL = 0.94  # cosine between a patch's normal and up: 20 degrees
_WRONG_AT_MOST = 0.5  # of the log of the unit, by which the network's metres err
_WIDTH, _AGREES = 0.05, 0.12  # of that log: of the kernel that finds what most agree on, and what agrees with it
_NEAREST = 0.5  # metres from the camera below which a patch counts no more
_FEWEST, _LEAST_PATCHES = 4, 12  # keyframes that see the floor, and patches of it
_LEAST_SHARE = 0.4  # of all that might be the floor, which must agree
_LEAST_ERROR = 0.1  # relative: networks err about the height of a floor otherwise than about lengths along it


def unit_by_height(keyframes: Sequence[Keyframe], height: float) -> MeasuredUnit | None:
    """The unit of an upright map whose cameras were `height` metres above the floor; None where too little of the floor is seen."""
    step = -(-len(keyframes) // _ASKED) or 1
    logs, weights, owners = [], [], []
    for number, keyframe in enumerate(keyframes[::step]):
        scale, rotation, _ = split_sim3(keyframe.host_pose)
        centres, normals = flat_patches(keyframe)
        turned = centres @ rotation.numpy().T * float(scale)
        below, level = -turned[:, 2], np.abs(normals @ rotation.numpy()[2]) > _LEVEL
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.log(height / below)
        near = level & (below > 0) & (np.abs(log) < _WRONG_AT_MOST)
        logs.append(log[near])
        weights.append(1 / np.maximum(np.linalg.norm(turned[near], axis=1), _NEAREST) ** 2)
        owners.append(np.full(near.sum(), number))
    log, weight, owner = (np.concatenate(x) if x else np.zeros(0) for x in (logs, weights, owners))
    if len(log) < _LEAST_PATCHES:
        return None
    tried = np.linspace(-_WRONG_AT_MOST, _WRONG_AT_MOST, 101)
    votes = (weight * np.exp(-0.5 * ((tried[:, None] - log) / _WIDTH) ** 2)).sum(1)
    own = np.abs(log - tried[votes.argmax()]) < _AGREES
    seen_by = len(np.unique(owner[own]))
    if own.sum() < _LEAST_PATCHES or seen_by < _FEWEST or weight[own].sum() < _LEAST_SHARE * weight.sum():
        return None
    order = np.argsort(log[own])
    share = np.cumsum(weight[own][order])
    middle = float(log[own][order][np.searchsorted(share, share[-1] / 2)])
    spread = 1.4826 * float(np.median(np.abs(log[own] - middle)))
    return MeasuredUnit(float(np.exp(middle)), max(_LEAST_ERROR, spread), int(own.sum()))
