"""The mapper's step before the network: frames that their keypoints alone place, and which of them the network must see."""

import time
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from sab3r_ros.config import Settings
from sab3r_ros.geometry.projection import pinhole
from sab3r_ros.mapping.frame_encoder import FrameEncoder
from sab3r_ros.mapping.keypoint_tracker import pose_by_keypoints
from sab3r_ros.mapping.keypoints import Keypoints
from sab3r_ros.mapping.match_refinement import KeypointMatches
from sab3r_ros.mapping.state import MapState
from sab3r_ros.mapping.tracker import Tracker
from sab3r_ros.types import Frame, FrameResult, Keyframe, PoseEstimate, PreparedFrame, Tracking

_MOST_UNSEEN = 10  # frames in a row that keypoints alone place: things that come or go are seen by the network
_MARGIN = 0.01  # of overlap above that of a new keyframe: what is near it, the network looks at
_TELL_FOCAL = 5  # frames whose pointmaps tell a focal length that poses may be taken from
_HOPELESS = 3  # frames in a row that keypoints do not place: from then on not every one is tried (live)
_AGAIN = 3  # every third one then
_LEAST_LIVE_OVERLAP = 0.4  # with keyframes, of a frame that is placed while the network works on another one


@dataclass(frozen=True)
class StartedFrame:
    """A frame that was checked and prepared, and as far as they were made its keypoints and their matches.

    number: of the frame, in the order they came; state: the map it came to; result: what became of it, None where keypoints do
    not place it; needs_network: whether the network must see it; matched_at: the map's keyframes and revision when its keypoints
    were matched.
    """

    frame: Frame
    checked: Frame
    prepared: PreparedFrame
    state: MapState
    number: int
    began: float = field(default_factory=time.perf_counter)
    keypoints: Keypoints | None = None
    matches: KeypointMatches | None = None
    matched_at: tuple[int, int] = (0, 0)
    result: FrameResult | None = None
    needs_network: bool = True


class KeypointPlacing:
    """Places frames by their keypoints, where the settings want it and the map knows the camera."""

    def __init__(self, settings: Settings, encode: FrameEncoder, track: Tracker, device: str):
        self._settings, self._encode, self._track = settings, encode, track
        network = settings.tracking.network
        # There the network is faster than the keypoints of its images: they are found while it looks at the image before.
        self.beside_gpu = device.startswith("cuda")
        self._wanted = bool(settings.tracking.max_keypoints) and (
            network == "needed" or (network == "auto" and not self.beside_gpu)
        )
        self._failed = self._waited = 0

    def is_due(self, state: MapState, live: bool) -> bool:
        """Whether keypoints may place the next frame; live: while the network works on others, which then need not see it first."""
        if not self._wanted or state.tracking != Tracking.OK or state.last_pose is None or state.loaded_focal:
            return False
        if live:
            self._waited += 1
            return self._failed < _HOPELESS or self._waited % _AGAIN == 0
        return state.unseen < _MOST_UNSEEN and state.next_overlap >= self._settings.window.keyframe_overlap

    def match(
        self, started: StartedFrame, candidates: list[Keyframe], live: bool
    ) -> tuple[Keypoints, KeypointMatches] | None:
        """A frame's keypoints and their matches with keyframes; None where the focal length is not known, or none are found."""
        intrinsics = self._track.known_intrinsics(started.prepared, started.state.lens)
        told = started.state.focals
        if intrinsics is None and live and len(told) >= _TELL_FOCAL:
            intrinsics = pinhole(float(np.median(told)), *started.prepared.framing.cropped)
        if intrinsics is None or not candidates or candidates[0].image.shape != started.prepared.image.shape:
            return None
        keypoints = self._encode.keypoints(started.checked, started.prepared)
        return (
            None if keypoints is None else (keypoints, self._track.match_keypoints(keypoints, candidates, intrinsics))
        )

    def pose(
        self, matches: KeypointMatches, window: list[Keyframe], state: MapState, predicted: Tensor | None, live: bool
    ) -> PoseEstimate | None:
        """The pose of a frame with these matches, None where they do not tell one for sure; predicted (4,4): where odometry has it."""
        least = _LEAST_LIVE_OVERLAP if live else self._settings.window.keyframe_overlap + _MARGIN
        near = state.last_pose if predicted is None else predicted
        found = None if near is None else pose_by_keypoints(matches, window, near, least)
        self._failed = 0 if found is not None else self._failed + 1
        return found

    def needs_network(self, estimate: PoseEstimate, unseen: int) -> bool:
        """Whether the network must see a frame that was placed: it may become a keyframe, or none was seen for long."""
        return unseen >= _MOST_UNSEEN or max(estimate.overlap) < self._settings.window.keyframe_overlap + _MARGIN
