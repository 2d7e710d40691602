"""How sure poses are: as long as keypoints tell them, while they do not, and beside keyframes that are guesses themselves."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from estimates import at, estimate
from hypothesis import given
from hypothesis import strategies as st

from sab3r_ros.mapping.pose_certainty import PoseCertainty

SURE = 0.03
BLANK = {"agreeing": 3, "others": 3}


def keyframe(number=0, keypoints=True):
    return SimpleNamespace(id=number, keypoints=[0] if keypoints else None)


def walk(certainty, steps, start=0, beside=0, became=None, **agree):
    """Steps of 0.1 m and 0.02 rad, ten a second; the last one becomes a keyframe. Returns the certainty of each."""
    found = []
    for k in range(start, start + steps):
        last = became if k == start + steps - 1 else None
        pose = estimate(at(0.1 * k, 0.02 * k), target=beside, **agree)
        found.append(certainty.placed(k * 10**8, pose, [keyframe(beside)], last))
    return found


def test_it_is_as_sure_as_tracking_is_while_keypoints_tell_the_pose():
    for found in walk(PoseCertainty(), 12):
        assert (found.position, found.orientation) == (SURE, SURE)


def test_doubt_grows_with_the_way_that_the_camera_would_have_gone_and_ends_beside_what_is_known():
    certainty = PoseCertainty()
    walk(certainty, 12)
    guessed = walk(certainty, 20, start=12, **BLANK)
    # 1 m/s and 0.2 rad/s for two seconds, of which 0.4 and 0.25.
    assert guessed[-1].position == pytest.approx(np.hypot(SURE, 0.8))
    assert guessed[-1].orientation == pytest.approx(np.hypot(SURE, 0.1))
    assert all(a.position < b.position for a, b in zip(guessed, guessed[1:], strict=False))
    assert walk(certainty, 1, start=32)[0].position == SURE


def test_what_is_placed_beside_a_guess_is_no_surer_until_a_loop_is_closed():
    certainty = PoseCertainty()
    walk(certainty, 12)
    guess = walk(certainty, 10, start=12, became=5, **BLANK)[-1]
    assert walk(certainty, 3, start=22, beside=5, became=6)[-1] == guess
    certainty.join([(5, 6, 300), (0, 5, 12)])  # too few to say that 5 stands where it does because of 0
    assert walk(certainty, 1, start=25, beside=6)[0] == guess
    certainty.join([(5, 6, 300), (0, 6, 80)])
    assert walk(certainty, 1, start=26, beside=6)[0].position == SURE


def test_a_camera_at_rest_may_set_off_and_odometry_is_believed_more_than_a_guess():
    certainty = PoseCertainty()
    for k in range(10):
        certainty.placed(k * 10**8, estimate(at()), [keyframe()], None)
    still = certainty.placed(11 * 10**8, estimate(at(), **BLANK), [keyframe()], None)
    assert SURE < still.position < 0.05
    one, other = PoseCertainty(), PoseCertainty()
    for c in (one, other):
        walk(c, 12)
    blank = estimate(at(1.2), **BLANK)
    object.__setattr__(blank, "by_odometry", True)
    assert (
        one.placed(30 * 10**8, blank, [keyframe()], None).position < 0.3 * walk(other, 1, start=30, **BLANK)[0].position
    )


def test_without_keypoints_the_network_is_asked_whether_it_agrees():
    certainty = PoseCertainty()
    pose = estimate(at(), agreeing=0, others=0)
    assert certainty.placed(0, pose, [keyframe(keypoints=False)], None).position == SURE


def test_a_new_unit_and_keyframes_that_are_let_go():
    certainty = PoseCertainty()
    walk(certainty, 12)
    guess = walk(certainty, 10, start=12, became=5, **BLANK)[-1]
    certainty.rescale(2.0)
    doubled = np.hypot(SURE, 2 * np.sqrt(guess.position**2 - SURE**2))
    assert certainty.now.position == pytest.approx(doubled)
    assert walk(certainty, 1, start=22, beside=5)[0].position == pytest.approx(doubled)
    certainty.forget(5)
    assert walk(certainty, 1, start=23, beside=5)[0].position == SURE


@given(st.lists(st.tuples(st.integers(0, 10**10), st.floats(-50, 50), st.integers(0, 200), st.booleans()), max_size=30))
def test_it_is_finite_and_never_surer_than_tracking(steps):
    certainty = PoseCertainty()
    for number, (stamp, x, agreeing, begins) in enumerate(steps):
        references = [] if begins else [keyframe(max(number - 1, 0))]
        found = certainty.placed(stamp, estimate(at(x), agreeing, target=max(number - 1, 0)), references, number)
        assert SURE <= found.position < 11
        assert SURE <= found.orientation < 4
        assert torch.isfinite(torch.tensor([found.position, found.orientation])).all()
