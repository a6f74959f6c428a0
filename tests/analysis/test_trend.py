"""`streambench trend`: levels over runs, shifts where they were planted, and unlike runs left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from sentences import numbers_in

from analysis.made import header, noisy, written
from streambench.analysis.trend import Point, Trend, point_of, trend
from streambench.cli.main import commands
from streambench.errors import ResultsError
from streambench.report.trend import trend_markdown, trend_terminal
from streambench.testing import make_end, run_of

DAY_NS = 86_400 * 10**9
MODELS = ("alpha", "beta")


def point(day: int, slowed: str | None = None, models: Sequence[str] = MODELS, **head: Any) -> Point:
    started = replace(header(models, **head), wall_ns=1_800_000_000 * 10**9 + day * DAY_NS)
    return point_of(run_of(noisy(day, slowed, models, prompts=12, repeats=3), started, name=f"run-{day}"))


def twelve(from_day: int = 6) -> Trend:
    """Twelve days; beta is 15 % slower from a day on."""
    return trend([point(day, "beta" if day >= from_day else None) for day in range(12)])


def test_a_planted_shift_is_found_at_its_run() -> None:
    """In beta's TTFT from day 6 on, and not in alpha's."""
    found = {(level.model, level.metric): level.shifts for level in twelve().levels}
    (shift,) = found["beta", "ttft_ms"]
    assert abs(shift.at - 6) <= 1
    assert shift.after / shift.before == pytest.approx(1.15, abs=0.06)
    assert found["alpha", "ttft_ms"] == ()


def test_runs_stand_in_order_of_their_start() -> None:
    """However they were given."""
    found = trend([point(2), point(0), point(1)])
    assert [each.run for each in found.points] == ["run-0", "run-1", "run-2"]


def test_a_run_unlike_the_newest_is_left_out_by_name() -> None:
    """With the field."""
    found = trend([point(0, suite={"hash": "f" * 16}), point(1), point(2)])
    assert found.left_out == {"run-0": "suite.hash"}
    assert len(found.points) == 2


def test_it_is_told_with_its_mark() -> None:
    """A star in the table and a line with its numbers for each shift of beta; 0.3 by chance; a bar for each run."""
    found = twelve()
    lines = trend_terminal(found, 140).splitlines()
    ttft, e2e = (level.shifts[0] for level in found.levels if level.shifts)
    told = [line for line in lines if line.startswith("* ")]
    assert ["beta" in line for line in told] == [True, True]
    for line, shift in zip(told, (ttft, e2e), strict=True):
        assert {round(shift.before), round(shift.after), shift.p} <= set(numbers_in(line))
    assert sum("*" in line for line in lines) == 2 + 1  # the TTFT and the E2E stand in one row
    assert found.by_chance == pytest.approx(0.3)  # 0.05 of 2 models x 3 metrics
    assert numbers_in(lines[-1]) == [0.3]
    assert [len(line.split()[-1]) for line in lines if line.endswith(tuple("▁▂▃▄▅▆▇█"))] == [12] * 6


def test_few_runs_show_no_shift_and_say_why() -> None:
    """It takes 8, there are 2."""
    found = trend([point(0), point(1)])
    assert [level.shifts for level in found.levels] == [()] * 6
    assert numbers_in(trend_terminal(found, 140).splitlines()[-1]) == [8, 2]


@pytest.mark.parametrize("width", [40, 80, 140])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Long names are folded."""
    text = trend_terminal(trend([point(0), point(1)]), width)
    assert max(map(cell_len, text.splitlines())) <= width


def test_hostile_names_are_inert() -> None:
    """In the terminal and in Markdown."""
    name = "\x1b[31m<b>|@all [x](http://evil.example)" + "x" * 500
    found = trend([point(0, models=(name,)), point(1, models=(name,))])
    assert "\x1b" not in trend_terminal(found, 100)
    for bad in ("\x1b", "<b>", "@all", "http://", "[x]("):
        assert bad not in trend_markdown(found)


def test_the_command_takes_a_folder_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A killed run is marked, a folder that is none is passed over."""
    for day in range(2):
        written(tmp_path, noisy(day, prompts=2), end=None if day else make_end())
    (tmp_path / "notes").mkdir()
    assert commands.main(["trend", str(tmp_path), "--format", "json"], standalone_mode=False) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(run["status"] for run in found["runs"]) == ["complete", "unfinished"]
    assert len(found["levels"]) == 4 * 3


def test_an_empty_folder_is_one_line(tmp_path: Path) -> None:
    """Exit code 2."""
    with pytest.raises(ResultsError, match="no runs found"):
        commands.main(["trend", str(tmp_path)], standalone_mode=False)
