"""A map in the browser: look at it, ask it, click it. One page for all who look at it."""

import threading

import cv2
import numpy as np

from sab3r_ros.maps import Map
from sab3r_ros.page.base import PATH, PLACE, Page
from sab3r_ros.page.points import COLOURINGS, MapPoints, Shown
from sab3r_ros.page.scene import (
    box_lines,
    edge_lines,
    gripper_lines,
    path_lines,
    quaternion,
    shown_keyframes,
    thumbnail,
)
from sab3r_ros.query.map_query import Answer, label_voxels
from sab3r_ros.query.places import thing_at
from sab3r_ros.query.registry import MapObject
from sab3r_ros.viewer.preview import choose_viewpoint

_MOST_POINTS = 1_500_000  # in the browser at once: a phone still turns them
_PORTIONS = (
    40_000,
    260_000,
    _MOST_POINTS,
)  # points sent one after the other: the first ones are a picture of the whole map at once
_EDGE, _GRIPPER, _RULER = (120, 120, 200), (20, 170, 60), (240, 180, 0)
_FIRST_ALONE = 1.0  # seconds
_FIELD_OF_VIEW = 0.9  # radians of a keyframe's frustum
_LISTED = 200  # things in the list


class MapPage(Page):
    """Serves a saved map. Raises as `Page`."""

    def __init__(self, opened: Map, host: str = "127.0.0.1", port: int = 8080):
        super().__init__(f"sab3r: {opened.path.name}", host, port)
        self.map = opened
        self.shown = Shown()
        self._query = opened.query if opened.content.feature_model else None
        snapshot = opened.content.snapshot
        label, _ = label_voxels(self._query, snapshot)
        self.points = MapPoints(
            snapshot, label, self._query.vocabulary if self._query else None, opened.content.sessions
        )
        self._selected: MapObject | None = None
        self._ruler: list[np.ndarray] = []
        self._look_at_all()
        self._looked_at = False
        self.server.on_client_connect(self._first_looker)
        self.draw_points()
        self._build_question(self._query is not None)
        self._build_view()
        self._build_things()
        self._build_scene()
        self.server.scene.on_click()(self._clicked)

    def _first_looker(self, _) -> None:
        """A browser draws what has come together: let it draw the first portion before the others come."""
        if not self._looked_at:
            self._looked_at = True
            later = threading.Timer(_FIRST_ALONE, self.draw_points)
            later.daemon = True
            later.start()

    def draw_points(self) -> None:
        """Send the voxels as they are to be looked at now, in portions that are spread over the whole map."""
        with self._lock:
            left = self.points.choose(self.shown, _MOST_POINTS)
            portions = _PORTIONS if self._looked_at else _PORTIONS[:1]
            sent = min(sum(portions), max(len(left), 1))
            size = (
                self.map.content.snapshot.voxel_size
                * min(3.0, np.sqrt(len(self.points) / sent))
                * self.shown.point_size
            )
            for k, most in enumerate(portions):
                portion, left = left[:most], left[most:]
                self.server.scene.add_point_cloud(
                    f"/map/{k}", self.points.points[portion], self.points.paint(self.shown, portion), point_size=size,
                    point_shape="circle", precision="float32",
                )  # fmt: skip

    def _look_at_all(self) -> None:
        walked = np.array([pose[:3, 3] for _, pose in self.map.trajectory]).reshape(-1, 3)
        if len(self.points) < 4:
            return
        view = choose_viewpoint(self.points.points.astype(float), walked)
        self.server.initial_camera.position = tuple(view.eye)
        self.server.initial_camera.look_at = tuple(view.target)
        self.server.initial_camera.up = (0.0, 0.0, 1.0)

    def find(self, text: str) -> Answer:
        """See `Page.find`."""
        return self.map.ask(text)

    def ask(self, text: str) -> Answer | None:
        """See `Page.ask`; the points show where the answer is, too."""
        answer = super().ask(text)
        if answer is not None:
            assert self._query is not None
            self.shown.heat = self._query.relevance(self.map.content.snapshot, answer.question.name)
            self._colouring.value = "answer"
            self.draw_points()
        return answer

    def _build_view(self) -> None:
        gui, points = self.server.gui, self.points
        with gui.add_folder("View"):
            self._colouring = gui.add_dropdown("Colour by", COLOURINGS, initial_value="colour")
            point_size = gui.add_slider("Point size", 0.2, 3.0, 0.1, 1.0)
            height = gui.add_slider("Height cut (m)", 0.1, max(points.height, 0.2), 0.05, max(points.height, 0.2))
            confidence = gui.add_slider("Hide least confident (%)", 0, 90, 5, 0)
            detail = gui.add_slider("Detail (%)", 5, 100, 5, 100)
            stamps = np.unique(points.stamp)
            seconds = float(stamps[-1] - stamps[0]) * 1e-9 if len(stamps) > 1 else 0.0
            clock = gui.add_slider("Seen until (s)", 0.0, max(seconds, 0.1), max(seconds, 0.1) / 100, max(seconds, 0.1))
            picture = gui.add_button("Screenshot")

        def changed(_) -> None:
            first = int(stamps[0]) if len(stamps) else 0
            until = np.inf if clock.value >= seconds else first + clock.value * 1e9
            self.shown = Shown(
                self._colouring.value, height.value + 1e-6, confidence.value / 100, until, detail.value / 100, point_size.value,
                self.shown.heat,
            )  # fmt: skip
            self.draw_points()

        for control in (self._colouring, point_size, height, confidence, detail, clock):
            control.on_update(changed)
        picture.on_click(self._screenshot)

    @staticmethod
    def _screenshot(event) -> None:
        image = event.client.get_render(height=1080, width=1920, transport_format="png")
        done, content = cv2.imencode(".png", image[..., 2::-1])
        if done:
            event.client.send_file_download("map.png", content.tobytes())

    def _build_things(self) -> None:
        gui = self.server.gui
        self._things: dict[str, MapObject] = {}
        if self._query is not None:
            things = sorted(self.map.objects, key=lambda o: -len(o.points))[:_LISTED]
            self._things = {f"{o.label} ({o.id})": o for o in things}
        with gui.add_folder("Things"):
            if not self._things:
                gui.add_markdown("no things were found in this map")
                return
            self._list = gui.add_dropdown("Thing", tuple(self._things), initial_value=next(iter(self._things)))
            fly = gui.add_button("Fly there")
            self._picture = gui.add_image(np.full((64, 96, 3), 200, np.uint8), label="Best view")
            self._details = gui.add_markdown("")
            self._affordance = gui.add_text("Afford", "grasp", hint='grasp, pour, open, or "where would you hold it?"')
            afford = gui.add_button("Show grasps")
            self._afforded = gui.add_markdown("")
        self._list.on_update(lambda _: self.select(self._things[self._list.value]))
        fly.on_click(self._fly_to_selected)
        afford.on_click(lambda _: self.show_grasps(self._affordance.value))
        self.select(next(iter(self._things.values())), mark=False)

    def select(self, item: MapObject, mark: bool = True) -> None:
        """Show a thing's best view and what is known of it, and mark it in the map."""
        self._selected = item
        frame = next((k for k in self.map.keyframes if k.id == item.keyframe), None)
        self._picture.visible = frame is not None
        if frame is not None:
            self._picture.image = thumbnail(frame.image, item.view_box)
        names = ", ".join(f"{name} {share:.0%}" for name, share in item.labels)
        x, y, z = item.centroid
        doubt = self.map.content.scale.stddev
        size = " x ".join(f"{v:.2f}" for v in item.size)
        self._details.content = (
            f"{names}\n\nat ({x:.2f}, {y:.2f}, {z:.2f}) m, {size} m"
            + (f" (scale +- {doubt:.0%})" if np.isfinite(doubt) else "")
            + f"\n\n{item.views} views, {item.state.name.lower()}"
        )
        self._clear("selected")
        if mark:
            self._add("selected", "box", box_lines(item.box_pose, item.size), PLACE)

    def _fly_to_selected(self, _) -> None:
        if self._selected is not None:
            self.fly_to(self._selected.box_pose[:3, 3], self._selected.size)

    def show_grasps(self, prompt: str) -> int:
        """Draw grippers where the selected thing can be taken hold of; how many. What cannot be answered is said on the page."""
        from sab3r_ros.affordance.pipeline import affordance_regions
        from sab3r_ros.affordance.segmenter import AffordanceSegmenter
        from sab3r_ros.query.objects import surroundings

        self._clear("grasps")
        if self._selected is None:
            return 0
        points = self._selected.points.astype(np.float64)
        try:
            near = surroundings(points, self.map.points.astype(np.float64))
            answer = affordance_regions(AffordanceSegmenter(), points, prompt, surroundings=near)
        except ValueError as error:
            self._afforded.content = f"**{error}**"
            return 0
        grasps = [g for region in answer.regions for g in region.grasps]
        for k, grasp in enumerate(sorted(grasps, key=lambda g: -g.score)[:10]):
            self._add("grasps", f"gripper{k}", gripper_lines(grasp.pose, grasp.width), _GRIPPER)
        best = f", best {max(g.score for g in grasps):.0%}" if grasps else ""
        nothing = f"no part of it affords {prompt!r}"
        self._afforded.content = (
            f"{len(answer.regions)} regions, {len(grasps)} grasps{best}" if answer.regions else nothing
        )
        return len(grasps)

    def _build_scene(self) -> None:
        gui, content = self.server.gui, self.map.content
        with gui.add_folder("Scene"):
            path = gui.add_checkbox("Path", True)
            frames = gui.add_checkbox("Keyframes", False)
            edges = gui.add_checkbox("Edges", False)
            self._measure = gui.add_checkbox("Measure (click two points)", False)
            self._clicked_text = gui.add_markdown("click a point")
        self._add("path", "line", path_lines(content.trajectory), PATH)
        self._add("edges", "lines", edge_lines(content.edges, content.keyframes), _EDGE, visible=False)
        for number, pose, image in shown_keyframes(content.keyframes):
            self.server.scene.add_camera_frustum(
                f"/keyframes/{number}", _FIELD_OF_VIEW, image.shape[1] / image.shape[0], scale=0.08, image=image,
                wxyz=quaternion(pose[:3, :3]), position=pose[:3, 3],
            )  # fmt: skip
        group = self.server.scene.add_frame("/keyframes", show_axes=False, visible=False)
        for box, name in ((path, "/path/line"), (edges, "/edges/lines")):
            box.on_update(lambda _, b=box, n=name: self._set_visible(n, b.value))
        frames.on_update(lambda _: setattr(group, "visible", frames.value))

    def _set_visible(self, name: str, visible: bool) -> None:
        handle = self.server.scene.get_handle_by_name(name)
        if handle is not None:
            handle.visible = visible

    def _clicked(self, event) -> None:
        origin, direction = np.array(event.ray_origin), np.array(event.ray_direction)
        hit = self.points.nearest_to_ray(origin, direction, self.map.content.snapshot.voxel_size)
        if hit is None:
            return
        place = self.points.points[hit]
        if self._measure.value:
            self._clicked_text.content = self.measure(place)
            return
        name = self.points.label_name(hit)
        x, y, z = place
        views = int(self.map.content.snapshot.column("hits")[hit])
        thing = self.thing_at(place)
        self._clicked_text.content = (
            f"({x:.2f}, {y:.2f}, {z:.2f}) m{', ' + name if name else ''}, seen by {views} keyframes"
            + (f"\n\npart of {thing.label} ({thing.id})" if thing else "")
        )
        if thing is not None:
            self.select(thing)

    def thing_at(self, place: np.ndarray) -> MapObject | None:
        """The thing that has a voxel at a place (3,)."""
        return thing_at(list(self._things.values()), place, self.map.content.snapshot.voxel_size)

    def measure(self, place: np.ndarray) -> str:
        """Take a point; with the second one, the distance between them and its doubt."""
        if len(self._ruler) == 2:
            self._ruler = []
        self._ruler.append(place)
        if len(self._ruler) < 2:
            return "click the second point"
        first, second = self._ruler
        self._clear("ruler")
        self._add("ruler", "line", np.array([[first, second]]), _RULER)
        length, doubt = float(np.linalg.norm(second - first)), self.map.content.scale.stddev
        return f"**{length:.3f} m**" + (
            f" +- {length * doubt:.3f} m (scale)" if np.isfinite(doubt) else ", of an unknown scale"
        )
