"""The mapper's step `encode`: a frame as the network sees it, encoded once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import TrackingSettings
from sab3r_ros.mapping.keypoints import Keypoints, detect_keypoints
from sab3r_ros.models.base import GeometryModel
from sab3r_ros.models.preprocess import Framing, framing_for, resize_and_crop
from sab3r_ros.types import BadFrame, EncodedFrame, Frame, Keyframe, PreparedFrame


class FrameEncoder:
    """Resizes, encodes and detects keypoints."""

    def __init__(self, geometry: GeometryModel, settings: TrackingSettings):
        self._geometry, self._settings = geometry, settings
        self._beside = ThreadPoolExecutor(1, "keypoints")  # OpenCV works while the network does

    def prepare(self, frame: Frame) -> PreparedFrame:
        """Bring a rectified frame to the network's size. Raises BadFrame for an image that is too narrow."""
        try:
            plan = framing_for(self._geometry, frame.rgb)
        except ValueError as error:
            raise BadFrame(str(error)) from error
        depth = None
        if frame.depth is not None:
            depth = plan.apply_nearest(np.ascontiguousarray(frame.depth, np.float32))
        intrinsics = None if frame.camera is None else plan.intrinsics(frame.camera.intrinsics)
        image = resize_and_crop(frame.rgb, plan)
        return PreparedFrame(image=image, stamp=frame.stamp, framing=plan, depth=depth, intrinsics=intrinsics)

    def keypoints(self, frame: Frame, prepared: PreparedFrame) -> Keypoints | None:
        """Keypoints of the camera's own image; None where none are used."""
        return self._keypoints(frame.rgb, prepared.framing)

    def __call__(
        self, frame: Frame, prepared: PreparedFrame | None = None, keypoints: Keypoints | None = None
    ) -> EncodedFrame:
        """Encode a rectified frame; prepared, keypoints: where these were made before. Raises BadFrame as `prepare` does."""
        prepared = prepared or self.prepare(frame)
        waiting = None if keypoints else self._beside.submit(self.keypoints, frame, prepared)
        tokens = self._geometry.encode(prepared.image)
        return EncodedFrame(
            **vars(prepared), tokens=tokens, descriptor=global_descriptor(tokens.tokens),
            keypoints=keypoints if waiting is None else waiting.result(),
        )  # fmt: skip

    def _keypoints(self, rgb: np.ndarray, plan: Framing) -> Keypoints | None:
        limit = self._settings.max_keypoints
        return detect_keypoints(rgb, plan, limit) if limit else None

    def restore_keyframe(self, keyframe: Keyframe) -> Keyframe:
        """A keyframe with tokens, descriptor and keypoints, encoded again from its image where it has none.

        One of a model with another image size is brought to this one's.
        """
        if keyframe.tokens is not None:
            return keyframe
        plan = framing_for(self._geometry, keyframe.image)
        if plan.size != plan.cropped:
            points = [plan.apply_nearest(p) for p in keyframe.points.float().cpu().numpy().transpose(2, 0, 1).copy()]
            conf = plan.apply_nearest(keyframe.conf.float().cpu().numpy())
            keyframe = replace(
                keyframe, image=resize_and_crop(keyframe.image, plan), points=torch.from_numpy(np.stack(points, -1)),
                conf=torch.from_numpy(conf), keypoints=None,
            )  # fmt: skip
        tokens = self._geometry.encode(keyframe.image)
        size = keyframe.image.shape[1], keyframe.image.shape[0]
        keypoints = keyframe.keypoints or self._keypoints(keyframe.image, Framing(size, size, (0, 0), size))
        device = tokens.tokens.device
        return replace(
            keyframe, tokens=tokens, descriptor=global_descriptor(tokens.tokens), keypoints=keypoints,
            points=keyframe.points.float().to(device), conf=keyframe.conf.float().to(device), pose=keyframe.pose.to(device),
        )  # fmt: skip


def global_descriptor(tokens: Tensor) -> Tensor:
    """A unit vector (C,) that stands for a whole view: the mean of its tokens (1,N,C)."""
    return torch.nn.functional.normalize(tokens[0].float().mean(0), dim=0)
