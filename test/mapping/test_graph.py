"""The keyframe graph: nothing is forgotten, heavy tensors are, and frames move with their keyframes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sab3r_ros.mapping.depth_grid import COLUMNS, ROWS
from sab3r_ros.mapping.graph import KeyframeGraph
from sab3r_ros.models.base import EncodedView
from sab3r_ros.types import Edge, Keyframe


def keyframe(number, x=0.0, shape=(4, 6)):
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = x
    tokens = EncodedView(torch.ones(1, 2, 3), torch.zeros(1, 2, 2), shape)
    descriptor = torch.nn.functional.one_hot(torch.tensor(number), 8).float()
    return Keyframe(
        number, number, pose, torch.full((*shape, 3), 1.5), torch.ones(shape), np.zeros((*shape, 3), np.uint8), descriptor, None, tokens
    )  # fmt: skip


def edge(target):
    pixels = np.zeros((2, 2))
    return Edge(None, target, "keypoints", pixels, pixels, 1.0, np.ones(2), np.eye(4))


def test_keyframes_stay_and_only_their_heavy_tensors_go():
    graph = KeyframeGraph(kept=2)
    for k in range(5):
        graph.add(keyframe(k), [edge(k - 1)] if k else [])
    assert [k.id for k in graph.keyframes] == [0, 1, 2, 3, 4]
    assert [k.tokens is None for k in graph.keyframes] == [True, True, True, False, False]
    assert graph[0].points.dtype == torch.float16
    assert [(e.source, e.target) for e in graph.edges] == [(1, 0), (2, 1), (3, 2), (4, 3)]
    assert graph.next_id == 5
    graph.revive(keyframe(0))
    assert graph[0].tokens is not None
    with pytest.raises(KeyError):
        graph.revive(keyframe(7))


def test_a_keyframe_that_was_adjusted_while_its_tokens_were_made_stays_adjusted():
    graph = KeyframeGraph(kept=1)
    for k in range(2):
        graph.add(keyframe(k))
    restored = replace(graph[0], tokens=keyframe(0).tokens, points=graph[0].points.float())
    moved = keyframe(0, 3.0).pose
    graph.move(0, moved)
    correction = np.full((ROWS, COLUMNS), np.log(2.0))
    assert (graph.correct_depth(0, correction) == correction).all()
    graph.revive(restored)
    assert graph[0].tokens is not None
    assert torch.equal(graph[0].pose, moved)
    assert torch.allclose(graph[0].points, torch.tensor(3.0))
    assert graph.correct_depth(0, 0 * correction) == pytest.approx(-correction)
    assert torch.allclose(graph[0].points, torch.tensor(1.5))


def test_what_does_not_belong_is_rejected():
    graph = KeyframeGraph(kept=2)
    graph.add(keyframe(0))
    with pytest.raises(ValueError, match="a keyframe 0 already"):
        graph.add(keyframe(0))
    with pytest.raises(ValueError, match=r"not there: \[3\]"):
        graph.add(keyframe(1), [edge(3)])
    assert len(graph) == 1


def test_the_trajectory_moves_with_its_keyframes():
    graph = KeyframeGraph(kept=9)
    graph.add(keyframe(0, 1.0))
    beside = torch.eye(4, dtype=torch.float64)
    beside[0, 3] = 1.5
    graph.track(10, beside)
    graph.add(keyframe(1, 2.0))
    graph.track(11, keyframe(1, 2.0).pose)
    graph.move(0, torch.diag(torch.tensor([2.0, 2, 2, 1], dtype=torch.float64)))
    poses = dict(graph.trajectory)
    assert poses[10][:3, 3] == pytest.approx([1.0, 0, 0])  # half a metre beside it, in a map twice as large
    assert poses[10][:3, :3] == pytest.approx(np.eye(3))
    assert poses[11][:3, 3] == pytest.approx([2.0, 0, 0])


def test_a_frame_that_comes_late_takes_its_place():
    graph = KeyframeGraph(kept=9)
    graph.add(keyframe(0, 1.0))
    for stamp in (10, 11):
        graph.track(stamp, keyframe(0, 1.5).pose)
    graph.add(keyframe(1, 1.6))
    graph.track_late(10, keyframe(1, 1.6).pose)  # it was there before
    graph.track_late(9, keyframe(1, 1.7).pose, beside=0)
    graph.track_late(12, keyframe(1, 1.8).pose)
    assert [stamp for stamp, _ in graph.trajectory] == [9, 10, 11, 12]
    assert graph.beside == [0, 1, 0, 1]
    assert [pose[0, 3] for _, pose in graph.trajectory] == pytest.approx([1.7, 1.6, 1.5, 1.8])
    graph.replace_tracked(0, 10, keyframe(1, 1.65).pose)  # it was the first one when it was adjusted
    assert [pose[0, 3] for _, pose in graph.trajectory] == pytest.approx([1.7, 1.65, 1.5, 1.8])


def test_candidates_are_the_newest_or_the_most_similar_of_one_size():
    graph = KeyframeGraph(kept=9)
    assert graph.candidates(None) == []
    for k in range(3):
        graph.add(keyframe(k))
    graph.add(keyframe(3, shape=(6, 4)))
    graph.add(keyframe(4))
    assert [k.id for k in graph.candidates(None)] == [4, 2, 1, 0]
    assert graph.candidates(torch.nn.functional.one_hot(torch.tensor(1), 8).float())[0].id == 1
