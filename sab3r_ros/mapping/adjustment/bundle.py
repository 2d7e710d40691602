"""Bundle adjustment: poses, points, one focal length and one radial term, by GTSAM.

Levenberg-Marquardt over reprojection errors with Cauchy's robust function (Triggs et al. 2000, "Bundle adjustment: a modern
synthesis"). Ranges that a network predicts hold the unit of length: one piece of information per view, whose points share
their error. Only arrays come in and go out, so that a process of its own can do it.
"""

from dataclasses import dataclass, replace

import numpy as np

_RANGE_STD = 0.15  # of the log of a view's predicted unit
_RANGES = 20  # points of a view that tell its unit
_BETWEEN_STD = (0.05, 0.05)  # radians and metres, between neighbours, for where tracks tell nothing
_FOCAL_STD = (
    0.05  # of the log of a focal length that is not known: what a network predicts of it, on average over frames
)
_RADIAL_STD = 0.03
_KNOWN_STD = 1e-4
# Of odometry, in standard deviations: Cauchy's function would let the many wrong matches of a chequered floor outvote it.
_HUBER = 2.0
_MIN_DEPTH = 0.05  # metres
_AGREES = 3.0  # standard deviations of a keypoint
_LAST = 3.0  # rounds that allow more than this are those that find the way
_OF_MEDIAN, _OF_WIDTH = 2.5, 0.1  # of the median error, and of the image's width, that they allow
_REWEIGHTED = 4
_ENOUGH = 50  # observations
Rounds = tuple[tuple[float, float], ...]
# Largest mean error of a track, and sigma, in standard deviations of a keypoint.
ROUNDS: Rounds = (
    (20.0, 6.0),
    (6.0, 2.0),
    (2.5, 1.0),
    (2.0, 1.0),
)


@dataclass(frozen=True)
class Lens:
    """A camera's focal length and principal point in pixels, and one radial term: p -> f (1 + k1 |p|^2) p + (u, v)."""

    focal: float
    k1: float
    u: float
    v: float

    @property
    def matrix(self) -> np.ndarray:
        """The intrinsics (3,3) as OpenCV takes them, beside `distortion`."""
        return np.array([[self.focal, 0, self.u], [0, self.focal, self.v], [0, 0, 1.0]])

    @property
    def distortion(self) -> np.ndarray:
        """OpenCV's coefficients (4,)."""
        return np.array([self.k1, 0, 0, 0])

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Unit vectors (N,3) of pixels (N,2)."""
        distorted = (pixels - [self.u, self.v]) / self.focal
        plane = distorted.copy()
        for _ in range(8):  # the fixed point of p = d / (1 + k1 |p|^2)
            plane = distorted / (1 + self.k1 * (plane**2).sum(1, keepdims=True))
        rays = np.concatenate([plane, np.ones((len(plane), 1))], 1)
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)

    @property
    def pinhole_focal(self) -> float:
        """The focal length of the camera without a radial term that is nearest over the whole image."""
        return self.focal * (1 + self.k1 * (self.u**2 + self.v**2) / (3 * self.focal**2))

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (N,2) of points (N,3) in the camera; NaN behind it."""
        plane = points[:, :2] / np.where(points[:, 2] > _MIN_DEPTH, points[:, 2], np.nan)[:, None]
        return self.focal * (1 + self.k1 * (plane**2).sum(1, keepdims=True)) * plane + [self.u, self.v]


@dataclass(frozen=True)
class ViewMotion:
    """Of two views by number: pose (4,4) of the second in the first, with standard deviations in radians and in the map's unit."""

    first: int
    second: int
    pose: np.ndarray
    std: tuple[float, float]


@dataclass(frozen=True)
class BundleProblem:
    """What is to be adjusted.

    poses (V,4,4): rigid, camera to map; free (V,) bool: which may move, the others hold the map in place; track, view (N,):
    number of the point and of the view of every observation, in the order of points; pixels (N,2); sigma: of the pixels;
    ranges (N,): predicted distances from the camera in the map's unit, NaN where unknown; lens; known: whether the lens is
    a calibration to be believed; joined (M,2): views whose relative pose as it is now is believed a little; motions: of one view
    to another, by odometry.
    """

    poses: np.ndarray
    free: np.ndarray
    track: np.ndarray
    view: np.ndarray
    pixels: np.ndarray
    sigma: float
    ranges: np.ndarray
    lens: Lens
    known: bool
    joined: np.ndarray
    motions: tuple[ViewMotion, ...] = ()

    @property
    def points(self) -> int:
        """Number of points."""
        return int(self.track.max()) + 1 if len(self.track) else 0


