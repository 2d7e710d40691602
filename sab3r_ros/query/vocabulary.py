"""Labels that a map's points can have."""

import colorsys
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

UNLABELLED = 65535


class VocabularyError(ValueError):
    """Labels, prompts or scores that cannot be used; the message says why. The vocabulary in force stays."""


@dataclass(frozen=True)
class Vocabulary:
    """Labels, their colours (L,3) uint8 and text embeddings (L,C)."""

    labels: list[str]
    colours: np.ndarray
    embeddings: Tensor


def checked_labels(labels: Sequence[str], what: str = "the vocabulary") -> list[str]:
    """Labels without surrounding blanks. Raises VocabularyError for none, an empty one, or duplicates; `what` names the list."""
    cleaned = [re.sub(r"\s+", " ", label).strip() for label in labels]
    if not cleaned or not all(cleaned):
        raise VocabularyError(f"{what} needs at least one entry, and none may be empty")
    lowered = [label.lower() for label in cleaned]
    if twice := sorted({label for label in lowered if lowered.count(label) > 1}):
        raise VocabularyError(f"{what} has duplicates: {', '.join(twice)}")
    if len(cleaned) >= UNLABELLED:
        raise VocabularyError(f"{what} may have at most {UNLABELLED - 1} entries, got {len(cleaned)}")
    return cleaned


def label_colours(count: int) -> np.ndarray:
    """(count,3) uint8 colours that tell neighbours in the list apart."""
    golden = 0.618034
    hues = [(0.1 + k * golden) % 1 for k in range(count)]
    rows = [colorsys.hsv_to_rgb(h, 0.55 + 0.4 * (k % 2), 0.95 - 0.25 * (k % 3 == 2)) for k, h in enumerate(hues)]
    return (np.array(rows).reshape(-1, 3) * 255).astype(np.uint8)
