"""The files of a bag: opened one by one where they must be, read as far as they can be.

rosbags reads whole recordings of ROS 1 and ROS 2; mcap's streaming reader takes over for files without an index or end.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sab3r_ros.faults import Faults
from sab3r_ros.sources.base import BAG_SUFFIXES, SourceError

_FIELDS = {
    "sensor_msgs/msg/Image": ("header", "encoding", "width", "height", "step", "is_bigendian", "data"),
    "sensor_msgs/msg/CompressedImage": ("header", "format", "data"),
    "sensor_msgs/msg/CameraInfo": ("header", "width", "height", "distortion_model", "roi", "binning_x", "binning_y"),
}
_LONGEST = 200  # letters of a reader's own words


@dataclass(frozen=True)
class Topic:
    """A topic of a bag; count: messages, 0 where it is not known."""

    name: str
    kind: str
    count: int


class BagFile(Protocol):
    """What can be asked of one file, or of a folder that rosbags reads as a whole."""

    topics: list[Topic]

    def messages(self, names: Collection[str]) -> Iterator[tuple[str, str, int, bytes]]:
        """Topic, type, time of recording (ns) and bytes of every message of the topics, in the order of recording.

        Raises SourceError where the file ends early.
        """

    def deserialize(self, raw: bytes, kind: str) -> Any:
        """A message from its bytes. Raises SourceError."""


def open_bag_files(path: Path, faults: Faults) -> list[BagFile]:
    """The parts of a bag, in order; a part that cannot be read is noted in `faults`. Raises SourceError where none can."""
    try:
        return [_RosbagsFile(path)]
    except SourceError as failure:
        first = failure
    parts = [path] if path.is_file() else _files_in(path)
    opened: list[BagFile] = []
    problems: list[tuple[Path, SourceError]] = []
    for part in parts:
        try:
            opened.append(_open_part(part, first if path.is_file() else None))
        except SourceError as error:
            problems.append((part, error))
    if not opened:
        raise problems[0][1] if len(problems) == 1 else first
    for part, problem in problems:
        faults.add(part.name, problem)
    return opened


def _files_in(folder: Path) -> list[Path]:
    from sab3r_ros.sources.layouts import natural_order

    return natural_order([p for p in folder.iterdir() if p.suffix.lower() in BAG_SUFFIXES])


def _open_part(path: Path, known: SourceError | None) -> BagFile:
    try:
        if known is not None:
            raise known
        return _RosbagsFile(path)
    except SourceError:
        if path.suffix.lower() != ".mcap":
            raise
        return _McapStream(path)


class _RosbagsFile:
    def __init__(self, path: Path):
        try:
            from rosbags.highlevel import AnyReader
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise SourceError("reading bags needs the rosbags library: pip install rosbags") from error
        self.path = path
        try:
            self._reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
            self._reader.open()
        # A damaged file makes the readers fail in every way there is: theirs, the database's, the decompressor's.
        except Exception as error:
            raise SourceError(f"{path} cannot be read as a bag: {_words(error)}{_advice(path, error)}") from error
        counts: dict[tuple[str, str], int] = {}
        for c in self._reader.connections:
            counts[c.topic, c.msgtype] = counts.get((c.topic, c.msgtype), 0) + (c.msgcount or 0)
        self.topics = [Topic(name, kind, count) for (name, kind), count in counts.items()]

    def messages(self, names: Collection[str]) -> Iterator[tuple[str, str, int, bytes]]:
        connections = [c for c in self._reader.connections if c.topic in names]
        if not connections:
            return
        try:
            for connection, recorded, raw in self._reader.messages(connections=connections):
                yield connection.topic, connection.msgtype, recorded, bytes(raw)
        except Exception as error:
            raise SourceError(f"{self.path.name} ends early: {_words(error)}") from error

    def deserialize(self, raw: bytes, kind: str) -> Any:
        return _message(self._reader.deserialize, raw, kind)


class _McapStream:
    """An MCAP file without an index or an end, read from its beginning as far as it goes."""

    def __init__(self, path: Path):
        from rosbags.typesys import Stores, get_typestore

        self.path = path
        self._store = get_typestore(Stores.ROS2_JAZZY)
        found: dict[tuple[str, str], int] = {}
        self.problem = ""
        try:
            for topic, kind, _, _ in self._read(None):
                found[topic, kind] = found.get((topic, kind), 0) + 1
        except SourceError as error:
            self.problem = str(error)
        if not found:
            raise SourceError(f"{path} cannot be read as a bag: {self.problem or 'it holds no messages'}")
        self.topics = [Topic(name, kind, count) for (name, kind), count in found.items()]

    def _read(self, names: Collection[str] | None) -> Iterator[tuple[str, str, int, bytes]]:
        from mcap.reader import NonSeekingReader

        with self.path.open("rb") as stream:
            try:
                for schema, channel, message in NonSeekingReader(stream).iter_messages(
                    topics=names, log_time_order=False
                ):
                    kind = schema.name if schema else ""
                    yield channel.topic, kind, message.log_time, message.data
            # As with rosbags: a damaged file makes it fail in every way there is.
            except Exception as error:
                raise SourceError(f"{self.path.name} ends early: {_words(error)}") from error

    def messages(self, names: Collection[str]) -> Iterator[tuple[str, str, int, bytes]]:
        yield from self._read(list(names))
        if self.problem:
            raise SourceError(self.problem)

    def deserialize(self, raw: bytes, kind: str) -> Any:
        return _message(self._store.deserialize_cdr, raw, kind)


def _message(deserialize: Callable[[bytes, str], Any], raw: bytes, kind: str) -> Any:
    """A whole message from its bytes; its definition comes from the bag too and may be damaged as well. Raises SourceError."""
    try:
        message = deserialize(raw, kind)
    except Exception as error:
        raise SourceError(f"damaged message: {_words(error)}") from error
    if missing := [name for name in _FIELDS.get(kind, ()) if not hasattr(message, name)]:
        raise SourceError(f"damaged message: {kind} has no field {', '.join(missing)} in this bag")
    return message


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _advice(path: Path, error: BaseException) -> str:
    if path.suffix == ".active" or "index" in str(error).lower():
        return "; the recording was not closed: run `rosbag reindex` (ROS 1) or `ros2 bag reindex` on a copy"
    return ""
