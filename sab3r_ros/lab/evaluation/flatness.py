"""How flat is what should be flat."""

import numpy as np

_ROUNDS = 30
_FLOOR = 1e-4  # metres; nearer points weigh no more


def distances_to_plane(points: np.ndarray) -> np.ndarray:
    """Distances (N,) in metres of points (N,3), N >= 3, to the plane with the least sum of distances (least squares, weighted anew by
    the inverse of the distances)."""
    weight = np.ones(len(points))
    for _ in range(_ROUNDS):
        middle = np.average(points, axis=0, weights=weight)
        centred = points - middle
        normal = np.linalg.eigh((centred * weight[:, None]).T @ centred)[1][:, 0]
        distance = np.abs(centred @ normal)
        weight = 1 / np.maximum(distance, _FLOOR)
    return distance
