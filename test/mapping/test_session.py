"""Map files: round trips, atomicity, and everything that can be wrong with them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle import oracle

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping import map_file, session
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.types import Frame, Tracking

SETTINGS = settings_from_dotted({"window.keyframe_overlap": 0.8, "tracking.max_keypoints": 0})
_LABELS = len(LABELS)


def backend(walk, dim=_LABELS):
    features = [
        torch.nn.functional.one_hot(torch.from_numpy(v.label.astype(np.int64)), dim).float() for v in walk.views
    ]
    return oracle(walk.views, features=features)


@pytest.fixture(scope="module")
def walk():
    """Twenty views of another held-out room, 128 x 96."""
    return render_sequence(900_060_030, 20, 128, 96, 1.2)


@pytest.fixture
def mapper(walk):
    out = Mapper(SETTINGS, backend(walk))
    map_stream(out, [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(walk.views[:12])])
    return out


def same(a, b):
    order = [torch.from_numpy(np.lexsort(np.floor(s.points / s.voxel_size).T)) for s in (a, b)]
    return len(a) == len(b) and all(
        torch.allclose(
            getattr(a, k)[order[0]].float(), getattr(b, k)[order[1]].float(), atol=0.6 if k == "rgb" else 2e-3
        )
        for k in ("xyz", "rgb", "feature", "hits")
    )


def test_a_saved_map_is_loaded_as_it_was_and_the_camera_is_found_in_it(mapper, walk, tmp_path):
    size = session.save_map(mapper, tmp_path / "map")
    assert size == sum(f.stat().st_size for f in (tmp_path / "map").iterdir())
    other = Mapper(SETTINGS, backend(walk))
    assert session.load_map(other, tmp_path / "map") is True
    assert same(mapper.snapshot(), other.snapshot())
    assert len(other.trajectory) == len(mapper.trajectory)
    assert other.status().tracking == Tracking.LOST
    result = other.register(Frame(walk.views[4].rgb, 0))
    assert result.tracking == Tracking.OK
    assert np.allclose(result.pose, mapper.trajectory[4][1], atol=0.02)


def test_features_of_another_model_are_left_out(mapper, walk, tmp_path):
    session.save_map(mapper, tmp_path / "map")
    other = Mapper(SETTINGS, backend(walk))
    other.backend.features.id = "another-2"
    assert session.load_map(other, tmp_path / "map") is False
    assert other.status().points == mapper.status().points
    assert not other.snapshot().feature.any()


def test_a_map_without_features_keeps_its_geometry(mapper, walk, tmp_path):
    session.save_map(mapper, tmp_path / "map", include_features=False)
    other = Mapper(SETTINGS, backend(walk))
    assert session.load_map(other, tmp_path / "map") is True
    assert other.status().points == mapper.status().points


def test_features_survive_beside_keyframes_that_have_none(mapper, walk, tmp_path):
    session.save_map(mapper, tmp_path / "plain", include_features=False)
    session.join_map(mapper, tmp_path / "plain")
    featured = int(mapper.snapshot().feature.any(1).sum())
    session.save_map(mapper, tmp_path / "both")
    other = Mapper(SETTINGS, backend(walk))
    assert session.load_map(other, tmp_path / "both") is True
    assert other.snapshot().has_features
    assert int(other.snapshot().feature.any(1).sum()) == featured > 0


def test_loading_without_clearing_adds(mapper, walk, tmp_path):
    session.save_map(mapper, tmp_path / "map")
    other = Mapper(SETTINGS, backend(walk))
    other.register(Frame(walk.views[0].rgb, 0))
    before = other.status().points
    session.load_map(other, tmp_path / "map", clear=False)
    assert other.status().points > before
    assert other.revision == 1
    assert other.status().tracking == Tracking.OK


def test_overwriting_must_be_asked_for_and_only_ever_hits_maps(mapper, tmp_path):
    session.save_map(mapper, tmp_path / "map")
    with pytest.raises(map_file.PathExists, match="holds a map already"):
        session.save_map(mapper, tmp_path / "map")
    session.save_map(mapper, tmp_path / "map", overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for name in ("other", "file"):
        with pytest.raises(map_file.PathExists, match="not a map"):
            session.save_map(mapper, tmp_path / name, overwrite=True)
    assert (tmp_path / "other" / "thesis.tex").read_text() == "years of work"


def test_other_files_of_a_map_folder_survive_overwriting(mapper, tmp_path):
    session.save_map(mapper, tmp_path / "map")
    (tmp_path / "map" / "preview.png").write_bytes(b"png")
    session.save_map(mapper, tmp_path / "map", overwrite=True)
    assert sorted(f.name for f in (tmp_path / "map").iterdir()) == ["map.json", "map.safetensors", "preview.png"]


def test_an_empty_map_is_not_saved(walk, tmp_path):
    with pytest.raises(map_file.EmptyMap):
        session.save_map(Mapper(SETTINGS, backend(walk)), tmp_path / "map")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_map_and_no_litter(mapper, tmp_path, monkeypatch):
    session.save_map(mapper, tmp_path / "map")
    good = (tmp_path / "map" / "map.safetensors").read_bytes()

    def full_disk(tensors, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(map_file, "save_file", full_disk)
    with pytest.raises(map_file.MapFileError, match="No space left"):
        session.save_map(mapper, tmp_path / "map", overwrite=True)
    assert (tmp_path / "map" / "map.safetensors").read_bytes() == good
    assert [p.name for p in tmp_path.iterdir()] == ["map"]


def test_an_unwritable_place_is_said(mapper, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(map_file.MapFileError, match="cannot write"):
        session.save_map(mapper, tmp_path / "file" / "map")


def _truncate(folder):
    data = (folder / "map.safetensors").read_bytes()
    (folder / "map.safetensors").write_bytes(data[: len(data) // 2])


def _flip(folder):
    data = bytearray((folder / "map.safetensors").read_bytes())
    data[-100] ^= 0xFF
    (folder / "map.safetensors").write_bytes(data)


def _edit(**changes):
    def change(folder):
        info = json.loads((folder / "map.json").read_text())
        (folder / "map.json").write_text(json.dumps({k: v for k, v in {**info, **changes}.items() if v is not None}))

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_truncate, "damaged or half-written"),
        (_flip, "damaged or half-written"),
        (lambda f: (f / "map.safetensors").unlink(), "damaged"),
        (lambda f: (f / "map.json").unlink(), "half-written"),
        (lambda f: (f / "map.json").write_text("{"), "damaged"),
        (lambda f: (f / "map.json").write_text("[]"), "damaged"),
        (_edit(format="other"), "is not of a"),
        (_edit(version=99), "format version 99"),
        (_edit(sha256=None), "damaged"),
        (_edit(voxels=3), "inconsistent"),
        (_edit(scale_source="guessed"), "damaged"),
        (_edit(voxel_size=0.5), "voxels of 0.5 m"),
        (_edit(unit="long"), "damaged"),
        (_edit(lens=[1.0, 2.0]), "damaged"),
    ],
)
def test_damaged_maps_are_refused_and_the_present_map_stays(mapper, walk, tmp_path, damage, why):
    session.save_map(mapper, tmp_path / "map")
    damage(tmp_path / "map")
    before = mapper.snapshot()
    with pytest.raises(map_file.MapFileError, match=why):
        session.load_map(mapper, tmp_path / "map")
    assert torch.equal(mapper.snapshot().xyz, before.xyz)
    assert mapper.status().tracking == Tracking.OK


def test_a_missing_map_is_not_found(mapper, tmp_path):
    with pytest.raises(FileNotFoundError, match="no map at"):
        session.load_map(mapper, tmp_path / "nowhere")


def test_a_map_of_format_1_opens_is_tracked_in_and_saved_as_format_2(data_dir, tmp_path):
    """Written by version 0.1.0 from the first images of the shipped sequence."""
    import sab3r_ros

    old = data_dir / "map_format_1"
    assert json.loads((old / "map.json").read_text())["version"] == 1
    opened = sab3r_ros.open_map(old)
    assert opened.content.geometry_model == opened.content.feature_model != ""
    assert len(opened.points) == opened.content.info["voxels"] > 100
    assert len(opened.trajectory) == 3
    with pytest.raises(map_file.MapFileError, match="was made with sab3r_tiny-d0f8517c.*give its checkpoint"):
        opened.locate("wall")  # its features are of weights that are gone
    mapper = sab3r_ros.Mapper.load("sab3r_small", map__voxel_size=0.1)
    assert not session.load_map(mapper, old)  # geometry and keyframes without features
    assert mapper.status().keyframes == len(opened.keyframes)
    result = mapper.register(next(iter(sab3r_ros.open_source("demo"))))
    assert result.tracking == Tracking.OK
    assert np.abs(result.pose - opened.trajectory[0][1]).max() < 0.1
    session.save_map(mapper, tmp_path / "new")
    assert json.loads((tmp_path / "new" / "map.json").read_text())["version"] == map_file.VERSION == 2


@pytest.mark.slow
def test_edges_and_every_keyframe_are_saved_with_the_map(walk, tmp_path):
    settings = settings_from_dotted({"window.keyframe_overlap": 0.8, "window.kept_keyframes": 2})
    mapper = Mapper(settings, backend(walk))
    map_stream(mapper, [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(walk.views)])
    graph = mapper.state.graph
    assert len(graph) > 3
    assert 2 <= sum(k.tokens is not None for k in graph.keyframes) <= 3  # one may have been needed once more
    assert {e.kind for e in graph.edges} == {"keypoints"}
    session.save_map(mapper, tmp_path / "map")
    content = map_file.read_map(tmp_path / "map")
    assert [k.id for k in content.keyframes] == [k.id for k in graph.keyframes]
    assert content.beside == graph.beside
    for ours, theirs in zip(content.edges, graph.edges, strict=True):
        assert (ours.source, ours.target, ours.kind) == (theirs.source, theirs.target, theirs.kind)
        assert np.allclose(ours.source_pixels, theirs.source_pixels, atol=1e-3)
        assert np.allclose(ours.target_from_source, theirs.target_from_source, atol=1e-5)
        assert np.allclose(ours.weights, theirs.weights, atol=1e-6)
    other = Mapper(settings, backend(walk))
    session.load_map(other, tmp_path / "map")
    assert len(other.state.graph.edges) == len(graph.edges)
    assert np.allclose(other.trajectory[-1][1], mapper.trajectory[-1][1], atol=1e-5)


def test_a_lost_camera_is_found_at_a_keyframe_that_let_go_of_its_tokens(walk):
    settings = settings_from_dotted(
        {"window.keyframe_overlap": 0.8, "window.kept_keyframes": 2, "tracking.max_keypoints": 0}
    )
    mapper = Mapper(settings, backend(walk))
    map_stream(mapper, [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(walk.views)])
    assert mapper.state.graph[0].tokens is None
    mapper.relocalise()
    result = mapper.register(Frame(walk.views[0].rgb, 10**12))
    assert result.tracking == Tracking.OK
    assert np.allclose(result.pose, mapper.trajectory[0][1], atol=0.02)
    encoded = mapper.geometry.encoded
    mapper.relocalise()
    mapper.register(Frame(walk.views[0].rgb, 2 * 10**12))
    assert mapper.geometry.encoded == encoded + 1  # the frame alone: its keyframes were not encoded again


KILLED = """
import sys
from pathlib import Path
import torch
from safetensors.torch import load_file
from sab3r_ros.mapping import map_file, session
path = Path(sys.argv[1])
content = map_file.read_map(path)
tensors, info = load_file(path / "map.safetensors"), content.info
print("ready", flush=True)
for revision in range(10**6):
    map_file.write_map(path, tensors | {"filling": torch.full((300_000,), float(revision))}, info | {"revision": revision})
