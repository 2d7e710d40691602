"""Text embeddings of names, as training targets: a mean over a few of CLIP's templates, since all 80 take minutes here."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import normalize

from sab3r_ros.lab.synthetic.materials import COLOUR_NAMES
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.models.text import TextEncoder

COLOURED_LABELS = tuple(f"{colour} {label}" for label in LABELS for colour in COLOUR_NAMES)
_TEMPLATES = ("a photo of a {}.", "a {}", "a bad photo of the {}.", "a close-up photo of the {}.")


def embedded(encoder: TextEncoder, names: Sequence[str]) -> Tensor:
    """Unit embeddings (N,C) of names."""
    return normalize(sum(encoder.encode_labels(names, template) for template in _TEMPLATES), dim=-1)
