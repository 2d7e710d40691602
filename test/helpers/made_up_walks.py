"""A made-up walk past points of a room, with what a back end gets of it and the truth."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from sab3r_ros.lab.evaluation.poses import align_positions
from sab3r_ros.mapping.adjustment.bundle import BundleProblem, Lens
from sab3r_ros.mapping.keypoints import Keypoints
from sab3r_ros.types import Keyframe

WIDTH, HEIGHT = 320, 240
LENS = Lens(260.0, -0.03, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)


@dataclass
class Walk:
    """True poses (V,4,4) and points (P,3), and of every view the numbers of the points it sees and their pixels."""

    poses: np.ndarray
    points: np.ndarray
    seen: list[np.ndarray]
    pixels: list[np.ndarray]


def walk(seed: int, views: int = 12, points: int = 400, noise: float = 0.3, lens: Lens = LENS) -> Walk:
    rng = np.random.default_rng(seed)
    scene = rng.uniform([-3, -1.2, 2.0], [3, 1.2, 4.0], (points, 3))
    poses, seen, pixels = [], [], []
    for k in range(views):
        angle = 0.5 * np.sin(2 * np.pi * k / views)
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        pose[:3, 3] = [
            1.2 * np.cos(2 * np.pi * k / views),
            0.15 * np.sin(4 * np.pi * k / views),
            0.4 * np.sin(2 * np.pi * k / views),
        ]
        pixel = lens.project((scene - pose[:3, 3]) @ pose[:3, :3]) + rng.normal(0, noise, (points, 2))
        with np.errstate(invalid="ignore"):
            inside = ((pixel >= 0) & (pixel <= [WIDTH - 1, HEIGHT - 1])).all(1)
        poses.append(pose)
        seen.append(np.flatnonzero(inside))
        pixels.append(pixel[inside])
    return Walk(np.array(poses), scene, seen, pixels)


def disturbed(poses: np.ndarray, seed: int, turn: float = 0.05, shift: float = 0.1) -> np.ndarray:
    """Poses with errors that add up along the way; the first one stays."""
    rng = np.random.default_rng(seed)
    out = poses.copy()
    error = np.zeros(6)
    for k in range(1, len(poses)):
        error += rng.normal(0, 1, 6) * np.repeat([turn, shift], 3) / len(poses) ** 0.5
        out[k, :3, :3] = cv2.Rodrigues(error[:3])[0] @ poses[k, :3, :3]
        out[k, :3, 3] += error[3:]
    return out


def problem(
    made: Walk, start: np.ndarray, sigma: float = 0.3, range_error: float = 0.1, seed: int = 0
) -> BundleProblem:
    """The walk as a problem, with ranges that are wrong by a factor of their own in every view."""
    rng = np.random.default_rng(seed)
    view = np.concatenate([np.full(len(s), k) for k, s in enumerate(made.seen)])
    track, pixels = np.concatenate(made.seen), np.concatenate(made.pixels)
    factor = np.exp(rng.normal(0, range_error, len(made.poses)))
    ranges = np.linalg.norm(made.points[track] - made.poses[view, :3, 3], axis=1) * factor[view]
    free = np.arange(len(made.poses)) > 0
    steps = np.arange(len(made.poses) - 1)
    lens = replace(LENS, focal=LENS.focal * 1.06, k1=0.0)
    return BundleProblem(start, free, track, view, pixels, sigma, ranges, lens, False, np.stack([steps, steps + 1], 1))


def keyframes(made: Walk, start: np.ndarray, seed: int = 0, scale: float = 1.0) -> list[Keyframe]:
    """The walk as keyframes, whose descriptors tell the points apart, and whose pointmaps hold the true depth over `scale`."""
    rng = np.random.default_rng(seed)
    words = rng.normal(size=(len(made.points), 128)).astype(np.float32)
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    found = []
    for k, (pose, seen, pixels) in enumerate(zip(made.poses, made.seen, made.pixels, strict=True)):
        depth = np.full((HEIGHT, WIDTH), 3.0)
        z = ((made.points[seen] - pose[:3, 3]) @ pose[:3, :3])[:, 2]
        column, row = np.round(pixels).astype(int).clip(0, [WIDTH - 1, HEIGHT - 1]).T
        depth[row, column] = z
        columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
        rays = np.stack([(columns - LENS.u) / LENS.focal, (rows - LENS.v) / LENS.focal, np.ones((HEIGHT, WIDTH))], -1)
        points = torch.from_numpy(rays * depth[..., None] / scale).float()
        noisy = words[seen] + rng.normal(0, 0.02, (len(seen), 128)).astype(np.float32)
        descriptors = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
        found.append(
            Keyframe(
                k, k * 10**8, torch.from_numpy(start[k]), points, torch.full((HEIGHT, WIDTH), 3.0),
                np.zeros((HEIGHT, WIDTH, 3), np.uint8), torch.zeros(8), Keypoints(pixels, descriptors.astype(np.float32), 0.3),
            )
        )  # fmt: skip
    return found


def position_errors(poses: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances (V,) of camera positions from the truth after the best similarity."""
    return align_positions(poses, truth)[1]
