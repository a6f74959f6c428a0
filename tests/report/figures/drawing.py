"""Draws each run once for all tests, and reads back what was drawn."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from report.figures.runs import RUNS
from streambench.analysis.run import Run
from streambench.report.figures import catalogue
from streambench.report.figures.figure import DrawnFigure, SkippedFigure


@cache
def run(name: str) -> Run:
    return RUNS[name]()


@cache
def material(name: str) -> catalogue.FigureData:
    return catalogue.FigureData.of(run(name))


@cache
def outcome(run_name: str, figure: str) -> DrawnFigure | SkippedFigure:
    return catalogue.FIGURES[figure](material(run_name))


@cache
def svg(run_name: str, figure: str) -> str:
    found = outcome(run_name, figure)
    assert isinstance(found, DrawnFigure)
    return catalogue.to_svg(found)


def drawn(run_name: str, figure: str) -> DrawnFigure:
    found = outcome(run_name, figure)
    assert isinstance(found, DrawnFigure), found
    return found


def lines(figure: DrawnFigure, label: str, axes: int = 0) -> list[Line2D]:
    """The lines of that label, in the order in which they were drawn."""
    return [line for line in figure.figure.axes[axes].lines if line.get_label() == label]


def x_of(line: Line2D) -> Any:
    return np.asarray(line.get_xdata(), dtype=float)


def y_of(line: Line2D) -> Any:
    return np.asarray(line.get_ydata(), dtype=float)


def every_drawn(run_name: str) -> list[DrawnFigure]:
    return [found for name in catalogue.FIGURES if isinstance(found := outcome(run_name, name), DrawnFigure)]
