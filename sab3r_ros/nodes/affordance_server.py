"""The lifecycle node `affordance_server`: which part of that object affords this, and how to take hold of it there."""

import time
from dataclasses import replace

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from visualization_msgs.msg import MarkerArray

from sab3r_ros.affordance.clouds import check_size
from sab3r_ros.affordance.grasps import Gripper
from sab3r_ros.affordance.pipeline import RegionRequest, affordance_regions
from sab3r_ros.affordance.segmenter import AffordanceRequestError, AffordanceSegmenter
from sab3r_ros.geometry.projection import transform
from sab3r_ros.models.backends import choose_device
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes import parameters
from sab3r_ros.nodes.affordance_messages import region_markers, region_message
from sab3r_ros.nodes.lifecycle import ManagedNode, run_nodes
from sab3r_ros.nodes.map_client import FoundObject, MapClient, QueryError
from sab3r_ros.nodes.qos import LATCHED, SERVICE
from sab3r_ros.nodes.transforms import Transforms, TransformUnavailable, make_transforms
from sab3r_ros.nodes.usage import arguments_of
from sab3r_ros.query.objects import surroundings as nearby
from sab3r_ros.srv import QueryAffordance

_STATUS = QueryAffordance.Response


class AffordanceServerNode(ManagedNode):
    """Configure loads the model, activate answers; deactivated it answers NOT_ACTIVE."""

    def __init__(self, **kwargs):
        super().__init__("affordance_server", **kwargs)
        group = parameters.AffordanceServerSettings
        parameters.declare(self, group)
        parameters.refuse_late_changes(self, [group], lambda: self.segmenter is not None)
        self.settings = group()
        self.segmenter: AffordanceSegmenter | None = None
        self.transforms: Transforms = make_transforms(self)
        self.active = False
        self._map = MapClient(self, self.get_parameter("mapper").value)
        self._markers = self.create_publisher(MarkerArray, "~/markers", LATCHED)
        self.create_service(
            QueryAffordance,
            "~/query_affordance",
            self._guarded,
            qos_profile=SERVICE,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )

    def do_configure(self) -> None:
        """Load the model."""
        self.settings = parameters.read(self, parameters.AffordanceServerSettings)
        self.segmenter = AffordanceSegmenter(self.settings.checkpoint, choose_device(self.settings.device))
        checkpoint = self.segmenter.checkpoint
        self.get_logger().info(f"model {checkpoint.name} ({checkpoint.licence}) on {self.segmenter.device}")

    def do_activate(self) -> None:
        """Answer from now on."""
        self.active = True

    def do_deactivate(self) -> None:
        """Answer NOT_ACTIVE."""
        self.active = False

    def do_cleanup(self) -> None:
        """Let go of the model."""
        self.segmenter = None

    def _guarded(self, request, response):
        """Answer FAILED instead of letting an unforeseen error end the executor."""
        started = time.perf_counter()
        try:
            with self.guard.entered() as configured:
                if not (configured and self.active):
                    text = "the node is not active: run the lifecycle's configure and activate"
                    raise QueryError(_STATUS.NOT_ACTIVE, text)
                self._answer(request, response)
        except (AffordanceRequestError, ValueError) as error:
            _set(response, _STATUS.INVALID_REQUEST, str(error))
        except QueryError as error:
            _set(response, error.status, str(error))
            if error.answer is not None:
                response.header, response.map_status = error.answer.header, error.answer.map_status
        except TransformUnavailable as error:
            _set(response, _STATUS.TRANSFORM_UNAVAILABLE, str(error))
        except Exception as error:
            self.get_logger().error(f"{type(error).__name__}: {error}")
            _set(response, _STATUS.FAILED, f"{type(error).__name__}: {error}")
        response.elapsed_ms = (time.perf_counter() - started) * 1e3
        return response

    def _answer(self, request, response) -> None:
        image = convert.image_to_rgb(request.image) if request.image.data else None
        item = self._object(request)
        response.map_status = item.map_status
        target = request.target_frame or item.frame
        response.header = convert.header(target, item.stamp)
        to_target = np.eye(4) if target == item.frame else self.transforms.lookup(target, item.frame)
        # The network wants z up, as the object's own frame has it; the caller's may be turned.
        inside = _inside(transform(to_target, item.points), request)
        upright = item.points[inside]
        # What the region of interest cuts off is in the way of a gripper as much as anything else.
        surroundings = np.concatenate([item.surroundings, nearby(upright, item.points[~inside])])
        gripper = Gripper(max_width=request.max_gripper_width) if request.max_gripper_width else None
        wanted = RegionRequest(
            request.min_score or self.settings.min_score, request.max_regions, request.max_grasps, gripper
        )
        answer = affordance_regions(
            self.segmenter, upright, request.affordance, wanted, surroundings=surroundings, image=image
        )
        for k, region in enumerate(answer.regions):
            message = region_message(region, k, request, item, upright, answer.scores, to_target, response.header)
            if item.views is not None:
                message.num_views = int(item.views[inside][region.rows].max())
            response.regions.append(message)
        if request.return_collision_cloud:
            moved = convert.xyz_columns(transform(to_target, surroundings))
            response.collision_cloud = convert.make_cloud(response.header, **moved)
        middles = [transform(to_target, region.middle) for region in answer.regions]
        self._markers.publish(region_markers(response.regions, middles, response.header))
        if response.regions:
            other = "another part holds better than the one that was asked for, or that one offers no grasp (fallback)"
            notes = [other if any(r.fallback for r in answer.regions) else "", item.note, *answer.notes]
            _set(response, _STATUS.SUCCESS, "; ".join(filter(None, [f"{len(response.regions)} regions", *notes])))
        else:
            asked = repr(request.affordance) if request.affordance.strip() else "what the image shows"
            text = f"no part of {item.name!r} affords {asked} with a score of {wanted.min_score:.2f}"
            _set(response, _STATUS.NO_MATCH, f"{text}; try a lower min_score")

    def _object(self, request) -> FoundObject:
        """The caller's cloud, or the object that the mapper finds."""
        if request.cloud.data or request.cloud.width:
            points = convert.read_xyz(request.cloud)
            if not request.cloud.header.frame_id:
                raise AffordanceRequestError("the cloud's header names no frame")
            if problem := check_size(points):
                raise AffordanceRequestError(problem)
            stamp = convert.nanoseconds(request.cloud.header.stamp)
            return FoundObject(request.object or "cloud", points, request.cloud.header.frame_id, stamp)
        found = self._map.find(request, self.settings.map_timeout, self.get_clock().now().nanoseconds)
        map_frame = found.map_status.header.frame_id
        if found.frame == map_frame:
            return found
        # A region of interest was answered in the caller's frame; the network wants the map's, which is z-up.
        to_map = self.transforms.lookup(map_frame, found.frame)
        points, near = (transform(to_map, x) for x in (found.points, found.surroundings))
        return replace(found, points=points, surroundings=near, frame=map_frame)


def _set(response, status: int, message: str) -> None:
    response.status, response.message = status, message


def _inside(points: np.ndarray, request) -> np.ndarray:
    """Which points (N,3) in the target frame lie in the request's box of interest; all where it has no size."""
    region = convert.to_region(request.roi_pose, request.roi_size)
    if region is None:
        return np.ones(len(points), bool)
    inside = region.contains(points)
    if not inside.any():
        raise AffordanceRequestError("no point of the object lies in the region of interest")
    return inside


def main(args=None) -> None:
    """Run the node until it is told to end."""
    summary = (
        "Answers which part of an object affords an action, and how to grasp it there (service ~/query_affordance)."
    )
    arguments_of("affordance_server", summary, [parameters.AffordanceServerSettings], args)
    run_nodes([AffordanceServerNode], "affordance_server", args)


if __name__ == "__main__":
    main()
