"""`preview.png`: a map in perspective with the path and the answers, beside its plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.files import replacing
from sab3r_ros.geometry.walks import walks
from sab3r_ros.query.objects import BOX_EDGES, LocatedObject, box_corners
from sab3r_ros.query.vocabulary import UNLABELLED, Vocabulary
from sab3r_ros.types import MapSnapshot
from sab3r_ros.viewer.shading import look_at, project_points, render_points, shaded, splat

_SIZE = (960, 720)  # of the perspective view; the plan is as high
_PLAN = 720
_FIELD_OF_VIEW = 0.9  # radians, of the perspective view
_PATH, _BOX = (220, 30, 60), (30, 30, 30)  # RGB
_OBJECT_COLOURS = ((214, 39, 40), (31, 119, 180), (44, 160, 44), (255, 127, 14), (148, 103, 189), (23, 190, 207))
_SAMPLES = 60_000  # points that decide where to look from
_CEILING = 0.9  # quantile of height above which a plan leaves points out
_DISTANCE = 1.15  # of the viewer from the middle of the room, in units of its diagonal
_CUT = 0.88  # share of the height up to which the room is shown
_WALL = 0.06  # share of the room's extent that is taken for the wall before the viewer


def draw_preview(
    path: Path,
    snapshot: MapSnapshot,
    label: np.ndarray,
    vocabulary: Vocabulary | None,
    trajectory: Sequence[tuple[int, np.ndarray]],
    objects: Sequence[LocatedObject] = (),
) -> None:
    """Write the picture; label (N,) uint16: of every voxel, UNLABELLED for none."""
    points, colours = snapshot.points.astype(np.float64), snapshot.colours.astype(np.float64)
    gap = np.full((1, 3), np.nan)  # between the ways of different recordings
    walked = np.concatenate([np.zeros((0, 3)), *(part for way in walks(trajectory) for part in (way, gap))])
    perspective = render_view(points, colours, snapshot.voxel_size, walked, objects)
    plan = _plan(points, _label_colours(label, vocabulary, len(points)), snapshot.voxel_size, walked, objects)
    canvas = np.concatenate([perspective, np.full((_SIZE[1], 12, 3), 255, np.uint8), plan], 1)
    canvas = np.concatenate([canvas, _legend(label, vocabulary, objects, canvas.shape[1])], 0)
    with replacing(path) as part:
        cv2.imwrite(str(part), canvas[..., ::-1])


@dataclass(frozen=True)
class Viewpoint:
    """Where a room is looked at from: eye (3,) and target (3,), and the room's corners (3,) low and high."""

    eye: np.ndarray
    target: np.ndarray
    low: np.ndarray
    high: np.ndarray


