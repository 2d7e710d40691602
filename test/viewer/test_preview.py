"""The preview: the room can be recognised in it, and answers are where they are."""

import cv2
import numpy as np
import pytest
import torch

from sab3r_ros.query.objects import LocatedObject
from sab3r_ros.query.vocabulary import UNLABELLED, Vocabulary
from sab3r_ros.types import MapSnapshot
from sab3r_ros.viewer.preview import choose_viewpoint, draw_preview, render_view
from sab3r_ros.viewer.shading import look_at, project_points, render_points, surface_normals

RED = Vocabulary(["wall"], np.array([[255, 0, 0]], np.uint8), torch.zeros(1, 4))


def room(count=20_000, seed=0):
    """Points of a grey floor and two blue walls, 4 x 3 x 2.4 m."""
    rng = np.random.default_rng(seed)
    floor = np.column_stack([rng.uniform(0, 4, count), rng.uniform(0, 3, count), np.zeros(count)])
    walls = np.concatenate(
        [
            np.column_stack([np.full(count, 4.0), rng.uniform(0, 3, count), rng.uniform(0, 2.4, count)]),
            np.column_stack([rng.uniform(0, 4, count), np.full(count, 3.0), rng.uniform(0, 2.4, count)]),
        ]
    )
    colours = np.concatenate([np.full((count, 3), 150), np.tile([60, 80, 220], (2 * count, 1))])
    return np.concatenate([floor, walls]), colours.astype(np.uint8)


def snapshot(points, colours):
    count = len(points)
    return MapSnapshot(
        0.04, torch.arange(count), torch.eye(4), True, xyz=torch.from_numpy(points).float(), rgb=torch.from_numpy(colours).float()
    )  # fmt: skip


def path(*positions):
    poses = []
    for position in positions:
        pose = np.eye(4)
        pose[:3, 3] = position
        poses.append((0, pose))
    return poses


def test_the_preview_shows_labels_path_and_answers(tmp_path):
    points, colours = room()
    label = np.where(points[:, 2] > 0, 0, UNLABELLED).astype(np.uint16)
    box = np.eye(4)
    box[:3, 3] = 2, 1.5, 0.4
    item = LocatedObject(
        "mug-0",
        "mug",
        0,
        0.7,
        0.9,
        box[:3, 3],
        box,
        np.full(3, 0.5),
        *[np.zeros(0)] * 2,
        np.zeros(0, int),
        0,
        *[np.zeros(0, int)] * 2,
    )
    draw_preview(tmp_path / "p.png", snapshot(points, colours), label, RED, path((0.5, 0.5, 1), (1, 1, 1)), [item])
    image = cv2.imread(str(tmp_path / "p.png"))[..., ::-1].astype(int)
    assert image.shape[1] > image.shape[0] > 700
    plan = image[:720, 972:]
    red = (plan[..., 0] > 200) & (plan[..., 1] < 60) & (plan[..., 2] < 60)
    assert red.sum() > 1000  # the walls' label
    perspective = image[:720, :960]
    assert ((perspective == 255).all(-1).mean()) < 0.8
    blue = (perspective[..., 2] > perspective[..., 0] + 60).mean()
    grey = (np.ptp(perspective, axis=-1) < 12) & (perspective.max(-1) < 240)
    assert blue > 0.05
    assert grey.mean() > 0.05


def test_an_empty_map_still_gives_a_preview(tmp_path):
    draw_preview(tmp_path / "p.png", snapshot(*(x[:0] for x in room())), np.zeros(0, np.uint16), None, [])
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_what_is_nearer_hides_what_is_behind():
    camera = look_at(np.array([0.0, -5.0, 0.0]), np.zeros(3))
    points = np.array([[0, 0, 0.0], [0, -1.0, 0]])
    image, depth = render_points(points, np.array([[255, 0, 0], [0, 255, 0.0]]), 0.1, camera, 100.0, (64, 48))
    assert image[24, 32, 1] > 200 > image[24, 32, 0]
    assert depth[24, 32] == pytest.approx(4.0)
    assert project_points(points[:1], camera, 100.0, (64, 48))[0] == pytest.approx([32, 24, 5])


def test_normals_point_to_the_viewer():
    points, _ = room(500)
    floor = points[:500]
    assert surface_normals(floor, np.array([2.0, 1, 2]))[:, 2] == pytest.approx(np.ones(500), abs=1e-6)


def test_the_view_turns():
    points, colours = room(3000)
    walked = np.array([[0.5, 0.5, 1.0], [1.0, 1.0, 1.0]])
    first, second = (
        render_view(points, colours.astype(float), 0.04, walked, [], (160, 120), choose_viewpoint(points, walked, turn))
        for turn in (0.0, 1.0)
    )
    assert np.abs(first.astype(int) - second).mean() > 5


def test_the_plan_shows_what_lies_on_top_alone(tmp_path):
    grid = np.stack(np.meshgrid(np.arange(0, 2, 0.03), np.arange(0, 2, 0.03)), -1).reshape(-1, 2)
    points = np.concatenate([np.column_stack([grid + 0.015 * k, np.full(len(grid), 0.3 * k)]) for k in range(2)])
    ceiling = np.array([[1.0, 1, 9]] * 700)  # of which the plan is freed
    points = np.concatenate([points, ceiling])
    label = np.repeat(np.uint16([UNLABELLED, 0]), len(grid))
    label = np.concatenate([label, np.full(len(ceiling), UNLABELLED, np.uint16)])
    draw_preview(tmp_path / "p.png", snapshot(points, np.zeros((len(points), 3), np.uint8)), label, RED, [])
    plan = cv2.imread(str(tmp_path / "p.png"))[:720, 972:, ::-1].astype(int)
    middle = plan[250:470, 250:470]  # well inside of the upper layer, which is red
    assert ((middle[..., 0] > 200) & (middle[..., 1] < 60)).all()
