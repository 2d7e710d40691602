"""Nouns and their kinds from WordNet's dictionary files (data.noun, index.noun; version 3, e.g. Debian's wordnet-base)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sense:
    """One meaning: its words, the keys of its more general senses, and its explanation."""

    words: tuple[str, ...]
    parents: tuple[str, ...]
    gloss: str


class WordNet:
    """The nouns of a dictionary folder.

    Raises ValueError when the folder holds no WordNet.
    """

    def __init__(self, folder: Path):
        data, index = folder / "data.noun", folder / "index.noun"
        if not data.is_file() or not index.is_file():
            raise ValueError(f"{folder} has no data.noun and index.noun; install WordNet 3 (Debian: wordnet-base)")
        self.senses = dict(_sense(line) for line in data.read_text().splitlines() if not line.startswith(" "))
        self._of_word = dict(_entry(line) for line in index.read_text().splitlines() if not line.startswith(" "))
        self._depth: dict[str, dict[str, int]] = {}

    def keys(self, word: str) -> list[str]:
        """Keys of a word's senses, the most usual one first; empty for an unknown word."""
        return self._of_word.get(word.lower().replace(" ", "_"), [])

    def ancestors(self, key: str) -> dict[str, int]:
        """Every sense that this one is a kind of, itself among them, with the number of steps to it."""
        if key not in self._depth:
            found = {key: 0}
            for parent in self.senses[key].parents:
                for above, steps in self.ancestors(parent).items():
                    found[above] = min(found.get(above, 99), steps + 1)
            self._depth[key] = found
        return self._depth[key]


def _sense(line):
    fields, _, gloss = line.partition(" | ")
    field = fields.split()
    count = int(field[3], 16)
    words = tuple(w.replace("_", " ") for w in field[4 : 4 + 2 * count : 2])
    pointers = field[5 + 2 * count :]
    parents = tuple(pointers[k + 1] for k in range(0, len(pointers), 4) if pointers[k] in ("@", "@i"))
    return field[0], Sense(words, parents, gloss.strip())


def _entry(line):
    field = line.split()
    count = int(field[2])
    return field[0], field[-count:]
