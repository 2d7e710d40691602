"""A bound on keyframes: of those that see the same from nearly the same place, the older one is let go.

What it saw stays in the map, as seen by the keyframe beside it; so do the frames that were tracked beside it.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sab3r_ros.mapping.state import MapState

_NEWEST = 40  # keyframes that stay, whatever they see: they are tracked against and adjusted
_AT_ONCE = 4  # keyframes let go at a time: a frame waits for it


def cull(state: "MapState", most: int) -> int:
    """Let keyframes go until there are `most`, a few at a time; returns how many. Under the lock, and while nothing is adjusted."""
    surplus = min(len(state.graph) - most, _AT_ONCE) if most else 0
    gone = 0
    while gone < surplus and (pair := most_alike(state)) is not None:
        state.absorb(*pair)
        gone += 1
    return gone


def most_alike(state: "MapState") -> tuple[int, int] | None:
    """Ids of a keyframe that may go, and of the one from where most of the same is seen; None where all must stay.

    The first keyframe stays, for the map stands on it, and so do the newest ones and those whose voxels cannot move.
    """
    ids, apart = state.graph.distances()
    held = np.isin(ids, list(state.held))
    kept = held.copy()
    kept[:1] = kept[-_NEWEST:] = True
    np.fill_diagonal(apart, np.inf)
    apart[kept] = apart[:, held] = np.inf
    goes, stays = np.unravel_index(apart.argmin(), apart.shape)
    if not np.isfinite(apart[goes, stays]):
        return None
    if goes > stays and not kept[stays]:
        goes, stays = stays, goes  # the older one
    return int(ids[goes]), int(ids[stays])
