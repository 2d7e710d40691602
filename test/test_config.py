"""One source of settings: dotted names, YAML, overrides, ranges."""

import pytest

from sab3r_ros.config import RENAMED, Settings, dotted_fields, load_settings, settings_from_dotted


def test_every_setting_has_a_description_and_a_default_of_its_type():
    fields = list(dotted_fields())
    assert len(fields) > 25
    for name, info, value in fields:
        assert len(info.description) > 10, name
        assert value is not None, name


def test_dotted_values_override_defaults():
    settings = settings_from_dotted({"window.size": 5, "map.voxel_size": 0.1})
    assert (settings.window.size, settings.map.voxel_size) == (5, 0.1)
    assert settings.tracking == Settings().tracking


def test_yaml_nested_or_ros_and_overrides(tmp_path):
    nested, ros = tmp_path / "a.yaml", tmp_path / "b.yaml"
    nested.write_text("window:\n  size: 4\nquery:\n  labels: [mug, chair]\n")
    ros.write_text(
        "/**:\n  ros__parameters:\n    window.size: 4\n    map_rate: 2.0\n    query:\n      labels: [mug, chair]\n"
    )
    for path in (nested, ros):
        settings = load_settings(path, ["map.voxel_size=0.2", "model.device=cpu"])
        assert (settings.window.size, settings.query.labels) == (4, ["mug", "chair"])
        assert (settings.map.voxel_size, settings.model.device) == (0.2, "cpu")


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["window.size=0"], r"window.size: .*greater than or equal to 1 \(got 0\)"),
        (["map.voxel_size=big"], "map.voxel_size"),
        (["map.wings=2"], "map.wings: Extra inputs"),
        (["model.device=gpu"], "model.device"),
        (["nonsense"], "expected name=value"),
    ],
)
def test_bad_values_name_the_setting(overrides, why):
    with pytest.raises(ValueError, match=why):
        load_settings(None, overrides)


def test_unreadable_files_say_so(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        load_settings(tmp_path / "bad.yaml")
    with pytest.raises(FileNotFoundError):
        load_settings(tmp_path / "none.yaml")


def test_renamed_settings_go_on_working_and_say_their_new_name(tmp_path, caplog):
    (tmp_path / "old.yaml").write_text("/**:\n  ros__parameters:\n    map.first_pitch: 0.3\n    map_rate: 2.0\n")
    settings = load_settings(tmp_path / "old.yaml", ["tracking.keypoints=0"])
    assert (settings.camera.pitch, settings.tracking.max_keypoints) == (0.3, 0)
    assert "map.first_pitch is called camera.pitch now" in caplog.text
    names = {name for name, _, _ in dotted_fields()}
    assert set(RENAMED.values()) <= names
    assert not set(RENAMED) & names
