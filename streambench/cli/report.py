"""`streambench report`: writes the HTML report of runs, or prints it as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli import output as out
from streambench.cli.arguments import RESULTS
from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.analysis.leaderboard import Leaderboard
    from streambench.analysis.run import Run
    from streambench.metrics.assertions import By

TOGETHER = "together.html"


@click.command()
@RESULTS
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File for the page, instead of report.html in the run's folder; for one run, or with --together.",
)
@click.option(
    "--together",
    is_flag=True,
    help="Write one page for all runs, with a row for each model of each run: together.html, or --output.",
)
@click.option("--markdown", is_flag=True, help="Print Markdown with the same numbers instead, or write it to --output.")
@click.option(
    "--trace-url",
    metavar="PATTERN",
    help="Link each request to its trace, such as https://traces.example/trace/{trace_id}.",
)
@click.option(
    "--by",
    "groupings",
    multiple=True,
    type=click.Choice(["tag", "turn", "length", "prompt"]),
    help="Also print estimates for each group of requests; may be repeated. The page has all that have several groups.",
)
def report(
    results: tuple[Path, ...],
    output: Path | None,
    *,
    together: bool,
    markdown: bool,
    trace_url: str | None,
    groupings: tuple[By, ...],
) -> int:
    """Write the HTML report of runs: speed, failures, uncertainty.

    Writes one self-contained page for each run in RESULTS. With --together, writes one page for all runs, where each
    `MODEL @ RUN` is a separate model, paired with the others by prompt; the page says how the runs differ. A run that
    was killed or is still running gets a report too, which says so.
    """
    from streambench.report.group_tables import grouping, groups_terminal
    from streambench.report.page import check_trace_url

    if output is not None and len(results) > 1 and not together:
        accepted = "one run, or --together"
        raise InputError(
            [Problem("can hold only one page", where="--output", found=f"{len(results)} runs", accepted=accepted)]
        )
    check_trace_url(trace_url)
    for path, run, found in _together(results) if together else _each(results):
        out.warn(run)
        if markdown:
            _markdown(run, output, found, groupings)
        else:
            shown = out.print_report(run, output or path, trace_url, found)
            for by in groupings:
                out.say(f"\n{groups_terminal(grouping(run, shown, by), out.width())}")
    return 0


def _each(folders: Sequence[Path]) -> Iterator[tuple[Path, Run, Leaderboard | None]]:
    """Yields each run and the path of its page."""
    from streambench.analysis.run import load
    from streambench.report.page import PAGE

    for folder in folders:
        yield folder / PAGE, load(folder), None


def _together(folders: Sequence[Path]) -> Iterator[tuple[Path, Run, Leaderboard]]:
    """Yields all runs together as one run, and the path of its page."""
    from streambench.analysis.run import load_several
    from streambench.report.combined import board_together

    yield Path(TOGETHER), *board_together(load_several(folders).runs)


def _markdown(run: Run, output: Path | None, found: Leaderboard | None, groupings: Sequence[By]) -> None:
    from streambench.analysis.leaderboard import leaderboard_of
    from streambench.records.run_folder import write_asked
    from streambench.report.group_tables import grouping, groups_markdown
    from streambench.report.markdown import render_markdown

    found = found or leaderboard_of(run)
    text = "\n".join([render_markdown(run, found), *(groups_markdown(grouping(run, found, by)) for by in groupings)])
    if output is None:
        click.echo(text)
        return
    write_asked(output, text)
    click.echo(f"Markdown: {output}")
