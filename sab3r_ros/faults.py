"""What was left out of a recording, and why: counted by reason, said once, summed up at the end."""

import logging
import re
from collections import Counter
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

_KEPT = 1000  # lines at most; the counts go on


def reason_of(text: str) -> str:
    """A text without its numbers: the same fault with other numbers has the same reason."""
    return re.sub(r"\d+(\.\d+)?", "N", text)


@dataclass
class Faults:
    """The faults of one input. lines: one per fault, at most 1000; counts: how often each reason came; examples: the first
    text of each."""

    lines: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, why: object) -> None:
        """Note that `what` was left out; the first of its reason is said at once."""
        text = " ".join(str(why).split()) or type(why).__name__
        reason = reason_of(text)
        if reason not in self.examples:
            self.examples[reason] = text
            log.warning("left out %s: %s", what, text)
        self.counts[reason] += 1
        if len(self.lines) < _KEPT:
            self.lines.append(f"{what}: {text}")

    def __len__(self) -> int:
        return sum(self.counts.values())

    def summary(self) -> str:
        """ "" or one line: how many were left out, and the most frequent reasons."""
        if not len(self):
            return ""
        reasons = "; ".join(f"{count} x {self.examples[reason]}" for reason, count in self.counts.most_common(3))
        more = len(self.counts) - 3
        return f"{len(self)} left out: {reasons}" + (f"; and {more} other reasons" if more > 0 else "")
