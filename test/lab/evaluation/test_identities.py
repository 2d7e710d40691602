"""Ids of things along walks: how they are counted, and a short walk from end to end."""

import pytest

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.identities import evaluate_identities, identity_counts
from sab3r_ros.models.backends import load_backend


@pytest.mark.parametrize(
    ("looks", "wanted"),
    [
        ([{1: "a", 2: "b"}, {1: "a", 2: "b"}, {1: "a", 2: "b"}], {"things": 2, "kept": 2, "steps": 4, "steps_kept": 4}),
        ([{1: "a", 2: "b"}, {1: "b", 2: "a"}], {"things": 2, "kept": 0, "steps_kept": 0, "swaps": 1, "taken": 2}),
        ([{1: "a"}, {1: "c"}, {1: "a"}], {"things": 1, "kept": 1, "steps": 2, "steps_kept": 0, "swaps": 0, "taken": 0}),
        ([{1: "ab"}, {1: "ba"}, {1: "cb"}], {"things": 1, "kept": 0, "steps": 2, "steps_kept": 1, "taken": 0}),
        ([{1: "a"}, {2: "a"}], {"things": 0, "steps": 0, "swaps": 0, "taken": 1}),
        ([{1: "a"}, {}, {1: "a"}], {"things": 1, "kept": 1, "steps": 0}),
        ([], {"things": 0, "steps": 0}),
    ],
)
def test_ids_are_counted_as_they_should_be(looks, wanted):
    looks = [{thing: tuple(own) for thing, own in look.items()} for look in looks]
    assert identity_counts(looks).items() >= wanted.items()


@pytest.mark.slow
def test_a_short_walk_with_the_default_weights():
    settings = Settings()
    told = []
    figures = evaluate_identities(
        settings, load_backend(settings.model, settings.window.size), 1, frames=30, progress=lambda: told.append(1)
    )
    assert len(told) == 30
    assert figures["things"] >= 2
    assert figures["steps"] >= 4
    assert figures["steps_kept_percent"] >= 70
    assert figures["swaps"] == 0
