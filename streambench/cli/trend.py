"""`streambench trend`: many runs of one config, and where a level shifted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from streambench.cli import gate
from streambench.cli.places import RUN
from streambench.errors import ResultsError


@click.command()
@click.argument("results", nargs=-1, required=True, type=RUN)
@click.option("--format", "form", type=click.Choice(["terminal", "markdown", "json"]), default="terminal")
def trend(results: tuple[Path, ...], form: str) -> int:
    """Follow each model over many runs: RESULTS are runs, or folders of runs such as results/.

    The runs have to be alike (the same suite, load, gateways, models); those unlike the newest are left out and named.
    A shift is a level that changed and stayed; from 8 runs on one can be shown.
    """
    import json

    from streambench.report import trend_markdown, trend_plain, trend_terminal
    from streambench.results import load
    from streambench.verdicts import Point, point_of
    from streambench.verdicts import trend as trend_of

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
    return 0


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
