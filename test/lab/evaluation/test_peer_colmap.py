"""COLMAP on the images of a recording: its figures, and where it is missing."""

import sys

import cv2
import numpy as np
import pytest
from data_sets import write_scannet
from typer.testing import CliRunner

from sab3r_ros.cli.app import app
from sab3r_ros.lab.evaluation.peer_colmap import evaluate_colmap
from sab3r_ros.lab.evaluation.recordings import TrueRecording
from sab3r_ros.lab.synthetic.render import View
from sab3r_ros.lab.synthetic.sequence import Sequence, render_sequence


def pictured_corner(count: int) -> Sequence:
    """A walk before three walls at right angles, with a picture of noise on each."""
    rng = np.random.default_rng(0)
    pictures = [cv2.GaussianBlur(rng.random((600, 600)).astype(np.float32), (0, 0), 1.5) for _ in range(3)]
    pictures = [cv2.normalize(p, None, 0, 255, cv2.NORM_MINMAX) for p in pictures]
    matrix = np.array([[260.0, 0, 159.5], [0, 260.0, 119.5], [0, 0, 1]])
    y, x = np.mgrid[:240, :320]
    rays = np.stack([(x - 159.5) / 260, (y - 119.5) / 260, np.ones((240, 320))], -1)
    views = []
    for t in np.linspace(-1, 1, count):
        pose = np.eye(4)
        pose[:3, :3] = cv2.Rodrigues(np.array([0.1 * t**2, -0.25 * t, 0.0]))[0]
        pose[:3, 3] = 0.8 * t, 0.2 * np.cos(3 * t), 0.3 * t**2
        ahead = rays @ pose[:3, :3].T
        with np.errstate(divide="ignore"):
            hits = np.stack([((wall - pose[k, 3]) / ahead[..., k]) for k, wall in ((0, 1.6), (1, 1.1), (2, 3.0))])
        hits[hits < 0] = np.inf
        nearest, depth = hits.argmin(0), hits.min(0)
        points = pose[:3, 3] + ahead * depth[..., None]
        grey = np.zeros((240, 320), np.float32)
        for k, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
            at = ((points[..., [a, b]] + 3) * 100).astype(np.float32)
            grey = np.where(nearest == k, cv2.remap(pictures[k], at[..., 0], at[..., 1], cv2.INTER_LINEAR), grey)
        rgb = np.repeat(grey.astype(np.uint8)[..., None], 3, -1)
        views.append(View(rgb, depth.astype(np.float32), nearest, nearest, nearest, pose, matrix))
    return Sequence(None, views)


@pytest.mark.slow
def test_a_walk_before_pictures(tmp_path):
    pytest.importorskip("pycolmap", reason="COLMAP has no wheel here")
    figures = evaluate_colmap(TrueRecording(write_scannet(tmp_path / "scene", pictured_corner(12), lost=3)))
    assert figures["colmap_registered"] == 12
    assert figures["colmap_ate_sim3"] < 0.003
    assert figures["colmap_focal_error_percent"] < 1
    assert figures["colmap_seconds"] > 0


def test_images_of_nothing_give_no_model(tmp_path):
    pytest.importorskip("pycolmap", reason="COLMAP has no wheel here")
    walk = render_sequence(900_060_004, 4, 160, 120, 0.6)
    for view in walk.views:
        view.rgb[:] = 128
    figures = evaluate_colmap(TrueRecording(write_scannet(tmp_path / "scene", walk)))
    assert (figures["colmap_registered"], figures["colmap_models"], figures["colmap_ate_sim3"]) == (0, 0, None)


def test_without_colmap_the_command_says_what_brings_it_before_it_maps(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    folder = write_scannet(tmp_path / "scene", render_sequence(900_060_004, 2, 64, 48))
    result = CliRunner().invoke(app, ["eval", "trajectory", str(folder), "--peer", "colmap"])
    assert isinstance(result.exception, ModuleNotFoundError)
    assert result.exception.name == "pycolmap"
