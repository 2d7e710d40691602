"""Lens distortion: images of calibrated cameras brought to the pinhole model."""

from dataclasses import replace

import cv2
import numpy as np

from sab3r_ros.types import DISTORTION_COEFFICIENTS, Camera, Frame


class Rectifier:
    """Removes lens distortion; the look-up tables of the last camera are kept."""

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._maps: tuple[np.ndarray, np.ndarray] | None = None
        self._intrinsics = np.eye(3)

    def __call__(self, frame: Frame) -> Frame:
        """A frame that obeys the pinhole model; frames without distortion are returned as they are.

        Raises ValueError for a distortion model that is not known, or coefficients that do not belong to it.
        """
        camera = frame.camera
        if camera is None or not camera.is_distorted:
            return frame
        height, width = frame.rgb.shape[:2]
        key = (width, height, camera.model, camera.distortion, camera.intrinsics.tobytes())
        if key != self._key:
            self._maps, self._intrinsics = rectification_maps(camera, (width, height))
            self._key = key
        assert self._maps is not None
        rgb = cv2.remap(frame.rgb, *self._maps, cv2.INTER_LINEAR)
        depth = frame.depth
        if depth is not None:
            if depth.shape != (height, width):
                raise ValueError(
                    f"the depth image is {depth.shape[1]} x {depth.shape[0]}, its image {width} x {height}"
                )
            depth = cv2.remap(np.ascontiguousarray(depth, np.float32), *self._maps, cv2.INTER_NEAREST)
        return replace(frame, rgb=rgb, depth=depth, camera=Camera(self._intrinsics))


def rectification_maps(camera: Camera, size: tuple[int, int]) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """OpenCV's look-up tables for an image of `size` (W,H), and the pinhole matrix (3,3) of the result.

    The result has the image's size and shows no pixel from outside it. Raises ValueError as `Rectifier`.
    """
    known = DISTORTION_COEFFICIENTS.get(camera.model)
    if known is None:
        raise ValueError(
            f"distortion model {camera.model!r} is not known (known: {', '.join(DISTORTION_COEFFICIENTS)}); rectify the images first"
        )
    if len(camera.distortion) not in known:
        raise ValueError(
            f"distortion model {camera.model} takes {' or '.join(map(str, known))} coefficients, got {len(camera.distortion)}"
        )
    matrix, coefficients = np.asarray(camera.intrinsics, float), np.asarray(camera.distortion, float)
    if camera.model == "equidistant":
        new = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(matrix, coefficients, size, np.eye(3), balance=0.0)
        return cv2.fisheye.initUndistortRectifyMap(matrix, coefficients, np.eye(3), new, size, cv2.CV_16SC2), new
    new, _ = cv2.getOptimalNewCameraMatrix(matrix, coefficients, size, alpha=0.0, newImgSize=size)
    return cv2.initUndistortRectifyMap(matrix, coefficients, None, new, size, cv2.CV_16SC2), new
