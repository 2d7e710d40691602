"""Questions in words, taken apart by a small grammar of English:

    question   = [lead-in] thing { relation place } [ ", not" name { "," name } ]
    thing      = [article] [superlative] [colour] name
    place      = question without lead-in, or "and" relation place for one more relation of the thing itself
    relation   = on, on top of, under, below, above, in, inside, left of, right of, in front of, behind, next to, beside, near,
                 nearest to

"the red mug on the table left of the door" is a mug, of red colour, on a table that is left of a door; "the mug on the table
and left of the laptop" is a mug on a table, and the same mug is left of a laptop. Words that follow no rule are part of a name,
which goes to the text encoder as it is.
"""

import re
from dataclasses import dataclass
from enum import Enum

from sab3r_ros.query.vocabulary import VocabularyError

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey")
SUPERLATIVES = {
    "largest": "largest", "biggest": "largest", "smallest": "smallest", "highest": "highest", "lowest": "lowest",
    "nearest": "nearest", "closest": "nearest",
}  # fmt: skip
MAX_LENGTH = 300  # characters
_MAX_DEPTH = 4  # relations one inside the other
_SPELLINGS = {"gray": "grey", "violet": "purple"}
_LEAD_IN = re.compile(
    r"^(?:(?:please|can you|could you)\s+)*(?:where(?:'s| is| are)|find(?: me)?|show(?: me)?|locate|look for|search for|go to|bring me"
    r"|is there|are there(?: any)?|do you see|what about)\s+",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"^(?:the|a|an|any|some|my|this|that)(?:\s+|$)", re.IGNORECASE)
_POLITE = re.compile(r"[\s?!.]+$")


class Relation(Enum):
    """Where a thing is to another one."""

    ON = "on"
    UNDER = "under"
    ABOVE = "above"
    IN = "in"
    LEFT = "left of"
    RIGHT = "right of"
    IN_FRONT = "in front of"
    BEHIND = "behind"
    NEXT_TO = "next to"
    NEAREST = "nearest to"


# Longest first, so that "on top of" is not read as "on" and "top of".
_WORDS = {
    "on top of": Relation.ON, "on": Relation.ON, "upon": Relation.ON,
    "underneath": Relation.UNDER, "under": Relation.UNDER, "below": Relation.UNDER, "beneath": Relation.UNDER,
    "above": Relation.ABOVE, "over": Relation.ABOVE,
    "inside of": Relation.IN, "inside": Relation.IN, "in": Relation.IN, "within": Relation.IN,
    "to the left of": Relation.LEFT, "on the left of": Relation.LEFT, "left of": Relation.LEFT,
    "to the right of": Relation.RIGHT, "on the right of": Relation.RIGHT, "right of": Relation.RIGHT,
    "in front of": Relation.IN_FRONT, "behind": Relation.BEHIND,
    "next to": Relation.NEXT_TO, "beside": Relation.NEXT_TO, "near": Relation.NEXT_TO, "close to": Relation.NEXT_TO,
    "by": Relation.NEXT_TO,
    "nearest to": Relation.NEAREST, "closest to": Relation.NEAREST, "nearest": Relation.NEAREST, "closest": Relation.NEAREST,
}  # fmt: skip
_RELATION = re.compile(
    r"\s+(?P<link>and\s+)?(?:(?:that|which)\s+(?:is|are)\s+)?"
    r"(?:(?:standing|lying|sitting|hanging)\s+)?(?P<word>"
    + "|".join(re.escape(w).replace(r"\ ", r"\s+") for w in sorted(_WORDS, key=len, reverse=True))
    + r")\s+(?=\S)",
    re.IGNORECASE,
)
_EXCLUSIVE = (
    {Relation.ON, Relation.UNDER}, {Relation.ABOVE, Relation.UNDER}, {Relation.IN, Relation.ON}, {Relation.LEFT, Relation.RIGHT},
    {Relation.IN_FRONT, Relation.BEHIND},
)  # fmt: skip


class QuestionError(VocabularyError):
    """A question that makes no sense; the message says why."""


