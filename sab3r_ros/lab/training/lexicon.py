"""What household words mean: every noun's likeness to the labels of the household world, taken from WordNet.

Likeness is Lin's measure (1998) with the information content of Seco et al. (2004), which counts the kinds of a
thing in WordNet itself instead of in a corpus.
"""

import math
from collections import Counter, defaultdict

from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.training.wordnet import WordNet

# Which senses (word, number in WordNet 3.0's order) a label stands for; without an entry, the label's first sense.
SENSES: dict[str, tuple[tuple[str, int], ...]] = {
    "table": (("table", 1), ("table", 2)), "cabinet": (("cabinet", 0), ("cupboard", 0), ("locker", 0), ("armoire", 0)),
    "counter": (("counter", 3), ("counter", 0)), "drawers": (("chest of drawers", 0), ("bureau", 1)),
    "shelves": (("shelf", 0), ("bookcase", 0)), "lamp": (("lamp", 1), ("lamp", 0)), "television": (("television", 2), ("display", 5)),
    "oven": (("oven", 0), ("stove", 0)), "microwave": (("microwave", 1),), "toilet": (("toilet", 1),),
    "picture": (("picture", 1), ("photograph", 0), ("poster", 0)), "mug": (("mug", 3), ("teacup", 0), ("coffee cup", 0)),
    "bottle": (("bottle", 0), ("flask", 0), ("jug", 0)), "bowl": (("bowl", 2), ("bowl", 0)), "plate": (("plate", 3), ("dish", 0)),
    "knife": (("knife", 0), ("table knife", 0)), "hammer": (("hammer", 1), ("hammer", 6)), "drill": (("drill", 0), ("electric drill", 0)),
    "box": (("box", 0), ("carton", 0), ("crate", 0)), "book": (("book", 0), ("book", 1), ("magazine", 0)), "keyboard": (("computer keyboard", 0),),
    "headphones": (("headphone", 0), ("headset", 0)), "bag": (("bag", 0), ("bag", 3), ("bag", 5), ("backpack", 0), ("luggage", 0)),
    "plant": (("houseplant", 0), ("flower", 0), ("fern", 0), ("cactus", 0), ("shrub", 0)), "ball": (("ball", 0), ("ball", 5)),
    "phone": (("phone", 0), ("cellular telephone", 0)), "game controller": (("joystick", 1),),
    "cushion": (("cushion", 2), ("pillow", 0)), "trash can": (("trash can", 0), ("wastepaper basket", 0)),
    "laptop": (("laptop", 0), ("personal computer", 0)), "curtain": (("curtain", 0), ("window blind", 0)),
}  # fmt: skip
_SENSES_READ = 6  # the senses of a word beyond these are too rare to be meant
_LIKE = 0.6  # a noun less like every label than this is something else
_SHARPNESS = 25.0
_MAX_SPACES = 2  # longer names of things are seldom said

Meaning = dict[str, float]  # label to share; empty: none of the labels


class Likeness:
    """Lin's similarity of senses to labels."""

    def __init__(self, wordnet: WordNet):
        self._wordnet = wordnet
        kinds = Counter(above for key in wordnet.senses for above in wordnet.ancestors(key))
        scale = math.log(len(wordnet.senses))
        self._information = {key: 1 - math.log(count) / scale for key, count in kinds.items()}
        self._labels = {label: [self._key(w, k) for w, k in SENSES.get(label, ((label, 0),))] for label in LABELS}

    def _key(self, word, number):
        keys = self._wordnet.keys(word)
        if number >= len(keys):
            raise ValueError(f"this WordNet has no sense {number} of {word!r}; version 3.0 is needed")
        return keys[number]

    def between(self, a: str, b: str) -> float:
        """0 (nothing in common) to 1 (the same)."""
        common = self._wordnet.ancestors(a).keys() & self._wordnet.ancestors(b).keys()
        shared = max((self._information[key] for key in common), default=0.0)
        return 2 * shared / max(self._information[a] + self._information[b], 1e-9)

    def meaning(self, word: str) -> Meaning:
        """The labels that a noun may stand for; empty for something else or an unknown word."""
        best: dict[str, float] = defaultdict(float)
        for rank, key in enumerate(self._wordnet.keys(word)[:_SENSES_READ]):
            for label, senses in self._labels.items():
                like = max(self.between(key, sense) for sense in senses) - 0.02 * rank
                best[label] = max(best[label], like)
        top = max(best.values(), default=0.0)
        if top < _LIKE:
            return {}
        share = {label: math.exp(_SHARPNESS * (like - top)) for label, like in best.items()}
        total = sum(share.values())
        return {label: s / total for label, s in share.items() if s / total > 0.02}


def household_nouns(wordnet: WordNet) -> list[str]:
    """Every noun for a man-made thing or a plant that people might say, sorted."""
    roots = {
        wordnet.keys(word)[number] for word, number in (("artifact", 0), ("houseplant", 0), ("flower", 0), ("fern", 0))
    }
    found = set()
    for key, sense in wordnet.senses.items():
        if roots & wordnet.ancestors(key).keys():
            found |= {w.lower() for w in sense.words if w.count(" ") <= _MAX_SPACES and w.replace(" ", "").isalpha()}
    return sorted(found)
