"""Groups of a few views that see the same from different places, chosen from recordings by a seed and written to a manifest.

The paper (arXiv 2506.02112, Map and Locate): two groups a scene for each of 2, 3 and 4 views; every view overlaps at least one
other; chosen so that objects are visible and viewpoints differ.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sab3r_ros.files import write_json
from sab3r_ros.geometry.projection import overlap
from sab3r_ros.lab.evaluation.poses import rotation_angle
from sab3r_ros.lab.evaluation.recordings import RecordedLabels, TrueRecording
from sab3r_ros.lab.evaluation.stream import GroundTruthView
from sab3r_ros.sources.base import SourceError

_PROBED = 60  # frames of a scene, evenly chosen, that groups are made of
_WIDTH = 160  # pixels of the depth images that overlap is measured in
_LEAST_OVERLAP = 0.25  # of either view's pixels, seen by the other
_LEAST_ANGLE, _LEAST_BASELINE = (
    10.0,
    0.15,
)  # degrees, metres: one of them lies between a view and all others of its group
_ANGLE_ENOUGH = 45.0  # degrees: more diversity is worth no more
_SEEN = 0.01  # share of a view's pixels from which a label counts as visible
_MEASURED = 0.3  # share of pixels with depth that a view needs
_VERSION = 1


@dataclass(frozen=True)
class Group:
    """Frames of a scene by their numbers and names; what lies between its first view and the others, on average."""

    scene: str
    frames: tuple[int, ...]
    names: tuple[str, ...]
    translation: float
    rotation: float


@dataclass(frozen=True)
class _Probe:
    number: int
    view: GroundTruthView
    labels: frozenset[int]


def choose_groups(
    recording: TrueRecording, labels: RecordedLabels, counts: Sequence[int], each: int, seed: int
) -> list[Group]:
    """`each` groups for every number of views in `counts`; fewer where the scene does not have them.

    Raises SourceError where it has none of some size.
    """
    probes = _probes(recording, labels)
    rng = np.random.default_rng([seed, *recording.path.name.encode()])
    groups: list[Group] = []
    for count in counts:
        found: list[Group] = []
        for start in rng.permutation(len(probes)):
            numbers = _grown(probes, int(start), count)
            if numbers is not None and all(set(numbers) != set(g.frames) for g in found):
                found.append(_described(recording, probes, numbers))
            if len(found) == each:
                break
        if not found:
            raise SourceError(
                f"{recording.path} has no {count} views that share a quarter of what they see and stand {_LEAST_BASELINE} m or {_LEAST_ANGLE:.0f} degrees apart"
            )
        groups += found
    return groups


def _probes(recording: TrueRecording, labels: RecordedLabels) -> list[_Probe]:
    """Views with a pose and enough depth, small."""
    known = [k for k, pose in enumerate(recording.poses) if pose is not None and recording.depths[k] is not None]
    if not known or recording.intrinsics is None:
        raise SourceError(f"{recording.path} has no image with pose, depth and intrinsics")
    probes = []
    for number in dict.fromkeys(np.linspace(0, len(known) - 1, min(_PROBED, len(known))).round().astype(int)):
        view = _small(recording.view(known[number]))
        if (view.depth > 0).mean() >= _MEASURED:
            probes.append(_Probe(known[number], view, _visible(labels.image(known[number]))))
    return probes


def _small(view: GroundTruthView) -> GroundTruthView:
    step = max(1, view.depth.shape[1] // _WIDTH)
    matrix = view.intrinsics.astype(float)
    matrix[:2, 2] -= step // 2
    matrix[:2] /= step
    return GroundTruthView(view.depth[step // 2 :: step, step // 2 :: step], view.cam2world, matrix)


def _visible(image: np.ndarray) -> frozenset[int]:
    known = image[image >= 0]
    share = np.bincount(known, minlength=1) / image.size
    return frozenset(np.flatnonzero(share >= _SEEN).tolist())


def _grown(probes: list[_Probe], start: int, count: int) -> tuple[int, ...] | None:
    """A group that begins with one view; the next is the one that adds most labels and the widest angle. None without."""
    group = [probes[start]]
    while len(group) < count:
        best, worth = None, -1.0
        seen = frozenset().union(*(p.labels for p in group))
        for probe in probes:
            apart = [_apart(probe, other) for other in group]
            if not all(a >= _LEAST_ANGLE or d >= _LEAST_BASELINE for a, d in apart):
                continue
            value = len(probe.labels - seen) + 0.5 * len(probe.labels & seen)
            value += min(min(a for a, _ in apart) / _ANGLE_ENOUGH, 1.0)
            if value > worth and any(_shares(probe, other) for other in group):
                best, worth = probe, value
        if best is None:
            return None
        group.append(best)
    return tuple(p.number for p in group)


def _apart(a: _Probe, b: _Probe) -> tuple[float, float]:
    """Degrees and metres between two views."""
    first, second = a.view.cam2world, b.view.cam2world
    return rotation_angle(first[:3, :3], second[:3, :3]), float(np.linalg.norm(first[:3, 3] - second[:3, 3]))


def _shares(a: _Probe, b: _Probe) -> bool:
    return min(overlap(a.view, b.view), overlap(b.view, a.view)) >= _LEAST_OVERLAP


def _described(recording: TrueRecording, probes: list[_Probe], numbers: tuple[int, ...]) -> Group:
    by_number = {p.number: p for p in probes}
    first, *others = (by_number[k] for k in numbers)
    apart = np.array([_apart(first, other) for other in others])
    names = tuple(recording.source.images[k].name for k in numbers)
    return Group(
        recording.path.name, numbers, names, round(float(apart[:, 1].mean()), 4), round(float(apart[:, 0].mean()), 2)
    )


def write_manifest(file: Path, groups: Sequence[Group], seed: int) -> None:
    """Groups as JSON, so that others evaluate the same ones."""
    write_json(file, {"version": _VERSION, "seed": seed, "groups": [asdict(g) for g in groups]})


def read_manifest(file: Path) -> list[Group]:
    """Raises SourceError for a file that holds no groups."""
    try:
        content = json.loads(file.read_text())
        if content["version"] != _VERSION:
            raise SourceError(f"{file} is a manifest of version {content['version']}; this reads {_VERSION}")
        return [
            Group(str(g["scene"]), tuple(map(int, g["frames"])), tuple(map(str, g["names"])), float(g["translation"]), float(g["rotation"]))
            for g in content["groups"]
        ]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{file} is no manifest of groups: {type(error).__name__}: {error}") from error
