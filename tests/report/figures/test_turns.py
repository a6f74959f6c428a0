"""The figure of conversations: what is in it, its intervals, and when there is none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from sentences import numbers_in

from report.figures.runs import answer, failed, header_of, rich
from streambench.analysis.run import Run
from streambench.records.schema import AttemptRecord
from streambench.report.figures import catalogue
from streambench.report.figures.figure import DrawnFigure, SkippedFigure
from streambench.report.figures.turns import median_interval
from streambench.testing import run_of

TURN = {"asks": True, "answers": [], "fixed": False, "think_s": 0.0}


def of(*records: AttemptRecord, turns: int = 2) -> Run:
    header = header_of(["alpha"], {"p": 4})
    catalogue = {"p": {**header.suite["catalogue"]["p"], "turns": [TURN] * turns}}
    return run_of(records, replace(header, suite={**header.suite, "catalogue": catalogue}))


def turn(session: int, at: int, ttft: float) -> AttemptRecord:
    record = answer(10 * session + at, "alpha", "p", repeat=session, ttft=ttft)
    return replace(record, ticket=replace(record.ticket, session_id=f"s{session}", turn=at))


def figure(run: Run) -> DrawnFigure | SkippedFigure:
    return catalogue.FIGURES["ttft-by-turn"](run)


def test_a_line_goes_through_the_median_of_each_turn() -> None:
    """Seven sessions of 101 to 107 ms, then 201 to 207: medians 104 and 204, intervals the extremes. In words."""
    found = figure(of(*[turn(s, at, 100 * (at + 1) + s) for s in range(1, 8) for at in (0, 1)]))
    assert isinstance(found, DrawnFigure)
    (line,) = (each for each in found.figure.axes[0].lines if each.get_label() == "alpha")
    assert np.column_stack([line.get_xdata(), line.get_ydata()]).tolist() == [[1, 104], [2, 204]]
    (bars,) = found.figure.axes[0].collections
    assert isinstance(bars, LineCollection)
    assert [[float(y) for y in part[:, 1]] for part in bars.get_segments()] == [[101, 107], [201, 207]]
    assert found.sentence == "The median TTFT of alpha grows: from 104 ms at turn 1 to 204 ms at turn 2."


def test_a_conversation_that_ended_early_is_in_no_turn() -> None:
    """Its quick first turn would pull the first median down alone."""
    broken = [turn(9, 0, 10), failed(turn(9, 1, 10))]
    unsent = [turn(8, 0, 10)]
    found = figure(of(turn(1, 0, 100), turn(1, 1, 200), *broken, *unsent))
    assert isinstance(found, DrawnFigure)
    assert numbers_in(found.sentence) == [100, 1, 200, 2]


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (rich(), "the run has no conversations"),
        (of(turn(1, 0, 100), failed(turn(1, 1, 100))), "no conversation of two or more turns was answered completely"),
        (of(failed(turn(1, 0, 1)), failed(turn(1, 1, 1))), "no measured request was ok"),
    ],
)
def test_it_is_left_out_where_it_has_nothing_true_to_show(run: Run, why: str) -> None:
    """With the reason."""
    assert figure(run) == SkippedFigure("ttft-by-turn", why)


def test_an_interval_of_the_median_is_two_ordered_values() -> None:
    """Of 5 the outermost hold 1 - 2/32 = 93.75 %: none. Of 6 they hold 96.9 %; of 20 the 6th and the 15th, 95.9 %."""
    assert all(math.isnan(end) for end in median_interval(np.arange(1.0, 6))[1:])
    assert median_interval(np.arange(1.0, 7)) == (3.5, 1, 6)
    assert median_interval(np.arange(1.0, 21)) == (10.5, 6, 15)
    assert median_interval(np.arange(1.0, 5001))[1:] == (2431, 2570)


def test_no_sample_is_too_large_for_the_interval() -> None:
    """0.5 to the power of a large n is no number."""
    _, low, high = median_interval(np.arange(1.0, 200_001))
    assert low < 100_000 < high
