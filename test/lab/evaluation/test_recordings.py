"""Recordings with true poses, depth and labels, and groups of views that are chosen from them."""

import json
import shutil

import cv2
import numpy as np
import pytest
from data_sets import write_label_map, write_scannet, write_seven_scenes

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.map_and_locate_groups import evaluate_recorded_groups, recorded_views
from sab3r_ros.lab.evaluation.models import searchable_models
from sab3r_ros.lab.evaluation.nyu40 import NYU40
from sab3r_ros.lab.evaluation.recordings import RecordedLabels, TrueRecording, scenes_of
from sab3r_ros.lab.evaluation.stream import VOID
from sab3r_ros.lab.evaluation.view_groups import choose_groups, read_manifest, write_manifest
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.folders import FolderSource


@pytest.fixture(scope="module")
def walk():
    return render_sequence(900_060_002, 8, 160, 120, 1.2)


@pytest.fixture(scope="module")
def data_set(walk, tmp_path_factory):
    """Two scenes and the label map beside them."""
    folder = tmp_path_factory.mktemp("scannet")
    write_scannet(folder / "scene0000_00", walk, lost=3)
    write_scannet(folder / "scene0001_00", walk)
    write_label_map(folder)
    return folder


@pytest.fixture
def scene(data_set, tmp_path):
    """One scene that a test may spoil."""
    shutil.copytree(data_set, tmp_path / "copy")
    return tmp_path / "copy" / "scene0000_00"


def test_a_recording_gives_images_depth_and_poses(scene, walk):
    recording = TrueRecording(scene, max_depth=3.0)
    assert len(recording) == 8
    assert recording.poses[3] is None
    view = recording.view(2)
    assert np.allclose(view.cam2world, walk.views[2].cam2world)
    near = (walk.views[2].depth > 0) & (walk.views[2].depth < 2.9)
    assert view.depth.shape == (120, 160)
    assert np.median(np.abs(view.depth - walk.views[2].depth)[near]) < 0.02
    assert view.depth.max() <= 3.0
    assert recording.image(2).shape == (120, 160, 3)
    with pytest.raises(SourceError, match="3.jpg has no true pose"):
        recording.view(3)


def test_scannets_numbers_become_nyu40s(scene, walk):
    labels = RecordedLabels(FolderSource(scene))
    assert labels.names == list(NYU40)
    assert len(NYU40) == 40
    expected = np.array([VOID, 1, 4, 39])[walk.views[0].label.astype(int) % 4]
    assert (labels.image(0) == expected).all()


def test_labels_that_do_not_belong_are_named(scene, tmp_path, walk):
    recording = TrueRecording(scene)
    (scene / "label-filt" / "1.png").unlink()
    with pytest.raises(SourceError, match="1.png is missing"):
        RecordedLabels(recording.source).image(1)
    (scene.parent / "scannetv2-labels.combined.tsv").write_text("id\tcategory\n3\tchair\n")
    with pytest.raises(SourceError, match="no label map of ScanNet"):
        RecordedLabels(recording.source)
    (scene.parent / "scannetv2-labels.combined.tsv").unlink()
    with pytest.raises(SourceError, match="combined.tsv is needed"):
        RecordedLabels(recording.source)
    shutil.rmtree(scene / "label-filt")
    with pytest.raises(SourceError, match="has no labels"):
        RecordedLabels(recording.source)
    assert RecordedLabels.beside(recording.source) is None


def test_labels_by_name(tmp_path, walk):
    folder = write_seven_scenes(tmp_path / "seq", walk, ["mug", "wall", "door"])
    labels = RecordedLabels(FolderSource(folder))
    assert labels.names == ["mug", "wall", "door"]
    assert (labels.image(0) == walk.views[0].label.astype(int) % 3).all()
    cv2.imwrite(str(folder / "frame-000000.label.png"), np.full((120, 160), 9, np.uint8))
    with pytest.raises(SourceError, match="numbers that nothing names: 9"):
        labels.image(0)
    (folder / "labels.json").write_text("[1, 2]")
    with pytest.raises(SourceError, match="no table of label numbers"):
        RecordedLabels(FolderSource(folder))


def test_missing_parts_of_a_recording_are_named(tmp_path, walk):
    folder = write_seven_scenes(tmp_path / "seq", walk)
    (folder / "intrinsics.txt").unlink()
    with pytest.raises(SourceError, match="no intrinsics"):
        TrueRecording(folder).view(0)
    for pose in folder.glob("*.pose.txt"):
        pose.unlink()
    with pytest.raises(SourceError, match="no true poses"):
        TrueRecording(folder)