def choose_viewpoint(points: np.ndarray, walked: np.ndarray, turn: float = 0.0) -> Viewpoint:
    """From behind and above the path (T,3), so that all of points (N,3) is seen; `turn` in radians goes round the room."""
    sample = points[:: max(1, len(points) // _SAMPLES)]
    low, high = np.quantile(sample, 0.02, 0), np.quantile(sample, 0.98, 0)
    target = (low + high) / 2
    extent = max(float(np.linalg.norm((high - low)[:2])), float((high - low)[2]), 0.5)
    return Viewpoint(target + _direction(walked, target, turn) * extent * _DISTANCE, target, low, high)


def render_view(
    points: np.ndarray, colours: np.ndarray, voxel_size: float, walked: np.ndarray, objects: Sequence[LocatedObject] = (),
    size: tuple[int, int] = _SIZE, view: Viewpoint | None = None,
) -> np.ndarray:  # fmt: skip
    """The map (H,W,3) uint8 in perspective, from a viewpoint or the one that suits it."""
    if not len(points):
        return np.full((size[1], size[0], 3), 255, np.uint8)
    view = view or choose_viewpoint(points, walked)
    focal = size[0] / 2 / np.tan(_FIELD_OF_VIEW / 2)
    shown = _open_room(points, view)
    camera = look_at(view.eye, view.target)
    image, depth = render_points(
        points[shown], shaded(points, colours, view.eye)[shown], voxel_size * 0.62, camera, focal, size
    )
    _path(image, depth, walked, lambda p: project_points(p, camera, focal, size))
    for k, item in enumerate(objects):
        _box(image, item, lambda p: project_points(p, camera, focal, size), _OBJECT_COLOURS[k % len(_OBJECT_COLOURS)])
    return image


def _direction(walked: np.ndarray, target: np.ndarray, turn: float) -> np.ndarray:
    """From the middle of the map to the viewer: over the shoulder of who walked, looking down by 35 degrees."""
    back = (np.nanmean(walked, 0) - target)[:2] if len(walked) else np.array([-1.0, -0.6])
    if np.linalg.norm(back) < 0.2:
        back = np.array([-1.0, -0.6])
    angle = np.arctan2(back[1], back[0]) + 0.45 + turn
    return np.array([np.cos(angle) * 0.82, np.sin(angle) * 0.82, 0.57])


def _open_room(points: np.ndarray, view: Viewpoint) -> np.ndarray:
    """Which points to show: not the ceiling, nor the walls between the viewer and the room."""
    shown = points[:, 2] < view.low[2] + _CUT * (view.high[2] - view.low[2])
    for axis in (0, 1):
        margin = _WALL * (view.high[axis] - view.low[axis])
        if view.eye[axis] > view.high[axis]:
            shown &= points[:, axis] < view.high[axis] - margin
        elif view.eye[axis] < view.low[axis]:
            shown &= points[:, axis] > view.low[axis] + margin
    return shown


def _plan(points, colours, voxel_size, walked, objects) -> np.ndarray:
    """The map (H,W,3) uint8 from above without its ceiling, to scale, with a bar of one metre."""
    image = np.full((_PLAN, _PLAN, 3), 255, np.uint8)
    if not len(points):
        return image
    low, high = np.quantile(points[:, :2], 0.005, 0), np.quantile(points[:, :2], 0.995, 0)
    scale = 0.92 * _PLAN / max(float((high - low).max()), 0.5)
    middle = (low + high) / 2

    def to_pixels(p: np.ndarray) -> np.ndarray:
        xy = (p[:, :2] - middle) * scale * [1, -1] + _PLAN / 2
        return np.column_stack([xy, -p[:, 2]])

    below = points[:, 2] <= np.quantile(points[:, 2], _CEILING)
    x, y, depth_below = to_pixels(points[below]).T
    x, y = np.round(x).astype(int), np.round(y).astype(int)
    half = max(1, round(voxel_size * scale / 2))
    nearest = np.full(image.shape[:2], np.inf)
    for dy in range(-half, half + 1):
        for dx in range(-half, half + 1):
            splat(image, nearest, x + dx, y + dy, depth_below, colours[below])
    _path(image, None, walked, to_pixels)
    for k, item in enumerate(objects):
        _box(image, item, to_pixels, _OBJECT_COLOURS[k % len(_OBJECT_COLOURS)])
    bar = round(scale)
    cv2.line(image, (20, _PLAN - 18), (20 + bar, _PLAN - 18), _BOX, 3)
    cv2.putText(image, "1 m", (26, _PLAN - 26), cv2.FONT_HERSHEY_SIMPLEX, 0.55, _BOX, 1, cv2.LINE_AA)
    return image


def _path(image, depth, walked, to_pixels) -> None:
    """The camera's way (T,3), with rows of NaN where another recording begins: where it began is a disc; hidden parts are left out
    where there is a depth image."""
    if not len(walked):
        return
    pixels = to_pixels(walked)
    for a, b in zip(pixels[:-1], pixels[1:], strict=True):
        if np.isfinite([a, b]).all() and (depth is None or min(a[2], b[2]) > 0):
            cv2.line(
                image, tuple(np.round(a[:2]).astype(int)), tuple(np.round(b[:2]).astype(int)), _PATH, 2, cv2.LINE_AA
            )
    cv2.circle(image, tuple(np.round(pixels[0, :2]).astype(int)), 6, _PATH, -1, cv2.LINE_AA)


def _box(image, item: LocatedObject, to_pixels, colour) -> None:
    """A located object's box with its name and score."""
    drawn = np.round(to_pixels(box_corners(item.box_pose, item.size))[:, :2]).astype(int)
    for i, j in BOX_EDGES:
        cv2.line(image, tuple(drawn[i]), tuple(drawn[j]), colour, 2, cv2.LINE_AA)
    text = f"{item.label} {item.probability:.0%}"
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 1)
    x = int(np.clip(drawn[:, 0].mean() - width / 2, 2, image.shape[1] - width - 2))
    y = int(np.clip(drawn[:, 1].min() - 8, height + 4, image.shape[0] - 4))
    cv2.rectangle(image, (x - 3, y - height - 4), (x + width + 3, y + 5), (255, 255, 255), -1)
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 1, cv2.LINE_AA)


def _label_colours(label: np.ndarray, vocabulary: Vocabulary | None, count: int) -> np.ndarray:
    painted = np.full((count, 3), 190.0)
    if vocabulary is not None and count:
        known = label != UNLABELLED
        painted[known] = vocabulary.colours[label[known]]
    return painted


def _legend(
    label: np.ndarray, vocabulary: Vocabulary | None, objects: Sequence[LocatedObject], width: int
) -> np.ndarray:
    """A strip (h,W,3) with the commonest labels of the plan."""
    strip = np.full((34, width, 3), 255, np.uint8)
    if vocabulary is None or not (label != UNLABELLED).any():
        return strip
    counts = np.bincount(label[label != UNLABELLED], minlength=len(vocabulary.labels))
    x = 14
    for k in np.argsort(-counts)[:14]:
        text = vocabulary.labels[k]
        room = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0] + 42
        if not counts[k] or x + room > width:
            break
        cv2.rectangle(strip, (x, 9), (x + 16, 25), tuple(int(c) for c in vocabulary.colours[k]), -1)
        cv2.putText(strip, text, (x + 22, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _BOX, 1, cv2.LINE_AA)
        x += room
    return strip
