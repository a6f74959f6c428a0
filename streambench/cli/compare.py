"""`streambench compare`: what changed between runs, and whether that is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli import gate
from streambench.cli.places import RUN
from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.assertions import Assertion
    from streambench.results import Run
    from streambench.verdicts import Judged, RunsCompared


@click.command()
@click.argument("base", type=RUN)
@click.argument("new", nargs=-1, required=True, type=RUN)
@click.option("--format", "form", type=click.Choice(["terminal", "markdown", "json"]), default="terminal")
@click.option("--force", is_flag=True, help="Compare runs that are not alike; the output says how they differ.")
@gate.html
@gate.options
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
    """Compare runs with the run BASE: what changed, and how surely.

    Model by model, paired by prompt. A percentage in an assertion is how much worse than BASE a model may be, with its
    95 % interval: 'ttft_p50: < 10%'. Without --assert those of each NEW's own config hold.

    Exit codes: 0 all held; 1 an assertion failed, or every request of a model of NEW; 2 bad input, or runs that are not
    alike; 3 a run is incomplete; 4 the sample cannot decide.
    """
    from streambench.report import compared_html
    from streambench.verdicts import compare_runs

    assertions = gate.read_assertions(asserted)
    first, *others = gate.load_runs([base, *new])
    compared = [compare_runs(first, other) for other in others]
    if not force:
        _refuse_unlike(compared)
    judged = [_judge(first, other, assertions, force=force) for other in others]
    _show(compared, judged, form)
    gate.page(html, lambda: compared_html(compared, judged))
    flat = [each for one in judged for each in one]
    gate.tell("\n".join(map(_markdown, compared, judged)), flat, f"compare {base.name}", junit)
    if any(each.incomplete for each in compared):
        return gate.INCOMPLETE
    return gate.code_of_runs(others) or gate.code_of(flat, undecided)


def _judge(base: Run, new: Run, assertions: list[Assertion], *, force: bool) -> list[Judged]:
    from streambench.verdicts import decide_all

    return decide_all(new, assertions or gate.stored_assertions(new)[0], base, unlike_too=force)


def _refuse_unlike(compared: Sequence[RunsCompared]) -> None:
    from streambench.documents import shown

    problems = [
        Problem(
            "is not the same, so these runs cannot be compared (--force does it anyway)",
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


def _markdown(compared: RunsCompared, judged: Sequence[Judged]) -> str:
    from streambench.report import compared_markdown, verdict_markdown

    return f"{compared_markdown(compared)}\n{verdict_markdown(judged)}"


def _show(compared: Sequence[RunsCompared], judged: Sequence[Sequence[Judged]], form: str) -> None:
    import json

    from streambench.report import compared_plain, compared_terminal, verdict_plain, verdict_terminal

    if form == "json":
        plain = [
            compared_plain(each) | {"assertions": verdict_plain(one)}
            for each, one in zip(compared, judged, strict=True)
        ]
        gate.say(json.dumps({"comparisons": plain}, indent=2))
        return
    for each, one in zip(compared, judged, strict=True):
        if form == "markdown":
            gate.say(_markdown(each, one))
        else:
            gate.say(compared_terminal(each, gate.width()))
            if one:
                gate.say("\n" + verdict_terminal(one, gate.width()))
