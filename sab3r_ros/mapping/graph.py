"""The keyframe graph: keyframes are nodes, matches between them edges; positions of all other frames hang on keyframes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.geometry.sim3 import rigid_part, split_sim3
from sab3r_ros.mapping.adjustment.sightings import Sightings, sightings_of
from sab3r_ros.mapping.depth_grid import correction_factors
from sab3r_ros.types import Edge, Keyframe

_NEARBY = 1.0  # metres, a turn counted as such
_PER_TURN = 2.0  # metres that a camera with its back to another counts as half as far away


@dataclass(frozen=True)
class TrackedPose:
    """A tracked frame: stamp in ns, and its similarity (4,4) float64 in the camera of a keyframe, so that it moves with it;
    the keypoints of keyframes that it saw, None where these are unknown."""

    stamp: int
    keyframe: int
    keyframe_from_frame: Tensor
    sightings: Sightings | None = None


class KeyframeGraph:
    """All keyframes of a map, their edges, and the trajectory between them.

    kept: keyframes whose tokens stay in memory; older ones keep image, keypoints and a pointmap in half precision.
    """

    def __init__(self, kept: int):
        self._kept = kept
        self._keyframes: dict[int, Keyframe] = {}
        self._tracked: list[TrackedPose] = []
        self._heavy: list[int] = []  # ids of those with tokens, the ones wanted last at the end
        self._places: dict[int, np.ndarray] = {}  # position and viewing direction (6,) of every keyframe
        # Of those let go: by which one, and where (4,4) in its camera.
        self._absorbed: dict[int, tuple[int, Tensor]] = {}
        self.edges: list[Edge] = []

    def __len__(self) -> int:
        return len(self._keyframes)

    @property
    def keyframes(self) -> list[Keyframe]:
        """All of them, oldest first."""
        return list(self._keyframes.values())

    @property
    def next_id(self) -> int:
        """The id of the keyframe that is added next."""
        return max(self._keyframes, default=-1) + 1

    def __getitem__(self, keyframe: int) -> Keyframe:
        return self._keyframes[keyframe]

    def __contains__(self, keyframe: int) -> bool:
        return keyframe in self._keyframes

    def add(self, keyframe: Keyframe, edges: Iterable[Edge] = ()) -> None:
        """Add a keyframe and the edges from it to older ones; lets go of the heavy tensors of the one unused for longest.

        Raises ValueError for an id that is taken, or an edge to a keyframe that is not there.
        """
        edges = [replace(e, source=keyframe.id) for e in edges]
        if keyframe.id in self._keyframes:
            raise ValueError(f"there is a keyframe {keyframe.id} already")
        if unknown := [e.target for e in edges if e.target not in self._keyframes]:
            raise ValueError(f"edges lead to keyframes that are not there: {unknown}")
        self._keyframes[keyframe.id] = keyframe
        self._places[keyframe.id] = _place(keyframe)
        self.edges += edges
        self._keep(keyframe)

    def _keep(self, keyframe: Keyframe) -> None:
        if keyframe.tokens is None:
            return
        self._heavy = [*(k for k in self._heavy if k != keyframe.id), keyframe.id]
        for oldest in self._heavy[: -self._kept]:
            self._keyframes[oldest] = self._keyframes[oldest].without_heavy_tensors()
        self._heavy = self._heavy[-self._kept :]

    def revive(self, keyframe: Keyframe) -> None:
        """Put a keyframe with its tokens in the place of the same without, where that stands now and as deep as it is now.

        One that was let go meanwhile stays away. Raises KeyError where there never was one.
        """
        if keyframe.id in self._absorbed:
            return
        now = self._keyframes[keyframe.id]  # it may have been adjusted while the tokens were made
        keyframe = replace(keyframe, pose=now.pose.to(keyframe.pose), depth_correction=now.depth_correction)
        if now.points.shape == keyframe.points.shape:
            keyframe = replace(keyframe, points=now.points.to(keyframe.points))
        self._keyframes[keyframe.id] = keyframe
        self._keep(keyframe)

    def move(self, keyframe: int, pose: Tensor) -> None:
        """Give a keyframe another pose (4,4), a similarity; frames that were tracked beside it move with it."""
        self._keyframes[keyframe] = replace(self._keyframes[keyframe], pose=pose)
        self._places[keyframe] = _place(self._keyframes[keyframe])

    def standing(self, keyframe: int) -> Tensor:
        """Where (4,4) a keyframe stands now, also one that was let go. Raises KeyError where there never was one."""
        if keyframe in self._absorbed:
            other, beside = self._absorbed[keyframe]
            return self.standing(other).to(beside) @ beside
        return self._keyframes[keyframe].pose

    def absorb(self, keyframe: int, into: int) -> None:
        """Let a keyframe go, with its edges; frames tracked beside it hang on another one from now on."""
        pose, other = self._keyframes[keyframe].pose, self._keyframes[into].pose
        beside = torch.linalg.inv(other) @ pose.to(other)
        del self._keyframes[keyframe], self._places[keyframe]
        self._absorbed[keyframe] = (into, beside)
        self._heavy = [k for k in self._heavy if k != keyframe]
        self.edges = [e for e in self.edges if keyframe not in (e.source, e.target)]
        for n, frame in enumerate(self._tracked):
            if frame.keyframe == keyframe:
                moved = beside.to(frame.keyframe_from_frame) @ frame.keyframe_from_frame
                self._tracked[n] = replace(frame, keyframe=into, keyframe_from_frame=moved)

    def distances(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids (K,) of all keyframes, oldest first, and how far they are apart (K,K): metres, a camera's turn counted as such."""
        places = np.array(list(self._places.values())).reshape(-1, 6)
        turned = 1 - places[:, 3:] @ places[:, 3:].T
        square = (places[:, :3] ** 2).sum(1)
        apart = square[:, None] + square - 2 * places[:, :3] @ places[:, :3].T
        return np.array(list(self._places)), np.sqrt(np.maximum(apart, 0)) + _PER_TURN * turned

    def correct_depth(self, keyframe: int, correction: np.ndarray) -> np.ndarray:
        """Give a keyframe's depth another correction (`depth_grid`) in the place of the one it has; returns by how much they differ."""
        now = self._keyframes[keyframe]
        change = correction - (0 if now.depth_correction is None else now.depth_correction)
        h, w = now.points.shape[:2]
        factors = torch.from_numpy(correction_factors(change, (h, w))).to(now.points)
        self._keyframes[keyframe] = replace(now, points=now.points * factors[..., None], depth_correction=correction)
        return change

    def track(self, stamp: int, pose: Tensor, edges: Iterable[Edge] = (), beside: int | None = None) -> None:
        """Add a frame's pose (4,4), a similarity, to the trajectory, beside a keyframe: the newest where none is given.

        edges: its matches, of which the keypoints it saw are kept. Needs a keyframe.
        """
        self._tracked.append(self._tracked_pose(stamp, pose, edges, beside))

    def track_late(self, stamp: int, pose: Tensor, edges: Iterable[Edge] = (), beside: int | None = None) -> None:
        """As `track`, for a frame that newer ones have overtaken: in the place that it had, or before those with later stamps."""
        after = len(self._tracked)
        while after and self._tracked[after - 1].stamp > stamp:
            after -= 1
        again = after and self._tracked[after - 1].stamp == stamp
        self._tracked[after - bool(again) : after] = [self._tracked_pose(stamp, pose, edges, beside)]

    def _tracked_pose(self, stamp: int, pose: Tensor, edges: Iterable[Edge], beside: int | None) -> TrackedPose:
        while beside in self._absorbed:
            beside = self._absorbed[beside][0]
        anchor = next(reversed(self._keyframes.values())) if beside is None else self._keyframes[beside]
        edges = [e for e in edges if e.target in self._keyframes]  # some may have been let go meanwhile
        theirs = {e.target: self._keyframes[e.target].keypoints for e in edges}
        seen = sightings_of(edges, {number: keypoints for number, keypoints in theirs.items() if keypoints is not None})
        return TrackedPose(stamp, anchor.id, torch.linalg.inv(anchor.pose).to(pose) @ pose, seen)

    @property
    def tracked_poses(self) -> list[TrackedPose]:
        """All tracked frames, oldest first."""
        return list(self._tracked)

    def replace_tracked(self, position: int, stamp: int, pose: Tensor) -> None:
        """Give the frame that was at a position of the trajectory, with this stamp, another rigid pose (4,4), beside the same keyframe
        and at its scale; frames that came late may stand before it now."""
        while self._tracked[position].stamp != stamp:
            position += 1
        frame = self._tracked[position]
        anchor = self._keyframes[frame.keyframe].pose
        scale = split_sim3(anchor)[0] * split_sim3(frame.keyframe_from_frame)[0]
        similarity = pose.to(anchor).clone()
        similarity[:3, :3] *= scale
        self._tracked[position] = replace(frame, keyframe_from_frame=torch.linalg.inv(anchor) @ similarity)

    @property
    def similarities(self) -> list[tuple[int, Tensor]]:
        """Stamp (ns) and similarity (4,4), camera to map, of every tracked frame, where its keyframe stands now."""
        poses = {k.id: k.pose for k in self._keyframes.values()}
        return [(t.stamp, poses[t.keyframe].to(t.keyframe_from_frame) @ t.keyframe_from_frame) for t in self._tracked]

    @property
    def trajectory(self) -> list[tuple[int, np.ndarray]]:
        """Stamp (ns) and rigid pose (4,4) of every tracked frame, where its keyframe stands now."""
        return [(stamp, rigid_part(pose).cpu().numpy()) for stamp, pose in self.similarities]

    @property
    def beside(self) -> list[int]:
        """The keyframe that every frame of the trajectory hangs on."""
        return [t.keyframe for t in self._tracked]

    def restore_trajectory(
        self, poses: Iterable[tuple[int, np.ndarray]], beside: Iterable[int], sightings: Iterable[Sightings | None] = ()
    ) -> None:
        """Put frames of a file before the trajectory: stamps and poses (4,4) in the map; `beside`: their keyframes, -1 = the
        first one; what they saw, where that is known."""
        first = next(iter(self._keyframes))
        restored = []
        for (stamp, pose), keyframe, seen in zip_longest(poses, beside, sightings):
            number = keyframe if keyframe in self._keyframes else first
            anchor = self._keyframes[number].pose
            relative = torch.linalg.inv(anchor) @ torch.from_numpy(pose).to(anchor)
            restored.append(TrackedPose(stamp, number, relative, seen))
        self._tracked = restored + self._tracked

    @property
    def tracked(self) -> int:
        """Number of tracked frames."""
        return len(self._tracked)

    def older_near(self, pose: Tensor, newest: int) -> list[Keyframe]:
        """Keyframes, without the newest ones, that look at nearly the same as a camera (4,4) from nearby, nearest first."""
        older = self.keyframes[:-newest]
        if not older:
            return []
        places = np.array(list(self._places.values()))[:-newest]
        apart = _apart(places, pose)
        size = self.keyframes[-1].points.shape
        return [older[i] for i in apart.argsort(kind="stable") if apart[i] < _NEARBY and older[i].points.shape == size]

    def candidates(self, descriptor: Tensor | None = None, near: Tensor | None = None) -> list[Keyframe]:
        """Keyframes to compare a frame with, best first, all of one image size: the newest come first.

        descriptor (C,): of a frame whose place is not known; then the most similar come first. near (4,4): a camera's pose; then
        those that look at the same from nearby.
        """
        found = self.keyframes[::-1]
        if near is not None and found:
            places = np.array(list(self._places.values()))[::-1]
            found = [found[i] for i in _apart(places, near).argsort(kind="stable").tolist()]
        elif descriptor is not None and found:
            similarity = torch.stack([k.descriptor for k in found]) @ descriptor
            found = [found[i] for i in similarity.argsort(descending=True, stable=True).tolist()]
        return [k for k in found if k.points.shape == found[0].points.shape]


def _apart(places: np.ndarray, pose: Tensor) -> np.ndarray:
    """How far (K,) a camera (4,4) is from positions and viewing directions (K,6), as in `KeyframeGraph.distances`."""
    here = rigid_part(pose.cpu()).double().numpy()
    turned = 1 - places[:, 3:] @ here[:3, 2]
    return np.linalg.norm(places[:, :3] - here[:3, 3], axis=1) + _PER_TURN * turned


def _place(keyframe: Keyframe) -> np.ndarray:
    pose = rigid_part(keyframe.host_pose).numpy()
    return np.concatenate([pose[:3, 3], pose[:3, 2]]).astype(np.float64)
