"""The mapper's step `check`: which frames may be used, and their rectification."""

import numpy as np

from sab3r_ros.config import TrackingSettings
from sab3r_ros.mapping.rectification import Rectifier
from sab3r_ros.types import BadFrame, Frame

_SAMPLES = 64  # rows and columns from which contrast is estimated


class FrameCheck:
    """Rejects frames that cannot be used and removes lens distortion from the others."""

    def __init__(self, settings: TrackingSettings):
        self._settings = settings
        self._rectifier = Rectifier()

    def __call__(self, frame: Frame, last_stamp: int | None) -> tuple[Frame, bool]:
        """The rectified frame, and whether the stream has started anew (its stamp lies far behind the last one).

        last_stamp: of the newest frame in ns, None before the first one. Raises BadFrame.
        """
        self._check_image(frame.rgb)
        restarted = last_stamp is not None and self._is_behind(frame.stamp, last_stamp)
        try:
            return self._rectifier(frame), restarted
        except ValueError as error:
            raise BadFrame(str(error)) from error

    def _check_image(self, rgb: np.ndarray) -> None:
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
            raise BadFrame(f"a frame must be a (H,W,3) uint8 image, got {rgb.dtype} {rgb.shape}")
        contrast = float(rgb[:: max(1, rgb.shape[0] // _SAMPLES), :: max(1, rgb.shape[1] // _SAMPLES)].mean(-1).std())
        if contrast < self._settings.min_contrast:
            raise BadFrame(
                f"the image is black or constant (grey values deviate by {contrast:.1f}): is the lens covered?"
            )

    def _is_behind(self, stamp: int, last_stamp: int) -> bool:
        """Whether a stream begins again; raises BadFrame for a frame that is only late."""
        if stamp > last_stamp:
            return False
        behind = (last_stamp - stamp) / 1e9
        if behind <= self._settings.max_stamp_disorder:
            raise BadFrame(f"the image's stamp is {behind:.3f} s behind the newest one; images must come in order")
        return True
