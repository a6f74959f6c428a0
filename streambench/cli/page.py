"""A run's page as a command writes it: told of on the terminal, and at a run's end never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.errors import StreambenchError

if TYPE_CHECKING:
    from streambench.report import Board
    from streambench.results import Run

option = click.option("--no-report", is_flag=True, help="Write no report.html at the end.")


def told(run: Run, path: Path, trace_url: str | None = None, found: Board | None = None) -> Board:
    """Writes the page, then prints the verdict and where the page is. Raises InputError, DiskError."""
    from streambench.report import board, headline, tell, write_page

    found = found or board(run)
    write_page(run, path, found, trace_url)
    tell(headline(found, run.header))
    click.echo(f"Report: {path}")
    return found


def at_the_end(run: Run, folder: Path, *, aloud: bool) -> None:
    """What a run ends with. Whatever goes wrong is one line: the run stands, and `report` can be asked again."""
    from streambench.report import PAGE, write_page

    try:
        if aloud:
            told(run, folder / PAGE)
        else:
            write_page(run, folder / PAGE)
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - no fault of a page may cost the run's exit code
        reason = str(error) if isinstance(error, StreambenchError) else f"{type(error).__name__}: {error}"
        line = " ".join(reason.split())[:300]
        click.echo(f"warning: no report: {line}; try: streambench report {folder}", err=True)
