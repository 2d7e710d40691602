"""A map in the browser while it grows: its points, the camera's way and what it sees now; it can be asked meanwhile."""

import logging
import threading
import time

import numpy as np

from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.page.base import PATH, Page
from sab3r_ros.page.points import MapPoints, Shown
from sab3r_ros.page.scene import path_lines, quaternion, thumbnail
from sab3r_ros.query.map_query import Answer, MapQuery, label_voxels
from sab3r_ros.types import Tracking
from sab3r_ros.viewer.preview import choose_viewpoint

_LOG = logging.getLogger("sab3r_ros")

COLOURINGS = ("colour", "label", "confidence", "height")
_MOST_POINTS = 200_000  # sent at once, again and again
_EVERY = 1.0  # seconds between two pictures of a map that changes
_COLUMNS = ("xyz", "rgb", "weight", "stamp")
_ENOUGH = 2000  # points from which there is something to turn to


class LivePage(Page):
    """Serves the map of a mapper that is at work in another thread. Raises as `Page`.

    query: what answers questions; None where the model has no features.
    """

    def __init__(self, mapper: Mapper, query: MapQuery | None, name: str, host: str = "127.0.0.1", port: int = 8080):
        super().__init__(f"sab3r: {name}", host, port)
        self._mapper, self._query = mapper, query
        self._drawn: tuple | None = None
        self._turned = False
        self._began = time.monotonic()
        gui = self.server.gui
        self._status = gui.add_markdown("waiting for the first image")
        self._picture = gui.add_image(np.full((72, 96, 3), 200, np.uint8), label="Camera")
        self._build_question(query is not None)
        with gui.add_folder("View"):
            self._colouring = gui.add_dropdown("Colour by", COLOURINGS, initial_value="colour")
            self._point_size = gui.add_slider("Point size", 0.2, 3.0, 0.1, 1.0)
            self._follow = gui.add_checkbox("Follow the camera", False)
        for control in (self._colouring, self._point_size):
            control.on_update(lambda _: self._draw_again())
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the server."""
        self._ending.set()
        self._thread.join(10)
        super().stop()

    def find(self, text: str) -> Answer:
        """See `Page.find`: in the map as it is now, from where the camera is."""
        assert self._query is not None
        trajectory = self._mapper.trajectory
        viewpoint = trajectory[-1][1][:3, 3] if trajectory else None
        return self._query.ask(self._mapper.snapshot(), text, viewpoint=viewpoint)

    def _run(self) -> None:
        while not self._ending.wait(_EVERY):
            try:
                self.update()
            except Exception as error:  # the page must stay up whatever one picture does
                if not self._ending.is_set():
                    _LOG.warning("the page was not drawn anew: %s: %s", type(error).__name__, error)

    def _draw_again(self) -> None:
        self._drawn = None
        self.update()

    def update(self) -> None:
        """Show what has changed since the last time."""
        status = self._mapper.status()
        now = (status.frames, status.points_mark)
        with self._lock:
            if now == self._drawn:
                return
            self._drawn = now
            seconds = max(time.monotonic() - self._began, 1e-3)
            state = {Tracking.OK: "tracked", Tracking.LOST: "**lost**: move back to a place seen before"}
            self._status.content = (
                f"{state.get(status.tracking, 'waiting for the first image')}\n\n{status.frames} images ({status.frames / seconds:.1f} a "
                f"second), {status.keyframes} keyframes, {status.points} voxels, lengths {status.scale.source.name.lower()}"
                + (f" +- {status.scale.stddev:.0%}" if np.isfinite(status.scale.stddev) else "")
            )
            self._draw_camera()
            if status.points:
                self._draw_points()

    def _draw_camera(self) -> None:
        trajectory = self._mapper.trajectory
        if not trajectory:
            return
        pose = trajectory[-1][1]
        with self._mapper.lock:
            newest = self._mapper.state.newest
        self._clear("path")
        self._add("path", "line", path_lines(trajectory), PATH)
        if newest is not None:
            image = thumbnail(newest[1].image)
            self._picture.image = image
            self.server.scene.add_camera_frustum(
                "/camera", 0.9, image.shape[1] / image.shape[0], scale=0.15, image=image, wxyz=quaternion(pose[:3, :3]),
                position=pose[:3, 3],
            )  # fmt: skip
        if self._follow.value:
            for client in self.server.get_clients().values():
                with client.atomic():
                    client.camera.position = pose[:3, 3] - 1.5 * pose[:3, 2] + [0, 0, 0.8]
                    client.camera.look_at = pose[:3, 3] + pose[:3, 2]

    def _draw_points(self) -> None:
        by_label = self._colouring.value == "label" and self._query is not None
        snapshot = self._mapper.snapshot(
            columns=(*_COLUMNS, "feature") if by_label else _COLUMNS, max_points=_MOST_POINTS
        )
        label, _ = label_voxels(self._query if by_label else None, snapshot)
        points = MapPoints(snapshot, label, self._query.vocabulary if self._query else None)
        shown = Shown(self._colouring.value, point_size=self._point_size.value)
        index = points.choose(shown, _MOST_POINTS)
        self.server.scene.add_point_cloud(
            "/map", points.points[index], points.paint(shown, index), point_size=snapshot.voxel_size * shown.point_size,
            point_shape="circle", precision="float32",
        )  # fmt: skip
        if not self._turned and len(points) > _ENOUGH:
            self._turned = True
            walked = np.array([pose[:3, 3] for _, pose in self._mapper.trajectory]).reshape(-1, 3)
            view = choose_viewpoint(points.points.astype(float), walked)
            self.server.initial_camera.position, self.server.initial_camera.look_at = (
                tuple(view.eye),
                tuple(view.target),
            )
            for client in self.server.get_clients().values():
                client.camera.position, client.camera.look_at = view.eye, view.target
