"""`sab3r what`: the things in a place."""

from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.cli.mapping import describe_thing
from sab3r_ros.config import Settings
from sab3r_ros.maps import open_map
from sab3r_ros.types import Region


def what_is_there(
    folder: Path, settings: Settings, where: str, at: tuple[float, ...] | None, box: tuple[float, ...] | None, image: Path | None
) -> dict:  # fmt: skip
    """The things in one place, as `Map.what_is`, `thing_at`, `things_in` and `where_is`; raises as they do."""
    opened = open_map(folder, settings=settings)
    answer: dict = {}
    if at is not None:
        thing = opened.thing_at(at)
        found = [] if thing is None else [(thing, 1.0)]
    elif box is not None:
        corners = np.array(box, float).reshape(2, 3)
        found = opened.things_in(Region.around(corners, 0.0))
    elif image is not None:
        picture = cv2.imread(str(image))
        if picture is None:
            raise ValueError(f"{image} is not a picture that can be read")
        whereabouts = opened.where_is(np.ascontiguousarray(picture[..., ::-1]))
        answer = {"recognised": whereabouts is not None, "pose": None}
        found = [] if whereabouts is None else whereabouts.things
        if whereabouts is not None:
            answer["pose"] = whereabouts.pose.round(4).tolist()
    else:
        found = opened.what_is(where)
    return answer | {"things": [describe_thing(thing) | {"share": round(share, 3)} for thing, share in found]}


def in_words(answer: dict) -> str:
    """The answer for people."""
    lines = []
    if "recognised" in answer:
        if not answer["recognised"]:
            return "no place of the map is recognised in this picture"
        x, y, z = (row[3] for row in answer["pose"][:3])
        lines.append(f"taken at ({x:.2f}, {y:.2f}, {z:.2f}) m")
    for thing in answer["things"]:
        names = ", ".join(f"{name} {share:.0%}" for name, share in thing["labels"][:2])
        lines.append(
            f"{thing['id']:>10}: {names}; at {thing['centroid']} m, size {thing['size']} m ({thing['share']:.0%})"
        )
    return "\n".join(lines or ["nothing that the map knows"])
