"""Labels of a map that grows are those of the whole map, although only what changed is labelled."""

import numpy as np
import pytest
import torch
from oracle import oracle

from sab3r_ros.config import QuerySettings, settings_from_dotted
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.models.catalogue import ASSETS
from sab3r_ros.models.text import TextEncoder
from sab3r_ros.nodes.map_labels import MapLabels
from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.vocabulary import UNLABELLED
from sab3r_ros.types import Frame

NAMES = ("wall", "floor", "mug", "table")


@pytest.fixture
def query():
    return MapQuery(QuerySettings(labels=NAMES), TextEncoder(f"local-dir:{ASSETS / 'sab3r_small' / 'text'}"))


@pytest.fixture
def growing(query):
    """A mapper and its frames; the features of every pixel are those of a word, by its place in the image."""
    views = render_sequence(900_060_031, 8, 128, 96, 1.2).views
    words = query.embed(NAMES)
    features = [words[torch.arange(96 * 128) * len(NAMES) // (96 * 128)].reshape(96, 128, -1)] * len(views)
    settings = settings_from_dotted(
        {"window.keyframe_overlap": 0.99, "tracking.max_keypoints": 0, "adjustment.enabled": False, "map.superpixel_pooling": False}
    )  # fmt: skip
    return Mapper(settings, oracle(views, features)), [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(views)]


def labelled_anew(voxels, mapper, classify):
    label, score = classify(mapper.snapshot())
    assert (voxels.label == label).all()
    assert voxels.score == pytest.approx(score, abs=1e-6)


def test_labels_follow_the_map_and_only_what_changed_is_labelled(query, growing, monkeypatch):
    mapper, frames = growing
    labels, counts, whole = MapLabels(), [], query.classify
    monkeypatch.setattr(query, "classify", lambda snapshot: counts.append(len(snapshot)) or whole(snapshot))
    for frame in frames:
        mapper.register(frame)
        voxels = labels(mapper, query)
        labelled_anew(voxels, mapper, whole)
    assert len(set(voxels.label.tolist()) - {UNLABELLED}) == len(NAMES)
    labels(mapper, query)
    assert counts[-1] == 0
    with mapper.lock:
        mapper.state.scene.remove(mapper.state.graph.keyframes[0].id)
    labelled_anew(labels(mapper, query), mapper, whole)


def test_other_words_and_another_map_label_everything_anew(query, growing):
    mapper, frames = growing
    labels = MapLabels()
    mapper.register(frames[0])
    before = labels(mapper, query)
    query.set_vocabulary(["mug", "floor"])
    after = labels(mapper, query)
    labelled_anew(after, mapper, query.classify)
    assert (after.label != before.label).any()
    mapper.reset()
    assert len(labels(mapper, query).label) == 0
    mapper.register(frames[-1])
    labelled_anew(labels(mapper, query), mapper, query.classify)


def test_a_thinned_map_and_one_without_a_query_have_labels_of_their_own_voxels(query, growing):
    mapper, frames = growing
    labels = MapLabels()
    for frame in frames[:3]:
        mapper.register(frame)
        thin = labels(mapper, query, 500)
        assert len(thin.label) <= 500
        label, _ = query.classify(mapper.snapshot(max_points=500))
        assert (thin.label == label).all()
    assert (labels(mapper, None).label == UNLABELLED).all()
    assert not np.any(labels(mapper, None).score)
