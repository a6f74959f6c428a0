"""What `run`, `compare` and `check` share: assertions from options or a run's config, and what is told of them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streambench.errors import InputError, Problem, ResultsError

if TYPE_CHECKING:
    from streambench.assertions import Assertion
    from streambench.results import Run
    from streambench.verdicts import Judged

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
INCOMPLETE = 3
PIPE_WIDTH = 140
FOLLOW_UP = {None: 4, "pass": 0, "fail": 1}

OPTIONS = (
    click.option(
        "--assert",
        "asserted",
        multiple=True,
        metavar="KEY: LIMIT",
        help="What must hold of each model, as in 'ttft_p95_ms: < 800' or, against a baseline, 'ttft_p50: < 10%'; "
        "may be given often. Stands in for the `assert:` of the run's config.",
    ),
    click.option(
        "--undecided",
        type=click.Choice(["pass", "fail"]),
        help="What a sample too small to decide comes to: exit code 0 or 1 instead of 4.",
    ),
    click.option("--junit", metavar="FILE", type=click.Path(path_type=Path), help="Write the verdicts as JUnit XML."),
)
html = click.option(
    "--html", metavar="FILE", type=click.Path(path_type=Path), help="Write it as one self-contained page too."
)
_ASSERT, *AT_END = OPTIONS
"""Those of a command whose assertions stand in its config."""


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    return _with(OPTIONS, command)


def options_at_end(command: Callable[..., Any]) -> Callable[..., Any]:
    """For `run` and `resume`: what becomes of the `assert:` of their config."""
    return _with(AT_END, command)


def _with(given: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(given):
        command = option(command)
    return command


def check_place(junit: Path | None) -> None:
    """Before a run is paid for. Raises InputError where the file could not be written at its end."""
    if junit is not None and (junit.is_dir() or not junit.parent.is_dir()):
        raise InputError([Problem("cannot be written", where="--junit", found=str(junit), accepted="a file's path")])


def read_assertions(texts: Sequence[str]) -> list[Assertion]:
    """Raises InputError with every text that is none."""
    from streambench.assertions import AssertionTextError, parse_text
    from streambench.documents import shown

    found, problems = [], []
    for text in texts:
        try:
            found.append(parse_text(text))
        except AssertionTextError as error:
            problems.append(Problem(error.message, where="--assert", found=shown(text), accepted=error.accepted))
    if problems:
        raise InputError(problems)
    return found


def stored_assertions(run: Run) -> tuple[list[Assertion], str | None]:
    """Those of the run's own config, and its baseline's path. Raises ResultsError for some that nobody here knows."""
    from streambench.assertions import AssertionTextError, parse_all

    try:
        return parse_all(run.header.config.get("assertions") or {})
    except AssertionTextError as error:
        raise ResultsError(f"{run.path}: an assertion of its config {error.message}") from error


def judge_at_end(run: Run) -> list[Judged]:
    """A run's own assertions, at its end; without its baseline, which was there at the start, they are undecided."""
    if not run.header.config.get("assertions"):
        return []
    from streambench.errors import StreambenchError
    from streambench.verdicts import decide_all

    assertions, path = stored_assertions(run)
    try:
        baseline = load_runs([Path(path)])[0] if path is not None else None
    except StreambenchError as error:
        click.echo(f"warning: no baseline: {error}", err=True)
        baseline = None
    return decide_all(run, assertions, baseline)


def markdown(judged: Sequence[Judged]) -> str:
    from streambench.report import verdict_markdown

    return verdict_markdown(judged) if judged else ""


def load_runs(paths: Sequence[Path]) -> list[Run]:
    """With their warnings on stderr. Raises ResultsError, SchemaError."""
    from streambench.results import load

    runs = [load(path) for path in paths]
    for run in runs:
        warn(run, f"{run.path.name}: ")
    return runs


def warn(run: Run, which: str = "") -> None:
    """What was skipped when it was read; `which` of several runs it is."""
    for warning in run.warnings:
        click.echo(f"warning: {which}{warning}", err=True)


def tell(markdown: str, judged: Sequence[Judged], name: str, junit: Path | None) -> None:
    """JUnit XML where it is asked for, and GitHub's step summary where there is one. Raises ResultsError."""
    from streambench.report import junit_xml

    try:
        if junit is not None:
            junit.write_text(junit_xml(name, judged), "utf-8")
        summary = os.environ.get(STEP_SUMMARY)
        if summary and markdown:
            with Path(summary).open("a", encoding="utf-8") as out:
                out.write(f"{markdown}\n")
    except OSError as error:
        raise ResultsError(f"{error.filename}: cannot be written: {error.strerror}") from error


def page(path: Path | None, text: Callable[[], str]) -> None:
    """A page where it is asked for; its place on stderr, as stdout may be JSON. Raises DiskError."""
    if path is None:
        return
    from streambench.results import write_asked

    write_asked(path, text())
    click.echo(f"Page: {path}", err=True)


def code_of(judged: Sequence[Judged], undecided: str | None) -> int:
    from streambench.verdicts import exit_code

    return exit_code(judged, FOLLOW_UP[undecided])


def code_of_runs(runs: Sequence[Run]) -> int:
    """3 where one is incomplete, else 1 where a model had only failures."""
    from streambench.report import exit_code, summarise

    return max(exit_code(summarise(run.header, run.records, run.end)) for run in runs)


def width() -> int:
    """The terminal's; where the output is none, what COLUMNS says, or room for a table."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return PIPE_WIDTH


def say(text: str) -> None:
    """Prints what any terminal's encoding can take."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding).rstrip("\n"))
