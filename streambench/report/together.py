"""Several runs on one board: a row for each model of each run, and what a reader must know of runs that are not one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from streambench.clock import NS
from streambench.report.comparison import unlike_lines
from streambench.report.standings import Board, board
from streambench.report.summary import summarise
from streambench.results import Run, joined, run_names, step_of
from streambench.verdicts import differences, notes, status_of

if TYPE_CHECKING:
    from streambench.records import RunHeader


def board_together(runs: Sequence[Run]) -> tuple[Run, Board]:
    """The runs as one (see `results.joined`), and its verdict with remarks on each."""
    run = joined(runs)
    # Its parts are runs: none of them was resumed.
    summary = replace(summarise(run.header, run.records, run.end), resumed=0)
    return run, replace(board(run, summary), remarks=tuple(_remarks(runs)))


def _remarks(runs: Sequence[Run]) -> Iterator[str]:
    if len(runs) < 2:
        return
    names = run_names(runs)
    parts = [f"{name} is {_told(run)}" for name, run in zip(names, runs, strict=True)]
    yield f"{len(runs)} runs together: {'; '.join(parts)}."
    yield (
        "Models of one run took turns, so they had the same moments; models of two runs did not: what is between "
        "them may be the time of day, the network or the machine."
    )
    first, step = runs[0].header, step_of(runs)
    for place, (name, run) in enumerate(zip(names, runs, strict=True)):
        yield from _unlike(name, names[0], first, run.header) if place else ()
    yield (
        f"Requests of {names[1]} are numbered from {step:,} on: {step + 7:,} is its number 7. Config, seed, versions "
        f"and machine under Method are those of {names[0]}, and so are the limits that findings go by."
    )


def _told(run: Run) -> str:
    started = f"{datetime.fromtimestamp(run.header.wall_ns // NS, UTC):%Y-%m-%d %H:%M:%S} UTC"
    resumed = ", resumed" if run.header.resumed else ""
    return f"{run.path.name or run.header.run_id} (started {started}, {status_of(run)}{resumed})"


def _unlike(name: str, base: str, first: RunHeader, header: RunHeader) -> Iterator[str]:
    unlike = differences(first, header)
    if unlike:
        yield f"{name} is not like {base}, so a difference may have another cause than the models: " + "; ".join(
            unlike_lines(unlike)
        )
    if any(each.field == "suite.hash" for each in unlike):
        yield f"The prompts of {name} are others than those of {base}, so their models are not paired."
    told = notes(first, header)
    if told:
        yield f"Of {name} against {base}: {'; '.join(told)}."
