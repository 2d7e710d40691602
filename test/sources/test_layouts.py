"""Folders in the layouts of public data sets, and folders that only look like one."""

import json

import cv2
import numpy as np
import pytest
from recordings import picture, write_picture

from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.open import open_source


def depth_image(path, value, shape=(48, 64), dtype=np.uint16):
    return write_picture(path, np.full(shape, value, dtype))


def read(path, **options):
    source = open_source(str(path), **options)
    return source, list(source)


def tum(root):
    for k in range(3):
        write_picture(root / "rgb" / f"13050311{k:02d}.175304.png", picture(k))
        depth_image(root / "depth" / f"13050311{k:02d}.160000.png", 5000 * (k + 1))


def numbered_tum(root):
    for k in range(3):
        write_picture(root / "rgb" / f"{k}.png", picture(k))
        depth_image(root / "depth" / f"{k}.png", 5000 * (k + 1))


def scannet(root):
    for k in range(3):
        write_picture(root / "color" / f"{k}.jpg", picture(k))
        depth_image(root / "depth" / f"{k}.png", 1000 * (k + 1), (24, 32))
    (root / "intrinsic").mkdir()
    np.savetxt(root / "intrinsic" / "intrinsic_color.txt", np.diag([50.0, 50, 1, 1]))


def replica(root):
    for k in range(3):
        write_picture(root / "results" / f"frame{k:06d}.jpg", picture(k))
        depth_image(root / "results" / f"depth{k:06d}.png", round(6553.5 * (k + 1)))
    camera = {"w": 64, "h": 48, "fx": 50, "fy": 50, "cx": 32, "cy": 24, "scale": 6553.5}
    (root / "cam_params.json").write_text(json.dumps({"camera": camera}))


def seven_scenes(root):
    for k in range(3):
        write_picture(root / f"frame-{k:06d}.color.png", picture(k))
        depth_image(root / f"frame-{k:06d}.depth.png", 1000 * (k + 1))
        (root / f"frame-{k:06d}.pose.txt").write_text("1 0 0 0")


def nyu(root):
    for k in range(3):
        write_picture(root / f"rgb_{k:05d}.jpg", picture(k))
        depth_image(root / f"sync_depth_{k:05d}.png", 1000 * (k + 1))


def pairs(root):
    for k in range(3):
        write_picture(root / f"{k}.jpg", picture(k))
        depth_image(root / f"{k}.png", 1000 * (k + 1))


def floats(root):
    for k in range(3):
        write_picture(root / "color" / f"{k}.png", picture(k))
        (root / "depth").mkdir(exist_ok=True)
        np.save(root / "depth" / f"{k}.npy", np.full((48, 64), k + 1, np.float32) * 1000)


def record3d(root, **more):
    """The export of images and EXR files; K column by column."""
    exr = pytest.importorskip("OpenEXR")
    for k in range(3):
        write_picture(root / "rgb" / f"{k}.jpg", picture(k))
        (root / "depth").mkdir(exist_ok=True)
        channels = {"R": np.linspace(k + 0.9, k + 1.1, 24 * 32, dtype=np.float32).reshape(24, 32)}
        exr.File({"type": exr.scanlineimage}, channels).write(str(root / "depth" / f"{k}.exr"))
    (root / "metadata.json").write_text(json.dumps({"K": [50.0, 0, 0, 0, 50, 0, 32, 24, 1], "fps": 20, **more}))


def record3d_compressed(root):
    """The export of everything; depth in LZFSE."""
    lzfse = pytest.importorskip("liblzfse")
    (root / "rgbd").mkdir()
    for k in range(3):
        write_picture(root / "rgbd" / f"{k}.jpg", picture(k))
        (root / "rgbd" / f"{k}.depth").write_bytes(lzfse.compress(np.full((24, 32), k + 1, np.float32).tobytes()))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (record3d, "Record3D"), (record3d_compressed, "Record3D"), (tum, "TUM"), (numbered_tum, "TUM"), (scannet, "ScanNet"), (replica, "Replica"), (seven_scenes, "7-Scenes"), (nyu, "NYU"),
        (pairs, "NYU"), (floats, "ScanNet"),
    ],
)  # fmt: skip
def test_layouts_and_what_their_depth_means(tmp_path, make, name):
    make(tmp_path)
    source, frames = read(tmp_path, depth=True)
    assert source.layout.name == name
    assert len(frames) == 3
    for k, frame in enumerate(frames):
        assert np.nanmedian(frame.depth) == pytest.approx(k + 1, rel=1e-3)
        assert frame.depth.shape == frame.rgb.shape[:2]
    assert f"layout {name}" in source.notes[0]
    assert not len(source.faults)
    colour = read(tmp_path)[1]
    assert len(colour) == 3
    assert all(f.depth is None for f in colour)


def test_calibrations_beside_layouts(tmp_path):
    for make in (scannet, replica):
        (tmp_path / make.__name__).mkdir()
        make(tmp_path / make.__name__)
        assert read(tmp_path / make.__name__, depth=True)[1][0].camera.intrinsics[0, 0] == 50
    assert read(tmp_path / "replica" / "results", depth=True)[1][0].camera.intrinsics[1, 2] == 24


@pytest.mark.parametrize(
    "name", ["intrinsics.txt", "intrinsic_color.txt", "cam_params.json", "metadata.json", "transforms.json"]
)
def test_a_calibration_that_cannot_be_read_costs_itself(tmp_path, name):
    pairs(tmp_path)
    (tmp_path / name).write_text("1 2 3" if name == "intrinsics.txt" else "rubbish")
    source, frames = read(tmp_path, depth=True)
    assert len(frames) == 3
    assert all(f.camera is None and f.depth is not None for f in frames)
    assert any(note.startswith("calibration left out: ") and name in note for note in source.notes)
    assert name != "intrinsics.txt" or any("3 x 3" in note for note in source.notes)


