"""What every page has: a server, lines and boxes in its scene, and a question in words."""

import io
import socket
import threading
from abc import ABC, abstractmethod
from contextlib import redirect_stdout

import numpy as np
import viser

from sab3r_ros.page.scene import box_lines
from sab3r_ros.query.map_query import Answer
from sab3r_ros.query.vocabulary import VocabularyError

ANSWER, PLACE, PATH = (230, 60, 20), (40, 120, 220), (220, 30, 60)
_ANSWERS = 20  # boxes drawn at once


class Page(ABC):
    """A page in the browser, by viser. Raises OSError for a port that is taken.

    host: 127.0.0.1 = this machine alone; port: 0 = any free one.
    """

    def __init__(self, title: str, host: str, port: int):
        self._lock = threading.RLock()
        self.server = start_server(host, port, title)
        self.server.scene.set_up_direction("+z")

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def stop(self) -> None:
        """End the server."""
        with redirect_stdout(io.StringIO()):
            self.server.stop()

    @abstractmethod
    def find(self, text: str) -> Answer:
        """The answer to a question; raises VocabularyError for one that makes no sense."""

    def _build_question(self, can_be_asked: bool) -> None:
        gui = self.server.gui
        with gui.add_folder("Ask"):
            if not can_be_asked:
                gui.add_markdown("This map was saved without features: it can be looked at, not asked.")
                return
            self._text = gui.add_text("Where is", "", hint="mug; the red mug on the table left of the door")
            button = gui.add_button("Ask")
            self._verdict = gui.add_markdown("")
        button.on_click(lambda _: self.ask(self._text.value))

    def ask(self, text: str) -> Answer | None:
        """Answer a question on the page; None for one that makes no sense, which is said there."""
        self._clear("answer")
        try:
            answer = self.find(text)
        except VocabularyError as error:
            self._verdict.content = f"**{error}**"
            return None
        self._verdict.content = f"**{answer.presence.verdict.name}** {answer.presence.in_words()}" + (
            f"\n\nunderstood: {answer.question}" if str(answer.question) != text.strip() else ""
        )
        with self.server.atomic():
            for k, item in enumerate(answer.objects[:_ANSWERS]):
                self._add("answer", f"box{k}", box_lines(item.box_pose, item.size), ANSWER)
                top = item.box_pose[:3, 3] + [0, 0, item.size[2] / 2 + 0.05]
                self.server.scene.add_label(f"/answer/name{k}", f"{item.id}: {item.probability:.0%}", position=top)
            for k, anchors in enumerate(answer.anchors[:_ANSWERS]):
                for j, place in enumerate(anchors):
                    self._add("answer", f"place{k}_{j}", box_lines(place.box_pose, place.size), PLACE)
        if answer.objects:
            self.fly_to(answer.objects[0].box_pose[:3, 3], answer.objects[0].size)
        return answer

    def fly_to(self, target: np.ndarray, size: np.ndarray) -> None:
        """Turn every looker to a place (3,)."""
        distance = max(1.0, 2.5 * float(np.linalg.norm(size)))
        for client in self.server.get_clients().values():
            with client.atomic():
                away = np.array(client.camera.position) - target
                away[2] = max(away[2], 0.3 * distance)
                client.camera.position = target + away / max(float(np.linalg.norm(away)), 1e-6) * distance
                client.camera.look_at = target

    def _add(
        self, group: str, name: str, lines: np.ndarray, colour: tuple[int, int, int], visible: bool = True
    ) -> None:
        if len(lines):
            self.server.scene.add_line_segments(
                f"/{group}/{name}",
                lines.astype(np.float32),
                colour,
                thickness=2.0,
                thickness_units="screen",
                visible=visible,
            )

    def _clear(self, group: str) -> None:
        self.server.scene.remove_by_name(f"/{group}")


def start_server(host: str, port: int, label: str):
    """A viser server. Raises OSError where the port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
        port = probe.getsockname()[1]
    with redirect_stdout(io.StringIO()):  # it draws a frame round its address
        return viser.ViserServer(host=host, port=port, label=label, verbose=False)
