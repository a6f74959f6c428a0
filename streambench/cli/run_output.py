"""Shared by `run` and `resume`: the live view while they measure, and what is written and printed at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli import assertion_options, telemetry_options
from streambench.cli import output as out
from streambench.errors import DiskError

if TYPE_CHECKING:
    from streambench.analysis.summary import Summary
    from streambench.api.running import RunOptions
    from streambench.runner.job import Measured
    from streambench.telemetry.prepare import Prepared


QUIET = click.option("--quiet", "-q", is_flag=True, help="Print only the run's folder and errors.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON instead of the table.")


@dataclass(frozen=True, slots=True)
class Ending:
    """The options for what is printed and written when a run has ended."""

    quiet: bool
    as_json: bool
    with_page: bool
    undecided: str | None = None
    """`pass` or `fail`: undecided assertions count as that. None: they have their own exit code, 4."""
    junit: Path | None = None


def options(flags: Mapping[str, str | None], *, quiet: bool) -> RunOptions:
    """Returns how `run` and `resume` show what they do. `flags` are the options for telemetry."""
    from streambench.api.running import RunOptions

    telemetry = telemetry_options.flags_of(flags)
    return RunOptions(out.notices(quiet=quiet), out.to_stderr, live=not quiet, flags=telemetry)


def finish(measured: Measured, prepared: Prepared | None, ending: Ending) -> int:
    """Writes the summary and the HTML report, prints them, and sends the telemetry that is still queued.

    Returns the exit code.
    """
    from streambench.api.running import conclude

    run, summary, lost = conclude(measured, out.to_stderr)
    out.warn(run)
    with _reader_may_go():
        _print(summary, measured, lost, ending)
        if ending.with_page and lost is None:
            out.at_the_end(run, measured.folder, summary, aloud=not ending.quiet and not ending.as_json)
    undelivered = telemetry_options.finish(prepared, run, quiet=ending.quiet) if prepared else 0
    assertion_options.tell(
        assertion_options.markdown(summary.assertions), summary.assertions, run.path.name, ending.junit
    )
    if lost is not None:
        return lost.exit_code
    return _exit_code(summary) or assertion_options.code_of(summary.assertions, ending.undecided) or undelivered


@contextmanager
def _reader_may_go() -> Iterator[None]:
    """Ignores a broken pipe: the run has not failed if the reader of stdout (such as `| head`) exits early."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(summary: Summary, measured: Measured, lost: DiskError | None, ending: Ending) -> None:
    import json

    from streambench.report.assertions import assertions_line, assertions_terminal
    from streambench.report.terminal import show

    for model in sorted(measured.refuses_usage):
        click.echo(f"{model}: its gateway rejects stream_options; set include_usage: false for this model", err=True)
    if lost is not None:
        click.echo(f"error: {lost}", err=True)
    if ending.quiet and measured.reason is not None:
        click.echo(f"error: {measured.reason}", err=True)
    if ending.as_json:
        click.echo(json.dumps(summary.to_plain(), indent=2))
    elif ending.quiet:
        click.echo(measured.folder)
        if assertion_options.code_of(summary.assertions, ending.undecided):
            click.echo(f"error: {assertions_line(summary.assertions)}", err=True)
    else:
        show(summary, measured.folder)
        if summary.assertions:
            out.say("\n" + assertions_terminal(summary.assertions, out.width()))


def _exit_code(summary: Summary) -> int:
    from streambench.analysis.summary import exit_code

    return exit_code(summary)
