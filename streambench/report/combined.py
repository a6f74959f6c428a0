"""One leaderboard for several runs: a row for each model of each run, and remarks on how the runs differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from streambench.analysis.combine import combined, run_names, step_of
from streambench.analysis.comparability import differences, notes
from streambench.analysis.compare import status_of
from streambench.analysis.leaderboard import Leaderboard, leaderboard_of
from streambench.analysis.run import Run
from streambench.analysis.summary import summary_of
from streambench.clock import NS
from streambench.report.comparison import unlike_lines
from streambench.text import count

if TYPE_CHECKING:
    from streambench.records.schema import RunHeader


def board_together(runs: Sequence[Run]) -> tuple[Run, Leaderboard]:
    """Returns the runs combined into one (see `combine.combined`), and its leaderboard with remarks on each run."""
    run = combined(runs)
    # The combined header lists further runs as resumed parts, but nothing was resumed.
    summary = replace(summary_of(run), resumed=0)
    return run, replace(leaderboard_of(run, summary), remarks=tuple(_remarks(runs)))


def _remarks(runs: Sequence[Run]) -> Iterator[str]:
    if len(runs) < 2:
        return
    names = run_names(runs)
    parts = [f"{name} is {_run_text(run)}" for name, run in zip(names, runs, strict=True)]
    yield f"{len(runs)} runs combined: {'; '.join(parts)}."
    yield (
        "Models of the same run took turns, so they were measured over the same period. Models of different runs were "
        "not: a difference between them may come from the time of day, the network or the machine."
    )
    first, step = runs[0].header, step_of(runs)
    for place, (name, run) in enumerate(zip(names, runs, strict=True)):
        yield from _unlike(name, names[0], first, run.header) if place else ()
    yield (
        f"Request numbers of {names[1]} start at {count(step)}: {count(step + 7)} is its request 7. The config, seed, "
        f"versions and machine under Method are those of {names[0]}, and so are the thresholds for findings."
    )


def _run_text(run: Run) -> str:
    started = f"{datetime.fromtimestamp(run.header.wall_ns // NS, UTC):%Y-%m-%d %H:%M:%S} UTC"
    resumed = ", resumed" if run.header.resumed else ""
    return f"{run.path.name or run.header.run_id} (started {started}, {status_of(run)}{resumed})"


def _unlike(name: str, base: str, first: RunHeader, header: RunHeader) -> Iterator[str]:
    unlike = differences(first, header)
    if unlike:
        yield f"{name} was measured differently from {base}, which may cause a difference between models: " + "; ".join(
            unlike_lines(unlike)
        )
    if any(each.field == "suite.hash" for each in unlike):
        yield f"The prompts of {name} differ from those of {base}, so their models are not paired."
    lines = notes(first, header)
    if lines:
        yield f"{name} compared with {base}: {'; '.join(lines)}."