@dataclass(frozen=True)
class Question:
    """What is looked for.

    name: for the text encoder; colour: one of COLOURS or ""; superlative: a value of SUPERLATIVES or ""; places: relations to
    other things, all of which must hold; negatives: names of what it is not.
    """

    name: str
    colour: str = ""
    superlative: str = ""
    places: tuple[tuple[Relation, "Question"], ...] = ()
    negatives: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it is a name and nothing else."""
        return not (self.colour or self.superlative or self.places)

    @property
    def label(self) -> str:
        """Colour and name."""
        return f"{self.colour} {self.name}".strip()

    def __str__(self) -> str:
        parts = [" ".join(filter(None, (self.superlative, self.colour, self.name)))]
        for relation, anchor in self.places:
            parts.append(f"{relation.value} ({anchor})" if anchor.places else f"{relation.value} {anchor}")
        return " ".join([parts[0], " and ".join(parts[1:])]).strip() + "".join(f", not {n}" for n in self.negatives)


def parse_question(text: str) -> Question:
    """Take a question apart. Raises QuestionError for one that is empty, endless, or contradicts itself."""
    cleaned = re.sub(r"\s+", " ", text).strip()
    if len(cleaned) > MAX_LENGTH:
        raise QuestionError(f"a question may have at most {MAX_LENGTH} characters, this one has {len(cleaned)}")
    cleaned = _LEAD_IN.sub("", _POLITE.sub("", cleaned))
    cleaned, *refused = re.split(r"\s*,?\s+but not\s+|\s*,\s*not\s+", cleaned, flags=re.IGNORECASE)
    negatives = tuple(
        _ARTICLE.sub("", n).strip() for part in refused for n in re.split(r"\s*,\s*|\s+or\s+|\s+and\s+", part) if n.strip()
    )  # fmt: skip
    question = _parse(cleaned, text, 0)
    for name in negatives:
        if name.lower() == question.name.lower():
            raise QuestionError(f"{text!r} asks for {question.name!r} and excludes it")
    return Question(question.name, question.colour, question.superlative, question.places, negatives)


def _parse(text: str, whole: str, depth: int) -> Question:
    if depth > _MAX_DEPTH:
        raise QuestionError(f"{whole!r} has more than {_MAX_DEPTH} relations one inside the other")
    found = _RELATION.search(" " + text) if depth or text else None
    if found is None or not _thing(text[: max(found.start() - 1, 0)]).name:
        return _checked(_thing(text), whole)
    head = _thing(text[: found.start() - 1])
    places = []
    # The remainder is one place, and further ones of the same thing behind "and".
    pieces = [(found, " " + text[found.end() - 1 :])]
    while more := next((m for m in _RELATION.finditer(pieces[-1][1]) if m.group("link")), None):
        previous, rest = pieces.pop()
        pieces += [(previous, rest[: more.start()]), (more, " " + rest[more.end() :])]
    for k, (match, rest) in enumerate(pieces):
        relation = _WORDS[re.sub(r"\s+", " ", match.group("word").lower())]
        shared = next((r for _, r in pieces[k:] if r.strip()), rest)  # "on and under the table"
        places.append((relation, _parse(shared.strip(), whole, depth + 1)))
    return _checked(Question(head.name, head.colour, head.superlative, tuple(places)), whole)


def _thing(text: str) -> Question:
    words = _ARTICLE.sub("", text.strip()).split()
    superlative = SUPERLATIVES.get(words[0].lower(), "") if len(words) > 1 else ""
    words = words[1:] if superlative else words
    colour = _SPELLINGS.get(words[0].lower(), words[0].lower()) if len(words) > 1 else ""
    if colour in COLOURS:
        words = words[1:]
    else:
        colour = ""
    return Question(" ".join(words), colour, superlative)


def _checked(question: Question, whole: str) -> Question:
    if not question.name:
        raise QuestionError(f"{whole!r} does not say what to look for")
    for k, (relation, anchor) in enumerate(question.places):
        if anchor.label.lower() == question.label.lower() and relation in (Relation.ON, Relation.UNDER, Relation.IN):
            raise QuestionError(f"{whole!r}: nothing is {relation.value} itself; give the two things different words")
        for other, again in question.places[:k]:
            if again == anchor and {relation, other} in _EXCLUSIVE:
                raise QuestionError(
                    f"{whole!r}: {other.value} and {relation.value} the {anchor.label} exclude each other"
                )
    return question
