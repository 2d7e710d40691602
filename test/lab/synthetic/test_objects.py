"""The catalogue: every kind can be built, stands where it should, affords something, and comes as point clouds."""

import numpy as np
import pytest

from sab3r_ros.lab.synthetic.camera_effects import photometric_augmentation
from sab3r_ros.lab.synthetic.clouds import ObjectSampler, object_cloud, simulate_map_noise
from sab3r_ros.lab.synthetic.objects import BUILDERS, LABELS, STRUCTURE, THINGS, build_object
from sab3r_ros.lab.synthetic.parts import AFFORDANCES, SHAPES, unit_mesh

WITHOUT_AFFORDANCE = set()


def test_there_are_furniture_and_at_least_25_kinds_of_things():
    assert len(THINGS) == 30
    assert {"mug", "knife", "drill", "faucet", "table", "refrigerator", "sink"} <= set(BUILDERS)
    assert len(set(LABELS)) == len(LABELS) == len(STRUCTURE) + len(BUILDERS)


@pytest.mark.parametrize("label", BUILDERS)
def test_objects_have_valid_parts_and_vary(label):
    first, again, other = (build_object(label, np.random.default_rng(seed)) for seed in (1, 1, 2))
    low, high = first.extents()
    assert np.array_equal([low, high], again.extents())
    assert not np.allclose([low, high], other.extents())
    assert (high - low > 0.005).all()
    assert (high - low < 3).all()
    assert low[2] > -0.03  # stands on the floor, or hangs above it
    for part in first.parts:
        assert set(part.affordances) <= set(AFFORDANCES), part.name
        assert np.isfinite(part.mesh()[0]).all()
    afforded = {a for part in first.parts for a in part.affordances}
    assert afforded or label in WITHOUT_AFFORDANCE


def test_every_affordance_occurs():
    built = [build_object(label, np.random.default_rng(3)) for label in BUILDERS]
    assert {a for item in built for part in item.parts for a in part.affordances} == set(AFFORDANCES)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_fit_the_unit_cube(shape):
    vertices, faces = unit_mesh(shape)
    assert np.abs(vertices).max() < 0.62
    assert faces.max() < len(vertices)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="no object is called 'unicorn'"):
        build_object("unicorn", np.random.default_rng(0))


def test_clouds_repeat_and_carry_parts_and_affordances():
    cloud, again = (object_cloud("mug", 5, 500) for _ in range(2))
    assert np.array_equal(cloud.points, again.points)
    assert cloud.points.shape == cloud.normals.shape == (500, 3)
    assert cloud.affordance.shape == (500, len(AFFORDANCES))
    assert set(cloud.parts) == {"body", "handle"}
    handle = np.array(cloud.parts)[cloud.part] == "handle"
    assert np.array_equal(cloud.affordance[:, AFFORDANCES.index("lift")], handle)
    assert handle.any()
    assert np.allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-6)


def test_one_sided_clouds_show_only_the_near_side():
    item = build_object("ball", np.random.default_rng(4))
    sampler = ObjectSampler(item)
    cloud = sampler.one_sided([1, 0, 0], np.random.default_rng(0), 400)
    assert len(cloud.points) == 400
    assert (cloud.points[:, 0] > sampler.centre[0] - 0.02 * sampler.radius).all()
    facing = ((cloud.viewpoint - cloud.points) * cloud.normals).sum(1)
    assert (facing >= 0).all()


def test_mapped_clouds_are_noisy_thinned_and_never_empty():
    cloud = object_cloud("kettle", 1, 2000)
    for seed in range(8):
        mapped = simulate_map_noise(cloud, np.random.default_rng(seed), voxel=0.01)
        assert 100 < len(mapped.points) < 2000
        assert len(mapped.points) == len(mapped.affordance) == len(mapped.part)
    assert np.array_equal(cloud.points, object_cloud("kettle", 1, 2000).points)


def test_cameras_spoil_pictures_repeatably():
    picture = np.full((48, 64, 3), 120, np.uint8)
    photos = [photometric_augmentation(picture, np.random.default_rng(seed)) for seed in (0, 0, 1, 2, 3)]
    assert np.array_equal(photos[0], photos[1])
    assert all(p.shape == picture.shape and p.dtype == np.uint8 for p in photos)
    assert len({round(float(p.mean()), 1) for p in photos[1:]}) > 2
