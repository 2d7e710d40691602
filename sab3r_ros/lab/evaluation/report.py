"""A page of an evaluation for people: its figures, a table of its samples, plots, and pictures of prediction beside truth."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
        from matplotlib.figure import Figure

        known = sorted(((v, k) for k, v in values.items() if np.isfinite(v)))
        if not known:
            return
        figure = Figure(figsize=(8, 0.6 + 0.24 * len(known)), layout="tight")
        axes = figure.add_subplot()
        axes.barh([k for _, k in known], [v for v, _ in known])
        axes.set_xlabel(caption)
        self._plot(figure, caption)

    def everything(self, figures: Mapping[str, Any]) -> None:
        """All that an evaluation tells: its figures, and under a heading each what it tells by label, sample or the like.

        Numbers by name become bars, figures by name and lists of figures tables, other lists paragraphs.
        """
        self.figures(figures)
        for name, value in figures.items():
            if not isinstance(value, (list, dict)) or not value:
                continue
            self.heading(name)
            pairs = dict(value) if isinstance(value, list) and all(map(_is_pair, value)) else value
            if isinstance(pairs, dict) and all(isinstance(v, (int, float)) for v in pairs.values()):
                self.bars(pairs, name)
            elif isinstance(pairs, dict) and all(isinstance(v, dict) for v in pairs.values()):
                self._rows([{"": k, **v} for k, v in pairs.items()])
            elif isinstance(pairs, dict):
                self.figures({k: v if isinstance(v, (int, float, str)) else str(v) for k, v in pairs.items()})
            elif all(isinstance(v, dict) for v in pairs):
                self._rows(pairs)
            else:
                for line in pairs:
                    self.text(str(line))

    def _rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        self.table(columns, [[_short(row.get(name)) for name in columns] for row in rows])

    def paths(self, lines: Mapping[str, np.ndarray], caption: str) -> None:
        """Ways (N,2) in metres, seen from above."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 6), layout="tight")
        axes = figure.add_subplot(aspect="equal")
        for name, line in lines.items():
            axes.plot(line[:, 0], line[:, 1], label=name)
        axes.legend()
        axes.set_xlabel("m")
        self._plot(figure, caption)

    def _plot(self, figure: "Figure", caption: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        self.picture(np.asarray(canvas.buffer_rgba())[..., :3].copy(), caption)

    def write(self) -> Path:
        """index.html with all parts so far; returns where it is."""
        title = html.escape(self._title)
        page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>'
        file = self._folder / "index.html"
        file.write_text(page + "\n".join(self._parts) + "</html>\n")
        return file


def _is_pair(value: Any) -> bool:
    """A name with its number."""
    return isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str)


def _short(value: Any) -> Any:
    """What fits into a cell of a table."""
    return f"{len(value)} of them" if isinstance(value, (list, dict)) else value


def depth_colours(depth: np.ndarray, largest: float) -> np.ndarray:
    """Depth (H,W) as an image (H,W,3) uint8, near is bright; black where it is unknown."""
    known = np.isfinite(depth) & (depth > 0)
    near = np.clip(255 * (1 - np.nan_to_num(depth) / max(largest, 1e-6)), 0, 255).astype(np.uint8)
    return np.where(known[..., None], cv2.applyColorMap(near, cv2.COLORMAP_VIRIDIS)[..., ::-1], 0).astype(np.uint8)


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
