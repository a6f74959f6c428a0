"""What all HTML pages share: templates that escape text, the style sheet, the content security policy, figures, tables.

The only module that imports jinja2.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2

from streambench.report.figures import catalogue
from streambench.report.text_table import Grid
from streambench.text import count, for_html, number, percent


def rendered(template: str, script: str = "", **parts: Any) -> str:
    """Returns the page: the template with these parts, every text escaped.

    `script` must be one of streambench's own, or "" for a page without a script: it is not escaped.
    """
    return (
        _environment()
        .get_template(template)
        .render(style=asset("page.css") + _dark(), script=script, csp=_policy(script), **parts)
    )


def asset(name: str) -> str:
    """Returns the text of a file in `templates/`."""
    return (files("streambench.report") / "templates" / name).read_text("utf-8")


@dataclass(frozen=True, slots=True)
class FigureShown:
    """A figure as the page shows it: `svg`, or `why` it was skipped; the other one is ""."""

    name: str
    title: str
    sentence: str
    svg: str
    why: str


def figure_shown(drawn: catalogue.DrawnFigure | catalogue.SkippedFigure) -> FigureShown:
    """Returns the figure as SVG for a page, without the XML declaration."""
    if isinstance(drawn, catalogue.SkippedFigure):
        return FigureShown(drawn.name, drawn.name.replace("-", " "), "", "", for_html(drawn.why, 400))
    svg = catalogue.to_svg(drawn)
    return FigureShown(drawn.name, drawn.title, drawn.sentence, svg[svg.index("<svg") :], "")


@dataclass(frozen=True, slots=True)
class TableShown:
    """A grid as an HTML table; each row is the first cell's text, its rowspan, and the other cells."""

    head: tuple[str, ...]
    right: frozenset[int]
    rows: tuple[tuple[str, int, tuple[str, ...]], ...]


def table_shown(grid: Grid, unnamed: str) -> TableShown:
    """Returns the grid as a table; `unnamed` becomes the head of columns without one.

    An empty first cell is merged into the one above it: that cell's rowspan grows by one, the empty cell's is 0.
    """
    rows = grid.cells()
    spans = [0] * len(rows)
    first = 0
    for place, row in enumerate(rows):
        first = place if row[0] or not place else first
        spans[first] += 1
    shown = tuple((row[0], span, row[1:]) for row, span in zip(rows, spans, strict=True))
    return TableShown(tuple(head or unnamed for head in grid.head), grid.right, shown)


def _environment() -> jinja2.Environment:
    home = jinja2.Environment(
        loader=jinja2.PackageLoader("streambench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    home.filters |= {"number": number, "percent": percent, "count": count}
    return home


def _dark() -> str:
    """Returns the dark colours of figures, without a scope: the content of a `<use>` element is in a shadow tree,
    which no selector with an ancestor reaches.
    """
    return f"@media screen and (prefers-color-scheme: dark) {{\n{catalogue.dark_css()}}}\n"


def _policy(script: str) -> str:
    """Returns the content security policy: no network access, and no script but this one (by its SHA-256)."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scripts = f"script-src 'sha256-{digest}'; " if script else ""
    return f"default-src 'none'; {scripts}style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
