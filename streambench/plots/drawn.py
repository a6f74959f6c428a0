"""What a figure function gives, and how it becomes files: `Drawn`, or `Left` with the reason."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from matplotlib.figure import Figure

from streambench.plots import style
from streambench.plots.material import Material
from streambench.plots.svg import housed
from streambench.results import slug

if TYPE_CHECKING:
    from streambench.results import Run


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure; `sentence` says what it shows with its real numbers, `alt` is for those who do not see it."""

    name: str
    title: str
    sentence: str
    figure: Figure
    alt: str


@dataclass(frozen=True, slots=True)
class Left:
    """A figure that is left out as it had nothing true to show; `why` ends a sentence that begins `left out:`."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Plate:
    """What a figure's own code makes. `kind` says in words what is drawn, `note` what it counts and leaves out."""

    figure: Figure
    sentence: str
    kind: str
    note: str


Draw = Callable[[Material], "Plate | str"]
"""Draws, or gives the reason why not."""
FigureOf = Callable[["Run | Material"], "Drawn | Left"]


def figure(name: str, title: str) -> Callable[[Draw], FigureOf]:
    """Makes a house figure of what draws one: in the house style, titled, laid out."""

    def of(draw: Draw) -> FigureOf:
        @wraps(draw)
        def drawn(run: Run | Material) -> Drawn | Left:
            material = Material.of(run)
            return housed_figure(name, title, lambda: draw(material))

        return drawn

    return of


def housed_figure(name: str, title: str, draw: Callable[[], Plate | str]) -> Drawn | Left:
    """What `draw` makes, in the house style, titled and laid out."""
    with style.house():
        plate = draw()
        if isinstance(plate, str):
            return Left(name, plate)
        style.finish(plate.figure, title, plate.note)
    return Drawn(name, title, plate.sentence, plate.figure, f"{plate.kind} {plate.sentence}")


def to_png(drawn: Drawn) -> bytes:
    """The figure in its light colours at 150 dots an inch; the same bytes for the same run and matplotlib."""
    return _written(drawn, "png", {"Software": None})


def to_svg(drawn: Drawn) -> str:
    """The figure with text as text, light and dark in one file, and ids of its own, so that several fit in a page."""
    raw = _written(drawn, "svg", {"Date": None, "Creator": None, "Format": None, "Type": None})
    return housed(raw.decode("utf-8"), drawn.name, drawn.title, drawn.alt)


def _written(drawn: Drawn, kind: str, metadata: dict[str, str | None]) -> bytes:
    out = io.BytesIO()
    with style.house():
        drawn.figure.savefig(out, format=kind, dpi=style.DPI, metadata=metadata)
    return out.getvalue()


Kind = Literal["png", "svg"]


def save(drawn: Drawn, folder: str | Path, kinds: Sequence[Kind] = ("png", "svg")) -> tuple[Path, ...]:
    """Writes `<name>.<kind>` for each kind into the folder, which is made if need be, and gives their paths."""
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    return tuple(write(drawn, home / f"{slug(drawn.name)}.{kind}") for kind in dict.fromkeys(kinds))


def write(drawn: Drawn, path: Path) -> Path:
    """Writes the figure as what the file's name ends with: SVG, else PNG."""
    if path.suffix.lower() == ".svg":
        path.write_text(to_svg(drawn), "utf-8", newline="\n")
    else:
        path.write_bytes(to_png(drawn))
    return path
