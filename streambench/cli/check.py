"""`streambench check`: evaluates the assertions of runs and prints warnings about their quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.api.run_assertions import read_assertions, stored_assertions
from streambench.cli import assertion_options
from streambench.cli import output as out
from streambench.cli.arguments import RESULTS

if TYPE_CHECKING:
    from streambench.analysis.check import AssertionResult
    from streambench.analysis.run import Run
    from streambench.analysis.run_quality import QualityWarning
    from streambench.metrics.assertions import Assertion


@click.command()
@RESULTS
@click.option(
    "--baseline", metavar="DIR", type=click.Path(path_type=Path), help="The run that percentage limits refer to."
)
@click.option("--format", "form", type=click.Choice(["terminal", "markdown", "json"]), default="terminal")
@assertion_options.options
def check(
    results: tuple[Path, ...],
    baseline: Path | None,
    form: str,
    asserted: tuple[str, ...],
    undecided: str | None,
    junit: Path | None,
) -> int:
    """Evaluate assertions on runs, and warn about poor data.

    Without --assert, the assertions of each run's own config are evaluated. The warnings name reasons not to quote a
    run (too few samples, drift, client lag, saturation, caches, uneven failures) with their numbers. They do not
    change the exit code.

    Exit codes: 0 all assertions held; 1 an assertion failed, or every request of a model failed; 2 bad input; 3 a run
    is incomplete; 4 an assertion cannot be decided, as the sample is too small.
    """
    assertions = read_assertions(asserted, "--assert")
    runs = out.load_runs(results)
    before = out.load_runs([baseline])[0] if baseline is not None else None
    found = [(run, _judge(run, assertions, before), _quality_warnings(run)) for run in runs]
    _show(found, form)
    judged = [each for _, one, _ in found for each in one]
    assertion_options.tell("\n".join(_markdown(*each) for each in found), judged, runs[0].path.name, junit)
    return assertion_options.code_of_runs(runs) or assertion_options.code_of(judged, undecided)


def _judge(run: Run, assertions: list[Assertion], baseline: Run | None) -> list[AssertionResult]:
    from streambench.analysis.check import check_assertions

    stored, path = stored_assertions(run) if not assertions or baseline is None else ([], None)
    if baseline is None and path is not None:
        baseline = out.load_runs([Path(path)])[0]
    return check_assertions(run, assertions or stored, baseline)


def _quality_warnings(run: Run) -> list[QualityWarning]:
    from streambench.analysis.run_quality import quality_warnings

    return quality_warnings(run)


def _markdown(run: Run, judged: Sequence[AssertionResult], quality_warnings: Sequence[QualityWarning]) -> str:
    from streambench.report.assertions import assertions_markdown, warnings_markdown
    from streambench.text import for_markdown

    parts = [f"## {for_markdown(run.path.name)}\n", assertions_markdown(judged), warnings_markdown(quality_warnings)]
    return "\n".join(part for part in parts if part)


def _show(found: Sequence[tuple[Run, Sequence[AssertionResult], Sequence[QualityWarning]]], form: str) -> None:
    import json
    from dataclasses import asdict

    from streambench.report.assertions import assertions_plain, assertions_terminal, warnings_terminal
    from streambench.text import for_terminal

    if form == "json":
        plain = [
            {
                "run": run.path.name,
                "assertions": assertions_plain(judged),
                "doubts": [asdict(one) for one in quality_warnings],
            }
            for run, judged, quality_warnings in found
        ]
        out.say(json.dumps({"schema": 1, "runs": plain}, indent=2))
        return
    for run, judged, quality_warnings in found:
        if form == "markdown":
            out.say(_markdown(run, judged, quality_warnings))
            continue
        parts = [
            for_terminal(run.path.name),
            assertions_terminal(judged, out.width()),
            warnings_terminal(quality_warnings, out.width()),
        ]
        out.say("\n".join(part for part in parts if part))
