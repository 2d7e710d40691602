"""Semantic 3D mapping from monocular RGB video, with text queries and affordances.

    import sab3r_ros

    mapper = sab3r_ros.Mapper.load("sab3r_small")
    for stamp, rgb in enumerate_images():
        mapper.register(sab3r_ros.Frame(rgb, stamp))
    sab3r_ros.save_map(mapper, "kitchen")

    kitchen = sab3r_ros.open_map("kitchen")
    kitchen.locate("mug")
    kitchen.affordance("mug", "grasp")

Names are loaded when they are first used: every ROS message import runs this file, and must not wait for PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sab3r_ros.affordance.pipeline import AffordanceAnswer, RegionRequest, affordance_regions
    from sab3r_ros.affordance.segmenter import AffordanceSegmenter
    from sab3r_ros.config import Settings, load_settings
    from sab3r_ros.mapping.mapper import Mapper
    from sab3r_ros.mapping.session import join_map, load_map, save_map
    from sab3r_ros.mapping.stream import map_stream
    from sab3r_ros.maps import Map, open_map
    from sab3r_ros.models.backends import load_backend
    from sab3r_ros.query.map_query import MapQuery, query_for
    from sab3r_ros.query.objects import LocatedObject
    from sab3r_ros.sources.open import open_source
    from sab3r_ros.types import BadFrame, Camera, Frame, FrameResult, MapSnapshot, Region, Tracking

__version__ = "0.2.0"

_PUBLIC = {
    "AffordanceAnswer": "affordance.pipeline", "AffordanceSegmenter": "affordance.segmenter", "BadFrame": "types",
    "Camera": "types", "Frame": "types", "FrameResult": "types", "LocatedObject": "query.objects", "Map": "maps",
    "MapQuery": "query.map_query", "MapSnapshot": "types", "Mapper": "mapping.mapper", "Region": "types",
    "RegionRequest": "affordance.pipeline", "Settings": "config", "Tracking": "types",
    "affordance_regions": "affordance.pipeline", "load_backend": "models.backends", "join_map": "mapping.session", "load_map": "mapping.session",
    "load_settings": "config", "map_stream": "mapping.stream", "open_map": "maps", "open_source": "sources.open",
    "query_for": "query.map_query", "save_map": "mapping.session",
}  # fmt: skip
__all__ = [
    "AffordanceAnswer",
    "AffordanceSegmenter",
    "BadFrame",
    "Camera",
    "Frame",
    "FrameResult",
    "LocatedObject",
    "Map",
    "MapQuery",
    "MapSnapshot",
    "Mapper",
    "Region",
    "RegionRequest",
    "Settings",
    "Tracking",
    "affordance_regions",
    "load_backend",
    "join_map",
    "load_map",
    "load_settings",
    "map_stream",
    "open_map",
    "open_source",
    "query_for",
    "save_map",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sab3r_ros' has no attribute {name!r}")
    return getattr(import_module(f"sab3r_ros.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