def test_groups_are_the_same_for_the_same_seed_and_overlap(scene):
    recording = TrueRecording(scene)
    labels = RecordedLabels(recording.source)
    groups = choose_groups(recording, labels, (2, 3), 2, seed=5)
    assert groups == choose_groups(recording, labels, (2, 3), 2, seed=5)
    assert [len(g.frames) for g in groups] == [2, 2, 3, 3]
    assert len({frozenset(g.frames) for g in groups}) == 4
    assert all(3 not in g.frames for g in groups)  # it has no pose
    assert all(g.rotation >= 10 or g.translation >= 0.15 for g in groups)
    assert all(name == f"{k}.jpg" for g in groups for k, name in zip(g.frames, g.names, strict=True))
    with pytest.raises(SourceError, match="has no 8 views"):
        choose_groups(recording, labels, [8], 1, seed=5)


def test_a_manifest_comes_back(scene, tmp_path):
    recording = TrueRecording(scene)
    groups = choose_groups(recording, RecordedLabels(recording.source), [2], 2, seed=0)
    file = tmp_path / "groups.json"
    write_manifest(file, groups, 0)
    assert read_manifest(file) == groups
    (scene / "color" / f"{groups[0].frames[0]}.jpg").rename(scene / "color" / "99.jpg")
    moved = TrueRecording(scene)
    with pytest.raises(SourceError, match="as the manifest has it"):
        recorded_views(moved, RecordedLabels(moved.source), groups[0])
    file.write_text(json.dumps({"version": 7, "groups": []}))
    with pytest.raises(SourceError, match="version 7"):
        read_manifest(file)
    file.write_text("{")
    with pytest.raises(SourceError, match="no manifest"):
        read_manifest(file)


def test_pictures_of_different_sizes_are_no_group(scene):
    recording = TrueRecording(scene)
    labels = RecordedLabels(recording.source)
    group = choose_groups(recording, labels, [2], 1, seed=0)[0]
    name = scene / "color" / group.names[1]
    cv2.imwrite(str(name), cv2.resize(cv2.imread(str(name)), (80, 60)))
    with pytest.raises(SourceError, match="differ in size"):
        recorded_views(TrueRecording(scene), labels, group)


def test_scenes_of_a_data_set(data_set, tmp_path):
    assert [p.name for p in scenes_of(data_set)] == ["scene0000_00", "scene0001_00"]
    assert scenes_of(data_set / "scene0000_00") == [data_set / "scene0000_00"]
    (tmp_path / "empty").mkdir()
    for missing in ("empty", "nothing"):
        with pytest.raises(SourceError, match=missing):
            scenes_of(tmp_path / missing)


@pytest.mark.slow
def test_a_broken_scene_costs_itself(scene, tmp_path):
    backend, query = searchable_models(Settings())
    shutil.rmtree(scene / "pose")
    other = scene.with_name("scene0001_00")
    told, out = [], tmp_path / "out"
    manifest = tmp_path / "groups.json"
    (other / "label-filt" / "0.png").write_bytes(b"")  # the probe of labels fails: nothing can be chosen
    with pytest.raises(SourceError, match="no group of views could be made"):
        evaluate_recorded_groups(Settings(), backend, query, scene.parent, 1, 0, manifest, out, told.append)
    cv2.imwrite(str(other / "label-filt" / "0.png"), np.zeros((120, 160), np.uint16))
    figures = evaluate_recorded_groups(Settings(), backend, query, scene.parent, 1, 0, manifest, out, told.append)
    assert figures["groups"] == 3
    assert (figures["groups_2"], figures["groups_3"], figures["groups_4"]) == (1, 1, 1)
    assert figures["failed"] == 0
    assert len(figures["faults"]) == 1
    assert "true poses" in figures["faults"][0]
    assert told == [3, 0, 0, 0]
    assert 0 <= figures["acc"] <= 100
    assert [r["views"] for r in json.loads((out / "groups.json").read_text())] == [2, 3, 4]
    assert len(read_manifest(manifest)) == 3
    used = [k for g in read_manifest(manifest) for k in g.frames]
    broken = min(used, key=used.count)  # not in every group
    (other / "label-filt" / f"{broken}.png").unlink()
    again = evaluate_recorded_groups(Settings(), backend, query, scene.parent, 1, 0, manifest, None, told.append)
    assert again["failed"] >= 1
    assert any(f"{broken}.png is missing" in line for line in again["faults"])