@dataclass(frozen=True)
class BundleSolution:
    """Adjusted poses (V,4,4), lens, points (P,3) with NaN for those that agree with nothing, and inliers (N,) bool."""

    poses: np.ndarray
    lens: Lens
    points: np.ndarray
    inliers: np.ndarray


def solve(problem: BundleProblem, rounds: Rounds = ROUNDS) -> BundleSolution:
    """Adjust in rounds: triangulate, keep the tracks that agree, adjust, with ever smaller errors allowed.

    Raises RuntimeError where the equations have no solution, and ImportError where GTSAM is not installed.
    """
    started = problem
    for largest, sigma in rounds:
        points, error = _points(problem, largest * problem.sigma)
        limit = _limits(problem, error, largest)
        keep = error < limit[problem.view]
        seen = np.bincount(problem.track[keep], minlength=problem.points)
        keep &= (seen >= 2)[problem.track]
        if keep.sum() < _ENOUGH:
            raise RuntimeError("too few observations agree with where the cameras are")
        poses, lens = _optimise(problem, started, keep, points, max(sigma * problem.sigma, float(np.median(limit)) / 4))
        problem = replace(problem, poses=poses, lens=lens)
    if not np.isfinite(problem.poses).all():
        raise RuntimeError("the equations have no finite solution")
    points, inliers = agreeing(problem)
    return BundleSolution(problem.poses, problem.lens, points, inliers)


def agreeing(problem: BundleProblem) -> tuple[np.ndarray, np.ndarray]:
    """Points (P,3) where a problem's cameras stand now, NaN for those that agree with nothing, and the observations (N,) that agree."""
    points, error = _points(problem, _AGREES * problem.sigma)
    inliers = error < _AGREES * problem.sigma
    seen = np.bincount(problem.track[inliers], minlength=problem.points)
    points[seen < 2] = np.nan
    return points, inliers & (seen >= 2)[problem.track]


def _limits(problem: BundleProblem, error: np.ndarray, largest: float) -> np.ndarray:
    """Errors (V,) in pixels up to which observations of each view are used.

    In the first rounds it is the start that is wrong, not the keypoints, and of some views more than of others.
    """
    limits = np.full(len(problem.poses), largest * problem.sigma)
    if largest <= _LAST:
        return limits
    for view in range(len(limits)):
        mine = error[problem.view == view]
        if len(mine):
            limits[view] = max(limits[view], min(_OF_MEDIAN * float(np.median(mine)), _OF_WIDTH * 2 * problem.lens.u))
    return limits


