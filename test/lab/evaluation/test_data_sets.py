"""Depth, pose and segmentation of public data sets, on small folders in their layout."""

import gzip
import json
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from data_sets import write_seven_scenes
from PIL import Image

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.depth import abs_rel, delta_1_25
from sab3r_ros.lab.evaluation.depth_sets import depth_pairs, evaluate_depth
from sab3r_ros.lab.evaluation.oracle import OracleErrors, OracleGeometry
from sab3r_ros.lab.evaluation.pose_sets import co3d_pose, co3d_sequences, evaluate_poses
from sab3r_ros.lab.evaluation.poses import mean_average_accuracy, pose_errors
from sab3r_ros.lab.evaluation.report import Report
from sab3r_ros.lab.evaluation.segmentation_names import ADE20K, VOC, VOC_BACKGROUND
from sab3r_ros.lab.evaluation.segmentation_sets import evaluate_segmentation, labelled_images
from sab3r_ros.lab.evaluation.stream import VOID, GroundTruthView
from sab3r_ros.lab.synthetic.cameras import look_at
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.models.base import Backend
from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.encodings import decode_compressed

EXACT = OracleErrors(0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_depth_figures_in_closed_form():
    truth = np.array([[1.0, 2.0, 4.0, 0.0]])
    assert delta_1_25(truth, truth) == 100
    assert delta_1_25(2 * truth, truth, align=False) == 0
    assert delta_1_25(2 * truth, truth) == 100
    found = truth * [[1.0, 1.2, 1.3, 1.0]]
    assert delta_1_25(found, truth, align=False) == pytest.approx(200 / 3)
    assert delta_1_25(found, truth, max_depth=3, align=False) == 100
    assert abs_rel(found, truth, align=False) == pytest.approx(0.5 / 3)
    assert math.isnan(delta_1_25(truth, np.zeros_like(truth)))


def test_pose_figures_in_closed_form():
    truth = [look_at(np.array(p), [0, 0, 0.0]) for p in ([2.0, 0, 1], [0, 2.0, 1], [-2.0, 0, 1])]
    errors = pose_errors(truth, truth)
    assert errors.shape == (3, 2)
    assert np.abs(errors).max() < 1e-4
    assert mean_average_accuracy(errors) == 100
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    errors = pose_errors([truth[0], truth[1] @ turn, None], truth)
    assert errors[0] == pytest.approx([np.degrees(0.2), 0], abs=1e-4)
    assert (errors[1:] == 180).all()
    # 11.46 degrees: 19 of 30 thresholds hold for one pair of three.
    assert mean_average_accuracy(errors) == pytest.approx(100 * 19 / 30 / 3)
    assert math.isnan(mean_average_accuracy(np.zeros((0, 2))))
    scaled = [np.block([[p[:3, :3], 2 * p[:3, 3:]], [np.zeros((1, 3)), 1]]) for p in truth]
    assert np.abs(pose_errors(scaled, truth)).max() < 1e-4  # a map has its own unit


@pytest.fixture(scope="module")
def walk():
    return render_sequence(900_060_002, 5, 160, 128, 0.8)


def oracle_for(images, views):
    """An oracle for images as the network gets them."""
    truth = [GroundTruthView(v.depth, v.cam2world, v.intrinsics) for v in views]
    return OracleGeometry(images, truth, EXACT)


@pytest.fixture
def kitti(walk, tmp_path):
    folder = tmp_path / "depth_selection" / "val_selection_cropped"
    for name in ("image", "groundtruth_depth"):
        (folder / name).mkdir(parents=True)
    for k, view in enumerate(walk.views):
        stem = f"2011_09_26_drive_0002_sync_{{}}_{k:010d}_image_02.png"
        cv2.imwrite(str(folder / "image" / stem.format("image")), view.rgb[..., ::-1])
        depth = np.round(view.depth * 256).astype(np.uint16)
        depth[::2] = 0  # a lidar leaves rows out
        cv2.imwrite(str(folder / "groundtruth_depth" / stem.format("groundtruth_depth")), depth)
    return tmp_path


def test_depth_of_kitti(walk, kitti):
    pairs, factor, far = depth_pairs(kitti)
    assert (len(pairs), factor, far) == (5, 256, 80)
    images = [decode_compressed(image.read_bytes()) for image, _ in pairs]
    figures = evaluate_depth(oracle_for(images, walk.views), kitti)
    assert figures["images"] == 5
    assert figures["abs_rel_metric"] < 0.002
    assert figures["delta125_metric"] == 100
    pairs[0][1].unlink()
    pairs[1][0].write_bytes(b"broken")
    page = Report(kitti / "page", "depth")
    figures = evaluate_depth(oracle_for(images, walk.views), kitti, page=page)
    assert len(list((kitti / "page" / "pictures").iterdir())) == 3
    assert (figures["images"], len(figures["faults"])) == (3, 1)
    assert figures["faults"][0].startswith(pairs[1][0].name)


def test_depth_of_a_folder(walk, tmp_path):
    folder = write_seven_scenes(tmp_path / "seq", walk)
    figures = evaluate_depth(oracle_for([v.rgb for v in walk.views], walk.views), folder, limit=2)
    assert figures["images"] == 2
    assert figures["abs_rel_metric"] < 0.002
    for file in folder.glob("*.depth.png"):
        file.unlink()
    with pytest.raises(SourceError, match="no depth images"):
        depth_pairs(folder)


@pytest.fixture
def co3d(walk, tmp_path):
    """One sequence of a category, as the data set writes it."""
    entries = []
    (tmp_path / "mug" / "101_1" / "images").mkdir(parents=True)
    for k, view in enumerate(walk.views):
        path = f"mug/101_1/images/frame{k:06d}.png"
        cv2.imwrite(str(tmp_path / path), view.rgb[..., ::-1])
        world_to_camera = np.linalg.inv(view.cam2world)
        flip = np.diag([-1.0, -1.0, 1.0])
        viewpoint = {"R": (flip @ world_to_camera[:3, :3]).T.tolist(), "T": (flip @ world_to_camera[:3, 3]).tolist()}
        entries.append({"sequence_name": "101_1", "frame_number": k, "image": {"path": path}, "viewpoint": viewpoint})
    (tmp_path / "mug" / "frame_annotations.jgz").write_bytes(gzip.compress(json.dumps(entries).encode()))
    return tmp_path


def test_poses_of_co3d(walk, co3d):
    sequence = co3d_sequences(co3d)[0]
    assert sequence.name == "mug/101_1"
    for found, view in zip(sequence.poses, walk.views, strict=True):
        assert np.allclose(found, view.cam2world)
    backend = Backend(oracle_for([v.rgb for v in walk.views], walk.views))
    settings = Settings()
    figures = evaluate_poses(settings, backend, co3d, views=4)
    assert (figures["sequences"], figures["pairs"], figures["lost_views"]) == (1, 6, 0)
    assert figures["rra15"] == figures["rta15"] == 100
    assert figures["maa30"] > 90
    assert evaluate_poses(settings, backend, co3d / "mug", views=4)["maa30"] == figures["maa30"]


def test_poses_of_recordings(walk, tmp_path):
    folder = write_seven_scenes(tmp_path / "seq", walk)
    backend = Backend(oracle_for([v.rgb for v in walk.views], walk.views))
    assert evaluate_poses(Settings(), backend, folder, views=3)["rra15"] == 100


def test_broken_annotations_are_named(co3d):
    file = co3d / "mug" / "frame_annotations.jgz"
    entries = json.loads(gzip.decompress(file.read_bytes()))
    (co3d / entries[0]["image"]["path"]).unlink()
    with pytest.raises(SourceError, match="no sequence could be evaluated.*frame000000"):
        evaluate_poses(Settings(), Backend(SimpleNamespace(device="cpu")), co3d, views=5)
    entries[0]["viewpoint"]["R"][0][0] = 7.0
    file.write_bytes(gzip.compress(json.dumps(entries).encode()))
    with pytest.raises(SourceError, match="no rotation"):
        co3d_sequences(co3d)
    file.write_bytes(b"broken")
    with pytest.raises(SourceError, match="cannot be read as CO3Dv2's annotations"):
        co3d_sequences(co3d)
    file.unlink()
    with pytest.raises(SourceError, match="has no frame_annotations"):
        co3d_sequences(co3d)
    with pytest.raises(ValueError, match="no rotation"):
        co3d_pose(np.ones((3, 3)).tolist(), [0, 0, 0])


def palette_image(values):
    image = Image.fromarray(values)
    image.putpalette([k for n in range(256) for k in (n, 255 - n, n)])
    return image


@pytest.fixture
def voc(walk, tmp_path):
    """Two images whose labels are the left and the right half; a border of 255."""
    place = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (place / name).mkdir(parents=True)
    for k in range(2):
        cv2.imwrite(str(place / "JPEGImages" / f"2007_{k}.jpg"), walk.views[k].rgb[..., ::-1])
        values = np.zeros((128, 160), np.uint8)
        values[:, :80] = 15
        values[60:62] = 255
        palette_image(values).save(place / "SegmentationClass" / f"2007_{k}.png")
    (place / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_0\n2007_1\n")
    return tmp_path


class Halves:
    """Features that name the left half of each image "person" and the right half "grass"."""

    def __init__(self, texts):
        self.texts = texts

    def image_features(self, picture, prediction):
        out = self.texts["grass"].expand(*picture.shape[:2], -1).clone()
        out[:, : picture.shape[1] // 2] = self.texts["person"]
        return out


def embedded(names):
    """A direction of its own for every name."""
    return torch.stack([torch.nn.functional.one_hot(torch.tensor(hash_of(n)), 512).float() for n in names])


def hash_of(name):
    """A number below 512 for every name of these tests."""
    return [*VOC, *VOC_BACKGROUND, *ADE20K, "background"].index(name)


def halves_backend():
    geometry = SimpleNamespace(
        image_size=160, square_ok=False, patch=16, device="cpu", encode=lambda image: image, predict_pairs=lambda *a, **b: None
    )  # fmt: skip
    return Backend(geometry, Halves({n: embedded([n])[0] for n in ("person", "grass")}))


@pytest.mark.parametrize("background", [True, False])
def test_segmentation_of_voc(voc, background):
    query = SimpleNamespace(embed=embedded)
    figures = evaluate_segmentation(halves_backend(), query, voc, background)
    assert figures["images"] == 2
    if background:  # grass counts as background: all is right
        assert figures["miou"] == pytest.approx(100, abs=1.5)
        assert figures["names"] == 60
    else:  # the right half is not counted, and grass is no class
        assert figures["acc"] == pytest.approx(100, abs=1.5)
        assert figures["names"] == 20


def test_voc_values(voc):
    with_background, without = (labelled_images(voc, b) for b in (True, False))
    assert with_background.table[[0, 15, 20, 21, 255]].tolist() == [0, 15, 20, VOID, VOID]
    assert without.table[[0, 15, 255]].tolist() == [VOID, 14, VOID]
    assert with_background.names[15] == without.names[14] == "person"
    assert with_background.classes[with_background.names.index("grass")] == 0


def test_segmentation_of_ade20k(walk, tmp_path):
    place = tmp_path / "ADEChallengeData2016"
    for name in ("images", "annotations"):
        (place / name / "validation").mkdir(parents=True)
    cv2.imwrite(str(place / "images" / "validation" / "ADE_val_1.jpg"), walk.views[0].rgb[..., ::-1])
    values = np.zeros((128, 160), np.uint8)
    values[:, :80] = ADE20K.index("person") + 1
    values[:, 80:120] = ADE20K.index("grass") + 1
    cv2.imwrite(str(place / "annotations" / "validation" / "ADE_val_1.png"), values)
    assert len(ADE20K) == len(set(ADE20K)) == 150
    page = Report(tmp_path / "page", "segmentation")
    figures = evaluate_segmentation(halves_backend(), SimpleNamespace(embed=embedded), tmp_path, page=page)
    with Image.open(tmp_path / "page" / "pictures" / "0000.png") as drawn:
        _, predicted, true = np.split(np.asarray(drawn), 3, axis=1)
    assert (predicted[:, :115] == true[:, :115]).all(-1).mean() > 0.95
    assert (true[:, 125:] == 0).all()  # what does not count is black
    assert figures["acc"] == pytest.approx(100, abs=1.5)
    assert figures["miou"] == pytest.approx(100, abs=2)


def test_what_is_no_data_set_is_named(voc, tmp_path):
    with pytest.raises(SourceError, match="nothing is no folder"):
        depth_pairs(tmp_path / "nothing")
    with pytest.raises(SourceError, match="neither Pascal VOC"):
        labelled_images(tmp_path / "nothing")
    labels = next(voc.rglob("2007_0.png"))
    labels.write_bytes(b"broken")
    query = SimpleNamespace(embed=embedded)
    figures = evaluate_segmentation(halves_backend(), query, voc)
    assert figures["images"] == 1
    assert "2007_0.png cannot be read" in figures["faults"][0]
    palette_image(np.zeros((10, 10), np.uint8)).save(next(voc.rglob("2007_1.png")))
    with pytest.raises(SourceError, match="no image could be evaluated.*2007_0"):
        evaluate_segmentation(halves_backend(), query, voc)
