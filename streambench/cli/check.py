"""`streambench check`: do a run's assertions hold, and is it good enough to quote?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli import gate
from streambench.cli.places import RESULTS

if TYPE_CHECKING:
    from streambench.assertions import Assertion
    from streambench.results import Run
    from streambench.verdicts import Doubt, Judged


@click.command()
@RESULTS
@click.option(
    "--baseline", metavar="DIR", type=click.Path(path_type=Path), help="The run that percentages are counted from."
)
@click.option("--format", "form", type=click.Choice(["terminal", "markdown", "json"]), default="terminal")
@gate.options
def check(
    results: tuple[Path, ...],
    baseline: Path | None,
    form: str,
    asserted: tuple[str, ...],
    undecided: str | None,
    junit: Path | None,
) -> int:
    """Try assertions on runs, and list doubts about quoting them.

    Without --assert those of the run's own config are tried. What speaks against quoting a run (too few samples, drift,
    client lag, saturation, caches, uneven failures) is told with its numbers; it changes no exit code.

    Exit codes: 0 all held; 1 an assertion failed, or every request of a model; 2 bad input; 3 the run is incomplete; 4
    the sample cannot decide.
    """
    assertions = gate.read_assertions(asserted)
    runs = gate.load_runs(results)
    before = gate.load_runs([baseline])[0] if baseline is not None else None
    found = [(run, _judge(run, assertions, before), _doubts(run)) for run in runs]
    _show(found, form)
    judged = [each for _, one, _ in found for each in one]
    gate.tell("\n".join(_markdown(*each) for each in found), judged, runs[0].path.name, junit)
    return gate.code_of_runs(runs) or gate.code_of(judged, undecided)


def _judge(run: Run, assertions: list[Assertion], baseline: Run | None) -> list[Judged]:
    from streambench.verdicts import decide_all

    stored, path = gate.stored_assertions(run) if not assertions or baseline is None else ([], None)
    if baseline is None and path is not None:
        baseline = gate.load_runs([Path(path)])[0]
    return decide_all(run, assertions or stored, baseline)


def _doubts(run: Run) -> list[Doubt]:
    from streambench.verdicts import doubts

    return doubts(run)


def _markdown(run: Run, judged: Sequence[Judged], doubts: Sequence[Doubt]) -> str:
    from streambench.report import doubts_markdown, markdown_text, verdict_markdown

    parts = [f"## {markdown_text(run.path.name)}\n", verdict_markdown(judged), doubts_markdown(doubts)]
    return "\n".join(part for part in parts if part)


def _show(found: Sequence[tuple[Run, Sequence[Judged], Sequence[Doubt]]], form: str) -> None:
    import json
    from dataclasses import asdict

    from streambench.report import doubts_terminal, verdict_plain, verdict_terminal
    from streambench.words import inert

    if form == "json":
        plain = [
            {"run": run.path.name, "assertions": verdict_plain(judged), "doubts": [asdict(one) for one in doubts]}
            for run, judged, doubts in found
        ]
        gate.say(json.dumps({"schema": 1, "runs": plain}, indent=2))
        return
    for run, judged, doubts in found:
        if form == "markdown":
            gate.say(_markdown(run, judged, doubts))
            continue
        parts = [inert(run.path.name), verdict_terminal(judged, gate.width()), doubts_terminal(doubts, gate.width())]
        gate.say("\n".join(part for part in parts if part))