def _points(problem: BundleProblem, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (P,3) in the map and the errors (N,) of their observations in pixels.

    Each from its rays (the point nearest to all of them, those that miss it by more than `tolerance` pixels weighing less and
    less), or at the mean of the predicted ranges where that agrees better, which it does where the rays hardly differ.
    """
    rotation, centre = problem.poses[problem.view, :3, :3], problem.poses[problem.view, :3, 3]
    rays = np.einsum("nij,nj->ni", rotation, problem.lens.rays(problem.pixels))
    usable = np.isfinite(problem.ranges)
    predicted = centre + rays * np.where(usable, problem.ranges, 0)[:, None]
    there = _sum_over(problem, predicted * usable[:, None]) / np.maximum(_sum_over(problem, usable[:, None] * 1.0), 1)
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    weight = np.ones(len(rays))
    points, error = there, np.zeros(len(rays))
    for _ in range(_REWEIGHTED):
        # A pull of one part in a million towards the predicted range decides where rays are parallel.
        pull = 1e-6 * usable * weight
        normal = across * weight[:, None, None] + pull[:, None, None] * np.eye(3)
        right = np.einsum("nij,nj->ni", across, centre) * weight[:, None] + pull[:, None] * predicted
        total = np.zeros((problem.points, 3, 3))
        np.add.at(total, problem.track, normal)
        points = np.linalg.solve(total + 1e-12 * np.eye(3), _sum_over(problem, right)[:, :, None])[:, :, 0]
        error = _errors(problem, points)
        weight = 1 / (1 + (error / tolerance) ** 2)
    other = _errors(problem, there)
    better = _cost(problem, other, tolerance) < _cost(problem, error, tolerance)
    return np.where(better[:, None], there, points), np.where(better[problem.track], other, error)


def _sum_over(problem: BundleProblem, values: np.ndarray) -> np.ndarray:
    """Sums (P,D) over the observations of every point of values (N,D)."""
    columns = [np.bincount(problem.track, column, minlength=problem.points) for column in values.T]
    return np.stack(columns, 1)


def _cost(problem: BundleProblem, error: np.ndarray, tolerance: float) -> np.ndarray:
    """Cauchy's cost (P,) of every point."""
    return _sum_over(problem, np.log1p((error / tolerance) ** 2)[:, None])[:, 0]


def _errors(problem: BundleProblem, points: np.ndarray) -> np.ndarray:
    """Distances (N,) in pixels of observations from where points (P,3) project; very large behind a camera."""
    offset = points[problem.track] - problem.poses[problem.view, :3, 3]
    inside = np.einsum("nji,nj->ni", problem.poses[problem.view, :3, :3], offset)
    error = np.linalg.norm(problem.lens.project(inside) - problem.pixels, axis=1)
    return np.where(np.isfinite(error), np.minimum(error, 1e4), 1e4)


def _optimise(
    problem: BundleProblem, started: BundleProblem, keep: np.ndarray, points: np.ndarray, sigma: float
) -> tuple[np.ndarray, Lens]:
    """Poses and lens after one run over the kept observations."""
    import gtsam
    from gtsam.symbol_shorthand import C, P, X

    noise = gtsam.noiseModel
    lens, first = problem.lens, started.lens
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    cauchy = noise.mEstimator.Cauchy.Create(1.0)
    pixel = noise.Robust.Create(cauchy, noise.Isotropic.Sigma(2, sigma))
    track, view = problem.track[keep].tolist(), problem.view[keep].tolist()
    for point, camera, seen in zip(track, view, problem.pixels[keep], strict=True):
        graph.add(gtsam.GeneralSFMFactor2Cal3Bundler(seen, pixel, X(camera), P(point), C(0)))
    for point in np.unique(track).tolist():
        values.insert(P(point), points[point])
    for point, camera, distance, spread in _ranges(problem, keep, points):
        model = noise.Robust.Create(cauchy, noise.Isotropic.Sigma(1, spread * distance))
        graph.add(gtsam.RangeFactor3D(X(camera), P(point), distance, model))
    between = noise.Diagonal.Sigmas(np.repeat(_BETWEEN_STD, 3))
    for i, j in problem.joined.tolist():
        relative = np.linalg.inv(started.poses[i]) @ started.poses[j]
        graph.add(gtsam.BetweenFactorPose3(X(i), X(j), gtsam.Pose3(relative), between))
    huber = noise.mEstimator.Huber.Create(_HUBER)
    for motion in problem.motions:
        model = noise.Robust.Create(huber, noise.Diagonal.Sigmas(np.repeat(motion.std, 3)))
        graph.add(gtsam.BetweenFactorPose3(X(motion.first), X(motion.second), gtsam.Pose3(motion.pose), model))
    fixed = noise.Isotropic.Sigma(6, _KNOWN_STD)
    for k, pose in enumerate(problem.poses):
        values.insert(X(k), gtsam.Pose3(pose))
        if not problem.free[k]:
            graph.add(gtsam.PriorFactorPose3(X(k), gtsam.Pose3(started.poses[k]), fixed))
    focal_std, radial_std = (_KNOWN_STD, _KNOWN_STD) if problem.known else (_FOCAL_STD, _RADIAL_STD)
    prior = noise.Diagonal.Sigmas(np.array([focal_std * first.focal, radial_std, 1e-6]))
    graph.add(gtsam.PriorFactorCal3Bundler(C(0), gtsam.Cal3Bundler(first.focal, first.k1, 0, lens.u, lens.v), prior))
    values.insert(C(0), gtsam.Cal3Bundler(lens.focal, lens.k1, 0, lens.u, lens.v))
    parameters = gtsam.LevenbergMarquardtParams()
    parameters.setMaxIterations(30)
    parameters.setRelativeErrorTol(1e-3)
    found = gtsam.LevenbergMarquardtOptimizer(graph, values, parameters).optimize()
    poses = np.array([found.atPose3(X(k)).matrix() for k in range(len(problem.poses))])
    calibration = found.atCal3Bundler(C(0))
    return poses, replace(lens, focal=calibration.fx(), k1=calibration.k1())


def _ranges(problem: BundleProblem, keep: np.ndarray, points: np.ndarray) -> list[tuple[int, int, float, float]]:
    """Of every view some observations whose predicted range is near the view's median: point, view, range, relative sigma."""
    now = np.linalg.norm(points[problem.track] - problem.poses[problem.view, :3, 3], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(now / problem.ranges)
    usable = keep & np.isfinite(ratio)
    chosen = []
    for view in np.unique(problem.view[usable]).tolist():
        index = np.flatnonzero(usable & (problem.view == view))
        nearest = index[np.argsort(np.abs(ratio[index] - np.median(ratio[index])), kind="stable")[:_RANGES]]
        spread = _RANGE_STD * len(nearest) ** 0.5
        chosen += [(int(problem.track[k]), view, float(problem.ranges[k]), spread) for k in nearest]
    return chosen
