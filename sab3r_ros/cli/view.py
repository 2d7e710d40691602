"""`sab3r view`: serves a page until it is told to end, of a saved map or of one that is being made."""

import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from sab3r_ros.config import Settings
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.query.map_query import MapQuery

_FREES_PORT = 10.0  # seconds within which a page that has ended gives its port back


def serve_map(folder: Path, settings: Settings, host: str, port: int) -> None:
    """Serve a saved map until it is told to end. Raises as `open_map` and `MapPage`."""
    from sab3r_ros.maps import open_map
    from sab3r_ros.page.page import MapPage

    page = MapPage(open_map(folder, settings=settings), host, port)
    with suppress(KeyboardInterrupt):  # whoever reads the address may end it at once
        print(f"{page.address} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()
    page.stop()


def serve_live(
    source: str, settings: Settings, host: str, port: int, out: Path | None, rate: float, limit: int, depth: bool, topic: str,
    overwrite: bool,
) -> None:  # fmt: skip
    """Map an input while a page shows it; in the end the page is that of the whole map, until it is told to end.

    out: where the map is saved; None = nowhere. Raises as `map_input` and `Page`.
    """
    from sab3r_ros.cli.mapping import map_input
    from sab3r_ros.page.live import LivePage

    pages: list[LivePage] = []

    def watch(mapper: Mapper, query: MapQuery | None) -> None:
        pages.append(LivePage(mapper, query, source, host, port))
        print(f"{pages[0].address} (Ctrl-C ends the mapping; the page stays until the next one)", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        folder = out or Path(scratch) / "map"
        try:
            summary = map_input(source, folder, settings, rate, limit, depth, topic, overwrite, watch=watch)
        finally:
            used = pages[0].server.get_port() if pages else port
            for page in pages:
                page.stop()
        kept = f"saved in {out}" if out else "not saved (--out DIR saves it)"
        print(
            f"{summary['frames']} images, {summary['keyframes']} keyframes, {summary['points']} points, {kept}",
            flush=True,
        )
        _when_free(lambda: serve_map(folder, settings, host, used))


def _when_free(serve) -> None:
    """Call again while the port of the page before is still taken."""
    end = time.monotonic() + _FREES_PORT
    while True:
        try:
            return serve()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
