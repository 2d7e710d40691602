"""Which pairs of many views to look at, and the tree that connects them best."""

import numpy as np
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree


def view_pairs(count: int, graph: str) -> list[tuple[int, int]]:
    """Index pairs of `count` views, one order each.

    graph: "complete", "swin-W", "logwin-W" (cyclic unless "-noncyclic" follows) or "oneref-R".
    Raises ValueError for anything else.
    """
    kind, *options = graph.split("-")
    cyclic = "noncyclic" not in options
    number = int(options[0]) if options and options[0].isdigit() else 3
    if kind == "complete":
        return [(i, j) for i in range(count) for j in range(i)]
    if kind == "oneref":
        return [(number, j) for j in range(count) if j != number]
    if kind not in ("swin", "logwin"):
        raise ValueError(f"unknown graph {graph!r}; use complete, swin-W, logwin-W or oneref-R")
    steps = range(1, number + 1) if kind == "swin" else [2**k for k in range(number)]
    pairs = set()
    for i in range(count):
        for step in steps:
            j = (i + step) % count if cyclic else i + step
            if j < count and j != i:
                pairs.add((min(i, j), max(i, j)))
    return sorted(pairs)


def maximum_spanning_tree(scores, root: int) -> list[tuple[int, int]]:
    """(parent, child) edges of the tree with the largest total score, from the root outwards.

    scores (N,N) symmetric, 0 = not connected.
    """
    tree = minimum_spanning_tree(-np.asarray(scores))
    order, parent = breadth_first_order(tree, root, directed=False)
    return [(int(parent[n]), int(n)) for n in order[1:]]
