"""A compact open_clip text tower for the default weights, open-vocabulary within a household.

Every label, every colour and "something else" has a fixed code, nearly orthogonal to the others. The target of a
noun is the mixture of the codes of the labels it may stand for, with the shares that WordNet gives (`lexicon`);
"red couch" adds 0.6 of the colour's code. The tower learns to map phrases, bare and inside CLIP's templates, to
these targets.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from sab3r_ros.lab.synthetic.materials import COLOUR_NAMES
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.training.lexicon import Likeness, Meaning, household_nouns
from sab3r_ros.lab.training.wordnet import WordNet
from sab3r_ros.models.text import save_tower, tower_config

COLOUR_SHARE = 0.6
_CONTEXT = 32  # tokens; CLIP's longest template needs 17 beside the label
_ADJECTIVES = ("wooden", "metal", "plastic", "small", "big", "old", "new", "open", "little", "large")
_FRAMES = ("{}", "a {}", "the {}", "find the {}", "where is the {}", "my {}", "bring me the {}")
_BATCH_LABELS, _BATCH_NOUNS = 0.35, 0.45  # shares of a batch; the rest is something else and bare colours


@dataclass(frozen=True)
class Codes:
    """Unit target features: labels (L,dim), colours (K,dim), and everything else (dim,)."""

    labels: Tensor
    colours: Tensor
    other: Tensor

    def target(self, meaning: Meaning, colour: str | None = None) -> Tensor:
        """The feature (dim,) of a thing of that meaning and colour."""
        code = self.other
        if meaning:
            code = normalize(sum(share * self.labels[LABELS.index(label)] for label, share in meaning.items()), dim=0)
        return (
            code if colour is None else normalize(code + COLOUR_SHARE * self.colours[COLOUR_NAMES.index(colour)], dim=0)
        )


def concept_codes(dim: int) -> Codes:
    """The codes for a feature of `dim` numbers: always the same, with the smallest overlaps that alternating projection finds."""
    count = len(LABELS) + len(COLOUR_NAMES) + 1
    codes = np.random.default_rng(2506).normal(size=(count, dim))
    for _ in range(300):
        codes /= np.linalg.norm(codes, axis=1, keepdims=True)
        gram = codes @ codes.T
        bound = np.sqrt(max(count - dim, 0) / (dim * (count - 1))) + 0.01  # Welch's bound
        gram = np.clip(gram, -bound, bound)
        np.fill_diagonal(gram, 1.0)
        values, vectors = np.linalg.eigh(gram)
        codes = vectors[:, -dim:] * np.sqrt(np.clip(values[-dim:], 0, None))
    codes = torch.from_numpy((codes / np.linalg.norm(codes, axis=1, keepdims=True)).astype(np.float32))
    return Codes(codes[: len(LABELS)], codes[len(LABELS) : -1], codes[-1])


class Phrases:
    """Random phrases with the features they should have."""

    def __init__(self, wordnet: Path, dim: int, templates, rng: np.random.Generator):
        dictionary = WordNet(wordnet)
        likeness = Likeness(dictionary)
        nouns = {noun: likeness.meaning(noun) for noun in household_nouns(dictionary)}
        self._labels = [(label, {label: 1.0}) for label in LABELS]
        self._nouns = [(n, m) for n, m in nouns.items() if m and n not in LABELS]
        self._others = [(n, m) for n, m in nouns.items() if not m and n not in LABELS]
        self._codes = concept_codes(dim)
        self._templates = [*(f.format for f in _FRAMES), *templates]
        self._rng = rng

    def __len__(self):
        return len(self._labels) + len(self._nouns) + len(self._others)

    def batch(self, size: int) -> tuple[list[str], Tensor]:
        """Phrases and unit targets (size,dim)."""
        texts, targets = zip(*(self._one() for _ in range(size)), strict=True)
        return list(texts), torch.stack(targets)

    def _one(self):
        rng, draw = self._rng, self._rng.random()
        if draw > 0.96:
            colour = COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))]
            words, target = ("{} object", "something {}", "{} thing", "{}")[rng.integers(4)], self._codes.colours
            return self._framed(words.format(colour)), target[COLOUR_NAMES.index(colour)]
        pool = (
            self._labels
            if draw < _BATCH_LABELS
            else self._nouns
            if draw < _BATCH_LABELS + _BATCH_NOUNS
            else self._others
        )
        noun, meaning = pool[rng.integers(len(pool))]
        if rng.random() < 0.1 and not noun.endswith("s"):
            noun += "s"
        if meaning and rng.random() < 0.12:  # "office chair": the last noun says what it is
            noun = f"{self._others[rng.integers(len(self._others))][0]} {noun}"
        colour = COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))] if rng.random() < 0.45 else None
        words = f"{colour} {noun}" if colour else noun
        if rng.random() < 0.15:
            words = f"{_ADJECTIVES[rng.integers(len(_ADJECTIVES))]} {words}"
        return self._framed(words), self._codes.target(meaning, colour)

    def _framed(self, words):
        return self._templates[self._rng.integers(len(self._templates))](words)


def train_text_tower(
    folder: Path, wordnet: Path, dim: int = 48, width: int = 32, steps: int = 9000, batch: int = 256, seed: int = 0
) -> float:
    """Train and write FOLDER/open_clip_{config.json,model.safetensors} (float16).

    wordnet: folder of WordNet 3.0's dictionary files. Returns the mean cosine of the last steps. Raises ValueError
    when there is no WordNet.
    """
    import open_clip
    from open_clip.model import CLIP

    torch.manual_seed(seed)
    phrases = Phrases(wordnet, dim, open_clip.OPENAI_IMAGENET_TEMPLATES, np.random.default_rng(seed))
    config = tower_config(dim, width, 2, 2, _CONTEXT)
    model = CLIP(**config["model_cfg"])
    tokenizer = open_clip.get_tokenizer("ViT-B-32", context_length=_CONTEXT)
    parameters = [p for n, p in model.named_parameters() if not n.startswith("visual.")]
    optimiser = torch.optim.AdamW(parameters, lr=4e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    cosine = 0.0
    for _ in (bar := tqdm(range(steps), desc="text tower")):
        texts, targets = phrases.batch(batch)
        similarity = (model.encode_text(tokenizer(texts), normalize=True) * targets).sum(-1)
        loss = (1 - similarity).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        cosine = 0.98 * cosine + 0.02 * similarity.mean().item() if cosine else similarity.mean().item()
        bar.set_postfix(cosine=f"{cosine:.3f}")
    save_tower(folder, model, config)
    return cosine
