"""Located objects and the map's things as messages."""

import numpy as np

from sab3r_ros.geometry.projection import transform
from sab3r_ros.msg import ObjectInstance
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.query.objects import LocatedObject
from sab3r_ros.query.registry import MapObject

_POSITION_STD, _ORIENTATION_STD = 0.05, 0.3  # metres, radians: of an object's box, beside the scale


def place_object(
    out: ObjectInstance, item: LocatedObject | MapObject, scale_stddev: float, to_target: np.ndarray | None = None
) -> None:
    """Set box, centroid and last sight. to_target (4,4): from the map to the message's frame, None = the map's."""
    to_target = np.eye(4) if to_target is None else to_target
    out.pose.pose = convert.to_pose(to_target @ item.box_pose)
    out.pose.covariance = convert.pose_covariance(item.box_pose[:3, 3], scale_stddev, _POSITION_STD, _ORIENTATION_STD)
    out.size = convert.to_vector(item.size)
    out.centroid = convert.to_point(transform(to_target, item.centroid))
    out.last_seen = convert.to_stamp(item.last_seen)


def thing_message(item: MapObject, scale_stddev: float, to_target: np.ndarray | None = None) -> ObjectInstance:
    """A thing as a message, without its points; to_target (4,4): as for `place_object`."""
    out = ObjectInstance(
        id=item.id, label=item.label, score=item.labels[0][1], probability=item.labels[0][1], state=int(item.state),
        labels=[name for name, _ in item.labels], label_shares=[share for _, share in item.labels], num_points=len(item.points),
        num_views=item.views, has_moved=item.moved_from is not None,
    )  # fmt: skip
    place_object(out, item, scale_stddev, to_target)
    if item.moved_from is not None:
        before = item.moved_from if to_target is None else transform(to_target, item.moved_from)
        out.moved_from = convert.to_point(before)
    out.first_seen = convert.to_stamp(item.first_seen)
    return out
