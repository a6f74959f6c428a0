"""What every page of ours shares: templates that escape, our own style, a policy that fetches nothing, figures, tables.

The only door to jinja2.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2

from streambench import plots
from streambench.report.grid import Grid
from streambench.report.names import safe
from streambench.words import number, percent


def rendered(template: str, script: str = "", **parts: Any) -> str:
    """The page that a template makes of these parts, every text escaped; `script` is ours, or there is none."""
    return (
        _environment()
        .get_template(template)
        .render(style=asset("page.css") + _dark(), script=script, csp=_policy(script), **parts)
    )


def asset(name: str) -> str:
    return (files("streambench.report") / "templates" / name).read_text("utf-8")


@dataclass(frozen=True, slots=True)
class FigureShown:
    """A figure as it stands in the page, or why there is none."""

    name: str
    title: str
    sentence: str
    svg: str
    why: str


def figure_shown(drawn: plots.Drawn | plots.Left) -> FigureShown:
    if isinstance(drawn, plots.Left):
        return FigureShown(drawn.name, drawn.name.replace("-", " "), "", "", safe(drawn.why, 400))
    svg = plots.to_svg(drawn)
    return FigureShown(drawn.name, drawn.title, drawn.sentence, svg[svg.index("<svg") :], "")


@dataclass(frozen=True, slots=True)
class TableShown:
    """A grid as a table: in each row the first cell's text, how many rows it stands for, and the other cells."""

    head: tuple[str, ...]
    right: frozenset[int]
    rows: tuple[tuple[str, int, tuple[str, ...]], ...]


def table_shown(grid: Grid, unnamed: str) -> TableShown:
    """`unnamed` is what a column without a head is called: in a page each has one.

    An empty first cell belongs to the one above it: that one then spans both rows, and its own has 0."""
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
    home.filters |= {"number": number, "percent": percent, "count": lambda value: f"{value:,}"}
    return home


def _dark() -> str:
    """Without a scope: what `<use>` draws lies in a tree of its own, where no selector with an ancestor reaches."""
    return f"@media screen and (prefers-color-scheme: dark) {{\n{plots.dark_css()}}}\n"


def _policy(script: str) -> str:
    """Nothing from anywhere; of scripts, ours alone."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scripts = f"script-src 'sha256-{digest}'; " if script else ""
    return f"default-src 'none'; {scripts}style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
