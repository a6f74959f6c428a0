"""Shared functions for output: load runs and print their warnings, print text, write the HTML report."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.errors import StreambenchError

if TYPE_CHECKING:
    from streambench.analysis.leaderboard import Leaderboard
    from streambench.analysis.run import Run
    from streambench.analysis.summary import Summary


option = click.option("--no-report", is_flag=True, help="Do not write report.html at the end.")


def print_report(run: Run, path: Path, trace_url: str | None = None, found: Leaderboard | None = None) -> Leaderboard:
    """Writes the HTML report, then prints the headline and the report's path. Raises InputError, DiskError."""
    from streambench.analysis.leaderboard import leaderboard_of
    from streambench.report.headline import headline
    from streambench.report.page import write_page
    from streambench.report.terminal import tell

    found = found or leaderboard_of(run)
    write_page(run, path, found, trace_url)
    tell(headline(found, run.header))
    click.echo(f"Report: {path}")
    return found


def at_the_end(run: Run, folder: Path, summary: Summary | None = None, *, aloud: bool) -> None:
    """Writes the HTML report at the end of a run; `aloud` also prints the headline.

    A failure never fails the run: it is printed as one warning line, with the command that writes the report again.
    """
    from streambench.analysis.leaderboard import leaderboard_of
    from streambench.report.page import PAGE, write_page

    try:
        if aloud:
            print_report(run, folder / PAGE, found=leaderboard_of(run, summary))
        else:
            write_page(run, folder / PAGE, leaderboard_of(run, summary))
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - no fault of a page may cost the run's exit code
        reason = str(error) if isinstance(error, StreambenchError) else f"{type(error).__name__}: {error}"
        line = " ".join(reason.split())[:300]
        click.echo(f"warning: the report failed: {line}; try: streambench report {folder}", err=True)


PIPE_WIDTH = 140
html = click.option(
    "--html", metavar="FILE", type=click.Path(path_type=Path), help="Also write it as one self-contained HTML page."
)


def load_runs(paths: Sequence[Path]) -> list[Run]:
    """Loads the runs and prints their warnings on stderr. Raises ResultsError, SchemaError."""
    from streambench.analysis.run import load

    runs = [load(path) for path in paths]
    for run in runs:
        warn(run, f"{run.path.name}: ")
    return runs


def warn(run: Run, which: str = "") -> None:
    """Prints the warnings from reading a run on stderr; the prefix `which` names the run."""
    for warning in run.warnings:
        click.echo(f"warning: {which}{warning}", err=True)


def page(path: Path | None, text: Callable[[], str]) -> None:
    """Writes a page to `path`, unless it is None; prints the path on stderr (stdout may be JSON). Raises DiskError."""
    if path is None:
        return
    from streambench.records.run_folder import write_asked

    write_asked(path, text())
    click.echo(f"Page: {path}", err=True)


def width() -> int:
    """Returns the width of the terminal in columns. Without a terminal, the value of COLUMNS, else PIPE_WIDTH."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return PIPE_WIDTH


def say(text: str) -> None:
    """Prints the text, with characters that the output's encoding lacks escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding).rstrip("\n"))


def to_stderr(line: str) -> None:
    """Prints the line on stderr."""
    click.echo(line, err=True)


def notices(*, quiet: bool) -> Callable[[str], None]:
    """Returns the function that shows a run's notices: it prints them on stderr, or ignores them if `quiet`."""
    return (lambda _: None) if quiet else to_stderr
