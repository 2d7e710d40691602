"""Rerun's recordings (.rrd): cloud, labelled boxes, and the camera over time."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from sab3r_ros.exports.content import ExportContent
from sab3r_ros.geometry.walks import walks

_RADIUS = 0.01  # metres


def write_rrd(content: ExportContent, path: Path) -> None:
    """The map is there from the start; the camera moves along the timeline `stamp`."""
    import rerun as rr

    recording = rr.RecordingStream("sab3r_ros")
    recording.save(str(path))
    recording.log("map", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    recording.log("map", rr.AnnotationContext(list(enumerate(content.names))), static=True)
    class_ids = content.labels if content.names else None  # what has no label has a number without a name
    recording.log(
        "map/points", rr.Points3D(content.points, colors=content.colours, class_ids=class_ids, radii=_RADIUS), static=True
    )  # fmt: skip
    if content.objects:
        poses = np.stack([o.box_pose for o in content.objects])
        recording.log("map/objects", rr.Boxes3D(
            centers=poses[:, :3, 3], half_sizes=np.stack([o.size for o in content.objects]) / 2,
            quaternions=Rotation.from_matrix(poses[:, :3, :3]).as_quat(), labels=[f"{o.label} ({o.id})" for o in content.objects],
        ), static=True)  # fmt: skip
    if ways := [way for way in walks(content.trajectory) if len(way) > 1]:
        recording.log("map/path", rr.LineStrips3D(ways), static=True)
    for stamp, pose in content.trajectory:
        recording.set_time("stamp", timestamp=np.datetime64(stamp, "ns"))
        recording.log("map/camera", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
    recording.flush()
    recording.disconnect()
