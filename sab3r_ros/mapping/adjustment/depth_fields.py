"""Depth of many views, corrected by smooth factors until it agrees with what is known of the scene.

After an adjustment poses are exact to a centimetre where depth still errs by a twentieth, smoothly over the image, and from
every view otherwise: walls come in layers, and bend. Each view's log depth gets a correction, bilinear between the nodes of a
coarse grid over its image (as Kopf et al. 2021, "Robust consistent video depth estimation", section 4.2), from four sources:

- triangulated keypoints, exact but sparse;
- the depth of other views of the same place;
- flatness: where inverse depth is nearly linear over the image it is made so, since inverse depth of a plane is linear in
  pixels; with a robust function, so that creases and curved things stay what they are;
- the network: corrections are small, and change little from node to node.

Views are solved in turn, each by weighted least squares with the others as they are (Gauss-Seidel). Only arrays come in and go
out, so that a process of its own can do it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from sab3r_ros.mapping.adjustment.bundle import Lens
from sab3r_ros.mapping.depth_grid import COLUMNS, ROWS, basis

STEP = 4  # pixels between the samples of depth
_EVERY = 2  # samples between those that are compared, or made flat
_SWEEPS, _REWEIGHTED = 3, 3
_NETWORK_STD = 0.07  # of the log of a network's depth, at a node
_SMOOTH_STD = 0.05  # of the difference of two nodes side by side
_POINT_STD = 0.015  # of the log of a keypoint's depth, beside what its triangulation is uncertain by
_POINT_REACH = 0.05  # where a keypoint's error counts half
_VIEW_STD, _VIEW_REACH, _VIEW_LIMIT = 0.05, 0.05, 0.25  # the same between views; beyond the limit it is another surface
_VIEW_COUNT = 600.0  # comparisons with other views that tell something of their own
_COARSE = 23  # compared samples between those that tell what views share
_PARTNERS, _SHARED = 8, 0.2  # views to compare with, and the share of the image that they must see
_SPANS = (3, 6, 12)  # samples over which inverse depth is made linear
# Of the second difference of inverse depth, relative to it, over a span of one sample; it grows with the square of the span.
_FLAT_STD = 8e-5
_FLAT_REACH, _FLAT_LIMIT = 4.0, 0.3  # standard deviations where it counts half, and the difference that is an edge
_FLAT_COUNT = 60.0  # second differences that tell something of their own
_NEAREST = 0.05  # metres


@dataclass(frozen=True)
class DepthProblem:
    """Views whose depth is to be corrected.

    poses (V,4,4): rigid, camera to map; lens: of images of `size` (width, height) pixels; depths (V,h,w): every STEP-th pixel's
    depth in the map's unit, as the network has it; view (N,), pixels (N,2), ratio (N,), sigma (N,): keypoints with the logarithm
    of their triangulated depth over the network's, and its standard deviation.
    """

    poses: np.ndarray
    lens: Lens
    size: tuple[int, int]
    depths: np.ndarray
    view: np.ndarray
    pixels: np.ndarray
    ratio: np.ndarray
    sigma: np.ndarray


@dataclass(frozen=True)
class _Term:
    """Linear equations a c = y of a view's correction c: sigma of each, the error where it counts half, and a common weight."""

    a: np.ndarray
    y: np.ndarray
    sigma: np.ndarray | float
    reach: np.ndarray | float
    weight: float


def solve_depth(problem: DepthProblem) -> np.ndarray:
    """Corrections (V, ROWS, COLUMNS): logarithms of the factors of every view's depth."""
    samples = _Samples(problem)
    views = [_View(problem, samples, number) for number in range(len(problem.poses))]
    partners = _partners(views)
    for _ in range(_SWEEPS):
        for view, others in zip(views, partners, strict=True):
            view.solve([views[other] for other in others])
    return np.stack([view.nodes for view in views]).reshape(-1, ROWS, COLUMNS)


