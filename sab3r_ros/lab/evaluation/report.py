"""A page of an evaluation for people: its figures, a table of its samples, plots, and pictures of prediction beside truth."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_STYLE = (
    "body{font:15px sans-serif;margin:2em;max-width:75em}table{border-collapse:collapse;margin:1em 0}"
    "td,th{border:1px solid #ccc;padding:.25em .7em;text-align:right}td:first-child,th:first-child{text-align:left}"
    "img{max-width:100%;margin:.2em 0}figcaption{color:#555}"
)


class Report:
    """Collects parts, writes pictures as they come, and index.html in the end. Everything lies in one folder, without outside
    resources. Raises OSError where it cannot be written."""

    def __init__(self, folder: Path, title: str):
        self._folder, self._title = Path(folder), title
        self._parts: list[str] = []
        self._pictures = 0
        (self._folder / "pictures").mkdir(parents=True, exist_ok=True)

    def heading(self, text: str) -> None:
        """A heading."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def figures(self, figures: Mapping[str, Any]) -> None:
        """Names and values, one a row; lists are left out."""
        rows = [[name, value] for name, value in figures.items() if not isinstance(value, (list, dict))]
        self.table(["figure", "value"], rows)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Rows under columns."""
        head = "".join(f"<th>{html.escape(c)}</th>" for c in columns)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(_shown(v))}</td>" for v in row) + "</tr>" for row in rows)
        self._parts.append(f"<table><tr>{head}</tr>{body}</table>")

    def legend(self, names: Sequence[str], colours: np.ndarray) -> None:
        """Names beside their colours (N,3) uint8."""
        spots = (
            f'<span style="white-space:nowrap"><span style="background:rgb({r},{g},{b})">&emsp;</span> {html.escape(name)}</span> '
            for name, (r, g, b) in zip(names, colours.tolist(), strict=True)
        )
        self._parts.append(f"<p>{' '.join(spots)}</p>")

    def picture(self, image: np.ndarray, caption: str) -> None:
        """An image (H,W,3) uint8."""
        name = f"pictures/{self._pictures:04d}.png"
        self._pictures += 1
        Image.fromarray(image).save(self._folder / name)
        words = html.escape(caption)
        self._parts.append(f'<figure><img src="{name}" alt="{words}"><figcaption>{words}</figcaption></figure>')

    def bars(self, values: Mapping[str, float], caption: str) -> None:
        """A bar for every value that is finite, largest first."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        known = sorted(((v, k) for k, v in values.items() if np.isfinite(v)))
        if not known:
            return
        figure = Figure(figsize=(8, 0.6 + 0.24 * len(known)), layout="tight")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.barh([k for _, k in known], [v for v, _ in known])
        axes.set_xlabel(caption)
        canvas.draw()
        self.picture(np.asarray(canvas.buffer_rgba())[..., :3].copy(), caption)

    def write(self) -> Path:
        """index.html with all parts so far; returns where it is."""
        title = html.escape(self._title)
        page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>'
        file = self._folder / "index.html"
        file.write_text(page + "\n".join(self._parts) + "</html>\n")
        return file


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
