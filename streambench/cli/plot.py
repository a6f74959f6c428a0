"""`streambench plot`: a run's figures as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from streambench.cli import gate
from streambench.cli.places import RESULTS
from streambench.errors import DiskError, InputError, Problem

if TYPE_CHECKING:
    from streambench.plots import Drawn, Kind
    from streambench.results import Run

PLOTS = "plots"


@click.command()
@RESULTS
@click.option(
    "--figure",
    "names",
    metavar="NAME",
    multiple=True,
    help="Which, as docs/figures.md names them; may be given often. By default every one.",
)
@click.option(
    "--format",
    "kinds",
    type=click.Choice(["png", "svg"]),
    multiple=True,
    default=("png",),
    show_default=True,
    help="May be given twice. An SVG turns dark with its reader's screen.",
)
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where files go, instead of plots/ in the run's folder; of several runs each gets a folder there.",
)
def plot(results: tuple[Path, ...], names: tuple[str, ...], kinds: tuple[str, ...], output: Path | None) -> int:
    """Write the figures of runs as PNG or SVG files.

    Prints their paths. A figure that has nothing true to show is left out, with the reason on stderr. Also of a run
    that was killed, or still goes on.
    """
    from streambench import plots

    wanted = _known(names, tuple(plots.FIGURES))
    for run, folder in zip(gate.load_runs(results), _folders(results, output), strict=True):
        _draw(run, wanted, cast("tuple[Kind, ...]", kinds), folder)
    return 0


def _draw(run: Run, names: Sequence[str], kinds: Sequence[Kind], folder: Path) -> None:
    from streambench import plots

    material = plots.Material.of(run)
    for name in names:
        found = plots.FIGURES[name](material)
        if isinstance(found, plots.Left):
            click.echo(f"left out: {name}: {found.why}", err=True)
        else:
            written(found, folder, kinds)


def written(drawn: Drawn, folder: Path, kinds: Sequence[Kind]) -> None:
    """Writes a figure and prints where. Raises DiskError."""
    from streambench import plots

    try:
        paths = plots.save(drawn, folder, kinds)
    except OSError as error:
        raise DiskError(f"cannot write {error.filename or folder}: {error.strerror or error}") from error
    for path in paths:
        click.echo(path)


def _known(names: Sequence[str], figures: Sequence[str]) -> Sequence[str]:
    """Each once; all where none is named. Raises InputError with every name that is no figure's."""
    from streambench.documents import nearest, shown

    accepted = ", ".join(figures)
    problems = [
        Problem(f"is no figure{nearest(name, figures)}", where="--figure", found=shown(name), accepted=accepted)
        for name in names
        if name not in figures
    ]
    if problems:
        raise InputError(problems)
    return list(dict.fromkeys(names)) or figures


def _folders(results: Sequence[Path], output: Path | None) -> list[Path]:
    """Where each run's figures go; below `output` by the runs' own names, numbered where two are alike."""
    if output is None:
        return [path / PLOTS for path in results]
    if len(results) == 1:
        return [output]
    found: list[Path] = []
    for path in results:
        name = path.resolve().name or "run"
        number, folder = 2, output / name
        while folder in found:
            number, folder = number + 1, output / f"{name}-{number}"
        found.append(folder)
    return found
