"""Verdicts on runs: what changed between two, whether assertions hold, whether one is good enough to quote. Pure.

Runs read back come in, plain dataclasses with sentences go out; `report` draws them, the commands make exit codes.
"""

from streambench.verdicts.answers import Answers, answers_of
from streambench.verdicts.comparing import (
    COMPARED,
    ErrorChange,
    RunsCompared,
    compare_runs,
    sentence,
    signed,
    status_of,
)
from streambench.verdicts.judging import Judged, decide_all, exit_code
from streambench.verdicts.likeness import Difference, differences, notes
from streambench.verdicts.quoting import KINDS as DOUBTS
from streambench.verdicts.quoting import Doubt, doubts
from streambench.verdicts.trending import FEWEST, Level, Point, Trend, point_of, trend

__all__ = [
    "COMPARED",
    "DOUBTS",
    "FEWEST",
    "Answers",
    "Difference",
    "Doubt",
    "ErrorChange",
    "Judged",
    "Level",
    "Point",
    "RunsCompared",
    "Trend",
    "answers_of",
    "compare_runs",
    "decide_all",
    "differences",
    "doubts",
    "exit_code",
    "notes",
    "point_of",
    "sentence",
    "signed",
    "status_of",
    "trend",
]
