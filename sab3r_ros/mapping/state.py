"""Everything that a mapper knows of one map: replaced as a whole by a reset or a load, so that no frame sees half of it."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.geometry.pointmaps import focal_from_pointmap
from sab3r_ros.geometry.sim3 import split_sim3
from sab3r_ros.mapping.adjustment.back_end import MatchStore
from sab3r_ros.mapping.adjustment.bundle import Lens
from sab3r_ros.mapping.dead_reckoning import DeadReckoning
from sab3r_ros.mapping.depth_grid import basis
from sab3r_ros.mapping.graph import KeyframeGraph
from sab3r_ros.mapping.odometry import Odometry
from sab3r_ros.mapping.pose_certainty import PoseCertainty
from sab3r_ros.mapping.scene import SceneMap
from sab3r_ros.mapping.tracker import with_measured_scale
from sab3r_ros.types import EncodedFrame, Keyframe, PoseEstimate, Scale, ScaleSource, Tracking

if TYPE_CHECKING:
    from sab3r_ros.mapping.placing import StartedFrame

_DOUBTFUL_SCALE = 2.0  # factor between measured depth and the network's metres beyond which one of them is wrong
_REACH = 3.0  # metres before a camera at which its motion is measured
_NOTICEABLE = 0.25  # of a voxel: keyframes that move less keep their voxels where they are
_TELL_CAMERA, _OTHER_CAMERA = 5, 0.2  # frames, and of the log of the focal length
_TOLD_BY = 20  # keyframes that tell a focal length
_HISTORY = 50  # frames over which scale and focal length are averaged


@dataclass
class MapState:
    """A map while it grows: keyframe graph, voxels, scale and tracking. Changed by the mapper alone, under its lock."""

    graph: KeyframeGraph
    scene: SceneMap
    scale: Scale = field(default_factory=Scale)
    tracking: Tracking = Tracking.IDLE
    frames: int = 0
    last_stamp: int | None = None
    focals: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    newest: tuple[PoseEstimate, EncodedFrame] | None = None
    lens: Lens | None = None
    lens_is_known: bool = False
    loaded_focal: float = (
        0.0  # of the lens that came with a map from a file, until it is known whether the camera still has it
    )
    adjusted_keyframes: int = 0
    settled_at: int = 0  # id of the next keyframe when all were adjusted last
    upright: bool = False
    held: frozenset[int] = frozenset()  # keyframes that must stay: their voxels came from a file and cannot move
    near_newest: bool = (
        True  # whether the camera is near the newest keyframes, not somewhere in an older part of the map
    )
    session: int = 0
    overlaps: deque[float] = field(default_factory=lambda: deque(maxlen=2))  # with the window, of the newest frames
    unseen: int = 0  # frames since the network looked at one
    newest_number: int = -1  # of the newest frame in the trajectory
    last_pose: Tensor | None = None  # (4,4) of the newest tracked frame; None where the camera may be anywhere
    matches: MatchStore = field(default_factory=MatchStore)
    odometry: Odometry = field(default_factory=Odometry)
    reckoning: DeadReckoning = field(default_factory=DeadReckoning)
    certainty: PoseCertainty = field(default_factory=PoseCertainty)
    unit: float = 1.0  # the map's over the network's own, as odometry told it
    has_depth: bool = False  # whether depth measures every frame's scale
    keypoints: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))  # as the last adjustment has them
    _corrected: dict[int, np.ndarray] = field(default_factory=dict)  # by what voxels have not followed yet
    _scale_ratios: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))

    @property
    def expected_scale(self) -> float:
        """The map's unit over the network's own: one, unless depth or odometry has measured it."""
        return float(np.median(self._scale_ratios)) if self.has_depth and self._scale_ratios else self.unit

    def believed_lens(self) -> tuple[Lens | None, bool]:
        """The lens of the network's images as far as it is known, None before the first frame; whether it is a calibration."""
        if self.lens is not None or not len(self.graph):
            return self.lens, self.lens_is_known
        newest = self.graph.keyframes[-1]
        focal = float(np.median(self.focals)) if self.focals else typical_focal(self.graph.keyframes)
        h, w = newest.image.shape[:2]
        return Lens(focal, 0.0, (w - 1) / 2, (h - 1) / 2), False

    def hold(self, keyframes: Iterable[int]) -> None:
        """Leave these keyframes where they are from now on: some of what they see came from a file and cannot move."""
        self.held |= frozenset(keyframes)

    @property
    def next_overlap(self) -> float:
        """What the next frame is likely to share with the window, if the camera goes on as it did; 0 where nobody knows."""
        return 2 * self.overlaps[-1] - self.overlaps[0] if self.overlaps else 0.0

    def look_for_camera(self) -> None:
        """Keep the map, but find the camera anew."""
        self.last_stamp = self.last_pose = None
        if len(self.graph):
            self.tracking = Tracking.LOST

    def update_scale(self, estimate: PoseEstimate, frame: EncodedFrame) -> tuple[PoseEstimate, str]:
        """The estimate with its scale from depth where there is some, and a note where that is not usable."""
        if frame.depth is not None:
            depth = torch.from_numpy(frame.depth).to(estimate.points)
            measured = with_measured_scale(estimate.pose, estimate.points, depth)
            if measured is not None:
                pose, sigma = measured
                if not self.has_depth:
                    self._scale_ratios.clear()
                self.has_depth = True
                self._scale_ratios.append(float(split_sim3(pose)[0]))
                ratio = float(np.median(self._scale_ratios))
                doubt = abs(np.log(ratio)) > np.log(_DOUBTFUL_SCALE)
                self.scale = Scale(ScaleSource.MEASURED, max(sigma, 0.005, abs(np.log(ratio)) if doubt else 0.0))
                note = f"the depth images are {ratio:.1f} times what the network expects: is their unit right?"
                return replace(estimate, pose=pose), note if doubt else ""
        if self.scale.source != ScaleSource.MEASURED:
            self._scale_ratios.append(estimate.relative_scale)
            sigma = float(np.std(np.log(self._scale_ratios))) if len(self._scale_ratios) > 2 else 0.3
            self.scale = Scale(ScaleSource.PREDICTED, max(sigma, 0.05))
        return estimate, "the depth image has fewer than 50 usable pixels" if frame.depth is not None else ""

    def check_camera(self) -> str:
        """Whether the camera has the lens that came with a loaded map, once some frames tell; a note where it is another one.

        Older keyframes then lose their keypoints, by which they would be adjusted as if this camera had taken them.
        """
        if not self.loaded_focal or len(self.focals) < _TELL_CAMERA:
            return ""
        mine, loaded = float(np.median(self.focals)), self.loaded_focal
        self.loaded_focal = 0.0
        if abs(np.log(mine / loaded)) < _OTHER_CAMERA:
            return ""
        if self.lens is not None and self.lens.pinhole_focal == loaded:  # this camera is not calibrated
            self.lens, self.lens_is_known = None, False
        for keyframe in self.graph.keyframes:
            if keyframe.session != self.session:
                self.graph.revive(replace(keyframe, keypoints=None))
        return (
            f"the camera's focal length is about {mine:.0f} pixels, in the loaded map {loaded:.0f}: another camera, so the loaded "
            "keyframes are not adjusted with the new ones"
        )

    def rescale(self, metres: float) -> None:
        """Give the map another unit: `metres` to one of before. Voxels follow by `move_voxels`."""
        similarity = torch.eye(4, dtype=torch.float64)
        similarity[:3, :3] *= metres
        self.transform(similarity)
        self.unit *= metres
        self.odometry.metres /= metres
        self.reckoning.forget()
        self.certainty.rescale(metres)

    def transform(self, similarity: Tensor) -> None:
        """Move the whole map by a similarity (4,4). Voxels follow by `move_voxels`."""
        self.move_keyframes({k.id: similarity.to(k.pose) @ k.pose for k in self.graph.keyframes})
        self.keypoints = self.keypoints @ similarity[:3, :3].numpy().T + similarity[:3, 3].numpy()

    def believe_calibration(self, intrinsics: np.ndarray) -> None:
        """Take intrinsics (3,3) of the network's image for the camera's."""
        focal = float(intrinsics[0, 0] + intrinsics[1, 1]) / 2
        self.lens, self.lens_is_known = Lens(focal, 0.0, float(intrinsics[0, 2]), float(intrinsics[1, 2])), True

    def insert(self, frame: EncodedFrame, estimate: PoseEstimate) -> Keyframe:
        """Make a keyframe of a tracked frame and add it, with its matches as edges, to the graph."""
        keyframe = Keyframe(
            self.graph.next_id, frame.stamp, estimate.pose, estimate.points, estimate.conf, frame.image, frame.descriptor,
            frame.keypoints, frame.tokens, estimate.depth_factor, self.session,
        )  # fmt: skip
        self.graph.add(keyframe, [e for e in estimate.edges if e.target in self.graph])  # some may have been let go
        return keyframe

    def absorb(self, keyframe: int, into: int) -> None:
        """Let a keyframe go: what it saw, and the frames beside it, belong to another one from now on."""
        self.move_voxels([n for n in (keyframe, into) if n in self.scene.poses()])  # to where both stand now
        self.scene.absorb(keyframe, into, self.graph[into].pose)
        self.graph.absorb(keyframe, into)
        self.matches.forget(keyframe)
        self.odometry.at.pop(keyframe, None)
        self.certainty.forget(keyframe)
        self.adjusted_keyframes = max(0, self.adjusted_keyframes - 1)

    def count(self, stamp: int) -> None:
        """Count a frame; stamps of one stream may come in another order where two threads work on its frames."""
        self.frames += 1
        self.last_stamp = stamp if self.last_stamp is None else max(stamp, self.last_stamp)

    def track(
        self, frame: "StartedFrame", estimate: PoseEstimate, references: list[Keyframe], keyframe: Keyframe | None,
        window: int, with_sightings: bool,
    ) -> None:  # fmt: skip
        """Add a frame to the trajectory: beside the keyframe it became, the newest one if that is among the `window` newest that
        it was compared with, else the one it sees most of.

        A frame that newer ones have overtaken stands before them; one that keypoints have placed before stays as they placed it, but
        where it became a keyframe. with_sightings: whether it is kept which keypoints of keyframes it saw.
        """
        self.unseen = 0 if estimate.has_points else self.unseen + 1
        if keyframe is not None:
            self.overlaps.clear()
        self.overlaps.append(1.0 if keyframe is not None else max(estimate.overlap))
        beside = None
        newest = {k.id for k in self.graph.keyframes[-window:]}
        if keyframe is None and references:
            best = references[int(np.argmax(estimate.overlap))].id
            beside = None if best in newest else best
            if frame.number >= self.newest_number:
                self.near_newest = newest >= {k.id for k in references[:window]}
        edges = estimate.edges if with_sightings else ()
        if frame.number > self.newest_number:
            self.graph.track(frame.frame.stamp, estimate.pose, edges, beside)
        elif frame.result is None or keyframe is not None:
            self.graph.track_late(frame.frame.stamp, estimate.pose, edges, beside)
        if frame.number >= self.newest_number:
            self.reckoning.placed(frame.frame, self.last_pose, estimate, self.odometry.metres)
            self.certainty.placed(frame.frame.stamp, estimate, references, None if keyframe is None else keyframe.id)
            self.newest_number, self.last_pose = frame.number, estimate.pose

    def move_keyframes(self, poses: dict[int, Tensor]) -> float:
        """Give keyframes other poses (4,4), similarities; the frames beside them follow, voxels by `move_voxels`.

        Keyframes that came after the newest of these move as it does. Returns the largest motion of what they see, in metres.
        """
        motions = [0.0]
        last = max(poses, default=-1)
        if later := [k for k in self.graph.keyframes if k.id > last >= 0]:
            moved = poses[last].to(self.graph[last].pose) @ torch.linalg.inv(self.graph[last].pose)
            poses = poses | {k.id: moved @ k.pose for k in later}
        beside = self.graph.beside[-1:]  # the keyframe that the newest frame hangs on
        anchor = self.graph[beside[0]] if beside else None
        for number, pose in poses.items():
            before = self.graph[number].pose
            motions.append(_motion(before, pose.to(before)))
            self.graph.move(number, pose.to(before))
        if self.newest is not None and anchor is not None and anchor.id in poses:
            estimate, frame = self.newest
            moved = self.graph[anchor.id].pose @ torch.linalg.inv(anchor.pose)
            self.newest = (replace(estimate, pose=moved @ estimate.pose), frame)
            if self.last_pose is not None:
                self.last_pose = moved.to(self.last_pose) @ self.last_pose
        return max(motions)

    def correct_depth(self, corrections: Mapping[int, np.ndarray]) -> None:
        """Give keyframes, by id, other corrections of their depth (`depth_grid`); voxels follow by `move_voxels`."""
        fused = self.scene.poses()
        for number, correction in corrections.items():
            change = self.graph.correct_depth(number, correction)
            if number in fused:
                self._corrected[number] = self._corrected.get(number, 0) + change

    def follow(self, estimate: PoseEstimate, references: list[Keyframe]) -> PoseEstimate:
        """An estimate that was made beside keyframes which have moved since then."""
        if not references:
            return estimate
        before, now = references[0].pose, self.graph.standing(references[0].id)
        if torch.equal(before.cpu(), now.cpu()):
            return estimate
        return replace(estimate, pose=(now.to(before) @ torch.linalg.inv(before)).to(estimate.pose) @ estimate.pose)

    def lagging(self) -> list[int]:
        """Ids of keyframes whose voxels are noticeably elsewhere than they stand now."""
        limit = _NOTICEABLE * self.scene.settings.voxel_size
        now = {k.id: k.pose for k in self.graph.keyframes}
        deeper = {n for n, change in self._corrected.items() if np.abs(change).max() * _REACH > limit}
        return [
            n for n, pose in self.scene.poses().items()
            if n in now and (n in deeper or _motion(pose.to(now[n]), now[n]) > limit)
        ]  # fmt: skip

    def move_voxels(self, keyframes: Sequence[int]) -> None:
        """Bring the voxels of keyframes to where these stand now, and to the depth that these have now."""
        lens, _ = self.believed_lens()
        changes = {n: self._corrected.pop(n) for n in keyframes if n in self._corrected}
        deeper = {}
        if lens is not None:
            deeper = {n: partial(_deeper, lens, c, self.graph[n].points.shape) for n, c in changes.items()}
        self.scene.move({number: self.graph[number].pose for number in keyframes}, deeper)


def typical_focal(keyframes: Sequence[Keyframe]) -> float:
    """Focal length in pixels of the network's image that the pointmaps of the newest keyframes tell; there must be one."""
    return float(np.median([focal_from_pointmap(k.points.float()) for k in keyframes[-_TOLD_BY:]]))


def _deeper(lens: Lens, change: np.ndarray, shape: Sequence[int], points: Tensor) -> Tensor:
    """Points (N,3) in a keyframe's camera after a change of its depth's correction."""
    seen = points.double().cpu().numpy()
    pixels = np.nan_to_num(lens.project(seen), nan=-1.0)
    factors = np.exp(basis(pixels, (shape[1], shape[0])) @ change.ravel())
    return points * torch.from_numpy(factors).to(points)[:, None]


def _motion(before: Tensor, after: Tensor) -> float:
    """How far a similarity (4,4) moves what lies a few metres before the camera."""
    ahead = before.new_tensor([[0.0, 0, 0, 1], [0, 0, _REACH, 1], [_REACH / 2, 0, _REACH, 1]]).T
    return float((after @ ahead - before @ ahead).norm(dim=0).max())