def test_stamps_of_record3d(tmp_path):
    for name, more, wanted in (
        ("rate", {}, [0, 50_000_000, 100_000_000]),
        ("each", {"frameTimestamps": [7.5, 7.75, 8.5]}, [7_500_000_000, 7_750_000_000, 8_500_000_000]),
        ("too few", {"frameTimestamps": [7.5, 7.75]}, [0, 50_000_000, 100_000_000]),
        ("no rate", {"fps": 0}, [0, 100_000_000, 200_000_000]),
    ):
        (tmp_path / name).mkdir()
        record3d(tmp_path / name, **more)
        frames = read(tmp_path / name, depth=True)[1]
        assert [f.stamp for f in frames] == wanted
        assert frames[0].camera.intrinsics[1, 2] == 24


def test_exr_images_that_cannot_be_read(tmp_path, monkeypatch):
    record3d(tmp_path)
    file = tmp_path / "depth" / "1.exr"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    source, frames = read(tmp_path, depth=True)
    assert [f.depth is None for f in frames] == [False, True, False]
    assert "cannot read the depth image 1.exr: truncated, damaged or no EXR image" in source.faults.summary()
    monkeypatch.setitem(__import__("sys").modules, "OpenEXR", None)
    source, frames = read(tmp_path, depth=True)
    assert [f.depth for f in frames] == [None] * 3
    assert "3 x depth in EXR images needs OpenEXR: pip install OpenEXR" in source.faults.summary()


def test_a_scale_of_ones_own_wins(tmp_path):
    numbered_tum(tmp_path)
    source, frames = read(tmp_path, depth=True, depth_scale=1000)
    assert frames[0].depth[0, 0] == 5
    assert "1000 units per metre" in source.notes[0]


def test_values_that_mean_unknown(tmp_path):
    write_picture(tmp_path / "color" / "0.png", picture(0))
    values = np.full((48, 64), 1500, np.uint16)
    values[0], values[1] = 0, 65535
    write_picture(tmp_path / "depth" / "0.png", values)
    depth = read(tmp_path, depth=True)[1][0].depth
    assert np.isnan(depth[:2]).all()
    assert (depth[2:] == 1.5).all()


def test_depth_that_cannot_be_used_costs_itself(tmp_path):
    for k in range(4):
        write_picture(tmp_path / "color" / f"{k}.png", picture(k))
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth" / "0.png").write_bytes(b"rubbish")
    write_picture(tmp_path / "depth" / "1.png", picture(1))  # a colour picture
    depth_image(tmp_path / "depth" / "2.png", 1000, (48, 48))
    depth_image(tmp_path / "depth" / "3.png", 1000)
    source, frames = read(tmp_path, depth=True)
    assert [f.depth is None for f in frames] == [True, True, True, False]
    assert len(source.faults) == 3


def test_pictures_that_only_sound_like_depth_are_pictures(tmp_path):
    for name in ("depth_of_field.jpg", "maskarade.jpg", "label.png"):
        write_picture(tmp_path / name, picture(1))
    assert len(read(tmp_path)[1]) == 3


def test_euroc_names_are_nanoseconds_and_its_calibration_is_read(tmp_path):
    folder = tmp_path / "mav0" / "cam0"
    for k in range(3):
        write_picture(folder / "data" / f"{1403636579763555584 + k * 50_000_000}.png", picture(k)[..., 0])
    (folder / "sensor.yaml").write_text(
        "%YAML:1.0\nintrinsics: [50, 51, 32, 24]\ndistortion_model: radial-tangential\n"
        "distortion_coefficients: [-0.28, 0.07, 0.0002, 0.00002]\n"
    )
    source, frames = read(tmp_path, depth=True)
    assert [f.stamp for f in frames] == [1403636579763555584 + k * 50_000_000 for k in range(3)]
    assert frames[0].camera.model == "plumb_bob"
    assert frames[0].camera.intrinsics[1, 1] == 51
    assert "nanoseconds" in source.notes[0]


def test_tums_lists_give_stamps_to_numbered_images(tmp_path):
    numbered_tum(tmp_path)
    (tmp_path / "rgb.txt").write_text("# colour images\n" + "".join(f"10{k}.5 rgb/{k}.png\n" for k in range(3)))
    assert [f.stamp for f in read(tmp_path)[1]] == [100_500_000_000, 101_500_000_000, 102_500_000_000]


def test_heic_is_read_where_pillow_heif_is_installed_and_named_where_not(tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    from PIL import Image

    heif.register_heif_opener()
    for k in range(2):
        Image.fromarray(cv2.resize(picture(k), (128, 96))).save(tmp_path / f"IMG_{k}.HEIC", format="HEIF", quality=95)
    _, frames = read(tmp_path)
    assert [f.rgb.shape for f in frames] == [(96, 128, 3)] * 2
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    source, frames = read(tmp_path)
    assert frames == []
    assert source.faults.summary().startswith("2 left out: 2 x HEIC images need pillow-heif")


def test_a_folder_named_like_a_number_is_a_folder(tmp_path, monkeypatch):
    write_picture(tmp_path / "20240501" / "a.png", picture(0))
    monkeypatch.chdir(tmp_path)
    assert len(read("20240501")[1]) == 1


def test_a_folder_of_folders_says_which_one_to_give(tmp_path):
    write_picture(tmp_path / "monday" / "a.png", picture(0))
    with pytest.raises(SourceError, match="monday"):
        open_source(str(tmp_path))