class _Samples:
    """What is the same for all views: where depth is sampled, which samples are compared, and which lie on a line."""

    def __init__(self, problem: DepthProblem):
        h, w = self.shape = problem.depths.shape[1:]
        self.lens, self.size = problem.lens, problem.size
        number = np.arange(h * w).reshape(h, w)
        pixels = np.stack([number % w, number // w], -1).reshape(-1, 2) * float(STEP)
        self.basis = basis(pixels, self.size)
        self.compared = number[_EVERY // 2 :: _EVERY, _EVERY // 2 :: _EVERY].ravel()
        rays = self.lens.rays(pixels[self.compared])
        self.rays = rays / rays[:, 2:]
        lines = []
        for span in _SPANS:
            for grid in (number, number.T):
                first, middle, last = grid[: -2 * span], grid[span:-span], grid[2 * span :]
                line = np.stack([part[::_EVERY, ::_EVERY].ravel() for part in (first, middle, last)], 1)
                lines.append(np.concatenate([line, np.full((len(line), 1), span)], 1))
        self.lines = np.concatenate(lines)  # (L,4): three samples with the same distance, and that distance


class _View:
    """A view: what is known of its correction, and the correction as it is by now."""

    def __init__(self, problem: DepthProblem, samples: _Samples, number: int):
        self.samples, self.pose = samples, problem.poses[number]
        self.network = np.maximum(np.nan_to_num(problem.depths[number]), _NEAREST).ravel()
        self.nodes: np.ndarray = np.zeros(ROWS * COLUMNS)
        self.depth = self.network
        mine = problem.view == number
        self._pixels, self._ratio, self._sigma = problem.pixels[mine], problem.ratio[mine], problem.sigma[mine]

    def _keypoints(self) -> _Term:
        sigma = np.hypot(self._sigma, _POINT_STD)
        return _Term(basis(self._pixels, self.samples.size), self._ratio, sigma, _POINT_REACH, 1.0)

    def _network(self) -> list[_Term]:
        count = ROWS * COLUMNS
        node = np.arange(count).reshape(ROWS, COLUMNS)
        first = np.concatenate([node[:, :-1].ravel(), node[:-1].ravel()])
        second = np.concatenate([node[:, 1:].ravel(), node[1:].ravel()])
        difference = np.eye(count)[first] - np.eye(count)[second]
        own = self.samples.basis[self.samples.compared]
        return [
            _Term(difference, np.zeros(len(first)), _SMOOTH_STD, np.inf, 1.0),
            _Term(own, np.zeros(len(own)), _NETWORK_STD, np.inf, count / len(own)),
        ]

    def _flatness(self) -> _Term:
        """Second differences of the corrected inverse depth d exp(-c), relative to it, to first order in c."""
        inverse, (before, middle, after, span) = 1 / self.network, self.samples.lines.T
        first, last = inverse[before] / inverse[middle], inverse[after] / inverse[middle]
        bent = first + last - 2
        kept = np.abs(bent) < _FLAT_LIMIT
        first, last, before, middle, after = (x[kept] for x in (first, last, before, middle, after))
        all_rows = self.samples.basis
        rows = first[:, None] * all_rows[before] + last[:, None] * all_rows[after] - 2 * all_rows[middle]
        sigma = _FLAT_STD * span[kept] ** 2
        return _Term(rows, bent[kept], sigma, _FLAT_REACH * sigma, _FLAT_COUNT / max(len(rows), 1))

    def sampled_points(self) -> np.ndarray:
        """Its compared samples (M,3) in the map, where its correction has them."""
        seen = self.samples.rays * self.depth[self.samples.compared, None]
        return seen @ self.pose[:3, :3].T + self.pose[:3, 3]

    def sees(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers (M,) of the points (N,3) in its image, their coordinates (M,3) in its camera, and where (M,2) in samples."""
        inside = (points - self.pose[:3, 3]) @ self.pose[:3, :3]
        place = self.samples.lens.project(inside) / STEP
        h, w = self.samples.shape
        with np.errstate(invalid="ignore"):
            seen = np.all((place >= 0) & (place <= [w - 1, h - 1]), axis=1)
        return np.flatnonzero(seen), inside[seen], place[seen]

    def solve(self, others: list["_View"]) -> None:
        """The correction anew, with other views as they are.

        Equations are made when they are needed: those of all views would fill a robot's memory.
        """
        terms = [*self._network(), self._flatness(), self._keypoints(), *self._agreement(others)]
        for _ in range(_REWEIGHTED):
            normal, right = np.zeros((len(self.nodes),) * 2), np.zeros(len(self.nodes))
            for term in terms:
                error = term.a @ self.nodes - term.y
                weighted = term.a * (term.weight / term.sigma**2 / (1 + (error / term.reach) ** 2))[:, None]
                normal += weighted.T @ term.a
                right += weighted.T @ term.y
            self.nodes = np.linalg.solve(normal, right)
        self.depth = self.network * np.exp(self.samples.basis @ self.nodes)

    def _agreement(self, others: list["_View"]) -> list[_Term]:
        """What the surfaces of other views say: how much farther along a ray of this view they lie."""
        samples, points = self.samples, self.sampled_points()
        compared = samples.compared
        rays = (samples.rays * self.depth[compared, None]) @ self.pose[:3, :3].T
        now = samples.basis[compared] @ self.nodes
        rows, farther = [], []
        for other in others:
            seen, inside, place = other.sees(points)
            theirs = map_coordinates(other.depth.reshape(samples.shape), place.T[::-1], order=1)
            gap = np.log(theirs / inside[:, 2])
            near = np.abs(gap) < _VIEW_LIMIT
            index = seen[near]
            # A point that moves along its ray moves in the other view's depth by so much.
            share = (rays[index] @ other.pose[:3, 2]) / inside[near, 2]
            rows.append(samples.basis[compared[index]] * share[:, None])
            farther.append(gap[near] + share * now[index])
        count = sum(map(len, farther))
        if not count:
            return []
        return [_Term(np.concatenate(rows), np.concatenate(farther), _VIEW_STD, _VIEW_REACH, _VIEW_COUNT / count)]


def _partners(views: list[_View]) -> list[list[int]]:
    """For every view some that see the same, evenly from those that see most of it to those that see just enough."""
    clouds = [view.sampled_points()[::_COARSE] for view in views]
    everything = np.concatenate(clouds)
    shared = np.zeros((len(views), len(views)))
    for number, view in enumerate(views):
        seen = view.sees(everything)[0] // max(len(clouds[0]), 1)
        shared[:, number] = np.bincount(seen, minlength=len(views)) / max(len(clouds[0]), 1)
    np.fill_diagonal(shared, 0)
    found = []
    for row in shared:
        order = np.argsort(-row, kind="stable")
        order = order[row[order] > _SHARED]
        found.append(order[:: max(1, len(order) // _PARTNERS)][:_PARTNERS].tolist())
    return found
