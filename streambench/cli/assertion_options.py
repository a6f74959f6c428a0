"""Assertions for `run`, `resume`, `compare` and `check`: options, reading, evaluation, outputs and exit codes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streambench.errors import InputError, Problem, ResultsError

if TYPE_CHECKING:
    from streambench.analysis.check import AssertionResult
    from streambench.analysis.run import Run


STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
INCOMPLETE = 3
FOLLOW_UP = {None: 4, "pass": 0, "fail": 1}

OPTIONS = (
    click.option(
        "--assert",
        "asserted",
        multiple=True,
        metavar="KEY: LIMIT",
        help="A limit for each model, such as 'ttft_p95_ms: < 800' or, against a baseline, 'ttft_p50: < 10%'; may be "
        "repeated. Replaces the `assert:` of the run's config.",
    ),
    click.option(
        "--undecided",
        type=click.Choice(["pass", "fail"]),
        help="Exit code if the sample is too small to decide: 0 (pass) or 1 (fail) instead of 4.",
    ),
    click.option(
        "--junit",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Write the results of the assertions as JUnit XML.",
    ),
)
_ASSERT, *AT_END = OPTIONS
"""The options of `run` and `resume`, whose assertions come from the config."""


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--assert`, `--undecided` and `--junit` to a command."""
    return _with(OPTIONS, command)


def options_at_end(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--undecided` and `--junit` to `run` and `resume`, whose assertions come from the config."""
    return _with(AT_END, command)


def _with(given: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(given):
        command = option(command)
    return command


def check_place(junit: Path | None) -> None:
    """Raises InputError if the JUnit file cannot be written. Called before a run sends (and pays for) requests."""
    if junit is not None and (junit.is_dir() or not junit.parent.is_dir()):
        raise InputError(
            [Problem("cannot be written", where="--junit", found=str(junit), accepted="a file in an existing folder")]
        )


def markdown(judged: Sequence[AssertionResult]) -> str:
    from streambench.report.assertions import assertions_markdown

    return assertions_markdown(judged) if judged else ""


def tell(markdown: str, judged: Sequence[AssertionResult], name: str, junit: Path | None) -> None:
    """Writes the JUnit XML to `junit` (unless None) and appends `markdown` to GitHub's step summary, if there is one.

    Raises ResultsError if a file cannot be written.
    """
    from streambench.report.assertions import junit_xml

    try:
        if junit is not None:
            junit.write_text(junit_xml(name, judged), "utf-8")
        summary = os.environ.get(STEP_SUMMARY)
        if summary and markdown:
            with Path(summary).open("a", encoding="utf-8") as out:
                out.write(f"{markdown}\n")
    except OSError as error:
        raise ResultsError(f"{error.filename}: cannot be written: {error.strerror}") from error


def code_of(judged: Sequence[AssertionResult], undecided: str | None) -> int:
    from streambench.analysis.check import exit_code

    return exit_code(judged, FOLLOW_UP[undecided])


def code_of_runs(runs: Sequence[Run]) -> int:
    """Returns 3 if a run is incomplete, else 1 if a model had only failures, else 0."""
    from streambench.analysis.summary import exit_code, summary_of

    return max(exit_code(summary_of(run)) for run in runs)
