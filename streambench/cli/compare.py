"""`streambench compare`: shows what changed between runs, and evaluates assertions on the changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.api.run_assertions import read_assertions, stored_assertions
from streambench.cli import assertion_options
from streambench.cli import output as out
from streambench.cli.arguments import RUN
from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.analysis.check import AssertionResult
    from streambench.analysis.compare import RunsCompared
    from streambench.analysis.run import Run
    from streambench.metrics.assertions import Assertion


@click.command()
@click.argument("base", type=RUN)
@click.argument("new", nargs=-1, required=True, type=RUN)
@click.option("--format", "form", type=click.Choice(["terminal", "markdown", "json"]), default="terminal")
@click.option(
    "--force", is_flag=True, help="Compare runs that did not measure the same; the output says how they differ."
)
@out.html
@assertion_options.options
def compare(
    base: Path,
    new: tuple[Path, ...],
    form: str,
    html: Path | None,
    asserted: tuple[str, ...],
    undecided: str | None,
    junit: Path | None,
    *,
    force: bool,
) -> int:
    """Compare runs with the run BASE, with 95 % intervals.

    Each model is compared with itself, paired by prompt. A percentage in an assertion is the limit for how much worse
    than BASE a model may be: 'ttft_p50: < 10%'. Its 95 % interval decides. Without --assert, the assertions of each
    NEW run's own config are evaluated.

    Exit codes: 0 all assertions held; 1 an assertion failed, or every request of a model of NEW failed; 2 bad input, or
    the runs did not measure the same; 3 a run is incomplete; 4 an assertion cannot be decided, as the sample is too
    small.
    """
    from streambench.analysis.compare import compare_runs
    from streambench.report.runs_page import compared_html

    assertions = read_assertions(asserted, "--assert")
    first, *others = out.load_runs([base, *new])
    compared = [compare_runs(first, other) for other in others]
    if not force:
        _refuse_unlike(compared)
    judged = [_judge(first, other, assertions, force=force) for other in others]
    _show(compared, judged, form)
    out.page(html, lambda: compared_html(compared, judged))
    flat = [each for one in judged for each in one]
    assertion_options.tell("\n".join(map(_markdown, compared, judged)), flat, f"compare {base.name}", junit)
    if any(each.incomplete for each in compared):
        return assertion_options.INCOMPLETE
    return assertion_options.code_of_runs(others) or assertion_options.code_of(flat, undecided)


def _judge(base: Run, new: Run, assertions: list[Assertion], *, force: bool) -> list[AssertionResult]:
    from streambench.analysis.check import check_assertions

    return check_assertions(new, assertions or stored_assertions(new)[0], base, unlike_too=force)


def _refuse_unlike(compared: Sequence[RunsCompared]) -> None:
    from streambench.text import shown

    problems = [
        Problem(
            "differs, so these runs cannot be compared (--force compares them anyway)",
            each.new,
            where=difference.field,
            found="nothing" if difference.new in (None, {}, [], "") else shown(difference.new),
            accepted="nothing" if difference.base in (None, {}, [], "") else shown(difference.base),
        )
        for each in compared
        for difference in each.unlike
    ]
    if problems:
        raise InputError(problems)


def _markdown(compared: RunsCompared, judged: Sequence[AssertionResult]) -> str:
    from streambench.report.assertions import assertions_markdown
    from streambench.report.comparison import compared_markdown

    return f"{compared_markdown(compared)}\n{assertions_markdown(judged)}"


def _show(compared: Sequence[RunsCompared], judged: Sequence[Sequence[AssertionResult]], form: str) -> None:
    import json

    from streambench.report.assertions import assertions_plain, assertions_terminal
    from streambench.report.comparison import compared_plain, compared_terminal

    if form == "json":
        plain = [
            compared_plain(each) | {"assertions": assertions_plain(one)}
            for each, one in zip(compared, judged, strict=True)
        ]
        out.say(json.dumps({"comparisons": plain}, indent=2))
        return
    for each, one in zip(compared, judged, strict=True):
        if form == "markdown":
            out.say(_markdown(each, one))
        else:
            out.say(compared_terminal(each, out.width()))
            if one:
                out.say("\n" + assertions_terminal(one, out.width()))
