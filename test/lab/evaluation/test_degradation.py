"""Images that are spoilt before they are mapped."""

import numpy as np
import pytest

from sab3r_ros.cli.kinds import Degradation
from sab3r_ros.lab.evaluation.degradation import DEGRADATIONS, degraded
from sab3r_ros.types import Frame


def pictures(value=None):
    rng = np.random.default_rng(1)
    shape = (120, 160, 3)
    return [
        Frame(rng.integers(0, 256, shape).astype(np.uint8) if value is None else np.full(shape, value, np.uint8), k)
        for k in range(6)
    ]


def test_the_command_line_offers_all_of_them():
    assert {d.value for d in Degradation} == set(DEGRADATIONS)


@pytest.mark.parametrize("name", list(DEGRADATIONS))
def test_images_are_spoilt_alike_and_stay_images(name):
    once, again = (list(degraded(pictures(), name)) for _ in range(2))
    for frame, same, true in zip(once, again, pictures(), strict=True):
        assert frame.stamp == true.stamp
        assert (frame.rgb.shape, frame.rgb.dtype) == (true.rgb.shape, np.uint8)
        assert (frame.rgb == same.rgb).all()
        assert (frame.rgb != true.rgb).mean() > 0.2


def test_what_they_do():
    made = {name: np.stack([f.rgb for f in degraded(pictures(100), name)]).astype(float) for name in DEGRADATIONS}
    assert made["dark"].mean() == pytest.approx(20, abs=0.5)
    assert made["noise"].std() == pytest.approx(20, abs=0.5)
    assert made["flicker"].std(axis=(1, 2, 3)).max() == 0
    assert 0.05 < np.log(made["flicker"].mean((1, 2, 3)) / 100).std() < 0.5
    assert np.abs(made["blur"] - 100).max() <= 1  # of what is even nothing is lost
    assert made["vignette"][0, 60, 80, 0] == pytest.approx(100, abs=1)
    assert made["vignette"][0, 60, 0, 0] == pytest.approx(55, abs=2)
    sharp = np.stack([f.rgb for f in pictures()]).astype(float)
    blurred = np.stack([f.rgb for f in degraded(pictures(), "blur")]).astype(float)
    assert blurred.std() < 0.7 * sharp.std()
