"""The mapper: frames in, a semantic voxel map out, in five steps: check, encode, track, insert, fuse."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch

from sab3r_ros.config import Settings, settings_from_dotted
from sab3r_ros.geometry.sim3 import transform_points
from sab3r_ros.mapping import settling
from sab3r_ros.mapping.adjustment.adjuster import Adjuster, AdjustmentReport
from sab3r_ros.mapping.adjustment.solver_process import gtsam_is_installed
from sab3r_ros.mapping.checks import FrameCheck
from sab3r_ros.mapping.culling import cull
from sab3r_ros.mapping.dead_reckoning import steadied
from sab3r_ros.mapping.first_pose import mounted_pose
from sab3r_ros.mapping.frame_encoder import FrameEncoder
from sab3r_ros.mapping.graph import KeyframeGraph
from sab3r_ros.mapping.placing import KeypointPlacing, StartedFrame
from sab3r_ros.mapping.pose_certainty import Certainty
from sab3r_ros.mapping.recogniser import Recogniser
from sab3r_ros.mapping.scene import SceneMap
from sab3r_ros.mapping.state import MapState
from sab3r_ros.mapping.straightening import Straightener
from sab3r_ros.mapping.superpixels import pool_over_superpixels, segment_superpixels
from sab3r_ros.mapping.tracker import Tracker
from sab3r_ros.mapping.unit import measure_unit
from sab3r_ros.mapping.voxel_grid import surface_mask
from sab3r_ros.models.backends import load_backend
from sab3r_ros.models.base import Backend, PairPrediction
from sab3r_ros.models.preprocess import Framing
from sab3r_ros.types import (
    COLUMNS,
    Cloud,
    EncodedFrame,
    Frame,
    FrameResult,
    Keyframe,
    MapSnapshot,
    Observation,
    PoseEstimate,
    Region,
    Scale,
    Tracking,
)

_LOG = logging.getLogger("sab3r_ros")

_REPLACED = "the map was replaced while this frame was processed"
_DISAGREE = "the network does not see this place as the map has it: the frame adds nothing to the map"
_BY_ODOMETRY = "this image shows too little to tell where it is: odometry tells it"
_GUESSED = "too little to see: where the camera is, is the network's guess until it sees again what it knew"


@dataclass(frozen=True)
class MapperStatus:
    """A mapper's state at one moment.

    revision grows whenever geometry changes other than by adding to it; points_mark is another one whenever the map's points
    are, also by adding to them: a keyframe counts before its points are in the map. upright: whether z is known to point up.
    certainty: of the newest frame's pose.
    """

    tracking: Tracking
    scale: Scale
    revision: int
    frames: int
    keyframes: int
    points: int
    rejected_voxels: int
    full: bool
    megabytes: float
    points_mark: tuple[int, int]
    upright: bool
    certainty: Certainty


class Mapper:
    """Tracks a camera and fuses what it sees.

    One thread may call `register`, or one `start` and another one `look`, while others query, save or reset: the map is only
    touched under `lock`, never while the network runs. A reset or a load replaces the whole `state`; a frame in flight then ends
    without effect.
    """

    def __init__(self, settings: Settings | None = None, backend: Backend | None = None):
        self.settings = settings or Settings()
        self.backend = backend or load_backend(self.settings.model, self.settings.window.size)
        self.geometry = self.backend.geometry
        self.lock = threading.RLock()
        self.first_pose = mounted_pose(self.settings.camera.pitch, self.settings.camera.roll)
        self.up_is_known = bool(self.settings.camera.pitch or self.settings.camera.roll)
        self.camera_height = self.settings.camera.height  # metres above the floor, 0 = not known
        self.revision = 0
        self._check = FrameCheck(self.settings.tracking)
        self.encode = FrameEncoder(self.geometry, self.settings.tracking)
        self._track = Tracker(self.geometry, self.settings)
        self._recogniser = Recogniser(self.settings, self.encode, self._track, self.lock)
        self._placing = KeypointPlacing(self.settings, self.encode, self._track, self.geometry.device)
        self._numbers = count()  # of frames, as they come
        self._beside = ThreadPoolExecutor(1, "superpixels")  # OpenCV works while the network does
        self.state = self.empty_state()
        self._adjuster = self._make_adjuster()
        self._adjusting = threading.Lock()
        self._straightener = Straightener(self.backend.features)
        self.adjusted: AdjustmentReport | None = None  # what the last adjustment did

    def _make_adjuster(self) -> Adjuster | None:
        if not self.settings.adjustment.enabled or not self.settings.tracking.max_keypoints:
            return None
        if not gtsam_is_installed():
            _LOG.warning("GTSAM is not installed (pip install gtsam, Python 3.11 or later): keyframes are not adjusted")
            return None
        return Adjuster()

    @classmethod
    def load(cls, checkpoint: str = "sab3r_small", **settings) -> "Mapper":
        """A mapper with the weights of a path, a known name or a hub name; see `sab3r models`.

        settings: dotted names with `__` for the dot, such as map__voxel_size=0.02. Raises ValueError for weights or settings
        that cannot be used.
        """
        dotted = {name.replace("__", "."): value for name, value in settings.items()}
        return cls(settings_from_dotted({"model.checkpoint": checkpoint, **dotted}))

    def empty_state(self) -> MapState:
        """The state of a map of nothing."""
        scene = SceneMap(self.settings.map, self.backend.feature_dim, self.geometry.device)
        window = self.settings.window
        return MapState(KeyframeGraph(max(window.kept_keyframes, window.size)), scene)

    def replace_state(self, state: MapState) -> None:
        """Put another map in the place of the present one."""
        with self.lock:
            self.state = state
            self.revision += 1
            self.adjusted = None

    def reset(self) -> None:
        """Forget the map, the keyframes and the trajectory."""
        self.replace_state(self.empty_state())

    def relocalise(self) -> None:
        """Keep the map, but look for the camera anew (after a cut in the stream)."""
        with self.lock:
            self.state.look_for_camera()

    def register(self, frame: Frame) -> FrameResult:
        """Track one frame and, when it becomes a keyframe, fuse it.

        Raises BadFrame for an image that cannot be used; the map is then untouched.
        """
        started = self.start(frame)
        return self.look(started) if started.result is None else started.result

    def start(self, frame: Frame, live: bool = False) -> StartedFrame:
        """The part of `register` before the network: check a frame and, where that is enough, place it by its keypoints.

        live: `look` runs in another thread, on frames that came before. Then keypoints place what they can, and a frame that they
        have placed may need the network too. Raises BadFrame for an image that cannot be used.
        """
        with self.lock:
            state = self.state
        checked, restarted = self._check(frame, state.last_stamp)
        if restarted:
            self.relocalise()
        started = StartedFrame(frame, checked, self.encode.prepare(checked), state, next(self._numbers))
        if not self._placing.is_due(state, live):
            if live and self._placing.beside_gpu:
                return replace(started, keypoints=self.encode.keypoints(checked, started.prepared))
            return started
        with self.lock:
            candidates, matched_at = self._nearest(state), (len(state.graph), self.revision)
            predicted = self._by_odometry(state, frame)
        matched = self._placing.match(started, candidates, live)
        if matched is None:
            return started
        started = replace(started, keypoints=matched[0], matches=matched[1], matched_at=matched_at)
        window = candidates[: self.settings.window.size]
        estimate = self._placing.pose(matched[1], window, state, predicted, live)
        if estimate is None:
            return started
        return self._add_placed(started, steadied(estimate, predicted, matched[0], window, 1.0, True), window)

    def _add_placed(self, started: StartedFrame, estimate: PoseEstimate, window: list[Keyframe]) -> StartedFrame:
        """Add a frame that keypoints alone have placed to the trajectory."""
        state = started.state
        with self.lock:
            if self.state is not state:
                return replace(
                    started, result=_result(started, estimate, Tracking.LOST, _REPLACED), needs_network=False
                )
            state.count(started.frame.stamp)
            estimate = state.follow(estimate, window)
            state.track(started, estimate, window, None, self.settings.window.size, self.adjusts)
            result = _result(started, estimate, state.tracking, "")
            return replace(started, result=result, needs_network=self._placing.needs_network(estimate, state.unseen))

    def look(self, started: StartedFrame) -> FrameResult:
        """The part of `register` in which the network sees a frame: track it and, when it becomes a keyframe, fuse it."""
        state, placed = started.state, started.result
        with self.lock:
            predicted = self._by_odometry(state, started.frame)
            lost = state.tracking == Tracking.LOST and predicted is None
            unchanged = started.matched_at == (len(state.graph), self.revision)
        encoded = self.encode(started.checked, started.prepared, started.keypoints)
        candidates = self._candidates(state, encoded.descriptor if lost else None)
        estimate, prediction = self._track(
            encoded, candidates, self.first_pose, state.focals, state.expected_scale, state.lens,
            started.matches if unchanged else None,
        )  # fmt: skip
        window, believed = candidates[: self.settings.window.size], self._track.agrees(estimate, candidates)
        estimate = steadied(estimate, predicted, encoded.keypoints, window, state.expected_scale, believed)
        wanted = self._track.wants_keyframe(estimate, candidates)
        if wanted and candidates and (known := self._recogniser.known_view(state, encoded, estimate)) is not None:
            (estimate, candidates), wanted = known, False
        with self.lock:
            if self.state is not state:
                return _result(started, estimate, Tracking.LOST, _REPLACED)
            if placed is None:
                state.count(started.frame.stamp)
            message = self._recogniser.doubt(estimate, encoded, candidates, lost, state.last_pose)
            if message and placed is not None:  # where it is, its keypoints told
                return replace(placed, message=_DISAGREE)
            if message:
                state.tracking = Tracking.LOST
                return _result(started, estimate, state.tracking, message)
            state.tracking = Tracking.OK
            estimate = state.follow(estimate, candidates)
            estimate, message = state.update_scale(estimate, encoded)
            message = message or state.check_camera() or (_BY_ODOMETRY if estimate.by_odometry else "")
            state.newest = (estimate, encoded)
            if encoded.intrinsics is not None and self.settings.tracking.use_intrinsics:
                state.believe_calibration(encoded.intrinsics)
            keyframe = state.insert(encoded, estimate) if wanted else None
            state.track(started, estimate, candidates, keyframe, self.settings.window.size, self.adjusts)
        if keyframe is None:
            return _result(started, estimate, Tracking.OK, message)
        features = self._features(encoded, prediction)  # frames may be placed by the new keyframe meanwhile
        with self.lock:
            if self.state is not state:
                return _result(started, estimate, Tracking.LOST, _REPLACED)
            now = state.graph[keyframe.id]
            state.scene.integrate(now, Observation(now.points, now.conf, now.image, features))
            odometry = started.frame.odometry
            if odometry is not None and self.settings.tracking.use_odometry:
                state.odometry.add(keyframe.id, odometry)
            if state.odometry.at or self.camera_height:
                message = message or measure_unit(self, state)
            if state.newest[1] is encoded:
                estimate = state.newest[0]  # where the map has it now
            if self._adjusting.acquire(blocking=False):  # an adjustment knows all keyframes that it began with
                self.revision += cull(state, self.settings.window.max_keyframes) > 0
                self._adjusting.release()
            return _result(started, estimate, state.tracking, message, keyframe)

    def _by_odometry(self, state: MapState, frame: Frame) -> torch.Tensor | None:
        """Where a frame's camera is by odometry (4,4); None where that is not known or not to be used. Under the lock."""
        if not self.settings.tracking.use_odometry:
            return None
        return state.reckoning.predict(state.last_pose, frame, state.odometry.metres)

    def _nearest(self, state: MapState, descriptor: torch.Tensor | None = None) -> list[Keyframe]:
        """Keyframes to compare a frame with, best first; descriptor: of a frame that may be anywhere. Under the lock."""
        near = None if descriptor is not None or state.near_newest else state.last_pose
        return state.graph.candidates(descriptor, near)

    def _candidates(self, state: MapState, descriptor: torch.Tensor | None) -> list[Keyframe]:
        """As `_nearest`; those of the window with their tokens."""
        with self.lock:
            found = self._nearest(state, descriptor)
        for k, keyframe in enumerate(found[: self.settings.window.size]):
            if keyframe.tokens is None:
                found[k] = self.encode.restore_keyframe(keyframe)
                with self.lock:  # the next frame, while the camera is lost, need not encode it again
                    state.graph.revive(found[k])
        return found

    def _features(self, frame: EncodedFrame, prediction: PairPrediction):
        """Features (h,w,C) of a new keyframe, None where the backend has none."""
        if self.backend.features is None:
            return None
        if not self.settings.map.superpixel_pooling:
            return self.backend.features.image_features(frame.image, prediction)
        segments = self._beside.submit(segment_superpixels, frame.image)
        features = self.backend.features.image_features(frame.image, prediction)
        return pool_over_superpixels(features, segments.result())

    def recognise(self, keyframe: Keyframe) -> PoseEstimate | None:
        """Where in the map a keyframe of another map would be; None where its place is not recognised."""
        keyframe = self.encode.restore_keyframe(keyframe)
        assert keyframe.tokens is not None
        size = keyframe.image.shape[1], keyframe.image.shape[0]
        return self._recogniser.place(self.state, EncodedFrame(
            image=keyframe.image, stamp=keyframe.stamp, framing=Framing(size, size, (0, 0), size), tokens=keyframe.tokens,
            descriptor=keyframe.descriptor, keypoints=keyframe.keypoints,
        ))  # fmt: skip

    def place_of(self, frame: Frame) -> PoseEstimate | None:
        """Where in the map an image was taken; None where its place is not recognised. The map stays as it is.

        Raises BadFrame for an image that cannot be used.
        """
        checked, _ = self._check(frame, None)
        return self._recogniser.place(self.state, self.encode(checked))

    def adjust(self, whole: bool = True, stop: threading.Event | None = None) -> AdjustmentReport | None:
        """Adjust keyframes, the frames between them and the focal length jointly over tracks of keypoints; voxels follow.

        whole: all keyframes, else the newest ones, which the older ones hold in place; stop: once it is set, the adjustment is
        given up and the map stays as it is. It may run beside `register`, in another thread. None where nothing was changed,
        also where GTSAM is not installed or no keypoints are used.
        """
        if self._adjuster is None:
            return None
        with self._adjusting:
            report = self._adjuster(self, whole, stop or threading.Event())
        if report is not None:
            self.adjusted = report
            with self.lock:
                measure_unit(self, self.state)
        return report

    def turn_upright(self) -> float:
        """Turn the map, once, so that what it shows to be up is its z axis; returns by how many degrees.

        0.0 where it is upright already, where nothing shows which way is up, and where that was known from the start.
        """
        return settling.turn_upright(self)

    def tell_up(self, up: np.ndarray, by: str) -> float:
        """Turn the map so that `up` (3,), a unit vector in it, is its z axis; returns by how many degrees. by: who tells it, for the log.

        Once it is upright, whoever told that, it stays, and 0.0 is returned.
        """
        with self.lock:
            state = self.state
        return 0.0 if self.up_is_known or state.upright else settling.turn(self, state, up, by)

    def settle(self, stop: threading.Event | None = None) -> AdjustmentReport | None:
        """What is done at the end of a recording and when the camera rests: `adjust` all keyframes, `turn_upright`, `clear_free_space`,
        `straighten_walls`.

        Returns what the adjustment did; stop: as there.
        """
        report = self.adjust(stop=stop)
        steps = (self.turn_upright, self._take_height, lambda: self.clear_free_space(stop), self.straighten_walls)
        for step in steps:
            if stop is None or not stop.is_set():
                step()
        return report

    def _take_height(self) -> None:
        """Take the unit from the camera's height, once up is known."""
        with self.lock:
            if self.camera_height:
                measure_unit(self, self.state)

    def straighten_walls(self) -> int:
        """Bring what looks like walls, floors and ceilings onto planes; returns how many planes there are.

        Only in a map that is upright, and whose features know words; see `mapping.planes`. What comes later is not on them
        until this is called again.
        """
        return settling.straighten_walls(self, self._straightener)

    def clear_free_space(self, stop: threading.Event | None = None) -> int:
        """Take voxels out that keyframes see through (`map.clear_free_space`); returns how many. See `mapping.free_space`.

        stop: once it is set, the map stays as it is.
        """
        return settling.clear_free_space(self, stop)

    def move_voxels(self, state: MapState) -> None:
        """Let voxels follow keyframes that moved, in portions between which a frame may pass."""
        with self.lock:
            lagging = state.lagging()
            self.revision += self.state is state  # poses moved, also where no voxels follow
        settling.in_portions(self, state, lagging, state.move_voxels)

    @property
    def adjusts(self) -> bool:
        """Whether keyframes can be adjusted: it is wanted, keypoints are used, and GTSAM is installed."""
        return self._adjuster is not None

    def stop_adjusting(self) -> None:
        """End the solution that an adjustment waits for in another thread; whether it begins another one, its `stop` says."""
        if self._adjuster is not None:
            self._adjuster.close()

    def wants_adjustment(self) -> bool:
        """Whether enough keyframes are new for those of the window to be adjusted."""
        settings = self.settings.adjustment
        with self.lock:
            new = len(self.state.graph) - self.state.adjusted_keyframes
            due = self._adjuster is not None and settings.every > 0 and new >= settings.every
            if due:
                self.state.adjusted_keyframes = len(self.state.graph)
        return due

    def wants_settling(self, first: int) -> bool:
        """Whether so many keyframes are new since `settle` that it should be done again though the camera does not rest.

        first: keyframes after which it is done for the first time, and between two times at least.
        """
        growth = self.settings.adjustment.growth
        with self.lock:
            made = self.state.graph.next_id
            new = made - min(self.state.settled_at, made)
            due = self._adjuster is not None and growth > 0 and new >= max(first, growth * len(self.state.graph))
            if due:
                self.state.settled_at = made
        return due

    def snapshot(
        self, region: Region | None = None, columns: tuple[str, ...] = COLUMNS, max_points: int = 0
    ) -> MapSnapshot:
        """A consistent copy of voxels on the CPU; see `SceneMap.snapshot`."""
        with self.lock:
            return self.state.scene.snapshot(region, columns, max_points)

    def status(self) -> MapperStatus:
        """Counts and states that belong together."""
        with self.lock:
            state, scene = self.state, self.state.scene
            return MapperStatus(
                state.tracking, state.scale, self.revision, state.frames, len(state.graph), len(scene), scene.grid.rejected,
                scene.full, scene.megabytes(), (scene.grid.uid, scene.grid.version), self.up_is_known or state.upright,
                state.certainty.now,
            )  # fmt: skip

    @property
    def trajectory(self) -> list[tuple[int, np.ndarray]]:
        """Stamp (ns) and rigid pose (4,4), camera to map, of every tracked frame."""
        with self.lock:
            return self.state.graph.trajectory

    @property
    def newest_stamp(self) -> int:
        """Stamp (ns) of the newest tracked frame; 0 before the first one."""
        with self.lock:
            newest = self.state.newest
        return newest[1].stamp if newest is not None else 0

    def newest_cloud(self) -> tuple[Cloud, int] | None:
        """Points of the newest tracked frame in the map's frame, and its stamp; None before the first one."""
        with self.lock:
            newest = self.state.newest
        if newest is None:
            return None
        estimate, frame = newest
        cfg = self.settings.map
        keep = surface_mask(estimate.points, estimate.conf, cfg.min_confidence, 0.0, cfg.edge_ratio, cfg.max_range)
        xyz = transform_points(estimate.pose.to(estimate.points), estimate.points[keep])
        cloud = Cloud(xyz.float().cpu().numpy(), frame.image[keep.cpu().numpy()], estimate.conf[keep].cpu().numpy())
        return cloud, frame.stamp


def _result(
    started: StartedFrame, estimate: PoseEstimate, tracking: Tracking, message: str, keyframe: Keyframe | None = None
) -> FrameResult:
    lost = FrameResult(
        stamp=started.frame.stamp, tracking=tracking, pose=None,
        inliers=estimate.inliers, overlap=max(estimate.overlap), focal=estimate.focal,
        inference_ms=(time.perf_counter() - started.began) * 1e3, message=message,
        keyframe=None if keyframe is None else keyframe.id, estimate=estimate,
    )  # fmt: skip
    if tracking != Tracking.OK:
        return lost
    sure = started.state.certainty.now
    message = message or (_GUESSED if sure.is_guess else "")
    return replace(
        lost, pose=estimate.rigid_pose, message=message, position_std=sure.position, orientation_std=sure.orientation
    )
