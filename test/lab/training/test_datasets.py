"""Data sets: rooms rendered, cached and read from folders all give the same kind of sample; bad folders say why."""

import cv2
import numpy as np
import pytest
import torch

from sab3r_ros.geometry.projection import backproject, transform
from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.lab.training.datasets import CachedRooms, HouseholdRooms, PosedFolder, open_data
from sab3r_ros.lab.training.groups import PairSamples, mirrored
from sab3r_ros.lab.training.view_cache import ViewCache, render_cache

SEED = 900_060_040


class HeldOut(HouseholdRooms):
    """Rooms whose seeds are allowed in tests only."""

    def __init__(self, length, size=(96, 64), views=3):
        self.length, self.first_seed, self.size, self.views = length, SEED, size, views


@pytest.fixture(scope="module")
def walk():
    return render_sequence(SEED, 6, 128, 96, 0.4)


@pytest.fixture(scope="module")
def seven_scenes(walk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seq-01")
    for k, view in enumerate(walk.views):
        stem = folder / f"frame-{k:06d}"
        cv2.imwrite(f"{stem}.color.png", view.rgb[..., ::-1])
        depth = np.round(view.depth * 1000).astype(np.uint16)
        depth[:4] = 65535
        cv2.imwrite(f"{stem}.depth.png", depth)
        np.savetxt(f"{stem}.pose.txt", view.cam2world)
    np.savetxt(folder / "intrinsics.txt", walk.views[0].intrinsics)
    return folder


@pytest.fixture(scope="module")
def scannet(walk, tmp_path_factory):
    """Colour twice as large as depth, each with its own intrinsics, one lost pose."""
    folder = tmp_path_factory.mktemp("scenes") / "scene0000_00"
    for name in ("color", "depth", "pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    for k, view in enumerate(walk.views):
        large = cv2.resize(view.rgb, (256, 192), interpolation=cv2.INTER_LINEAR)
        cv2.imwrite(str(folder / "color" / f"{k}.jpg"), large[..., ::-1])
        cv2.imwrite(str(folder / "depth" / f"{k}.png"), np.round(view.depth * 1000).astype(np.uint16))
        np.savetxt(folder / "pose" / f"{k}.txt", np.full((4, 4), -np.inf) if k == 2 else view.cam2world)
    matrix = np.eye(4)
    matrix[:3, :3] = walk.views[0].intrinsics
    np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", matrix)
    matrix[:2, :2] *= 2
    matrix[:2, 2] = (matrix[:2, 2] + 0.5) * 2 - 0.5
    np.savetxt(folder / "intrinsic" / "intrinsic_color.txt", matrix)
    return folder


def check_correspondences(sample):
    found = 0
    for p, (i, j) in enumerate(sample["pairs"].tolist()):
        valid = sample["valid_corres"][p]
        a, b = sample["corres1"][p][valid], sample["corres2"][p][valid]
        if not len(a):
            continue
        found += len(a)
        gap = sample["points"][i][a[:, 1], a[:, 0]] - sample["points"][j][b[:, 1], b[:, 0]]
        assert gap.norm(dim=-1).median() < 0.05
    assert found > 20


def test_samples_are_repeatable_and_their_correspondences_true():
    samples = PairSamples([HeldOut(2)], pairs=3, matches=64)
    one, again, other = samples[0], samples[0], samples[1]
    assert one["images"].shape == (3, 3, 64, 96)
    assert one["images"].dtype == torch.uint8
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert not torch.equal(one["images"], other["images"])
    for k in range(4):  # mirrored ones among them
        check_correspondences(samples[k])


def test_a_mirrored_view_shows_the_mirrored_world(walk):
    source = HeldOut(1).group(0)[0]
    flipped = mirrored(source)
    points = transform(source.cam2world, backproject(source.depth.astype(float), source.intrinsics))
    other = transform(flipped.cam2world, backproject(flipped.depth.astype(float), flipped.intrinsics))
    assert np.allclose(other[:, ::-1], points * [-1, 1, 1], atol=1e-6)
    assert np.array_equal(flipped.rgb[:, ::-1], source.rgb)


def test_a_cache_gives_what_rendering_gives_and_goes_on_where_it_stopped(tmp_path):
    render_cache(tmp_path / "c", 40, 2, 1, size=(128, 96), views=4)
    done = np.load(tmp_path / "c" / "done.npy")
    assert done.all()
    cached, rendered = CachedRooms(tmp_path / "c").group(1), HouseholdRooms(2, first_seed=40).group(1)
    for a, b in zip(cached, rendered, strict=True):
        assert np.array_equal(a.rgb, b.rgb)
        assert np.abs(a.depth - b.depth).max() < 0.005
        assert np.array_equal(a.concept, b.concept)
    done[1] = False
    np.save(tmp_path / "c" / "done.npy", done)
    with pytest.raises(ValueError, match="was interrupted"):
        ViewCache(tmp_path / "c")
    calls = []
    render_cache(tmp_path / "c", 40, 2, 1, lambda: calls.append(1), size=(128, 96), views=4)
    assert len(calls) == 1
    with pytest.raises(ValueError, match="was begun with 2"):
        render_cache(tmp_path / "c", 40, 3, 1)
    with pytest.raises(ValueError, match="would reach the held-out rooms"):
        render_cache(tmp_path / "d", SEED, 2, 1)
    with pytest.raises(ValueError, match="needs 512 x 384"):
        CachedRooms(tmp_path / "c", (512, 384))


@pytest.mark.parametrize("layout", ["seven_scenes", "scannet"])
def test_posed_folders_of_both_layouts(layout, request, walk):
    source = PosedFolder(request.getfixturevalue(layout), (96, 64), views=3)
    assert len(source) == (6 if layout == "seven_scenes" else 5)
    views = source.group(1)
    assert [v.rgb.shape for v in views] == [(64, 96, 3)] * 3
    assert views[0].concept is None
    sample = PairSamples([source], pairs=2, matches=64, augment=False)[1]
    assert not sample["labelled"].any()
    check_correspondences(sample)
    # The centre ray survives scaling and cropping.
    middle = views[0].depth[32, 48]
    truth = walk.views[1].depth[46:51, 62:67]
    assert truth.min() - 0.05 <= middle <= truth.max() + 0.05


def test_sources_are_mixed_and_named(seven_scenes, scannet, tmp_path):
    sources = [HeldOut(3), PosedFolder(seven_scenes, (96, 64), views=3)]
    kinds = {bool(PairSamples(sources, shares=[1, 1], pairs=2, matches=32)[k]["labelled"].all()) for k in range(8)}
    assert kinds == {True, False}
    assert [type(s) for s in open_data(str(scannet.parent))] == [PosedFolder]
    assert len(open_data("rooms:7")[0]) == 7
    with pytest.raises(ValueError, match="needs a number"):
        open_data("rooms:many")
    with pytest.raises(ValueError, match="neither rooms nor a folder"):
        open_data(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="holds no rendered views"):
        open_data(str(tmp_path))
    with pytest.raises(ValueError, match="at least one data set"):
        PairSamples([])


def test_broken_folders_say_what_is_wrong(seven_scenes, tmp_path):
    with pytest.raises(ValueError, match="neither color/"):
        PosedFolder(tmp_path)
    broken = tmp_path / "seq"
    broken.mkdir()
    for file in seven_scenes.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "frame-000003.color.png").write_bytes(b"not a picture")
    source = PosedFolder(broken, (96, 64), views=3)
    with pytest.raises(ValueError, match=r"cannot read .*frame-000003"):
        source.group(3)
    (broken / "frame-000001.pose.txt").write_text("hello")
    with pytest.raises(ValueError, match="cannot read the pose"):
        PosedFolder(broken)
    np.savetxt(broken / "frame-000001.pose.txt", np.eye(3))
    with pytest.raises(ValueError, match="not a 4 x 4 pose"):
        PosedFolder(broken)


def test_training_rooms_never_reach_the_held_out_ones():
    with pytest.raises(ValueError, match="held-out"):
        HouseholdRooms(10, first_seed=HELD_OUT_SEEDS.start - 5)
