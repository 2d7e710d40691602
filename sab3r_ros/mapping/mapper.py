"""The mapper: frames in, a semantic voxel map out."""

import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import Settings
from sab3r_ros.geometry.pointmaps import focal_from_pointmap
from sab3r_ros.geometry.projection import known_rays, pinhole
from sab3r_ros.geometry.sim3 import rigid_part, split_sim3, transform_points
from sab3r_ros.mapping.feature_codec import FeatureCodec
from sab3r_ros.mapping.frames import BadFrame, Cloud, Frame, FrameResult, Keyframe, ScaleSource, Tracking, View
from sab3r_ros.mapping.keypoints import detect_keypoints, match_keypoints
from sab3r_ros.mapping.match_refinement import KeypointMatches
from sab3r_ros.mapping.perception import Comparison, Perception
from sab3r_ros.mapping.segments import averaged_over_pieces, cut_into_pieces
from sab3r_ros.mapping.tracking import FOCAL_BOUNDS, Alignment, align_to_window, with_measured_scale
from sab3r_ros.mapping.voxel_map import VoxelMap, surface_mask

# Optical axes (x right, y down, z forward) seen from a level z-up frame (x forward, y left, z up): REP-103.
LEVEL_FROM_OPTICAL = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@dataclass
class Scale:
    """Where the map's unit comes from and its relative standard deviation (nan while unknown)."""

    source: ScaleSource = ScaleSource.UNKNOWN
    stddev: float = float("nan")


