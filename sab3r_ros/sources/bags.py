"""Image topics of rosbag2 (sqlite3, mcap) and rosbag1 recordings, through the rosbags library; no ROS needed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sab3r_ros.sources.base import Source, SourceError
from sab3r_ros.sources.encodings import ImageError, decode_compressed, decode_image
from sab3r_ros.types import Frame

_RAW, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


class BagSource(Source):
    """One image topic of a bag, with the headers' stamps."""

    def __init__(self, path: Path, topic: str = ""):
        super().__init__(str(path))
        try:
            from rosbags.highlevel import AnyReader, AnyReaderError
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise SourceError("reading bags needs the rosbags library: pip install rosbags") from error
        try:
            self._reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
            self._reader.open()
        except (AnyReaderError, OSError, ValueError, KeyError) as error:
            raise SourceError(f"{path} cannot be read as a bag: {error}") from error
        self._connection = self._choose(topic)

    def _choose(self, topic):
        images = [c for c in self._reader.connections if c.msgtype in (_RAW, _COMPRESSED)]
        names = sorted({c.topic for c in images})
        if topic:
            chosen = [c for c in images if c.topic == topic]
            if not chosen:
                raise SourceError(f"{self.name} has no image topic {topic!r}; it has: {', '.join(names) or 'none'}")
            return chosen[0]
        colour = [c for c in images if "depth" not in c.topic]
        if not colour:
            raise SourceError(
                f"{self.name} has no image topic (topics: {', '.join(sorted(self._reader.topics)) or 'none'})"
            )
        if len({c.topic for c in colour}) > 1:
            raise SourceError(f"{self.name} has several image topics, choose one: {', '.join(names)}")
        return colour[0]

    def __len__(self) -> int:
        return self._connection.msgcount

    def __iter__(self) -> Iterator[Frame]:
        for connection, recorded, raw in self._reader.messages(connections=[self._connection]):
            message: Any = self._reader.deserialize(raw, connection.msgtype)
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            try:
                if connection.msgtype == _COMPRESSED:
                    rgb = decode_compressed(message.data)
                else:
                    rgb = decode_image(
                        message.data,
                        message.encoding,
                        message.width,
                        message.height,
                        message.step,
                        bool(message.is_bigendian),
                    )
            except ImageError as error:
                self._skip(f"message at {recorded} ns", error)
                continue
            yield Frame(rgb, stamp or recorded)
