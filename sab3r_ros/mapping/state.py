"""Everything that a mapper knows of one map: replaced as a whole by a reset or a load, so that no frame sees half of it."""

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from sab3r_ros.geometry.sim3 import split_sim3
from sab3r_ros.mapping.graph import KeyframeGraph
from sab3r_ros.mapping.scene import SceneMap
from sab3r_ros.mapping.tracker import with_measured_scale
from sab3r_ros.types import EncodedFrame, Keyframe, PoseEstimate, Scale, ScaleSource, Tracking

_DOUBTFUL_SCALE = 2.0  # factor between measured depth and the network's metres beyond which one of them is wrong
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
    _scale_ratios: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))

    @property
    def expected_scale(self) -> float:
        """The map's unit over the network's own: one, unless depth has measured it."""
        return float(np.median(self._scale_ratios)) if self.scale.source == ScaleSource.MEASURED else 1.0

    def look_for_camera(self) -> None:
        """Keep the map, but find the camera anew."""
        self.last_stamp = None
        if len(self.graph):
            self.tracking = Tracking.LOST

    def update_scale(self, estimate: PoseEstimate, frame: EncodedFrame) -> tuple[PoseEstimate, str]:
        """The estimate with its scale from depth where there is some, and a note where that is not usable."""
        if frame.depth is not None:
            depth = torch.from_numpy(frame.depth).to(estimate.points)
            measured = with_measured_scale(estimate.pose, estimate.points, depth)
            if measured is not None:
                pose, sigma = measured
                if self.scale.source != ScaleSource.MEASURED:
                    self._scale_ratios.clear()
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

    def insert(self, frame: EncodedFrame, estimate: PoseEstimate) -> Keyframe:
        """Make a keyframe of a tracked frame and add it, with its matches as edges, to the graph."""
        keyframe = Keyframe(
            self.graph.next_id, frame.stamp, estimate.pose, estimate.points, estimate.conf, frame.image, frame.descriptor,
            frame.keypoints, frame.tokens,
        )  # fmt: skip
        self.graph.add(keyframe, estimate.edges)
        return keyframe
