"""Regions and grasps on shapes whose answers are known, and requests that cannot be answered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.affordance.grasp_regions import hardly_holds, offer_grasps
from sab3r_ros.affordance.grasps import Grasp, Gripper, apart, find_grasps, support_height
from sab3r_ros.affordance.pipeline import RegionRequest, affordance_regions
from sab3r_ros.affordance.regions import find_regions, region_of, surface_frame
from sab3r_ros.affordance.segmenter import AffordanceRequestError, AffordanceSegmenter, checked_prompt
from sab3r_ros.affordance.surface import estimate_normals, neighbourhoods, smoothed, spacing
from sab3r_ros.lab.evaluation.grasp_physics import lowest_point
from sab3r_ros.lab.synthetic.clouds import ObjectSampler, object_cloud
from sab3r_ros.lab.synthetic.objects import SceneObject
from sab3r_ros.lab.synthetic.parts import box_part, shape_part
from sab3r_ros.models.cast import Cast, CastConfig
from sab3r_ros.models.cast_weights import CastCheckpoint
from sab3r_ros.models.point_mae import PointMaeConfig
from sab3r_ros.models.text import PromptEncoder


def cylinder(diameter=0.05, height=0.2, count=1500):
    item = SceneObject(
        "bottle", "white", [shape_part("body", "cylinder", (diameter, diameter, height), (0, 0, height / 2), None)]
    )
    return ObjectSampler(item).whole(count, np.random.default_rng(0))


def box(size, count=1500):
    return ObjectSampler(SceneObject("box", "white", [box_part("body", size, (0, 0, 0), None)])).whole(
        count, np.random.default_rng(0)
    )


def test_normals_point_outward_or_to_the_viewer():
    cloud = cylinder()
    near = neighbourhoods(cloud.points)
    normals = estimate_normals(cloud.points, near)
    side = np.abs(cloud.normals[:, 2]) < 0.5
    assert np.mean((normals[side] * cloud.normals[side]).sum(1) > 0.8) > 0.9
    eye = np.array([1.0, 0, 0.1])
    seen = estimate_normals(cloud.points, near, eye)
    assert ((eye - cloud.points) * seen).sum(1).min() >= 0
    assert spacing(cloud.points) == pytest.approx(0.002, abs=0.002)
    assert spacing(cloud.points[:1]) == 0


def test_smoothing_brings_noisy_points_back_to_the_surface():
    cloud = cylinder(0.08, 0.2, 2500)
    noisy = cloud.points + np.random.default_rng(1).normal(0, 0.002, cloud.points.shape)
    near = neighbourhoods(noisy)
    calm, doubt = smoothed(noisy, estimate_normals(noisy, near), near)
    side = (np.abs(cloud.normals[:, 2]) < 0.5) & (np.abs(cloud.points[:, 2] - 0.1) < 0.08)

    def error(points):
        return np.abs(np.linalg.norm(points[side, :2], axis=1) - 0.04).mean()

    assert error(calm) < 0.6 * error(noisy)
    assert 0.2e-3 < np.median(doubt[side]) < 1e-3  # of 2 mm over up to 16 neighbours
    flat = box((0.3, 0.2, 0.1))
    unmoved, sure = smoothed(flat.points, flat.normals, neighbourhoods(flat.points))
    assert np.abs(unmoved - flat.points).max() < 1e-9
    assert np.median(sure) < 1e-9


def test_where_the_surface_is_depends_on_more_than_two_points():
    few = np.array([[0.0, 0, 0], [0.01, 0, 0]])
    assert np.isinf(smoothed(few, np.tile([0.0, 0, 1], (2, 1)), neighbourhoods(few))[1]).all()


def test_regions_are_connected_and_the_larger_one_comes_first():
    cloud = cylinder()
    z = cloud.points[:, 2]
    scores = np.where(z < 0.08, 0.9, np.where(z > 0.18, 0.9, 0.1))
    regions = find_regions(cloud.points, cloud.normals, scores)
    assert len(regions) == 2
    assert regions[0].centroid[2] < 0.08
    assert regions[0].score == pytest.approx(0.9)
    assert set(regions[0].rows).isdisjoint(regions[1].rows)
    assert len(find_regions(cloud.points, cloud.normals, scores, max_regions=1)) == 1
    assert find_regions(cloud.points, cloud.normals, scores, min_score=0.95) == []
    with pytest.raises(ValueError, match="min_score"):
        find_regions(cloud.points, cloud.normals, scores, min_score=2)


def test_a_flat_region_has_the_normal_of_its_face():
    cloud = box((0.3, 0.2, 0.1))
    top = (cloud.normals[:, 2] > 0.9).astype(float)
    region = find_regions(cloud.points, cloud.normals, top)[0]
    assert region.pose[:3, 2] @ [0, 0, 1] > 0.99
    assert np.allclose(region.size, [0.3, 0.2, 0], atol=0.04)
    assert abs(region.pose[:3, 0] @ [1, 0, 0]) > 0.98
    assert np.allclose(np.linalg.det(region.pose[:3, :3]), 1)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_frames_are_rotations_whatever_the_points(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(int(rng.integers(1, 20)), 3)) * rng.integers(0, 2, 3)
    frame = surface_frame(points, rng.normal(size=3) * rng.integers(0, 2), rng.normal(size=3))
    assert np.allclose(frame[:3, :3] @ frame[:3, :3].T, np.eye(3), atol=1e-6)
    assert np.linalg.det(frame[:3, :3]) == pytest.approx(1)


def around(points, half=0.25):
    """A table under an object, as a map has it."""
    line = np.arange(-half, half, 0.01)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2) + points[:, :2].mean(0)
    return np.column_stack([grid, np.full(len(grid), points[:, 2].min())])


def test_a_bottle_is_grasped_across_and_the_contacts_lie_on_it():
    cloud = cylinder()
    grasps = find_grasps(cloud.points, cloud.normals, np.ones(len(cloud.points)), surroundings=around(cloud.points))
    assert len(grasps) > 20
    best = grasps[0]
    assert best.width == pytest.approx(0.05, abs=0.01)
    for contact in best.contacts:
        assert np.abs(cloud.points - contact).sum(1).min() < 1e-9
    rotation = best.pose[:3, :3]
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    closing = (best.contacts[1] - best.contacts[0]) @ rotation[:, 1]
    assert closing == pytest.approx(best.width, abs=0.011)
    assert all(a.score >= b.score for a, b in zip(grasps, grasps[1:], strict=False))
    assert 0 < best.approach_distance <= Gripper().clearance
    kept = apart(grasps, 5, 0.02)
    assert len(kept) == 5
    assert apart(grasps, 0, 0.02) == []


def test_what_is_too_wide_for_one_hand_fits_a_wider_one():
    cloud = box((0.3, 0.2, 0.15))
    one = np.ones(len(cloud.points))
    # What fits there is the corners.
    assert all(g.width <= Gripper().max_width for g in find_grasps(cloud.points, cloud.normals, one))
    wide = find_grasps(cloud.points, cloud.normals, one, Gripper(max_width=0.3, palm_width=0.4))
    assert max(g.width for g in wide) > 0.14


@pytest.mark.parametrize("count", [300, 500, 4000])
def test_fingers_do_not_pass_between_points_of_one_surface(count):
    """A ball that no hand of 85 mm can hold, sampled coarsely and finely."""
    ball = np.random.default_rng(0).normal(size=(count, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    grasps = find_grasps(0.15 * ball, ball, np.ones(count))
    assert all(g.width > 0.06 for g in grasps)  # a cap at most: 86 mm wide where fingers are 6 mm past its top


def test_why_there_is_no_grasp_is_said():
    ball = np.random.default_rng(0).normal(size=(4000, 3))
    ball *= 0.15 / np.linalg.norm(ball, axis=1, keepdims=True)
    answer = affordance_regions(Nowhere(), ball, "pour", RegionRequest(gripper=Gripper(max_width=0.03)))
    assert "mm wide at its narrowest, the gripper opens 30 mm" in answer.notes[-1]
    stick = box((0.02, 0.02, 0.1)).points
    walls = np.concatenate([stick + [0.02 * x, 0.02 * y, 0] for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y])
    shut_in = np.concatenate([walls, walls + [0, 0, 0.09]])
    shut_in = affordance_regions(Nowhere(), stick, "pour", RegionRequest(), surroundings=shut_in)
    assert "is in its way" in shut_in.notes[-1]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(0.04, 0.12, 0.02), (0.06, 0.06, 0.2), (0.03, 0.03, 0.05)])
def test_no_part_of_an_open_hand_enters_the_table(size):
    cloud = box(size)
    gripper = Gripper()
    table = around(cloud.points)
    grasps = find_grasps(cloud.points, cloud.normals, np.ones(len(cloud.points)), gripper, table)
    assert grasps
    for grasp in grasps:
        assert lowest_point(grasp.pose, gripper, grasp.width + 0.01) > table[0, 2] - 0.002


def test_grasps_keep_clear_of_what_stands_around():
    cloud = cylinder()
    y, z = (g.ravel() for g in np.meshgrid(np.linspace(-0.2, 0.2, 60), np.linspace(0, 0.3, 60)))
    wall = np.stack([np.full_like(y, 0.05), y, z], 1)  # close behind the bottle, at +x
    grasps = find_grasps(cloud.points, cloud.normals, np.ones(len(cloud.points)), surroundings=wall)
    assert grasps
    for grasp in grasps:
        palm = grasp.pose[:3, 3] - 0.06 * grasp.pose[:3, 2]
        assert palm[0] < 0.05


def test_the_table_is_found_in_the_surroundings():
    cloud = cylinder()
    low = cloud.points[:, 2].min()
    assert support_height(cloud.points, around(cloud.points)) == pytest.approx(low, abs=1e-6)
    assert support_height(cloud.points, np.empty((0, 3))) is None
    wall = np.array([[0.3, y, z] for y in np.linspace(-0.1, 0.1, 9) for z in np.linspace(low, 0.4, 9)])
    assert support_height(cloud.points, wall) is None


class Nowhere(AffordanceSegmenter):
    """Finds no part of any object."""

    def __init__(self):
        pass

    def score(self, points, prompt, _image=None):
        return np.full(len(points), 0.1, np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompt", "regions"), [("grasp", 1), ("where would you hold it?", 1), ("pour", 0), ("open", 0)]
)
def test_the_asked_part_decides_which_grasp_and_never_whether(prompt, regions):
    cloud = cylinder()
    answer = affordance_regions(Nowhere(), cloud.points, prompt, RegionRequest(), surroundings=around(cloud.points))
    assert len(answer.regions) == regions
    for region in answer.regions:
        assert region.fallback
        assert 1 <= len(region.grasps) <= 5
        assert region.score < 0.2


class Always(AffordanceSegmenter):
    """Scores the upper half of any object."""

    def __init__(self):
        pass

    def score(self, points, prompt, _image=None):
        finite = np.isfinite(points).all(-1)
        return np.where(finite & (points[:, 2] > np.nanmean(points[:, 2])), 0.9, 0.0).astype(np.float32)


def hand(score, contacts):
    pose = np.eye(4)
    pose[:3, 3] = np.mean(contacts, axis=0)
    return Grasp(pose, np.array(contacts), 0.05, 0.03, 0.1, score)


def test_an_asked_part_that_holds_badly_comes_after_one_that_holds():
    cloud = cylinder()
    points = cloud.points
    rows = np.flatnonzero(points[:, 2] > 0.15)
    region = region_of(points, points, np.ones(len(points)), rows)
    top, foot = ([[-0.025, 0, z], [0.025, 0, z]] for z in (0.18, 0.03))
    half = [[-0.025, 0, 0.18], [0.025, 0, 0.1]]
    for scores, first, badly in (
        ((0.5, 0.8, 0.1), 0.5, False), ((0.4, 0.8, 0.1), 0.4, True), ((0.4, 0.2, 0.9), 0.9, False), ((0.4, 0.2, 0.5), 0.4, False),
    ):  # fmt: skip
        grasps = [hand(s, c) for s, c in zip(scores, (top, foot, half), strict=True)]
        offer_grasps([region], grasps, points, 5)
        assert region.grasps[0].score == first
        assert len(region.grasps) == 2  # the hand at the foot is none of this part's
        assert hardly_holds([region], grasps) == badly
    assert hardly_holds([], grasps)
    offer_grasps([region], grasps[1:2], points, 5)
    assert hardly_holds([region], grasps)


def test_answers_name_rows_of_the_callers_cloud():
    cloud = cylinder(count=800)
    points = np.insert(cloud.points, [0, 400], np.nan, axis=0)
    answer = affordance_regions(Always(), points, "grasp", RegionRequest(max_grasps=2))
    assert len(answer.regions) == 1
    region = answer.regions[0]
    assert np.isfinite(points[region.rows]).all()
    assert (points[region.rows][:, 2] > 0.09).all()
    assert 1 <= len(region.grasps) <= 2
    assert affordance_regions(Always(), points, "grasp", RegionRequest(max_grasps=0)).regions[0].grasps == []


@pytest.fixture(scope="module")
def segmenter():
    small = PointMaeConfig(dim=16, depth=1, heads=2, groups=32, group_size=8, patch_width=16)
    network = Cast(CastConfig(small, dim=16, layers=1, heads=2, ffn=16, head_dim=8, text_dim=16)).eval()
    return AffordanceSegmenter(CastCheckpoint(network, PromptEncoder(16, 1, 2).eval(), "test", "none"))


def test_clouds_of_any_size_get_a_score_per_point(segmenter):
    for count in (16, 500, 6000):
        points = object_cloud("mug", 1, count).points
        scores = segmenter.score(points, "where would you hold the mug")
        assert scores.shape == (count,)
        assert scores.dtype == np.float32
        assert ((scores >= 0) & (scores <= 1)).all()
        assert np.array_equal(scores, segmenter.score(points, "where would you  hold the mug "))
    spoilt = points.copy()
    spoilt[5] = np.nan
    assert segmenter.score(spoilt, "grasp")[5] == 0


def test_what_cannot_be_answered_says_why(segmenter):
    points = object_cloud("mug", 1, 300).points
    for prompt, why in (("  ", "empty"), ("つかむ", "no English word")):
        with pytest.raises(AffordanceRequestError, match=why):
            segmenter.score(points, prompt)
    with pytest.raises(AffordanceRequestError, match="has 3 usable points"):
        segmenter.score(points[:3], "grasp")
    with pytest.raises(AffordanceRequestError, match="has 0 usable points"):
        segmenter.score(points * np.nan, "grasp")
    with pytest.raises(AffordanceRequestError, match=r"array \(N,3\)"):
        segmenter.score(points[:, :2], "grasp")
    with pytest.raises(AffordanceRequestError, match="in one place"):
        segmenter.score(np.zeros((50, 3)), "grasp")
    assert checked_prompt(" pour\n water ") == "pour water"
