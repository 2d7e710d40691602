"""The mapper's services: every answer has a named status and says what to do."""

import time
from pathlib import Path

import numpy as np
from std_srvs.srv import SetBool, Trigger

from sab3r_ros.geometry.projection import transform
from sab3r_ros.mapping import map_file, session
from sab3r_ros.mapping.joining import PlaceNotRecognised
from sab3r_ros.msg import ObjectInstance, Presence
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.object_messages import place_object, thing_message
from sab3r_ros.nodes.transforms import TransformUnavailable
from sab3r_ros.nodes.what_is import what_is
from sab3r_ros.query.exploration import Exploration
from sab3r_ros.query.map_query import Answer, ranked
from sab3r_ros.query.objects import LocatedObject, surroundings, whole_region
from sab3r_ros.query.places import asks_for_contents, things_in_place
from sab3r_ros.query.vocabulary import VocabularyError
from sab3r_ros.srv import LoadMap, LocateObject, SaveMap, SetVocabulary, WhatIs
from sab3r_ros.types import MapSnapshot, Region

_NO_FEATURES = (
    "the map has no features to search: the checkpoint has no text-aligned head, or the map was saved without"
)
_NOT_CONFIGURED = (
    "the node is not configured: its model is not loaded (see its log), then run the lifecycle's configure"
)


