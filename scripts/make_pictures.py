#!/usr/bin/env python3
"""Makes the pictures of README and docs from the shipped sequence: docs/images/map.png and docs/images/demo.gif."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import sab3r_ros
from sab3r_ros.cli.demo import QUERIES, best_answers
from sab3r_ros.viewer.preview import choose_viewpoint, draw_preview, render_view

OUT = Path(__file__).resolve().parents[1] / "docs" / "images"
_EVERY = 2  # frames between two of the moving picture
_SIZE = (480, 360)
_COLOURS = 128  # of the moving picture: GIF has 256 at most, and fewer are smaller


def main() -> None:
    """Map the sequence, keep what was there after every other frame, and draw it."""
    OUT.mkdir(parents=True, exist_ok=True)
    mapper = sab3r_ros.Mapper.load("sab3r_small")
    query = sab3r_ros.query_for(mapper.backend.features, mapper.settings.query)
    moments = []
    for k, frame in enumerate(sab3r_ros.open_source("demo")):
        mapper.register(frame)
        if k % _EVERY == 0:
            moments.append((frame.rgb, mapper.snapshot(columns=("xyz", "rgb")), positions(mapper)))
    mapper.settle()
    snapshot = mapper.snapshot()
    best = best_answers(query.locate(snapshot, QUERIES))
    label, _ = query.classify(snapshot)
    draw_preview(OUT / "map.png", snapshot, label, query.vocabulary, mapper.trajectory, best)
    frames = [drawn(rgb, seen, walked, snapshot, positions(mapper)) for rgb, seen, walked in moments]
    last = drawn(moments[-1][0], snapshot, positions(mapper), snapshot, positions(mapper), best)
    save_gif(OUT / "demo.gif", [*frames, last])


def positions(mapper) -> np.ndarray:
    """Where the camera was (T,3)."""
    return np.array([pose[:3, 3] for _, pose in mapper.trajectory]).reshape(-1, 3)


def drawn(rgb, seen, walked, whole, whole_path, objects=()) -> np.ndarray:
    """The camera's image beside the map as it was then, from where the whole map is seen."""
    view = choose_viewpoint(whole.points.astype(float), whole_path)
    room = render_view(
        seen.points.astype(float), seen.colours.astype(float), seen.voxel_size, walked, objects, _SIZE, view
    )
    camera = cv2.resize(rgb, _SIZE, interpolation=cv2.INTER_AREA)
    return np.concatenate([camera, np.full((_SIZE[1], 6, 3), 255, np.uint8), room], 1)


def save_gif(path: Path, frames: list[np.ndarray]) -> None:
    """A GIF at five images a second whose last one stays for three seconds."""
    images = [
        Image.fromarray(f).resize((f.shape[1] * 3 // 4, f.shape[0] * 3 // 4), Image.Resampling.LANCZOS) for f in frames
    ]
    images = [i.quantize(_COLOURS, dither=Image.Dither.NONE) for i in images]
    durations = [200] * (len(images) - 1) + [3000]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)


if __name__ == "__main__":
    main()
