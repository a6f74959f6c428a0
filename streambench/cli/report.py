"""`streambench report`: runs in, a page each out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli import gate, page
from streambench.cli.places import RESULTS
from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.report import Board
    from streambench.results import Run
    from streambench.stats import By

TOGETHER = "together.html"


@click.command()
@RESULTS
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
    """Write a page of runs: who is fastest, who breaks, how surely.

    One self-contained page for each run in RESULTS. With --together it is one page, where `MODEL @ RUN` is a model of
    its own, paired with the others by prompt; what is unlike in the runs is said. Also of a run that was killed, or
    still goes on: its page says so.
    """
    from streambench.report import check_trace_url, grouping, groups_terminal

    if output is not None and len(results) > 1 and not together:
        accepted = "one run, or --together"
        raise InputError([Problem("takes one page", where="--output", found=f"{len(results)} runs", accepted=accepted)])
    check_trace_url(trace_url)
    for path, run, found in _together(results) if together else _each(results):
        gate.warn(run)
        if markdown:
            _markdown(run, output, found, groupings)
        else:
            shown = page.told(run, output or path, trace_url, found)
            for by in groupings:
                gate.say(f"\n{groups_terminal(grouping(run, shown, by), gate.width())}")
    return 0


def _each(folders: Sequence[Path]) -> Iterator[tuple[Path, Run, Board | None]]:
    """Every run, and where its page goes."""
    from streambench.report import PAGE
    from streambench.results import load

    for folder in folders:
        yield folder / PAGE, load(folder), None


def _together(folders: Sequence[Path]) -> Iterator[tuple[Path, Run, Board]]:
    """All runs as one."""
    from streambench.report import board_together
    from streambench.results import load_several

    yield Path(TOGETHER), *board_together(load_several(folders).runs)


def _markdown(run: Run, output: Path | None, found: Board | None, groupings: Sequence[By]) -> None:
    from streambench.report import board, grouping, groups_markdown, render_markdown
    from streambench.results import write_asked

    found = found or board(run)
    text = "\n".join([render_markdown(run, found), *(groups_markdown(grouping(run, found, by)) for by in groupings)])
    if output is None:
        click.echo(text)
        return
    write_asked(output, text)
    click.echo(f"Markdown: {output}")
