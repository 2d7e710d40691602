"""A two-view network exported to OpenVINO: the same numbers to 1e-4, in about 0.7 of the time on x86 CPUs.

The export is a folder of four graphs of fixed shapes. A pair is decoded as one graph; several pairs one after the other, which on a
CPU costs no more than a batch of them.
"""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from sab3r_ros.files import replacing
from sab3r_ros.models.base import EncodedView
from sab3r_ros.models.catalogue import CheckpointError, models_dir
from sab3r_ros.models.patches import token_positions
from sab3r_ros.models.pyramid_heads import PyramidViewHead
from sab3r_ros.models.sab3r import Sab3r, ViewPrediction
from sab3r_ros.models.weights import Checkpoint

_OUTPUTS = ("points", "conf", "desc", "desc_conf")


def openvino_is_installed() -> bool:
    """Whether the extra [openvino] is there."""
    try:
        import openvino  # noqa: F401
    except ImportError:
        return False
    return True


def exported_folder(checkpoint_id: str, size: tuple[int, int]) -> Path:
    """Where the export of a checkpoint for images of width x height pixels lies, or would lie."""
    return models_dir() / "openvino" / f"{checkpoint_id}-{size[0]}x{size[1]}"


class _Encode(nn.Module):
    def __init__(self, network: Sab3r):
        super().__init__()
        self.network = network

    def forward(self, images):
        view = self.network.encode(images)
        return view.tokens, *view.pyramid


class _Pair(nn.Module):
    """Tokens, positions and pyramids of both views to the outputs of both heads."""

    def __init__(self, network: Sab3r, shape: tuple[int, int]):
        super().__init__()
        self.network, self.shape = network, shape

    def forward(self, positions, *maps):
        patch, half = self.network.cfg.patch, len(maps) // 2
        views = [EncodedView(own[0], positions, self.shape, None, patch, own[1:]) for own in (maps[:half], maps[half:])]
        layers = self.network.decode(*views)
        heads = (self.network.downstream_head1, self.network.downstream_head2)
        out = []
        for head, layer, view in zip(heads, layers, views, strict=True):
            said = head(layer, view.grid, features=False, descriptors=True, pyramid=view.pyramid)
            out += [getattr(said, name) for name in _OUTPUTS]
        return tuple(out)


class _Features(nn.Module):
    def __init__(self, network: Sab3r, shape: tuple[int, int]):
        super().__init__()
        self.network, self.shape = network, shape

    def forward(self, tokens, *pyramid):
        grid = self.shape[0] // self.network.cfg.patch, self.shape[1] // self.network.cfg.patch
        return self.network.downstream_head1.clip_features([tokens], grid, pyramid)


def export_openvino(checkpoint: Checkpoint, size: tuple[int, int], folder: Path | None = None) -> Path:
    """Write a checkpoint's network for images of width x height pixels; returns the folder.

    folder: where to; default is where `TwoViewModel` looks for it. An export that is there is replaced. Raises ValueError without
    OpenVINO, for sides that are no multiples of the patch, and for networks whose heads are of another kind than `sab3r_small`'s.
    """
    try:
        import openvino
    except ImportError as error:
        raise ValueError("this export needs OpenVINO: pip install 'sab3r_ros[openvino]'") from error
    network = checkpoint.network
    if not isinstance(network.downstream_head1, PyramidViewHead):
        raise ValueError(
            f"{checkpoint.id} cannot be exported: only networks like sab3r_small can, whose features need one image"
        )
    shape = size[1], size[0]
    with torch.inference_mode():
        view = network.encode(torch.zeros(1, 3, *shape))
    maps = [t.clone() for t in (view.tokens, *view.pyramid)]
    graphs: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {
        "encode": (_Encode(network), (torch.zeros(1, 3, *shape),)),
        "pair": (_Pair(network, shape), (view.positions.clone(), *maps, *maps)),
    }
    if network.downstream_head1.clip_head is not None:
        graphs["features"] = (_Features(network, shape), tuple(maps))
    halves = all(torch.equal(p, p.half().float()) for p in network.parameters())
    target = folder or exported_folder(checkpoint.id, size)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part, _quiet(), torch.no_grad():
        part.mkdir()
        for name, (module, example) in graphs.items():
            graph = openvino.convert_model(
                module.eval(), example_input=example, input=[tuple(e.shape) for e in example]
            )
            openvino.save_model(graph, part / f"{name}.xml", compress_to_fp16=halves)
    return target


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Tracing warns of every comparison of sizes, which are fixed here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class OpenVinoRuntime:
    """A `Runtime` for images of one size. Raises CheckpointError for an export that cannot be read.

    threads: of the CPU; 0 = all.
    """

    def __init__(self, network: Sab3r, folder: Path, threads: int = 0):
        import openvino

        self._cfg, self._folder = network.cfg, folder
        core = openvino.Core()
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "CACHE_DIR": str(folder / "compiled"),
        }
        if threads:
            options["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            graphs = {f.stem: _Graph(core.compile_model(f, "CPU", options)) for f in sorted(folder.glob("*.xml"))}
            self._encode, self._pair, self._features = graphs["encode"], graphs["pair"], graphs.get("features")
        except Exception as error:  # OpenVINO raises RuntimeError with many lines
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise CheckpointError(f"{folder} cannot be used: {reason}; make it again: `sab3r export-model`") from error

    def encode(self, images: Tensor) -> EncodedView:
        """See `Runtime.encode`; one image."""
        tokens, *pyramid = self._encode([images])
        shape = (int(images.shape[-2]), int(images.shape[-1]))
        patch = self._cfg.patch
        return EncodedView(tokens, token_positions(images[..., ::patch, ::patch]), shape, None, patch, tuple(pyramid))

    def decode(self, view1: EncodedView, view2: EncodedView) -> tuple[list[Tensor], list[Tensor]]:
        """See `Runtime.decode`: the encoder's tokens, since decoder and heads are one graph."""
        return [view1.tokens], [view2.tokens]

    def heads(
        self, _decoded: tuple[list[Tensor], list[Tensor]], view1: EncodedView, view2: EncodedView, descriptors: bool
    ) -> tuple[ViewPrediction, ViewPrediction]:
        """See `Runtime.heads`."""
        each = []
        for k in range(len(view1)):
            one, two = view1[k : k + 1], view2[k : k + 1]
            each.append(self._pair([one.positions, one.tokens, *one.pyramid, two.tokens, *two.pyramid]))
        joined = [torch.cat(parts) for parts in zip(*each, strict=True)]
        kept = len(_OUTPUTS) if descriptors else 2
        sides = joined[: len(_OUTPUTS)][:kept], joined[len(_OUTPUTS) :][:kept]
        one, two = (ViewPrediction(*side, *[None] * (len(_OUTPUTS) - kept)) for side in sides)
        return one, two

    def clip_features(self, layers: list[Tensor], view: EncodedView) -> Tensor | None:
        """See `Runtime.clip_features`."""
        return None if self._features is None else self._features([layers[0], *view.pyramid])[0]


class _Graph:
    """A compiled graph; every thread has a request of its own, since one can only be used by one at a time."""

    def __init__(self, compiled):
        self._compiled, self._of_thread = compiled, threading.local()

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        """Outputs as tensors of their own: those of a request are overwritten by its next call."""
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        said = self._of_thread.request.infer([t.contiguous().numpy() for t in inputs])
        return [torch.from_numpy(said[k].copy()) for k in range(len(self._compiled.outputs))]
