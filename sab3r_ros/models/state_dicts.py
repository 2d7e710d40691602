"""State dicts: their parts, sizes that follow from shapes, and what does not fit."""

import re
from pathlib import Path

from torch import Tensor, nn

from sab3r_ros.models.catalogue import CheckpointError
from sab3r_ros.models.sab3r import DptSizes


def strip_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a state dict whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def load_strict(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load a state dict whole. Raises CheckpointError naming what does not fit."""
    check_fits(module, state, path)
    module.load_state_dict(state)


def count_blocks(state: dict[str, Tensor], prefix: str) -> int:
    """How many numbered blocks a state dict has under a prefix."""
    return 1 + max((int(m[1]) for k in state if (m := re.match(rf"{re.escape(prefix)}\.(\d+)\.", k))), default=-1)


def dpt_sizes(state: dict[str, Tensor], name: str) -> DptSizes:
    """Sizes of the DPT head of this name in a MASt3R state dict, from its shapes."""

    def width(key):
        return state[f"downstream_head1.{name}.{key}.weight"].shape[0]

    layers = (width(f"act_postprocess.{k}.0") for k in range(4))
    return DptSizes(tuple(layers), width("scratch.refinenet1.out_conv"), width("head.2"))


def check_fits(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Raise CheckpointError that names what a state dict lacks, has too much, or has in another shape."""
    wanted = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    missing = [k for k in wanted if k not in state]
    extra = [k for k in state if k not in wanted]
    wrong = [
        f"{k}: {tuple(state[k].shape)} instead of {s}"
        for k, s in wanted.items()
        if k in state and tuple(state[k].shape) != s
    ]
    if missing or wrong or extra:
        parts = [
            f"{len(group)} {what} ({', '.join(group[:4])}{', …' if len(group) > 4 else ''})"
            for what, group in (("missing", missing), ("of another shape", wrong), ("unknown", extra))
            if group
        ]
        raise CheckpointError(f"the weights in {path} do not fit: {'; '.join(parts)}")
