"""`streambench report`: runs in, a page each out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli import gate, page
from streambench.cli.places import RUN
from streambench.errors import DiskError, InputError, Problem

if TYPE_CHECKING:
    from streambench.report import Board
    from streambench.results import Run
    from streambench.stats import By

TOGETHER = "together.html"


@click.command()
@click.argument("results", metavar="RESULTS...", nargs=-1, required=True, type=RUN)
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where the page goes, instead of report.html in the run's folder; for one run.",
)
@click.option(
    "--together",
    is_flag=True,
    help="One page for all runs, each model of each run a row: together.html, or --output.",
)
@click.option(
    "--markdown", is_flag=True, help="Print Markdown with the same numbers (or write it to --output) instead."
)
@click.option(
    "--trace-url",
    metavar="PATTERN",
    help="Link each request to its trace, as in https://traces.example/trace/{trace_id}.",
)
@click.option(
    "--by",
    "groupings",
    multiple=True,
    type=click.Choice(["tag", "turn", "length", "prompt"]),
    help="Print estimates for each group of requests too; may be given often. The page has those that tell something.",
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
    """Write one self-contained page for each run in RESULTS: who is fastest, who breaks, and how sure that is.

    With --together it is one page, where `MODEL @ RUN` is a model of its own, paired with the others by prompt; what is
    unlike in the runs is said. Also of a run that was killed, or still goes on: its page says so.
    """
    from streambench.report import PAGE, check_trace_url
    from streambench.results import load

    if output is not None and len(results) > 1 and not together:
        accepted = "one run, or --together"
        raise InputError([Problem("takes one page", where="--output", found=f"{len(results)} runs", accepted=accepted)])
    check_trace_url(trace_url)
    if together:
        return _together(results, output, trace_url, groupings, markdown=markdown)
    for folder in results:
        run = load(folder)
        for warning in run.warnings:
            click.echo(f"warning: {warning}", err=True)
        if markdown:
            _markdown(run, output, groupings)
        else:
            _shown(run, page.told(run, output or folder / PAGE, trace_url), groupings)
    return 0


def _shown(run: Run, found: Board, groupings: Sequence[By]) -> None:
    from streambench.report import grouping, groups_terminal

    for by in groupings:
        gate.say(f"\n{groups_terminal(grouping(run, found, by), gate.width())}")


def _together(
    results: tuple[Path, ...], output: Path | None, trace_url: str | None, groupings: Sequence[By], *, markdown: bool
) -> int:
    from streambench.report import board_together
    from streambench.results import load_several

    run, found = board_together(load_several(results).runs)
    for warning in run.warnings:
        click.echo(f"warning: {warning}", err=True)
    if markdown:
        _markdown(run, output, groupings, found)
    else:
        _shown(run, page.told(run, output or Path(TOGETHER), trace_url, found), groupings)
    return 0


def _markdown(run: Run, output: Path | None, groupings: Sequence[By], found: Board | None = None) -> None:
    from streambench.report import board, grouping, groups_markdown, render_markdown
    from streambench.results import write_whole

    found = found or board(run)
    text = "\n".join([render_markdown(run, found), *(groups_markdown(grouping(run, found, by)) for by in groupings)])
    if output is None:
        click.echo(text)
        return
    try:
        write_whole(output, text)
    except OSError as error:
        raise DiskError(f"cannot write {output}: {error.strerror or error}") from error
    click.echo(f"Markdown: {output}")
