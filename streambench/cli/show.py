"""`streambench show`: prints the timeline of one request in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli import output as out
from streambench.cli.arguments import RESULTS
from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.analysis.run import Run
    from streambench.records.schema import AttemptRecord


@click.command()
@RESULTS
@click.option(
    "--seq", type=int, required=True, metavar="N", help="The request's number: `seq` in the journal and frames."
)
@click.option("--phase", type=click.Choice(["measure", "warmup"]), default="measure", help="The phase of the request.")
def show(results: tuple[Path, ...], seq: int, phase: str) -> int:
    """Show the timeline of one request: attempts, times, chunks."""
    from streambench.report.request_timeline import lane_text

    runs = out.load_runs(results)
    found = [(run, _attempts(run, seq, phase)) for run in runs]
    out.say("\n".join(lane_text(run.facts, attempts, out.width()) for run, attempts in found))
    return 0


def _attempts(run: Run, seq: int, phase: str) -> list[AttemptRecord]:
    """Returns the attempts of the request, in order. Raises InputError if the run has no such request."""
    of_phase = [record for record in run.records if record.ticket.phase == phase]
    found = [record for record in of_phase if record.ticket.seq == seq]
    if not found:
        known = sorted({record.ticket.seq for record in of_phase})
        accepted = f"{known[0]} to {known[-1]}" if known else f"none: no request of its {phase} phase was recorded"
        raise InputError([Problem(f"{run.path.name} has no such request", None, None, "--seq", str(seq), accepted)])
    return sorted(found, key=lambda record: (record.segment, record.attempt))