class MapServices:
    """Handlers of a ManagedNode that has `mapper`, `query`, `worker`, `transforms` and `status()`; its guard guards them."""

    def __init__(self, node, callback_group):
        self._node = node
        self._exploration = Exploration()
        for kind, name, handler in (
            (LocateObject, "~/locate_object", self.locate), (SetVocabulary, "~/set_vocabulary", self.set_vocabulary),
            (SaveMap, "~/save_map", self.save), (LoadMap, "~/load_map", self.load),
            (WhatIs, "~/what_is", self.what_is), (Trigger, "~/reset", self.reset), (SetBool, "~/pause", self.pause),
        ):  # fmt: skip
            node.create_service(kind, name, self._guarded(handler), callback_group=callback_group)

    def _guarded(self, handler):
        """Answer FAILED instead of letting an unforeseen error end the executor."""

        def call(request, response):
            try:
                with self._node.guard.entered() as configured:
                    if not configured:
                        return _fail(response, "NOT_CONFIGURED", _NOT_CONFIGURED)
                    return handler(request, response)
            except Exception as error:
                self._node.get_logger().error(f"{type(error).__name__}: {error}")
                return _fail(response, "FAILED", f"{type(error).__name__}: {error}")

        return call

    def locate(self, request: LocateObject.Request, response: LocateObject.Response):
        """~/locate_object."""
        started = time.perf_counter()
        answers: list[Answer] = []
        node, mapper = self._node, self._node.mapper
        response.map_status = node.status()
        response.header = convert.header(request.target_frame or node.settings.map_frame, node.map_stamp())
        if not mapper.status().points:
            return _fail(response, "EMPTY_MAP", "nothing has been mapped yet")
        try:
            to_target = self._to_target(request.target_frame)
            region = convert.to_region(request.roi_pose, request.roi_size)
            if region is not None:
                region = Region(np.linalg.inv(to_target) @ region.pose, region.size)
            if not len(request.prompts) and region is None:
                return _fail(
                    response, "INVALID_REQUEST", "give prompts (what to look for), or a region of interest (roi_size)"
                )
            if not len(request.prompts):
                assert region is not None
                found = whole_region(mapper.snapshot(region))
            else:
                snapshot = mapper.snapshot(region)
                if node.query is None or not snapshot.has_features:
                    return _fail(response, "NO_FEATURES", _NO_FEATURES)
                if any(map(asks_for_contents, request.prompts)):
                    return self._contents(snapshot, request, response, to_target)
                answers = self._ask(snapshot, request, whole=region is None)
                found = ranked(answers, request.max_objects)
                response.presence = [_presence(a) for a in answers]
        except TransformUnavailable as error:
            return _fail(response, "TRANSFORM_UNAVAILABLE", str(error))
        except ValueError as error:  # of the words, the scores or the region
            return _fail(response, "INVALID_REQUEST", str(error))
        response.objects = [self._describe(o, to_target, response.header, request) for o in found]
        response.elapsed_ms = (time.perf_counter() - started) * 1e3
        response.status = LocateObject.Response.SUCCESS if found else LocateObject.Response.NO_MATCH
        words = "; ".join(a.presence.in_words() for a in answers)
        response.message = (
            f"{len(found)} found" if found else f"{words or 'nothing there'}; try other words or a lower min_score"
        )
        return response

    def _to_target(self, frame: str) -> np.ndarray:
        """From the map to the frame of an answer (4,4). Raises TransformUnavailable."""
        node = self._node
        if not frame or frame == node.settings.map_frame:
            return np.eye(4)
        return node.transforms.lookup(frame, node.settings.map_frame)

    def what_is(self, request: WhatIs.Request, response: WhatIs.Response):
        """~/what_is."""
        node = self._node
        response.map_status = node.status()
        response.header = convert.header(request.target_frame or node.settings.map_frame, node.map_stamp())
        if not node.mapper.status().points:
            return _fail(response, "EMPTY_MAP", "nothing has been mapped yet")
        if node.query is None or not node.mapper.state.scene.has_features:
            return _fail(response, "NO_FEATURES", _NO_FEATURES)
        try:
            node.things.update(node.query, node.mapper)
            what_is(node, request, response, self._to_target(request.target_frame))
        except TransformUnavailable as error:
            return _fail(response, "TRANSFORM_UNAVAILABLE", str(error))
        except ValueError as error:
            return _fail(response, "INVALID_REQUEST", str(error))
        return response

    def _contents(
        self, snapshot: MapSnapshot, request: LocateObject.Request, response: LocateObject.Response, to_target
    ):
        """What is in a place: things with their ids. Raises ValueError for more than one prompt, or words that do not say where."""
        if len(request.prompts) > 1:
            raise ValueError("ask what is in one place at a time")
        node = self._node
        node.things.update(node.query, node.mapper)
        try:
            found = things_in_place(node.query, snapshot, node.things.objects, request.prompts[0], self._newest_place())
        except LookupError as error:
            return _fail(response, "NO_MATCH", error.args[0])
        stddev = node.mapper.status().scale.stddev
        for item, share in found[: request.max_objects or None]:
            out = thing_message(item, stddev, to_target)
            out.score = share
            self._add_clouds(out, item.points, item.rgb, to_target, response.header, request)
            response.objects.append(out)
        response.message = f"{len(found)} things are there" if found else "nothing is there that was seen"
        response.status = LocateObject.Response.SUCCESS if found else LocateObject.Response.NO_MATCH
        return response

    def _newest_place(self) -> np.ndarray | None:
        """Where the camera is (3,), from which left and right are said."""
        with self._node.mapper.lock:
            newest = self._node.mapper.state.graph.trajectory[-1:]
        return newest[0][1][:3, 3] if newest else None

    def _ask(self, snapshot: MapSnapshot, request: LocateObject.Request, whole: bool) -> list[Answer]:
        """One answer per prompt. Raises VocabularyError as `MapQuery.ask`."""
        node, mapper = self._node, self._node.mapper
        with mapper.lock:
            keyframes = mapper.state.graph.keyframes
        everything = snapshot if whole else mapper.snapshot(columns=("xyz",))
        explored = self._exploration.share(everything, keyframes)
        return node.query.ask_each(
            snapshot, request.prompts, request.negatives, request.min_score or None, explored, self._newest_place()
        )

    def _describe(self, item: LocatedObject, to_target, head, request: LocateObject.Request) -> ObjectInstance:
        out = ObjectInstance(
            id=item.id, label=item.label, prompt_index=item.prompt_index, score=item.score, probability=item.probability, num_points=len(item.points),
            num_views=int(item.views.max(initial=0)),
        )  # fmt: skip
        place_object(out, item, self._node.mapper.status().scale.stddev, to_target)
        self._add_clouds(
            out, item.points, item.rgb, to_target, head, request, views=item.views.clip(0, 65535).astype(np.uint16)
        )
        return out

    def _add_clouds(
        self, out: ObjectInstance, points, rgb, to_target, head, request: LocateObject.Request, **more
    ) -> None:
        """An object's points (N,3) with their colours and `more` columns, and what is around it, where these are asked for."""
        if request.return_points:
            columns = convert.xyz_columns(transform(to_target, points)) | {"rgb": convert.packed_rgb(rgb)}
            out.points = convert.make_cloud(head, **columns, **more)
        if request.surroundings_radius > 0:
            near = self._surroundings(points, request.surroundings_radius)
            out.surroundings = convert.make_cloud(head, **convert.xyz_columns(transform(to_target, near)))

    def _surroundings(self, points: np.ndarray, radius: float) -> np.ndarray:
        """The map's other points (M,3) near an object's (N,3)."""
        region = Region.around(points, radius)
        return surroundings(points, self._node.mapper.snapshot(region, columns=("xyz",)).points, radius)

    def set_vocabulary(self, request: SetVocabulary.Request, response: SetVocabulary.Response):
        """~/set_vocabulary."""
        if self._node.query is None:
            return _fail(response, "FAILED", "this checkpoint has no text-aligned features, so there are no labels")
        try:
            self._node.query.set_vocabulary(request.labels, request.prompt_template)
        except VocabularyError as error:
            return _fail(response, "INVALID_REQUEST", f"{error}; the old vocabulary stays in force")
        self._node.vocabulary_changed()
        response.message = f"{len(request.labels)} labels"
        return response

    def save(self, request: SaveMap.Request, response: SaveMap.Response):
        """~/save_map."""
        if not request.path.strip():
            return _fail(response, "PATH_INVALID", "path is empty")
        path = Path(request.path).expanduser().absolute()
        response.path = str(path)
        try:
            response.num_bytes = session.save_map(self._node.mapper, path, request.overwrite, request.include_features)
        except map_file.EmptyMap as error:
            return _fail(response, "EMPTY_MAP", str(error))
        except map_file.PathExists as error:
            return _fail(response, "PATH_EXISTS", str(error))
        except map_file.MapFileError as error:
            return _fail(response, "PATH_INVALID", str(error))
        lost = ""
        if self._node.query is not None:
            try:
                self._node.things.update(self._node.query, self._node.mapper)
                response.num_bytes += self._node.things.save(path)
            except (OSError, ValueError) as error:
                lost = f", without the ids of its things: {error}"
        response.message = f"saved {response.num_bytes} bytes{lost}"
        return response

    def load(self, request: LoadMap.Request, response: LoadMap.Response):
        """~/load_map."""
        try:
            same_model = session.load_map(self._node.mapper, Path(request.path), request.clear)
        except FileNotFoundError as error:
            response = _fail(response, "NOT_FOUND", str(error))
        except PlaceNotRecognised as error:
            response = _fail(response, "NOT_RECOGNISED", str(error))
        except map_file.MapFileError as error:
            response = _fail(response, "INVALID_DATA", str(error))
        else:
            self._node.map_replaced()
            if request.clear and same_model and self._node.query is not None:
                self._restore_things(Path(request.path))
            if same_model:
                response.message = f"loaded {request.path}"
            else:
                response = _fail(
                    response,
                    "INCOMPATIBLE_MODEL",
                    "the geometry is loaded; the features are of another model and were left out",
                )
        response.map_status = self._node.status()
        return response

    def _restore_things(self, path: Path) -> None:
        try:
            self._node.things.restore(path.expanduser())
        except ValueError as error:
            self._node.get_logger().warning(str(error))

    def reset(self, _request: Trigger.Request, response: Trigger.Response):
        """~/reset."""
        self._node.reset_map("asked for by ~/reset")
        response.success, response.message = True, "the map is empty"
        return response

    def pause(self, request: SetBool.Request, response: SetBool.Response):
        """~/pause."""
        if self._node.worker is None:
            response.message = "the node is not active: it takes no images anyway"
            return response
        self._node.worker.paused = request.data
        if request.data:
            self._node.worker.clear()
        response.success, response.message = True, "paused: images are ignored" if request.data else "mapping goes on"
        return response


def _presence(answer: Answer) -> Presence:
    found = answer.presence
    return Presence(
        prompt=found.prompt, understood=str(answer.question), verdict=int(found.verdict), probability=found.probability,
        explored=found.explored, calibrated=found.calibrated,
    )  # fmt: skip


def _fail(response, name: str, message: str):
    """Set a named status where the response has one, else success = false."""
    if hasattr(response, "status"):
        response.status = getattr(type(response), name)
    else:
        response.success = False
    response.message = message
    return response
