"""Words without meaning for the task, put into training questions: what else people say must do no harm."""

from functools import cache

import numpy as np
from open_clip.tokenizer import SimpleTokenizer

from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.synthetic.questions import VERBS

_CHANCE, _MOST = 0.5, 3
# Small words that verbs have too ("put in", "pick up"): alone they say nothing of the action.
_PHRASES = (
    "in here", "in general", "in the end", "in this room", "in my view", "on my side", "on the whole", "out there", "up front",
    "put simply", "if you can", "for me", "with care", "right now", "at first", "as you like",
)  # fmt: skip
_END = "</w>"


@cache
def distractor_words() -> tuple[str, ...]:
    """Words of open_clip's vocabulary that name neither an action nor a thing of the household."""
    phrases = (*LABELS, *(verb for verbs in VERBS.values() for verb in verbs))
    known = {word for phrase in phrases for word in phrase.split()}
    words = (w.removesuffix(_END) for w in SimpleTokenizer().encoder if w.endswith(_END))
    return tuple(sorted(w for w in words if w.isascii() and w.isalpha() and 3 <= len(w) <= 10 and w not in known))


def with_distractors(question: str, rng: np.random.Generator) -> str:
    """The question, every other time with one to three distractor words or phrases at random places; an empty one stays empty."""
    if not question or rng.random() >= _CHANCE:
        return question
    words, distractors = question.split(), distractor_words()
    for _ in range(int(rng.integers(1, _MOST + 1))):
        choice = distractors if rng.random() < 0.5 else _PHRASES
        words.insert(int(rng.integers(len(words) + 1)), choice[rng.integers(len(choice))])
    return " ".join(words)
