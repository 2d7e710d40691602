"""Odometry of a recording: from TF in its bag, or from a file of the camera's poses."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from sab3r_ros.geometry.transform_tree import NotKnown, TransformTree
from sab3r_ros.sources.bag_files import BagFile, Topic
from sab3r_ros.sources.base import Source, SourceError
from sab3r_ros.sources.folders import FolderSource
from sab3r_ros.sources.pose_file import read_image_poses, read_poses
from sab3r_ros.types import Frame

_TF = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
_ODOMETRY = "nav_msgs/msg/Odometry"
_GAP = 0.5  # seconds between two poses of a file between which none is interpolated


def moving_topics(topics: Sequence[Topic]) -> list[str]:
    """The names of those of a bag's topics that tell how frames move."""
    return sorted({t.name for t in topics if (t.kind in _TF and not _is_static(t)) or t.kind == _ODOMETRY})


def _is_static(topic: Topic) -> bool:
    return topic.kind in _TF and topic.name.endswith("tf_static")


class BagOdometry:
    """Where a camera was in a frame of odometry, from the transforms of a bag, and from nav_msgs/Odometry where these lack it."""

    def __init__(self, frame: str, files: Sequence[BagFile]):
        self.frame = frame.lstrip("/")
        topics = [t for file in files for t in file.topics]
        self.topics = moving_topics(topics)
        self._static = {t.name for t in topics if _is_static(t)}
        self._tree = TransformTree()
        self._by_tf: set[str] = set()  # frames that transforms place
        self._problem = ""
        self._found = self._missed = 0
        for file in files:
            self._read_static(file)

    def _read_static(self, file: BagFile) -> None:
        """What never moves may be recorded at any time, and is read first."""
        try:
            for topic, kind, _, raw in file.messages(self._static):
                self.add(topic, file.deserialize(raw, kind))
        except (SourceError, AttributeError, TypeError, ValueError):
            pass  # what is damaged is told when the images are read

    def add(self, topic: str, message: Any) -> None:
        """Take the transforms of a message of one of `topics`. Those without a rotation, or not finite, are passed over."""
        if message.__msgtype__ == _ODOMETRY:
            known = message.child_frame_id.lstrip("/") in self._by_tf
            if message.header.frame_id.lstrip("/") == self.frame and not known:
                pose = message.pose.pose
                self._add(message.header, message.child_frame_id, pose.position, pose.orientation, False)
            return
        for t in message.transforms:
            where = t.transform
            self._by_tf.add(t.child_frame_id.lstrip("/"))
            self._add(t.header, t.child_frame_id, where.translation, where.rotation, topic in self._static)

    def _add(self, header: Any, child: str, shift: Any, turn: Any, static: bool) -> None:
        numbers = np.array([shift.x, shift.y, shift.z, turn.x, turn.y, turn.z, turn.w])
        if not np.isfinite(numbers).all() or not np.any(numbers[3:]):
            return
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat(numbers[3:]).as_matrix()
        pose[:3, 3] = numbers[:3]
        self._tree.add(header.frame_id, child, header.stamp.sec * 10**9 + header.stamp.nanosec, pose, static)

    def ancestors(self, frame: str) -> list[str]:
        """The frames that a frame moves in, nearest first."""
        return self._tree.ancestors(frame)[1:]

    def is_known(self, camera: str, stamp: int) -> bool:
        """Whether nothing that is still to come would tell more about that moment."""
        try:
            self._tree.lookup(self.frame, camera, stamp)
        except NotKnown as error:
            return not error.may_come
        return True

    def pose(self, camera: str, stamp: int) -> np.ndarray | None:
        """The camera (4,4) in the frame of odometry at an image's stamp, None where that is not known."""
        try:
            pose = self._tree.lookup(self.frame, camera, stamp)
        except NotKnown as error:
            self._missed += 1
            self._problem = f"{camera!r} in {self.frame!r}: {error}"
            return None
        self._found += 1
        return pose

    def in_words(self) -> str:
        """What became of it, for a note at the end."""
        return _told(self._found, self._missed, self._problem)


class WithOdometry(Source):
    """A recording whose images have the camera's poses of a file as odometry: in TUM's format, with stamps as the recording's, or, of a
    folder of images, Record3D's metadata.json or a transforms.json. Raises SourceError."""

    def __init__(self, source: Source, file: Path):
        super().__init__(source.name, source.faults, source.notes)
        self._source = source
        if file.suffix.lower() != ".json":
            self._poses = read_poses(file)
        elif isinstance(source, FolderSource):
            self._poses = read_image_poses(file, source.images, source.layout.stamps)
        else:
            raise SourceError(f"{file} has poses of images: it belongs to a folder of these, not to {source.name}")
        self._range = (
            f"the file's poses are from {self._poses.stamps[0] * 1e-9:.3f} to {self._poses.stamps[-1] * 1e-9:.3f} s"
        )

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Frame]:
        found = missed = 0
        problem = ""
        try:
            for frame in self._source:
                pose = self._poses.at(frame.stamp, _GAP)
                if pose is None:
                    missed += 1
                    problem = f"image at {frame.stamp * 1e-9:.3f} s, {self._range}"
                found += pose is not None
                yield replace(frame, odometry=pose)
        finally:  # also where not all frames are wanted
            self.note(_told(found, missed, problem))


def _told(found: int, missed: int, problem: str) -> str:
    if not missed:
        return f"odometry: known for all {found} images"
    return f"odometry: known for {found} images, not for {missed} (the last: {problem})"
