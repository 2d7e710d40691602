"""Fetching: whole files only, verified where a checksum is published, and what is there stays."""

import hashlib

import pytest

from sab3r_ros.models import catalogue
from sab3r_ros.models.catalogue import KNOWN, CheckpointError, KnownModel, ModelFile, fetch, locate


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A model of one file that comes from a URL, and the file's content."""
    content = bytes(range(256)) * 9000
    (tmp_path / "source.bin").write_bytes(content)
    file = ModelFile("weights.bin", (tmp_path / "source.bin").as_uri(), 3, hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(KNOWN, "far_away", KnownModel("a test", "none", "geometry", 128, (file,)))
    monkeypatch.setenv("SAB3R_MODELS", str(tmp_path / "models"))
    return tmp_path, content, file


def test_a_file_is_downloaded_with_progress_and_found(served):
    folder, content, _ = served
    with pytest.raises(CheckpointError, match="far_away is not on this machine.*sab3r fetch far_away"):
        locate("far_away")
    told = []
    (path,) = fetch("far_away", progress=lambda *about: told.append(about))
    assert path == folder / "models" / "far_away" / "weights.bin"
    assert path.read_bytes() == content
    assert told[-1] == ("weights.bin", len(content), len(content))
    assert locate("far_away").path == path
    (folder / "source.bin").unlink()
    assert fetch("far_away") == [path]  # what is there is not fetched again


def test_a_damaged_download_leaves_nothing(served):
    folder, content, _ = served
    (folder / "source.bin").write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match="SHA-256 is not the published one"):
        fetch("far_away")
    assert list((folder / "models" / "far_away").iterdir()) == []


def test_a_source_that_is_not_there_says_so(served):
    folder, _, _ = served
    (folder / "source.bin").unlink()
    with pytest.raises(CheckpointError, match="cannot bring weights.bin from file:"):
        fetch("far_away")


def test_a_connection_that_ends_early_is_no_file(served, monkeypatch):
    class Half:
        headers = {"Content-Length": "1000"}

        def __init__(self):
            self.blocks = [b"x" * 10, b""]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def read(self, _):
            return self.blocks.pop(0)

    monkeypatch.setattr(catalogue.urllib.request, "urlopen", lambda *_, **__: Half())
    with pytest.raises(CheckpointError, match="ended after 10 of 1000 bytes"):
        fetch("far_away")
    assert list((served[0] / "models" / "far_away").iterdir()) == []


def test_composites_are_fetched_part_by_part_and_located_by_part(tmp_path, monkeypatch):
    monkeypatch.setenv("SAB3R_MODELS", str(tmp_path / "models"))
    stick = tmp_path / "stick"
    stick.mkdir()
    files = [f.name for part in KNOWN["mast3r_maskclip"].parts for f in KNOWN[part].files]
    for name in files:
        (stick / name).write_bytes(b"x")
    monkeypatch.setattr(catalogue, "sha256", lambda _: catalogue._CLIP_SHA256)
    assert [p.name for p in fetch("mast3r_maskclip", stick)] == files
    assert KNOWN["mast3r_maskclip"].is_present("mast3r_maskclip")
    with pytest.raises(CheckpointError, match="consists of two models, mast3r and maskclip"):
        locate("mast3r_maskclip")
