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
    from streambench.results import Run
    from streambench.stats import By


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
    markdown: bool,
    trace_url: str | None,
    groupings: tuple[By, ...],
) -> int:
    """Write one self-contained page for each run in RESULTS: who is fastest, who breaks, and how sure that is.

    Also of a run that was killed, or still goes on: its page says so.
    """
    from streambench.report import PAGE, check_trace_url, grouping, groups_terminal
    from streambench.results import load

    if output is not None and len(results) > 1:
        raise InputError([Problem("takes one run", where="--output", found=f"{len(results)} runs")])
    check_trace_url(trace_url)
    for folder in results:
        run = load(folder)
        for warning in run.warnings:
            click.echo(f"warning: {warning}", err=True)
        if markdown:
            _markdown(run, output, groupings)
        else:
            found = page.told(run, output or folder / PAGE, trace_url)
            for by in groupings:
                gate.say(f"\n{groups_terminal(grouping(run, found, by), gate.width())}")
    return 0


def _markdown(run: Run, output: Path | None, groupings: Sequence[By]) -> None:
    from streambench.report import board, grouping, groups_markdown, render_markdown
    from streambench.results import write_whole

    found = board(run)
    text = "\n".join([render_markdown(run, found), *(groups_markdown(grouping(run, found, by)) for by in groupings)])
    if output is None:
        click.echo(text)
        return
    try:
        write_whole(output, text)
    except OSError as error:
        raise DiskError(f"cannot write {output}: {error.strerror or error}") from error
    click.echo(f"Markdown: {output}")
