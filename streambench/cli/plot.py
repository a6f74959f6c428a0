"""`streambench plot`: writes the figures of runs as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from streambench.cli import output as out
from streambench.cli.arguments import RESULTS
from streambench.errors import DiskError, InputError, Problem

if TYPE_CHECKING:
    from streambench.analysis.run import Run
    from streambench.report.figures.figure import DrawnFigure, ImageFormat

PLOTS = "plots"


@click.command()
@RESULTS
@click.option(
    "--figure",
    "names",
    metavar="NAME",
    multiple=True,
    help="A figure of docs/figures.md; may be repeated. Default: all figures.",
)
@click.option(
    "--format",
    "kinds",
    type=click.Choice(["png", "svg"]),
    multiple=True,
    default=("png",),
    show_default=True,
    help="May be repeated. An SVG follows the viewer's dark mode.",
)
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for the files, instead of plots/ in the run's folder; several runs get one subfolder each.",
)
def plot(results: tuple[Path, ...], names: tuple[str, ...], kinds: tuple[str, ...], output: Path | None) -> int:
    """Write the figures of runs as PNG or SVG files.

    Prints the paths of the files. A figure without enough data is left out, with the reason on stderr. A run that was
    killed or is still running can be plotted too.
    """
    from streambench.report.figures import catalogue

    wanted = _known(names, tuple(catalogue.FIGURES))
    for run, folder in zip(out.load_runs(results), _folders(results, output), strict=True):
        _draw(run, wanted, cast("tuple[ImageFormat, ...]", kinds), folder)
    return 0


def _draw(run: Run, names: Sequence[str], kinds: Sequence[ImageFormat], folder: Path) -> None:
    from streambench.report.figures import catalogue

    material = catalogue.FigureData.of(run)
    for name in names:
        found = catalogue.FIGURES[name](material)
        if isinstance(found, catalogue.SkippedFigure):
            click.echo(f"left out: {name}: {found.why}", err=True)
        else:
            written(found, folder, kinds)


def written(drawn: DrawnFigure, folder: Path, kinds: Sequence[ImageFormat]) -> None:
    """Writes a figure and prints the paths of its files. Raises DiskError."""
    from streambench.report.figures import catalogue

    try:
        paths = catalogue.save(drawn, folder, kinds)
    except OSError as error:
        raise DiskError(f"cannot write {error.filename or folder}: {error.strerror or error}") from error
    for path in paths:
        click.echo(path)


def _known(names: Sequence[str], figures: Sequence[str]) -> Sequence[str]:
    """Returns each name once, or all figures if `names` is empty. Raises InputError with every unknown name."""
    from streambench.text import nearest, shown

    accepted = ", ".join(figures)
    problems = [
        Problem(f"is not a figure{nearest(name, figures)}", where="--figure", found=shown(name), accepted=accepted)
        for name in names
        if name not in figures
    ]
    if problems:
        raise InputError(problems)
    return list(dict.fromkeys(names)) or figures


def _folders(results: Sequence[Path], output: Path | None) -> list[Path]:
    """Returns the folder for each run's figures.

    This is `plots` in the run's folder, or `output`. Several runs get one folder each in `output`, named after the run
    and numbered if two names are equal.
    """
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
