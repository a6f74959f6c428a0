"""The results of figure functions, `DrawnFigure` or `SkippedFigure` with the reason, and how they become files."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from matplotlib.figure import Figure

from streambench.report.figures import style
from streambench.report.figures.data import FigureData
from streambench.report.figures.svg import themed
from streambench.text import for_file_name

if TYPE_CHECKING:
    from streambench.analysis.run import Run


@dataclass(frozen=True, slots=True)
class DrawnFigure:
    """A figure. `sentence` says what it shows, with its numbers; `alt` is its text alternative."""

    name: str
    title: str
    sentence: str
    figure: Figure
    alt: str


@dataclass(frozen=True, slots=True)
class SkippedFigure:
    """A figure that was not drawn for lack of data; `why` completes the sentence `left out: ...`."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class FigureDraft:
    """What a figure's drawing function returns. `kind` describes the drawing in words, for the text alternative; `note`
    says what is counted and what is left out.
    """

    figure: Figure
    sentence: str
    kind: str
    note: str


Draw = Callable[[FigureData], "FigureDraft | str"]
"""Returns a draft, or the reason why the figure is skipped."""
FigureOf = Callable[["Run | FigureData"], "DrawnFigure | SkippedFigure"]


def figure(name: str, title: str) -> Callable[[Draw], FigureOf]:
    """Decorates a drawing function: the result draws in streambench's style, adds title and note, and lays out."""

    def of(draw: Draw) -> FigureOf:
        @wraps(draw)
        def drawn(run: Run | FigureData) -> DrawnFigure | SkippedFigure:
            material = FigureData.of(run)
            return themed_figure(name, title, lambda: draw(material))

        return drawn

    return of


def themed_figure(name: str, title: str, draw: Callable[[], FigureDraft | str]) -> DrawnFigure | SkippedFigure:
    """Returns what `draw` draws in streambench's style, with title and note, laid out; skipped if it gives a reason."""
    with style.theme():
        plate = draw()
        if isinstance(plate, str):
            return SkippedFigure(name, plate)
        style.finish(plate.figure, title, plate.note)
    return DrawnFigure(name, title, plate.sentence, plate.figure, f"{plate.kind} {plate.sentence}")


def to_png(drawn: DrawnFigure) -> bytes:
    """Returns the figure as PNG, in light colours at 150 dots per inch.

    The bytes are the same for the same run and version of matplotlib.
    """
    return _written(drawn, "png", {"Software": None})


def to_svg(drawn: DrawnFigure) -> str:
    """Returns the figure as SVG, with text as text and light and dark colours in one file.

    Its ids begin with the figure's name, so that several figures can be in one page.
    """
    raw = _written(drawn, "svg", {"Date": None, "Creator": None, "Format": None, "Type": None})
    return themed(raw.decode("utf-8"), drawn.name, drawn.title, drawn.alt)


def _written(drawn: DrawnFigure, kind: str, metadata: dict[str, str | None]) -> bytes:
    out = io.BytesIO()
    with style.theme():
        drawn.figure.savefig(out, format=kind, dpi=style.DPI, metadata=metadata)
    return out.getvalue()


ImageFormat = Literal["png", "svg"]


def save(drawn: DrawnFigure, folder: str | Path, kinds: Sequence[ImageFormat] = ("png", "svg")) -> tuple[Path, ...]:
    """Writes `<name>.<kind>` for each kind into the folder, which is created if missing, and returns the paths."""
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    return tuple(write(drawn, home / f"{for_file_name(drawn.name)}.{kind}") for kind in dict.fromkeys(kinds))


def write(drawn: DrawnFigure, path: Path) -> Path:
    """Writes the figure to `path` and returns it: as SVG if its name ends with `.svg`, else as PNG."""
    if path.suffix.lower() == ".svg":
        path.write_text(to_svg(drawn), "utf-8", newline="\n")
    else:
        path.write_bytes(to_png(drawn))
    return path
