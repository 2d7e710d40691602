"""Stamps: from names of files, and from headers that cannot be believed."""

import re
from collections.abc import Callable, Sequence

from sab3r_ros.types import nth_stamp

_FALLBACK_STEP = 10**8  # ns between frames where neither stamp nor arrival advances
_UNITS = {19: 1, 16: 1000, 13: 10**6}  # digits of a whole number of ns, us, ms since 1970 -> ns


class FrameTimes:
    """A stream's stamps in nanoseconds: the headers', and the time of arrival where these are zero or stand still."""

    def __init__(self, tell: Callable[[str], None]):
        self._tell = tell
        self._by_arrival = False
        self._header = self._arrived = self._given = 0

    def __call__(self, header: int, arrived: int) -> int:
        """The stamp of a frame whose header says `header` and that arrived (or was recorded) at `arrived`."""
        if self._by_arrival and header and (header > max(self._header, self._given) or header < self._header):
            self._by_arrival = False  # one image came twice, and the stamps go on
        if not self._by_arrival and (header == 0 or (header == self._header and arrived != self._arrived)):
            self._by_arrival = True
            why = "are zero" if header == 0 else "stand still"
            self._tell(f"the images' stamps {why}: the time of arrival is used instead")
        if not self._by_arrival:
            stamp = header
        elif not self._given:
            stamp = arrived or _FALLBACK_STEP
        else:
            step = arrived - self._arrived
            stamp = self._given + (step if step > 0 else _FALLBACK_STEP)
        self._header, self._arrived, self._given = header, arrived, stamp
        return stamp


def stamps_of_names(stems: Sequence[str], rate: float) -> tuple[list[int], str]:
    """Stamps (ns) of files from their names, else from their order and `rate`; and what was assumed, in words.

    Names are stamps where all of them are seconds with a fraction (TUM), or whole numbers of nano-, micro- or milliseconds
    since 1970 (EuRoC and others), and rise.
    """
    if stems and all(re.fullmatch(r"\d{9,10}\.\d+", stem) for stem in stems):
        stamps, words = [parse_stamp(stem) for stem in stems], "seconds in the names"
    elif stems and all(stem.isascii() and stem.isdigit() and len(stem) in _UNITS for stem in stems):
        stamps = [int(stem) * _UNITS[len(stem)] for stem in stems]
        words = "nanoseconds in the names" if len(stems[0]) == 19 else "times in the names"
    else:
        stamps, words = [], ""
    if not stamps or any(b <= a for a, b in zip(stamps, stamps[1:], strict=False)):
        return [nth_stamp(k, rate) for k in range(len(stems))], f"none: {rate:g} images per second assumed"
    return stamps, words


def parse_stamp(text: str) -> int:
    """ "seconds.fraction" to nanoseconds without losing digits to floating point."""
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0") or 0)
