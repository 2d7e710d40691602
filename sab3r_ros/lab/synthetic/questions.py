"""Questions about affordances, in the style of LASO: which part of a thing serves for what."""

import numpy as np

# What people say for each affordance: plain verbs, and purposes that fit into "... the {thing} {purpose}".
VERBS = {
    "lay": ("lay", "lie", "sleep", "rest"), "sit": ("sit", "take a seat", "be seated"),
    "support": ("support", "put things on", "place", "rest things on"), "grasp": ("grasp", "grab", "hold", "grip", "pick up"),
    "lift": ("lift", "raise", "carry", "hoist"), "contain": ("contain", "hold inside", "store", "fill", "put in"),
    "open": ("open", "unlock", "uncover"), "wrap_grasp": ("wrap grasp", "wrap the hand around", "clasp", "hold around"),
    "pour": ("pour", "pour out", "serve a drink", "empty"), "move": ("move", "shift", "slide", "drag"),
    "display": ("display", "show", "watch", "look at"), "push": ("push", "shove", "press against"),
    "pull": ("pull", "tug", "draw"), "listen": ("listen", "hear", "hear music"), "wear": ("wear", "put on", "dress"),
    "press": ("press", "type", "push the button", "click"), "cut": ("cut", "slice", "chop", "trim"), "stab": ("stab", "pierce", "poke"),
}  # fmt: skip
_QUESTIONS = (
    "where would you {verb} the {thing}", "which part of the {thing} is for you to {verb}",
    "if you want to {verb}, which points of the {thing} matter", "point at the part of the {thing} where one can {verb}",
    "find the area of the {thing} that lets you {verb}", "to {verb} with the {thing}, what do you use",
    "where on the {thing} does your hand go to {verb} it", "show me how to {verb} this {thing}",
)  # fmt: skip
_HELD_OUT_QUESTIONS = (
    "what area of the {thing} should a robot use in order to {verb}", "mark the spot on the {thing} that is meant to {verb}",
)  # fmt: skip

_ANYTHING = ("object", "thing", "item")
_UNNAMED = 0.15  # share of questions that do not name the thing, so that an unknown name does no harm


def question(thing: str, affordance: str, rng: np.random.Generator, held_out: bool = False) -> str:
    """A question, or in three of ten cases a bare verb; `held_out` draws from wordings that no training sees."""
    verbs = VERBS[affordance]
    verb = verbs[rng.integers(len(verbs))]
    if not held_out and rng.random() < _UNNAMED:
        thing = _ANYTHING[rng.integers(len(_ANYTHING))]
    if not held_out and rng.random() < 0.3:
        return (verb, affordance.replace("_", " "), f"{verb} {thing}", f"{verb} the {thing}")[rng.integers(4)]
    wordings = _HELD_OUT_QUESTIONS if held_out else _QUESTIONS
    return wordings[rng.integers(len(wordings))].format(verb=verb, thing=thing)
