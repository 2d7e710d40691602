"""What runs a two-view network: PyTorch, or OpenVINO on CPUs where the network was exported for it."""

import logging
from typing import Protocol

from torch import Tensor

from sab3r_ros.models.base import EncodedView
from sab3r_ros.models.openvino_runtime import OpenVinoRuntime, export_openvino, exported_folder, openvino_is_installed
from sab3r_ros.models.sab3r import Sab3r, ViewPrediction
from sab3r_ros.models.weights import Checkpoint

_LOG = logging.getLogger(__name__)


class Runtime(Protocol):
    """The three steps of a two-view network."""

    def encode(self, images: Tensor) -> EncodedView:
        """Images (B,3,H,W) in [-1, 1]."""
        ...

    def decode(self, view1: EncodedView, view2: EncodedView) -> tuple[list[Tensor], list[Tensor]]:
        """Both sides' token maps, as far as the heads need them."""
        ...

    def heads(
        self, decoded: tuple[list[Tensor], list[Tensor]], view1: EncodedView, view2: EncodedView, descriptors: bool
    ) -> tuple[ViewPrediction, ViewPrediction]:
        """Points, confidences and descriptors of both sides."""
        ...

    def clip_features(self, layers: list[Tensor], view: EncodedView) -> Tensor | None:
        """Language-aligned features (B,H,W,C) of side 1; None without such a head."""
        ...


class TorchRuntime:
    """The network itself."""

    def __init__(self, network: Sab3r):
        self._network = network
        self.encode, self.decode, self.clip_features = network.encode, network.decode, network.clip_features

    def heads(self, decoded, view1, view2, descriptors):
        """See `Runtime.heads`."""
        layers1, layers2 = decoded
        return (
            self._network.head(1, layers1, view1, features=False, descriptors=descriptors),
            self._network.head(2, layers2, view2, features=False, descriptors=descriptors),
        )


class Runtimes:
    """The runtime for images of a size: PyTorch, or an export to OpenVINO.

    wanted: "torch"; "auto", which takes an export that is there; "openvino", which makes one that is not.
    """

    def __init__(self, checkpoint: Checkpoint, wanted: str = "torch", threads: int = 0):
        self._checkpoint, self._wanted, self._threads = checkpoint, wanted, threads
        self._torch = TorchRuntime(checkpoint.network)
        self._chosen: dict[tuple[int, int], Runtime] = {}

    def __call__(self, shape: tuple[int, int]) -> Runtime:
        """That for images of height and width `shape`. Raises ValueError as `export_openvino` and `OpenVinoRuntime`."""
        if self._wanted == "torch":
            return self._torch
        if shape not in self._chosen:
            self._chosen[shape] = self._choose(shape)
        return self._chosen[shape]

    def _choose(self, shape):
        size = shape[1], shape[0]
        folder = exported_folder(self._checkpoint.id, size)
        if self._wanted == "openvino" and not folder.is_dir():
            _LOG.warning("exporting %s for images of %d x %d to OpenVINO, once", self._checkpoint.id, *size)
            export_openvino(self._checkpoint, size)
        if not folder.is_dir() or not openvino_is_installed():
            return self._torch
        return OpenVinoRuntime(self._checkpoint.network, folder, self._threads)
