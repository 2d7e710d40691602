"""Which topics of a bag are the camera's: chosen by type and content, not by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sab3r_ros.sources.bag_files import Topic
from sab3r_ros.sources.base import SourceError

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_INFO = "sensor_msgs/msg/CameraInfo"
_PACKETS = {
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": "H.264 or another video codec", "theora_image_transport/msg/Packet": "Theora",
    "foxglove_msgs/msg/CompressedVideo": "H.264 or another video codec", "foxglove_msgs/msg/CompressedImage": "",
}  # fmt: skip


@dataclass(frozen=True)
class CameraTopics:
    """What a camera's topics are called; "" where there is none. others: image topics that were left aside."""

    image: str
    depth: str
    info: str
    others: tuple[str, ...]


def is_depth(topic: str, message: Any) -> bool:
    """Whether an image message holds depth."""
    if hasattr(message, "encoding"):
        return message.encoding in ("16UC1", "32FC1") or (message.encoding == "mono16" and "depth" in topic.lower())
    return "compresseddepth" in message.format.lower() or topic.endswith("/compressedDepth")


def video_codec(message: Any) -> str:
    """The video codec that a compressed image message names, "" for a still image."""
    name = getattr(message, "format", "").lower()
    return next((codec for codec in ("h264", "h265", "hevc", "vp8", "vp9", "av1", "theora") if codec in name), "")


def choose_topics(topics: Sequence[Topic], wanted: str, first_of: Callable[[str], Any], name: str) -> CameraTopics:
    """The camera's topics.

    wanted: the image topic that the user asks for, "" for the only one; first_of: a topic's first message that can be read,
    None without. Raises SourceError where there is no image topic, or several.
    """
    images = [t for t in topics if t.kind in (RAW, COMPRESSED)]
    names = sorted({t.name for t in images})
    first = {n: first_of(n) for n in names}
    depths = [n for n in names if first[n] is not None and is_depth(n, first[n])]
    colour = [n for n in names if n not in depths]
    videos = {n: codec for n in colour if (codec := video_codec(first[n]))}
    if wanted:
        if wanted not in names:
            raise SourceError(f"{name} has no image topic {wanted!r}; it has: {', '.join(names) or 'none'}")
        image = wanted
    else:
        image = _only_one([n for n in colour if n not in videos], first, name) or ""
    if image in videos or not image:
        raise SourceError(_nothing_to_read(topics, videos, depths, name))
    info = [t.name for t in topics if t.kind == _INFO]
    others = tuple(n for n in colour if n != image)
    return CameraTopics(image, _nearest_depth(image, depths), _info_of(image, info), others)


def _only_one(colour: list[str], first: dict[str, Any], name: str) -> str | None:
    """The one colour stream: raw before its compressed copy, colour before grey."""
    raw = [n for n in colour if not any(n == f"{other}/compressed" for other in colour)]
    if len(raw) > 1:
        coloured = [
            n for n in raw if not str(getattr(first[n], "encoding", "rgb8")).startswith(("mono", "8UC1", "16UC1"))
        ]
        if len(coloured) == 1 and all(hasattr(first[n], "encoding") for n in raw):
            return coloured[0]
        raise SourceError(f"{name} has several image topics, choose one: {', '.join(raw)}")
    return raw[0] if raw else None


def _nothing_to_read(topics: Sequence[Topic], videos: dict[str, str], depths: list[str], name: str) -> str:
    packets = {t.name: codec for t in topics if (codec := _PACKETS.get(t.kind))}
    if videos or packets:
        said = ", ".join(f"{topic} ({codec})" for topic, codec in (videos | packets).items())
        return f"{name} holds video that cannot be read: {said}; republish it as sensor_msgs/Image or record JPEG"
    if depths:
        return f"{name} has only depth images: {', '.join(depths)}; a colour topic is needed"
    return f"{name} has no image topic (topics: {', '.join(sorted({t.name for t in topics})) or 'none'})"


def _shared(a: str, b: str) -> int:
    parts = zip(a.split("/"), b.split("/"), strict=False)
    return next((k for k, (x, y) in enumerate(parts) if x != y), min(a.count("/"), b.count("/")) + 1)


def _nearest_depth(image: str, depths: list[str]) -> str:
    """Depth that says it is registered to colour first, raw before compressed, then the nearest name."""
    return max(
        depths, default="",
        key=lambda n: (any(w in n for w in ("aligned", "registered", "to_color", "to_rgb")), _shared(image, n), -len(n)),
    )  # fmt: skip


def _info_of(image: str, infos: list[str]) -> str:
    """The camera_info beside the image topic; one that is alone in the bag serves too."""
    base = image.removesuffix("/compressed")
    beside = f"{base.rpartition('/')[0]}/camera_info"
    if beside in infos:
        return beside
    unique = set(infos)
    return unique.pop() if len(unique) == 1 else ""
