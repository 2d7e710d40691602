"""Where a frame is in a map, beside the keyframes that know the place, and why a pose is not to be believed."""

from contextlib import AbstractContextManager

import numpy as np
from torch import Tensor

from sab3r_ros.config import Settings
from sab3r_ros.mapping.frame_encoder import FrameEncoder
from sab3r_ros.mapping.recognition import is_blank, is_near, shares_a_place
from sab3r_ros.mapping.state import MapState
from sab3r_ros.mapping.tracker import Tracker
from sab3r_ros.types import EncodedFrame, Keyframe, PoseEstimate

_NEWEST = 10  # keyframes beside which a camera is tracked; older ones know whether it came back
_SURELY = 40  # keypoints in common with one of them


class Recogniser:
    """Looks for frames in a map with the mapper's encoder and tracker; the map itself stays as it is."""

    def __init__(self, settings: Settings, encode: FrameEncoder, track: Tracker, lock: AbstractContextManager):
        self._settings, self._encode, self._track, self._lock = settings, encode, track, lock

    def doubt(
        self, estimate: PoseEstimate, frame: EncodedFrame, candidates: list[Keyframe], lost: bool, last: Tensor | None
    ) -> str:
        """Why a pose is not to be believed, "" where it is; last: the camera's pose before it was lost, where that is known."""
        if estimate.by_odometry:
            return ""
        if not self._track.agrees(estimate, candidates):
            return f"tracking lost: {estimate.inliers:.2f} of the confidence agrees; move back to a place seen before"
        if candidates and is_blank(frame.keypoints, estimate):
            return "tracking lost: the image shows nothing to go by; move back to a place seen before"
        if not lost or (last is not None and is_near(estimate.pose, last)):
            return ""
        if shares_a_place(frame.keypoints, candidates[: self._settings.window.size]):
            return ""
        return "tracking lost: the place is not recognised for sure; move back to a place seen before"

    def place(self, state: MapState, frame: EncodedFrame) -> PoseEstimate | None:
        """A frame's place against the keyframes that look most like it; None where it is not recognised."""
        with self._lock:
            candidates = state.graph.candidates(frame.descriptor)[: self._settings.window.size]
        candidates = [k for k in candidates if k.points.shape[:2] == frame.image.shape[:2]]
        if not candidates:
            return None
        estimate, candidates = self._beside(state, frame, candidates)
        return None if self.doubt(estimate, frame, candidates, True, None) else estimate

    def known_view(
        self, state: MapState, frame: EncodedFrame, estimate: PoseEstimate
    ) -> tuple[PoseEstimate, list[Keyframe]] | None:
        """A frame beside older keyframes, and these, where they have seen all that it shows; None where they have not.

        A camera that comes back is then where the map has that place, whatever it drifted by since, and adds nothing to it.
        """
        with self._lock:
            if not state.near_newest or frame.keypoints is None:
                return None
            near = state.graph.older_near(estimate.pose, _NEWEST)[: self._settings.window.size]
        if not near or not shares_a_place(frame.keypoints, near[:1], _SURELY):
            return None
        found, near = self._beside(state, frame, near)
        if not self._track.agrees(found, near) or self._track.wants_keyframe(found, near):
            return None
        return found, near

    def _beside(
        self, state: MapState, frame: EncodedFrame, keyframes: list[Keyframe]
    ) -> tuple[PoseEstimate, list[Keyframe]]:
        """A frame's pose beside keyframes, at least one, and these with their tokens."""
        with self._lock:
            focals, expected, lens = state.focals.copy(), state.expected_scale, state.lens
        keyframes = [self._encode.restore_keyframe(k) for k in keyframes]
        return self._track(frame, keyframes, np.eye(4), focals, expected, lens)[0], keyframes
