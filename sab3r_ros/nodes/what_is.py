"""The service ~/what_is: what is at a point, in a box, or in a picture."""

from collections.abc import Sequence

import numpy as np

from sab3r_ros.geometry.projection import transform
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.object_messages import thing_message
from sab3r_ros.query.places import here, thing_at, things_in_box, things_in_view
from sab3r_ros.query.registry import MapObject
from sab3r_ros.query.visibility import view_of_estimate
from sab3r_ros.srv import WhatIs
from sab3r_ros.types import Frame, Region

_REACH = 0.1  # metres, where the request names none

Found = Sequence[tuple[MapObject, float]]  # things with their scores, best first


def what_is(node, request: WhatIs.Request, response: WhatIs.Response, to_target: np.ndarray) -> None:
    """Fill an answer: things, camera pose, message and status; to_target (4,4): map to the answer's frame.

    Raises ValueError for a request that makes no sense, BadFrame among them.
    """
    found: Found
    if request.kind == WhatIs.Request.POINT:
        found = _at_point(node.things.objects, request, np.linalg.inv(to_target))
        nothing = "no thing is there: give another point or a larger reach"
    elif request.kind == WhatIs.Request.BOX:
        region = convert.to_region(request.box_pose, request.box_size)
        if region is None:
            raise ValueError("box_size is zero: give the box's extent in metres")
        found = things_in_box(node.things.objects, Region(np.linalg.inv(to_target) @ region.pose, region.size))
        nothing = "no thing lies in the box by more than half"
    elif request.kind == WhatIs.Request.IMAGE:
        estimate = node.mapper.place_of(Frame(convert.image_to_rgb(request.image), 0))
        if estimate is not None:
            response.has_camera_pose = True
            response.camera_pose = convert.to_pose(to_target @ estimate.rigid_pose)
        found = [] if estimate is None else things_in_view(node.things.objects, view_of_estimate(estimate))
        nothing = (
            "no place of the map is recognised in the picture" if estimate is None else "the picture shows no thing"
        )
    else:
        raise ValueError(f"kind {request.kind} is unknown: POINT, BOX and IMAGE are 0, 1 and 2")
    stddev = node.mapper.status().scale.stddev
    for item, score in found[: request.max_objects or None]:
        out = thing_message(item, stddev, to_target)
        out.score = score
        response.objects.append(out)
    response.message = f"{len(found)} things" if found else nothing
    response.status = WhatIs.Response.SUCCESS if found or response.has_camera_pose else WhatIs.Response.NO_MATCH


def _at_point(things: Sequence[MapObject], request: WhatIs.Request, to_map: np.ndarray) -> Found:
    point = transform(to_map, convert.from_xyz(request.point)[None])[0]
    reach = request.reach or _REACH
    if not np.isfinite(point).all() or not reach > 0:
        raise ValueError("the point must be finite and the reach positive")
    thing = thing_at(here(things), point, reach)
    return [] if thing is None else [(thing, 1.0)]
