"""`streambench trend`: many runs of one config, and where a level shifted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli import gate
from streambench.cli.places import RESULTS
from streambench.errors import DiskError, InputError, Problem, ResultsError

if TYPE_CHECKING:
    from streambench.verdicts import Trend


@click.command()
@RESULTS
@click.option("--format", "form", type=click.Choice(["terminal", "markdown", "json"]), default="terminal")
@gate.html
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write its figure too, as SVG or PNG by the file's ending.",
)
def trend(results: tuple[Path, ...], form: str, html: Path | None, plot: Path | None) -> int:
    """Follow each model over many runs, and mark shifts.

    RESULTS are runs, or folders of runs such as results/. The runs have to be alike (the same suite, load, gateways,
    models); those unlike the newest are left out and named. A shift is a level that changed and stayed; from 8 runs on
    one can be shown.
    """
    import json

    from streambench.report import trend_html, trend_markdown, trend_plain, trend_terminal
    from streambench.results import load
    from streambench.verdicts import Point, point_of
    from streambench.verdicts import trend as trend_of

    _check_ending(plot)
    points: list[Point] = []
    for path in _runs(results):
        try:
            points.append(point_of(load(path)))
        except ResultsError as error:
            click.echo(f"warning: left out: {error}", err=True)
    if not points:
        raise ResultsError(f"{', '.join(map(str, results))}: no runs there; give runs, or a folder of runs")
    found = trend_of(points)
    if form == "json":
        gate.say(json.dumps(trend_plain(found), indent=2))
    else:
        gate.say(trend_markdown(found) if form == "markdown" else trend_terminal(found, gate.width()))
    gate.page(html, lambda: trend_html(found))
    if plot is not None:
        _draw(found, plot)
    return 0


def _check_ending(plot: Path | None) -> None:
    if plot is not None and plot.suffix.lower() not in (".svg", ".png"):
        raise InputError([Problem("says no format", where="--plot", found=str(plot), accepted="FILE.svg or FILE.png")])


def _draw(found: Trend, path: Path) -> None:
    from streambench import plots

    drawn = plots.run_levels(found)
    if isinstance(drawn, plots.Left):
        click.echo(f"left out: {drawn.name}: {drawn.why}", err=True)
        return
    try:
        click.echo(f"Figure: {plots.write(drawn, path)}", err=True)
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error


def _runs(results: Sequence[Path]) -> Iterator[Path]:
    """A folder that is a run, else the runs in it; each once."""
    from streambench.results import HEADER

    seen: set[Path] = set()
    for path in results:
        inside = sorted(each.parent for each in path.glob(f"*/{HEADER}"))
        for run in [path] if (path / HEADER).exists() or not inside else inside:
            if run.resolve() not in seen:
                seen.add(run.resolve())
                yield run
