"""`streambench show`: one request as a lane in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli import gate
from streambench.cli.places import RESULTS
from streambench.errors import InputError, Problem

if TYPE_CHECKING:
    from streambench.records import AttemptRecord
    from streambench.results import Run


@click.command()
@RESULTS
@click.option("--seq", type=int, required=True, metavar="N", help="The request's number, as in the journal and frames.")
@click.option("--phase", type=click.Choice(["measure", "warmup"]), default="measure", help="Which of the two plans.")
def show(results: tuple[Path, ...], seq: int, phase: str) -> int:
    """Show one request: its attempts, times, and chunks on a line."""
    from streambench.report import lane_text

    runs = gate.load_runs(results)
    found = [(run, _attempts(run, seq, phase)) for run in runs]
    gate.say("\n".join(lane_text(run.header, attempts, gate.width()) for run, attempts in found))
    return 0


def _attempts(run: Run, seq: int, phase: str) -> list[AttemptRecord]:
    """In order. Raises InputError where the run has no such request."""
    of_phase = [record for record in run.records if record.ticket.phase == phase]
    found = [record for record in of_phase if record.ticket.seq == seq]
    if not found:
        known = sorted({record.ticket.seq for record in of_phase})
        accepted = f"{known[0]} to {known[-1]}" if known else f"none: nothing was recorded of its {phase} phase"
        raise InputError([Problem(f"{run.path.name} has no such request", None, None, "--seq", str(seq), accepted)])
    return sorted(found, key=lambda record: (record.segment, record.attempt))