class SemanticMapper:
    """Tracks a camera and fuses what it sees.

    One thread may call `register_frame` while others query, save or reset: the map is only touched under `lock`,
    never while the network runs. `revision` grows whenever geometry changes other than by adding to it.
    """

    def __init__(self, settings: Settings | None = None, perception: Perception | None = None):
        self.settings = settings or Settings()
        self.perception = perception or Perception(self.settings.model)
        self.lock = threading.RLock()
        self.first_pose = self._level_pose()
        self.revision = 0
        self.frames = 0
        self._clear()

    def _level_pose(self) -> np.ndarray:
        """The first camera's pose (4,4) from the configured pitch and roll."""
        pitch, roll = self.settings.map.first_pitch, self.settings.map.first_roll
        about_y = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]])
        pose = LEVEL_FROM_OPTICAL.copy()
        pose[:3, :3] = about_y @ about_x @ pose[:3, :3]
        return pose

    def _clear(self) -> None:
        cfg, device = self.settings.map, self.perception.device
        width = self.perception.feature_dim
        self.codec = FeatureCodec(width, cfg.feature_dim, device)
        self.voxels = VoxelMap(cfg.voxel_size, self.codec.rank, cfg.max_voxels, device)
        self.keyframes: deque[Keyframe] = deque(maxlen=self.settings.window.kept_keyframes)
        self.num_keyframes = 0
        self.trajectory: list[tuple[int, np.ndarray]] = []
        self.tracking = Tracking.IDLE
        self.scale = Scale()
        self._scale_ratios: deque[float] = deque(maxlen=50)
        self._focals: deque[float] = deque(maxlen=50)
        self._newest: tuple[Alignment, View] | None = None
        self._last_stamp: int | None = None

    def reset(self) -> None:
        """Forget the map, the keyframes and the trajectory."""
        with self.lock:
            self._clear()
            self.revision += 1

    def relocalise(self) -> None:
        """Keep the map, but look for the camera's place anew (after a cut in the stream)."""
        with self.lock:
            self._last_stamp = None
            if self.keyframes:
                self.tracking = Tracking.LOST

    def register_frame(self, frame: Frame) -> FrameResult:
        """Track one frame and, when it is a keyframe, fuse it.

        Raises BadFrame for a picture that cannot be used; the map is then untouched.
        """
        started = time.perf_counter()
        self._check(frame)
        revision = self.revision
        view = self.perception.prepare(frame)
        track = self.settings.tracking
        if track.keypoints:
            view.keypoints = detect_keypoints(frame.rgb, view.framing, track.keypoints)
        tokens = self.perception.encode(view.rgb)
        looks = signature(tokens.tokens)
        candidates = self._candidates(looks)
        references = candidates[: self.settings.window.size]
        compared = [k.tokens for k in references] or [tokens]
        step = track.match_step if references and track.matching else 0
        comparison = self.perception.compare(
            tokens, compared, self.settings.window.symmetric and bool(references), step
        )
        self._focals.append(focal_from_pointmap(comparison.own[0], clip=FOCAL_BOUNDS))
        alignment = self._align(comparison, references, view, self._match_keypoints(view, candidates))
        feature = self._features(comparison, view) if self._is_keyframe(alignment, references) else None
        with self.lock:
            if self.revision != revision:  # the map was reset or replaced while the network ran
                return self._result(
                    frame, alignment, False, started, "the map was replaced while this frame was processed"
                )
            return self._commit(frame, view, tokens, looks, feature, references, alignment, started)

    def _check(self, frame: Frame) -> None:
        rgb = frame.rgb
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
            raise BadFrame(f"a frame must be a (H,W,3) uint8 picture, got {rgb.dtype} {rgb.shape}")
        contrast = float(rgb[:: max(1, rgb.shape[0] // 64), :: max(1, rgb.shape[1] // 64)].mean(-1).std())
        if contrast < self.settings.tracking.min_contrast:
            raise BadFrame(
                f"the picture is black or constant (grey values deviate by {contrast:.1f}): is the lens covered?"
            )
        if self._last_stamp is not None and frame.stamp <= self._last_stamp:
            back = (self._last_stamp - frame.stamp) / 1e9
            if back <= self.settings.tracking.max_disorder:
                raise BadFrame(
                    f"the picture's stamp is {back:.3f} s behind the newest one; pictures must come in order"
                )
            self.relocalise()

    def _candidates(self, looks: Tensor) -> list[Keyframe]:
        """The keyframes to compare with, best first: the newest; when lost, those that look most alike. All of one picture size."""
        with self.lock:
            kept = list(self.keyframes)
        if not kept:
            return []
        if self.tracking == Tracking.LOST:
            alike = torch.stack([k.signature for k in kept]) @ looks
            kept = [kept[i] for i in alike.argsort(descending=True).tolist()]
        else:
            kept.reverse()
        return [k for k in kept if k.points.shape == kept[0].points.shape]

    def _match_keypoints(self, view: View, candidates: list[Keyframe]) -> KeypointMatches | None:
        """Matches of a view's keypoints with those of the first candidates; None where it has none or there is nothing to match."""
        if view.keypoints is None or not candidates:
            return None
        intrinsics = view.intrinsics if self.settings.tracking.use_intrinsics else None
        if intrinsics is None:
            intrinsics = pinhole(float(np.median(self._focals)), *view.framing.cropped)
        keyframes, matches = [], []
        for keyframe in candidates[: self.settings.tracking.keypoint_views]:
            if keyframe.keypoints is not None:
                keyframes.append(keyframe)
                matches.append(match_keypoints(view.keypoints, keyframe.keypoints))
        return KeypointMatches(view.keypoints, keyframes, matches, intrinsics)

    def _align(
        self, comparison: Comparison, references: list[Keyframe], view: View, keypoints: KeypointMatches | None
    ) -> Alignment:
        if references:
            alignment = align_to_window(
                comparison, references, self.settings.tracking, self._expected_scale(), keypoints
            )
        else:
            pose = torch.from_numpy(self.first_pose).to(comparison.own.device)
            alignment = Alignment(pose, 1.0, [0.0], comparison.own[0], comparison.own_conf[0], self._focals[-1])
        if view.intrinsics is not None and self.settings.tracking.use_intrinsics:
            rays = torch.from_numpy(known_rays(alignment.points.shape[:2], view.intrinsics)).to(alignment.points)
            alignment.points = rays * alignment.points[..., 2:]
            alignment.focal = float(view.intrinsics[0, 0])
        return alignment

    def _is_keyframe(self, alignment: Alignment, references: list[Keyframe]) -> bool:
        found = not references or alignment.inliers >= self.settings.tracking.min_inliers
        return found and max(alignment.overlap) < self.settings.window.keyframe_overlap

    def _features(self, comparison: Comparison, view: View) -> Tensor | None:
        """The features (h,w,C) of a new keyframe, None where the network has none."""
        feature = comparison.features()
        if feature is None or not self.settings.map.feature_pieces:
            return feature
        return averaged_over_pieces(feature, cut_into_pieces(view.rgb))

    def _commit(self, frame, view, tokens, looks, feature, references, alignment, started) -> FrameResult:
        self._last_stamp = frame.stamp
        self.frames += 1
        if references and alignment.inliers < self.settings.tracking.min_inliers:
            self.tracking = Tracking.LOST
            message = (
                f"tracking lost: {alignment.inliers:.2f} of the confidence agrees; move back to a place seen before"
            )
            return self._result(frame, alignment, False, started, message)
        self.tracking = Tracking.OK
        message = self._fix_scale(alignment, view)
        self._newest = (alignment, view)
        self.trajectory.append((frame.stamp, rigid_part(alignment.pose).cpu().numpy()))
        is_keyframe = self._is_keyframe(alignment, references)
        if is_keyframe:
            keyframe = Keyframe(
                tokens, alignment.points, alignment.conf, alignment.pose, frame.stamp, looks, view.rgb, view.keypoints
            )
            self.keyframes.append(keyframe)
            self.num_keyframes += 1
            self._fuse(keyframe, feature)
        return self._result(frame, alignment, is_keyframe, started, message)

    def _expected_scale(self) -> float:
        """The map's unit over the network's own: one, unless depth has measured it."""
        return float(np.median(self._scale_ratios)) if self.scale.source == ScaleSource.MEASURED else 1.0

    def _fix_scale(self, alignment: Alignment, view: View) -> str:
        """Take the scale from depth where there is one, else keep account of the network's own."""
        if view.depth is not None:
            measured = with_measured_scale(
                alignment.pose, alignment.points, torch.from_numpy(view.depth).to(alignment.points)
            )
            if measured is not None:
                alignment.pose, spread = measured
                if self.scale.source != ScaleSource.MEASURED:
                    self._scale_ratios.clear()
                self._scale_ratios.append(float(split_sim3(alignment.pose)[0]))
                self.scale = Scale(ScaleSource.MEASURED, max(spread, 0.005))
                return ""
        if self.scale.source != ScaleSource.MEASURED:
            self._scale_ratios.append(alignment.own_scale)
            spread = float(np.std(np.log(self._scale_ratios))) if len(self._scale_ratios) > 2 else 0.3
            self.scale = Scale(ScaleSource.PREDICTED, max(spread, 0.05))
        return "the depth image has fewer than 50 usable pixels" if view.depth is not None else ""

    def _fuse(self, keyframe: Keyframe, feature: Tensor | None) -> None:
        cfg = self.settings.map
        keep = surface_mask(
            keyframe.points, keyframe.conf, cfg.min_confidence, cfg.drop_lowest, cfg.edge_ratio, cfg.max_range
        )
        if not keep.any():
            return
        codes = None
        if feature is not None:
            unit = torch.nn.functional.normalize(feature[keep].float(), dim=-1)
            self.codec.observe(unit)
            codes = self.codec.encode(unit)
        xyz = transform_points(keyframe.pose.to(keyframe.points), keyframe.points[keep])
        rgb = torch.from_numpy(np.ascontiguousarray(keyframe.rgb)).to(xyz.device)[keep].float()
        self.voxels.integrate(xyz, rgb, keyframe.conf[keep] - 1, codes, keyframe.stamp)

    def _result(self, frame, alignment, is_keyframe, started, message) -> FrameResult:
        lost = self.tracking != Tracking.OK
        scale = float(split_sim3(alignment.pose)[0])
        return FrameResult(
            stamp=frame.stamp, tracking=self.tracking, pose=None if lost else rigid_part(alignment.pose).cpu().numpy(),
            is_keyframe=is_keyframe, inliers=alignment.inliers, overlap=max(alignment.overlap), focal=alignment.focal,
            inference_ms=(time.perf_counter() - started) * 1e3, message=message,
            depth=(alignment.points[..., 2] * scale).float().cpu().numpy(),
        )  # fmt: skip

    def window_cloud(self) -> tuple[Cloud, int] | None:
        """Points of the newest tracked frame in the map's frame, and its stamp; None before the first one."""
        with self.lock:
            newest = self._newest
        if newest is None:
            return None
        alignment, view = newest
        cfg = self.settings.map
        keep = surface_mask(alignment.points, alignment.conf, cfg.min_confidence, 0.0, cfg.edge_ratio, cfg.max_range)
        xyz = transform_points(alignment.pose.to(alignment.points), alignment.points[keep])
        return Cloud(
            xyz.float().cpu().numpy(), view.rgb[keep.cpu().numpy()], alignment.conf[keep].cpu().numpy()
        ), view.stamp

    def snapshot(self) -> dict[str, Tensor]:
        """A consistent copy of the voxels' fields on the CPU, with the codec's `basis` (r,C)."""
        with self.lock:
            state = self.voxels.state()
            state["basis"] = self.codec.basis.cpu().clone()
        return state

    def adopt(self, voxels: VoxelMap, codec: FeatureCodec, keyframes: list[Keyframe], trajectory, scale: Scale) -> None:
        """Replace the whole state, as after loading a map; the camera's place must then be found again."""
        with self.lock:
            self._clear()
            self.voxels, self.codec, self.trajectory, self.scale = voxels, codec, list(trajectory), scale
            self.keyframes.extend(keyframes)
            self.num_keyframes = len(keyframes)
            self.tracking = Tracking.LOST if keyframes else Tracking.IDLE
            self.revision += 1


def signature(tokens: Tensor) -> Tensor:
    """A unit vector (C,) that says what a view looks like: the mean of its tokens (1,N,C)."""
    return torch.nn.functional.normalize(tokens[0].float().mean(0), dim=0)


def level_first_pose(rotation: np.ndarray) -> np.ndarray:
    """A first pose (4,4) from the camera's orientation (3,3) in a z-up frame, such as TF gives it."""
    pose = np.eye(4)
    pose[:3, :3] = rotation
    return pose
