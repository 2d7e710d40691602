"""Regions and grasps as messages and markers."""

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Pose
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from sab3r_ros.affordance.grasps import Grasp
from sab3r_ros.affordance.regions import AffordanceRegion as Region
from sab3r_ros.geometry.projection import transform
from sab3r_ros.msg import AffordanceRegion, GraspCandidate
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.map_client import FoundObject

_POSITION_STD, _ORIENTATION_STD = (
    0.02,
    0.1,
)  # metres, radians: of a region or a grasp on a fused surface, beside the scale
_GREEN, _CYAN = ColorRGBA(r=0.2, g=0.9, b=0.2, a=1.0), ColorRGBA(r=0.1, g=0.8, b=0.9, a=0.5)


def region_message(
    region: Region, number: int, request, item: FoundObject, points: np.ndarray, scores: np.ndarray, to_target: np.ndarray, head: Header
) -> AffordanceRegion:  # fmt: skip
    """A region in the frame of the answer's header.

    points (N,3) of the object in its own frame, scores (N,); to_target (4,4) from there to the answer's frame.
    """
    doubt = item.map_status.scale_stddev
    out = AffordanceRegion(
        id=f"{item.name}-{request.affordance}-{number}", affordance=request.affordance, object=item.name, score=region.score,
        peak_score=region.peak_score, num_points=len(region.rows), last_seen=convert.to_stamp(item.stamp),
        fallback=region.fallback,
    )  # fmt: skip
    out.pose.pose = convert.to_pose(to_target @ region.pose)
    out.pose.covariance = convert.pose_covariance(region.centroid, doubt, _POSITION_STD, _ORIENTATION_STD)
    out.size = convert.to_vector(region.size)
    out.contact = convert.to_point(transform(to_target, region.contact))
    out.normal = convert.to_vector(to_target[:3, :3] @ region.normal)
    out.grasps = [_grasp(g, to_target, doubt) for g in region.grasps]
    if request.return_points:
        columns = convert.xyz_columns(transform(to_target, points[region.rows])) | {
            "score": scores[region.rows].astype(np.float32)
        }
        out.points = convert.make_cloud(head, **columns)
    else:
        out.points = PointCloud2(header=head)
    return out


def _grasp(grasp: Grasp, to_target: np.ndarray, doubt: float) -> GraspCandidate:
    out = GraspCandidate(
        width=grasp.width, depth=grasp.depth, approach_distance=grasp.approach_distance, score=grasp.score
    )
    out.pose.pose = convert.to_pose(to_target @ grasp.pose)
    out.pose.covariance = convert.pose_covariance(grasp.pose[:3, 3], doubt, _POSITION_STD, _ORIENTATION_STD)
    return out


def region_markers(regions: list[AffordanceRegion], middles: Sequence[np.ndarray], head: Header) -> MarkerArray:
    """Boxes of the regions, around their middles (3,), and arrows of their best grasps, in place of what was shown before."""
    out = [Marker(header=head, action=Marker.DELETEALL)]
    for k, region in enumerate(regions):
        box = Marker(
            header=head, ns="regions", id=k, type=Marker.CUBE, color=_CYAN,
            pose=Pose(position=convert.to_point(middles[k]), orientation=region.pose.pose.orientation),
            scale=convert.to_vector(np.maximum(convert.from_xyz(region.size), 0.004)),
        )  # fmt: skip
        out.append(box)
        for grasp in region.grasps[:1]:
            pose = convert.from_pose(grasp.pose.pose)
            arrow = Marker(header=head, ns="grasps", id=k, type=Marker.ARROW, color=_GREEN)
            arrow.points = [convert.to_point(pose[:3, 3] - 0.1 * pose[:3, 2]), convert.to_point(pose[:3, 3])]
            arrow.scale = convert.to_vector((0.008, 0.016, 0.02))
            out.append(arrow)
    return MarkerArray(markers=out)
