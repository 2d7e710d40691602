#!/usr/bin/env python3
"""Writes docs/api.md from the docstrings of the public names; a test keeps the file equal to them."""

import inspect
from pathlib import Path

import sab3r_ros

GROUPS = {
    "Mapping": ("Mapper", "Frame", "Camera", "FrameResult", "BadFrame", "Tracking", "map_stream", "open_source"),
    "Maps": ("save_map", "load_map", "join_map", "open_map", "Map", "MapSnapshot", "Region"),
    "Questions": ("MapQuery", "query_for", "LocatedObject"),
    "Affordances": ("AffordanceSegmenter", "affordance_regions", "RegionRequest", "AffordanceAnswer"),
    "Settings and models": ("Settings", "load_settings", "load_backend"),
}
_HEAD = """# Python interface

What `import sab3r_ros` offers. Everything else is internal and may change. Made by `scripts/write_api_docs.py`.

```python
import sab3r_ros

mapper = sab3r_ros.Mapper.load("sab3r_small")
for frame in sab3r_ros.open_source("walk.mp4"):
    result = mapper.register(frame)  # result.pose: camera in the map, metres, z up
sab3r_ros.save_map(mapper, "kitchen")

kitchen = sab3r_ros.open_map("kitchen")
for item in kitchen.locate("mug"):
    print(item.id, item.score, item.centroid)
answer = kitchen.affordance("mug", "grasp")  # answer.regions[0].grasps[0].pose
```
"""


def signature(value) -> str:
    """The call as text, without quotes about annotations; "" where there is none."""
    try:
        return str(inspect.signature(value)).replace("'", "").replace("pathlib._local", "pathlib")
    except (ValueError, TypeError):
        return ""


def described(name: str, value, level: str) -> list[str]:
    """A heading with the signature, and the docstring."""
    call = "" if inspect.isclass(value) and issubclass(value, (int, Exception)) else signature(value)
    text = inspect.getdoc(value) or ""
    if isinstance(value, property):
        call, text = "", inspect.getdoc(value.fget) or ""
    return [f"{level} `{name}`", "", *([f"`{name}{call}`", ""] if call else []), text, ""]


def api_text() -> str:
    """The whole document."""
    lines = [_HEAD]
    for title, names in GROUPS.items():
        lines += [f"## {title}", ""]
        for name in names:
            value = getattr(sab3r_ros, name)
            lines += described(name, value, "###")
            if inspect.isclass(value) and not issubclass(value, (int, Exception)) and name != "Settings":
                for member, inner in vars(value).items():
                    inner = getattr(inner, "__func__", inner)
                    if not member.startswith("_") and (callable(inner) or isinstance(inner, property)):
                        lines += described(f"{name}.{member}", inner, "####")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    (Path(__file__).resolve().parents[1] / "docs" / "api.md").write_text(api_text())
