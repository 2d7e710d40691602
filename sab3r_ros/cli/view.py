"""`sab3r view`: serves the page until it is told to end."""

import threading
from contextlib import suppress
from pathlib import Path

from sab3r_ros.config import Settings


def serve_map(folder: Path, settings: Settings, host: str, port: int) -> None:
    """Serve a saved map until it is told to end. Raises as `open_map` and `MapPage`."""
    from sab3r_ros.maps import open_map
    from sab3r_ros.page.page import MapPage

    page = MapPage(open_map(folder, settings=settings), host, port)
    print(f"{page.address} (Ctrl-C ends it)", flush=True)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
    page.stop()
