"""`sab3r inspect`: what an input is, without mapping it."""

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sab3r_ros.affordance.clouds import check_size, prepare
from sab3r_ros.config import TrackingSettings
from sab3r_ros.files import replacing
from sab3r_ros.mapping.checks import FrameCheck
from sab3r_ros.sources.bags import BagSource
from sab3r_ros.sources.clouds import CLOUD_SUFFIXES, read_cloud
from sab3r_ros.sources.open import open_source
from sab3r_ros.types import BadFrame, Camera, Frame

_GAP = 3.0  # times the median step between stamps
_SHOWN = 6  # frames in the picture


def inspect_input(text: str, topic: str, limit: int, png: Path | None, depth_scale: float = 0.0) -> dict[str, Any]:
    """What a recording or a cloud holds: format, frames, sizes, stamps, calibration, depth, and faults.

    limit: frames read at most, 0 = all. Raises SourceError, FileNotFoundError.
    """
    path = Path(text).expanduser()
    if path.is_file() and path.suffix.lower() in CLOUD_SUFFIXES:
        return _cloud(path)
    source = open_source(text, depth=True, topic=topic, depth_scale=depth_scale)
    check, last = FrameCheck(TrackingSettings()), None
    sizes: Counter[str] = Counter()
    stamps: list[int] = []
    depths: list[tuple[float, float, float, float]] = []
    kept: list[tuple[int, Frame]] = []
    camera: Camera | None = None
    frames = islice(source, limit) if limit else source
    for frame in tqdm(frames, total=limit or len(source) or None, unit="frame", desc="reading"):
        sizes[f"{frame.rgb.shape[1]} x {frame.rgb.shape[0]}"] += 1
        try:
            check(frame, last)
            last = frame.stamp
        except BadFrame as error:
            source.faults.add(f"frame {len(stamps)}", error)
        stamps.append(frame.stamp)
        camera = camera or frame.camera
        if frame.depth is not None:
            depths.append(_depth_figures(frame.depth))
        if png is not None:
            kept = _evenly(kept, frame, len(stamps))
    if png is not None and kept:
        _draw(png, kept, np.array(stamps))
    out: dict[str, Any] = {
        "input": text, "kind": type(source).__name__.removesuffix("Source").lower(), "frames": len(stamps),
        "announced": len(source), "sizes": dict(sizes), **_times(stamps),
    }  # fmt: skip
    if camera is not None:
        fx, fy, cx, cy = (float(camera.intrinsics[r, c]) for r, c in ((0, 0), (1, 1), (0, 2), (1, 2)))
        out["camera"] = {
            "fx": fx,
            "fy": fy,
            "cx": cx,
            "cy": cy,
            "model": camera.model,
            "distortion": list(camera.distortion),
        }
    if depths:
        share, low, middle, high = np.median(np.array(depths), axis=0).tolist()
        out["depth"] = {"frames": len(depths), "known_share": share, "metres_5_50_95": [low, middle, high]}
    if isinstance(source, BagSource):
        out["camera_moves_in"] = source.frames_above()  # what --odometry may name
        out["topics"] = {t.name: f"{t.kind}, {t.count}" for t in source.all_topics}
    out["notes"] = source.notes
    out["left_out"], out["faults"] = len(source.faults), source.faults.lines
    return out


def lines_of(found: dict[str, Any]) -> list[str]:
    """What was found, for people."""
    lines = []
    for key, value in found.items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {k}: {_plain(v)}" for k, v in value.items())]
        elif isinstance(value, list):
            lines += [f"{key}: {'none' if not value else ''}".rstrip(), *(f"  {v}" for v in value[:20])]
            if len(value) > 20:
                lines.append(f"  and {len(value) - 20} more")
        else:
            lines.append(f"{key}: {_plain(value)}")
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.3f}"
    if isinstance(value, list):
        return ", ".join(_plain(v) for v in value) or "none"
    return str(value)


def _cloud(path: Path) -> dict[str, Any]:
    points = read_cloud(path)
    cloud = prepare(points)
    size = np.ptp(cloud.points, axis=0) if len(cloud.points) else np.zeros(3)
    problem = check_size(points)
    return {
        "input": str(path), "kind": "cloud", "points": len(points), "used": len(cloud.points),
        "origin": [float(v) for v in cloud.origin], "size": [float(v) for v in size],
        "notes": [*cloud.notes, *([problem] if problem else [])],
    }  # fmt: skip


def _times(stamps: list[int]) -> dict[str, Any]:
    if len(stamps) < 2:
        return {"first_stamp": stamps[0] * 1e-9 if stamps else None, "duration": 0.0}
    steps = np.diff(np.array(stamps)) * 1e-9
    middle = float(np.median(steps))
    gaps = np.flatnonzero(steps > _GAP * max(middle, 1e-9))
    return {
        "first_stamp": stamps[0] * 1e-9, "duration": (stamps[-1] - stamps[0]) * 1e-9, "rate": 1 / middle if middle > 0 else 0.0,
        "steps_back": int((steps < 0).sum()), "equal_stamps": int((steps == 0).sum()),
        "gaps": [f"{steps[k]:.2f} s after frame {k}" for k in gaps],
    }  # fmt: skip


def _depth_figures(depth: np.ndarray) -> tuple[float, float, float, float]:
    known = depth[np.isfinite(depth) & (depth > 0)]
    if not known.size:
        return 0.0, np.nan, np.nan, np.nan
    low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
    return known.size / depth.size, float(low), float(middle), float(high)


def _evenly(kept: list[tuple[int, Frame]], frame: Frame, count: int) -> list[tuple[int, Frame]]:
    """Frames spread over what was read so far: where there are too many, every second one goes."""
    step = (kept[1][0] - kept[0][0]) if len(kept) > 1 else 1
    if (count - 1) % step == 0:
        kept = [*kept, (count - 1, frame)]
    return kept[::2] if len(kept) > 2 * _SHOWN else kept


def _draw(png: Path, kept: list[tuple[int, Frame]], stamps: np.ndarray) -> None:
    """Frames, their depth, and the steps between stamps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = [kept[k] for k in np.unique(np.linspace(0, len(kept) - 1, min(_SHOWN, len(kept))).astype(int))]
    rows = 3 if any(f.depth is not None for _, f in shown) else 2
    figure = plt.figure(figsize=(2.6 * len(shown), 2.2 * rows), constrained_layout=True)
    grid = figure.add_gridspec(rows, len(shown))
    for k, (number, frame) in enumerate(shown):
        axes = figure.add_subplot(grid[0, k])
        axes.imshow(frame.rgb)
        axes.set_title(f"frame {number}", fontsize=8)
        axes.axis("off")
        if frame.depth is not None:
            axes = figure.add_subplot(grid[1, k])
            picture = axes.imshow(frame.depth, cmap="viridis")
            figure.colorbar(picture, ax=axes, shrink=0.6, label="m")
            axes.axis("off")
    axes = figure.add_subplot(grid[rows - 1, :])
    axes.plot(np.arange(1, len(stamps)), np.diff(stamps) * 1e-9, ".-", linewidth=0.7)
    axes.set_xlabel("frame")
    axes.set_ylabel("step in s")
    with replacing(png) as part:
        figure.savefig(part, dpi=90)
    plt.close(figure)
