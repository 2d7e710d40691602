"""What a robot's odometry would say of a walk: true motion with errors of its kind."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class OdometryErrors:
    """How motion is mismeasured.

    scale: of all lengths of a walk (tyres, and their calibration), standard deviation; length, turn: of every step, as a share of it;
    drift: radians of heading a square root of a metre. The defaults are those of a wheeled robot of the usual kind, without a gyroscope of a good one.
    """

    scale: float = 0.01
    length: float = 0.03
    turn: float = 0.02
    drift: float = 0.01


def odometry_of(poses: Sequence[np.ndarray], seed: int, errors: OdometryErrors | None = None) -> list[np.ndarray]:
    """Poses (4,4) of a camera in a frame of odometry, from its true ones; the frame is the first camera's."""
    errors, rng = errors or OdometryErrors(), np.random.default_rng([seed, 53])
    scale = 1 + errors.scale * rng.standard_normal()
    found = [np.eye(4)]
    for before, after in zip(poses[:-1], poses[1:], strict=True):
        step = np.linalg.inv(before) @ after
        length = float(np.linalg.norm(step[:3, 3]))
        turn = cv2.Rodrigues(step[:3, :3])[0][:, 0]
        turn = turn * (1 + errors.turn * rng.standard_normal())
        turn = turn + errors.drift * length**0.5 * np.array(
            [0.0, rng.standard_normal(), 0.0]
        )  # about the camera's vertical axis
        out = np.eye(4)
        out[:3, :3] = cv2.Rodrigues(turn)[0]
        out[:3, 3] = step[:3, 3] * scale * (1 + errors.length * rng.standard_normal())
        found.append(found[-1] @ out)
    return found
