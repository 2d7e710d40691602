"""Bundle adjustment on made-up walks whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_walks import LENS, disturbed, position_errors, problem, walk

from sab3r_ros.mapping.adjustment.bundle import Lens, ViewMotion, solve
from sab3r_ros.mapping.adjustment.solver_process import SolverError, SolverProcess

pytest.importorskip("gtsam", reason="GTSAM has no wheel for this Python")


@pytest.mark.parametrize("seed", range(3))
def test_poses_and_lens_are_found(seed):
    made = walk(seed)
    start = disturbed(made.poses, seed)
    before = position_errors(start, made.poses).max()
    found = solve(problem(made, start, seed=seed))
    assert before > 0.03
    assert position_errors(found.poses, made.poses).max() < 0.005
    assert found.lens.focal == pytest.approx(LENS.focal, rel=0.01)
    assert found.lens.k1 == pytest.approx(LENS.k1, abs=0.01)
    assert found.inliers.mean() > 0.97


def test_wrong_matches_do_no_harm():
    made = walk(5)
    task = problem(made, disturbed(made.poses, 5))
    rng = np.random.default_rng(0)
    wrong = rng.random(len(task.track)) < 0.15
    pixels = np.where(wrong[:, None], rng.uniform(0, 240, task.pixels.shape), task.pixels)
    found = solve(replace(task, pixels=pixels))
    assert position_errors(found.poses, made.poses).max() < 0.01
    assert found.inliers[wrong].mean() < 0.05
    assert found.inliers[~wrong].mean() > 0.75


def test_what_is_held_stays_and_a_known_lens_is_kept():
    made = walk(6)
    start = disturbed(made.poses, 6)
    start[:6] = made.poses[:6]
    task = problem(made, start)
    found = solve(replace(task, free=np.arange(12) >= 6, lens=LENS, known=True))
    assert np.abs(found.poses[:6] - made.poses[:6]).max() < 1e-3
    assert np.linalg.norm(found.poses[6:, :3, 3] - made.poses[6:, :3, 3], axis=1).max() < 0.02
    assert found.lens.focal == pytest.approx(LENS.focal, rel=1e-3)


def test_predicted_ranges_hold_the_unit():
    made = walk(7)
    start = made.poses.copy()
    start[:, :3, 3] = start[0, :3, 3] + (start[:, :3, 3] - start[0, :3, 3]) * 1.3  # everything a third too far apart
    task = replace(problem(made, start, range_error=0.05), joined=np.zeros((0, 2), int))
    found = solve(task)
    size = np.linalg.norm(np.ptp(found.poses[:, :3, 3], axis=0)) / np.linalg.norm(np.ptp(made.poses[:, :3, 3], axis=0))
    assert size == pytest.approx(1.0, abs=0.06)


def test_motions_by_odometry_place_what_shares_no_points_and_a_slip_does_no_harm():
    made = walk(9)
    start = disturbed(made.poses, 9)
    task = problem(made, start)
    blind = np.isin(task.view, [5])
    track = np.unique(task.track[~blind], return_inverse=True)[1]
    task = replace(task, track=track, view=task.view[~blind], pixels=task.pixels[~blind], ranges=task.ranges[~blind])
    motions = [ViewMotion(k, k + 1, np.linalg.inv(made.poses[k]) @ made.poses[k + 1], (0.005, 0.01)) for k in range(11)]
    slipped = motions[8].pose.copy()
    slipped[:3, 3] += [0.5, 0, 0]
    motions[8] = replace(motions[8], pose=slipped)
    found = solve(replace(task, joined=np.zeros((0, 2), int), motions=tuple(motions)))
    errors = position_errors(found.poses, made.poses)
    assert errors.max() < 0.02
    without = solve(task)
    assert position_errors(without.poses, made.poses)[5] > 1.3 * errors[5]


def test_a_lens_projects_its_own_rays():
    lens = Lens(200.0, -0.1, 100.0, 80.0)
    pixels = np.random.default_rng(0).uniform(0, 160, (50, 2))
    assert np.abs(lens.project(lens.rays(pixels) * 2.5) - pixels).max() < 1e-3


def test_a_process_of_its_own_finds_the_same_and_survives_what_cannot_be_solved(capfd):
    made = walk(8)
    task = problem(made, disturbed(made.poses, 8))
    apart = SolverProcess()
    assert np.abs(apart(solve, task).poses - solve(task).poses).max() < 1e-6
    with pytest.raises(SolverError):
        apart(solve, replace(task, poses=np.full_like(task.poses, np.nan)))
    assert np.isfinite(apart(solve, task).poses).all()
    apart.close()
    assert np.isfinite(apart(solve, task).poses).all()  # started again
    apart.close()
    assert capfd.readouterr().out == ""
