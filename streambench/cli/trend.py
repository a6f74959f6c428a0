"""`streambench trend`: follows each model over many runs of one config and marks lasting shifts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli import output as out
from streambench.cli.arguments import RESULTS
from streambench.errors import DiskError, InputError, Problem, ResultsError

if TYPE_CHECKING:
    from streambench.analysis.trend import Trend


@click.command()
@RESULTS
@click.option("--format", "form", type=click.Choice(["terminal", "markdown", "json"]), default="terminal")
@out.html
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also write the figure, as SVG or PNG by the file's extension.",
)
def trend(results: tuple[Path, ...], form: str, html: Path | None, plot: Path | None) -> int:
    """Follow each model over many runs, and mark shifts.

    RESULTS are runs, or folders of runs such as results/. Runs whose suite, load, gateways or models differ from the
    newest run are left out and named. A shift is a lasting change of a level; at least 8 runs are needed to find one.
    """
    import json

    from streambench.analysis.run import load
    from streambench.analysis.trend import Point, point_of
    from streambench.analysis.trend import trend as trend_of
    from streambench.report.runs_page import trend_html
    from streambench.report.trend import trend_markdown, trend_plain, trend_terminal

    _check_ending(plot)
    points: list[Point] = []
    for path in _runs(results):
        try:
            points.append(point_of(load(path)))
        except ResultsError as error:
            click.echo(f"warning: left out: {error}", err=True)
    if not points:
        raise ResultsError(f"{', '.join(map(str, results))}: no runs found; pass runs, or a folder of runs")
    found = trend_of(points)
    if form == "json":
        out.say(json.dumps(trend_plain(found), indent=2))
    else:
        out.say(trend_markdown(found) if form == "markdown" else trend_terminal(found, out.width()))
    out.page(html, lambda: trend_html(found))
    if plot is not None:
        _draw(found, plot)
    return 0


def _check_ending(plot: Path | None) -> None:
    if plot is not None and plot.suffix.lower() not in (".svg", ".png"):
        raise InputError(
            [Problem("must end in .svg or .png", where="--plot", found=str(plot), accepted="FILE.svg or FILE.png")]
        )


def _draw(found: Trend, path: Path) -> None:
    from streambench.report.figures import catalogue

    drawn = catalogue.run_levels(found)
    if isinstance(drawn, catalogue.SkippedFigure):
        click.echo(f"left out: {drawn.name}: {drawn.why}", err=True)
        return
    try:
        click.echo(f"Figure: {catalogue.write(drawn, path)}", err=True)
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error


def _runs(results: Sequence[Path]) -> Iterator[Path]:
    """Yields each folder that is a run, and the runs in each folder that is not. Each run is yielded once."""
    from streambench.records.run_folder import HEADER

    seen: set[Path] = set()
    for path in results:
        inside = sorted(each.parent for each in path.glob(f"*/{HEADER}"))
        for run in [path] if (path / HEADER).exists() or not inside else inside:
            if run.resolve() not in seen:
                seen.add(run.resolve())
                yield run