"""


OVERWRITTEN = """
import sys
from pathlib import Path
from sab3r_ros.mapping import map_file

folder = Path(sys.argv[1])
content = map_file.read_map(folder)
(folder / "map.safetensors").write_bytes(b"")
print(float(content.snapshot.points.sum()), sum(float(k.points.float().sum()) for k in content.keyframes))
"""


@pytest.mark.slow
def test_an_open_map_outlives_its_file(mapper, tmp_path):
    """Copying another map over the file, in place, must not end a node that has it open."""
    session.save_map(mapper, tmp_path / "map")
    before = map_file.read_map(tmp_path / "map")
    env = os.environ | {"PYTHONSAFEPATH": "1"}
    run = subprocess.run([sys.executable, "-c", OVERWRITTEN, tmp_path / "map"], capture_output=True, text=True, env=env)
    assert run.returncode == 0, run.stderr
    points, local = map(float, run.stdout.split())
    assert points == pytest.approx(float(before.snapshot.points.sum()))
    assert local == pytest.approx(sum(float(k.points.float().sum()) for k in before.keyframes))


@pytest.mark.slow
def test_a_map_opens_whenever_an_overwriting_save_is_killed(mapper, tmp_path):
    session.save_map(mapper, tmp_path / "map")
    (tmp_path / "map" / "notes.txt").write_text("mine")
    rng = np.random.default_rng(0)
    env = os.environ | {"PYTHONSAFEPATH": "1"}
    for _ in range(int(os.environ.get("SAB3R_KILLS", 3))):
        process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "map"], stdout=subprocess.PIPE, env=env)
        assert process.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0.0, 0.3))
        process.kill()
        process.wait()
        process.stdout.close()
        assert len(map_file.read_map(tmp_path / "map").snapshot) == mapper.status().points
    assert (tmp_path / "map" / "notes.txt").read_text() == "mine"
    session.save_map(mapper, tmp_path / "map", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["map"]  # what the killed ones left is gone


@pytest.mark.parametrize("done", [0, 1, 2])
def test_an_interrupted_exchange_is_finished_when_the_map_is_opened(mapper, tmp_path, done):
    for name in ("map", "newer"):
        session.save_map(mapper, tmp_path / name)
    info = json.loads((tmp_path / "newer" / "map.json").read_text())
    (tmp_path / "newer" / "map.json").write_text(json.dumps(info | {"revision": 77}))
    (tmp_path / "newer").rename(tmp_path / "map" / ".next")
    for name in ("map.safetensors", "map.json")[:done]:
        (tmp_path / "map" / ".next" / name).replace(tmp_path / "map" / name)
    assert map_file.read_map(tmp_path / "map").info["revision"] == 77
    assert sorted(p.name for p in (tmp_path / "map").iterdir()) == ["map.json", "map.safetensors"]


def test_an_empty_folder_is_used_and_a_place_is_tried_before_the_work(mapper, tmp_path):
    (tmp_path / "empty").mkdir()
    map_file.check_target(tmp_path / "empty", False)
    session.save_map(mapper, tmp_path / "empty")
    assert len(map_file.read_map(tmp_path / "empty").snapshot)
    with pytest.raises(map_file.MapFileError, match="cannot write"):
        map_file.check_target(Path("/proc/no/map"), False)
