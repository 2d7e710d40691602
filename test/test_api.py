"""The public interface: documented, typed, and enough to work with."""

import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest

import sab3r_ros
from sab3r_ros.sources.open import open_source

ROOT = Path(__file__).resolve().parents[1]


def script():
    spec = importlib.util.spec_from_file_location("write_api_docs", ROOT / "scripts" / "write_api_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_docs_api_is_made_from_the_docstrings():
    module = script()
    assert {name for names in module.GROUPS.values() for name in names} == set(sab3r_ros.__all__)
    assert (ROOT / "docs" / "api.md").read_text() == module.api_text(), "run scripts/write_api_docs.py"


def test_every_public_name_is_documented_and_typed():
    for name in sab3r_ros.__all__:
        value = getattr(sab3r_ros, name)
        assert len(inspect.getdoc(value) or "") > 20, name
        if inspect.isfunction(value):
            parameters = inspect.signature(value).parameters.values()
            assert all(p.annotation is not p.empty for p in parameters), name
    assert (ROOT / "sab3r_ros" / "py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'wings'"):
        _ = sab3r_ros.wings


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    """The first frames of the shipped sequence, mapped, saved and opened by public names alone."""
    mapper = sab3r_ros.Mapper.load("sab3r_small", map__voxel_size=0.05)
    frames = list(open_source("demo"))[:16]
    results = [mapper.register(frame) for frame in frames]
    assert all(r.tracking == sab3r_ros.Tracking.OK for r in results)
    path = tmp_path_factory.mktemp("maps") / "room"
    sab3r_ros.save_map(mapper, path)
    return mapper, sab3r_ros.open_map(path, settings=mapper.settings)


@pytest.mark.slow
def test_a_map_is_made_saved_opened_and_asked(kitchen):
    mapper, opened = kitchen
    assert opened.points.shape == opened.colours.shape == (mapper.status().points, 3)
    assert [s for s, _ in opened.trajectory] == [s for s, _ in mapper.trajectory]
    assert len(opened.keyframes) == mapper.status().keyframes
    found = opened.locate("wall", max_objects=1)
    assert found[0].label == "wall"
    assert found[0].id == "wall-0"
    assert {o.label for o in opened.locate(["wall", "floor"])} <= {"wall", "floor"}
    assert len(opened.labels()[0]) == len(opened.points)


def test_a_maps_object_affords_something(kitchen):
    _, opened = kitchen
    answer = opened.affordance("wall", "push", request=sab3r_ros.RegionRequest(min_score=0.01))
    assert len(answer.points) == len(answer.scores) > 16
    assert np.isfinite(answer.scores).all()
    with pytest.raises(LookupError, match="nothing in .* answers"):
        opened.affordance("zebra crossing", "push")


def test_settings_by_name_are_checked():
    with pytest.raises(ValueError, match="map.wings"):
        sab3r_ros.Mapper.load("sab3r_small", map__wings=2)
