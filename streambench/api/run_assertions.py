"""Reads assertions: those of a caller, and those of a run's own config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from streambench.errors import InputError, Problem, ResultsError, StreambenchError
from streambench.text import shown

if TYPE_CHECKING:
    from streambench.analysis.check import AssertionResult
    from streambench.analysis.run import Run
    from streambench.metrics.assertions import Assertion


def read_assertions(texts: Sequence[str], where: str) -> list[Assertion]:
    """Parses texts such as "ttft_p95_ms: < 800". `where` is the option or argument that holds them.

    Raises InputError with every text that is not an assertion.
    """
    from streambench.metrics.assertions import AssertionTextError, parse_text

    found, problems = [], []
    for text in texts:
        try:
            found.append(parse_text(text))
        except AssertionTextError as error:
            problems.append(Problem(error.message, where=where, found=shown(text), accepted=error.accepted))
    if problems:
        raise InputError(problems)
    return found


def stored_assertions(run: Run) -> tuple[list[Assertion], str | None]:
    """Returns the assertions of the run's own config, and the path of its baseline (None if it has none).

    Raises ResultsError if this version cannot parse them.
    """
    from streambench.metrics.assertions import AssertionTextError, parse_all

    try:
        return parse_all(run.header.config.get("assertions") or {})
    except AssertionTextError as error:
        raise ResultsError(f"{run.path}: an assertion of its config {error.message}") from error


def judge_at_end(run: Run, warn: Callable[[str], None]) -> list[AssertionResult]:
    """Evaluates the assertions of a run's config at the end of the run.

    If the baseline can no longer be read, `warn` gets a line; assertions on changes are then undecided.
    """
    if not run.header.config.get("assertions"):
        return []
    from streambench.analysis.check import check_assertions
    from streambench.analysis.run import load

    assertions, path = stored_assertions(run)
    try:
        baseline = load(path) if path is not None else None
        for warning in baseline.warnings if baseline is not None else ():
            warn(f"warning: {path}: {warning}")
    except StreambenchError as error:
        warn(f"warning: cannot read the baseline: {error}")
        baseline = None
    return check_assertions(run, assertions, baseline)
