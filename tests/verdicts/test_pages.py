"""What changed between runs, and levels over many, as pages and figures: the same numbers, inert, nothing fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plots.drawing import x_of, y_of
from plots.runs import HOSTILE
from report.pages import Element, alerts, read

from streambench import plots
from streambench.assertions import parse_text
from streambench.cli import commands
from streambench.errors import DiskError, InputError
from streambench.plots import Drawn, Left
from streambench.report import compared_html, trend_html
from streambench.results import Run
from streambench.verdicts import Point, RunsCompared, Trend, compare_runs, decide_all, point_of, trend
from verdicts.made import header, noisy, run_of, written

DAY_NS = 86_400 * 10**9
BASE = run_of(noisy(1), "base")
SLOW = run_of(noisy(3, slowed="gamma"), "slow")
FAST = run_of(noisy(4, slowed="beta", factor=0.8), "fast", replace(header(), suite={"hash": "f" * 16}))


def call(*arguments: str | Path) -> Any:
    return commands.main(list(map(str, arguments)), standalone_mode=False)


def page_of(*news: Run) -> Element:
    compared = [compare_runs(BASE, new) for new in news]
    judged = [decide_all(new, [parse_text("ttft_p50: < 10%")], BASE, unlike_too=True) for new in news]
    return read(compared_html(compared, judged))


def cells(table: Element) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows()]


def points(days: int, models: Sequence[str] = ("alpha", "beta"), from_day: int = 6) -> list[Point]:
    """One a day; beta is 15 % slower from a day on."""
    return [
        point_of(
            run_of(
                noisy(day, "beta" if day >= from_day else None, models, prompts=12, repeats=3),
                f"run-{day}",
                replace(header(models), wall_ns=1_800_000_000 * 10**9 + day * DAY_NS),
            )
        )
        for day in range(days)
    ]


@pytest.fixture(scope="module")
def twelve() -> Trend:
    return trend(points(12))


# --- what changed


def test_the_page_tells_each_models_change_with_its_interval() -> None:
    """As the terminal does: gamma is worse, the others cannot be told; the table's row has interval and verdict."""
    page = page_of(SLOW)
    (said,) = page.one("dl").all("div")
    lines = [each.text for each in said.all("dd")]
    assert re.match(r"gamma: TTFT p50 is worse: \+1\d\.\d % \(95 % interval \+1\d\.\d to \+\d\d\.\d\)", lines[2])
    assert lines[0].startswith("alpha: no change can be shown")
    verdicts, changes = page.all("table")
    assert cells(verdicts)[0][:3] == ["FAILED", "gamma", "ttft_p50: < 10%"]
    row = next(row for row in cells(changes) if row[0] == "gamma")
    assert row[1] == "TTFT p50, ms"
    assert row[-1] == "worse"
    (cell,) = [cell for cell in changes.rows()[12] if cell.text == "worse"]
    assert cell.attributes["class"] == "worse"


def test_several_runs_stand_on_one_page() -> None:
    """Each with its tables and its marks; what is unlike is said above."""
    page = page_of(SLOW, FAST)
    assert [each.text for each in page.all("h2")] == ["Verdict", "Figure", "slow", "fast"]
    assert len(page.all("table")) == 4
    (alert,) = alerts(page)
    assert alert.startswith("fast : These runs are not alike")
    assert "suite.hash" in alert


def test_a_model_spans_its_rows() -> None:
    """It is named once, for all of them."""
    changes = page_of(SLOW).all("table")[1]
    spans = {cell.text: cell.attributes["rowspan"] for cell in changes.all("th", scope="rowgroup")}
    assert spans == dict.fromkeys(("alpha", "beta", "gamma", "delta"), "6")  # five metrics and the failures


def test_pages_fetch_nothing_and_run_nothing(twelve: Trend) -> None:
    """No script at all, no address, and a policy that forbids both; the same input gives the same bytes."""
    compared = [compare_runs(BASE, SLOW)]
    pages = [(compared_html(compared, [()]), trend_html(twelve)) for _ in range(2)]
    assert pages[0] == pages[1]
    for html in pages[0]:
        page = read(html)
        assert page.all("script") == []
        policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
        assert "script-src" not in policy
        assert not re.findall(r'(?:src|href)="(?!#|data:)', html)


def test_hostile_names_are_inert_in_pages_and_figures() -> None:
    """Of models and of runs: no markup, no control character; ids of elements are ours."""
    models = HOSTILE[:6]
    base, new = (run_of(noisy(1, None, models, 12, 2), name, header(models)) for name in ("b", HOSTILE[0]))
    compared = [compare_runs(base, new)]
    judged = decide_all(new, [parse_text("ttft_p50: < 10%")], base)
    pages = [compared_html(compared, [judged]), trend_html(trend([point_of(base), point_of(new)]))]
    for html in pages:
        assert "<script" not in html
        assert "\x1b" not in html
        assert "\u202e" not in html
        read(html)


def test_nothing_in_common_is_a_true_page() -> None:
    """A sentence in the figure's place."""
    other = run_of(noisy(1, models=("omega",)), "other", header(("omega",)))
    page = read(compared_html([compare_runs(BASE, other)], [()]))
    assert "no model is in both runs" in page.one("dl").text
    assert "Left out: no model has a known change" in page.one("section", id="figure").text
    assert page.all("figure") == []


def figure_of(compared: Sequence[RunsCompared]) -> Drawn:
    found = plots.run_changes(compared)
    assert isinstance(found, Drawn)
    return found


def test_the_figure_of_changes_has_a_dot_for_each_model_and_run() -> None:
    """At the change in %, filled where it is certain."""
    compared = [compare_runs(BASE, SLOW), compare_runs(BASE, FAST)]
    found = figure_of(compared)
    ttft = found.figure.axes[0]
    dots = {
        (line.get_label(), line.get_marker()): (x_of(line)[0], line.get_markerfacecolor() == line.get_color())
        for line in ttft.lines
        if line.get_linestyle() == "None"
    }
    assert len(dots) == 8
    for run, marker in enumerate("os"):
        for change in compared[run].changes:
            if (change.metric, change.statistic) == ("ttft_ms", "p50"):
                assert change.ratio.value is not None
                at, filled = dots[change.model, marker]
                assert at == pytest.approx(100 * (change.ratio.value - 1))
                assert filled == compared[run].shown(change)
    assert [key for key, (_, filled) in dots.items() if filled] == [("gamma", "o"), ("beta", "s")]
    assert "the largest is that of beta: TTFT p50 -2" in found.sentence


def test_many_models_and_runs_fit() -> None:
    """Forty models of three runs: every name is there, and the lanes grow."""
    names = tuple(f"model-{place}" for place in range(40))
    base, *news = (run_of(noisy(seed, None, names, 8, 1), f"r{seed}", header(names)) for seed in range(4))
    found = figure_of([compare_runs(base, new) for new in news])
    assert [text.get_text() for text in found.figure.axes[0].get_yticklabels()] == list(names)
    assert found.figure.get_figheight() > 15


# --- levels over runs


def test_the_figure_of_levels_marks_the_shift(twelve: Trend) -> None:
    """A diamond at the run where beta's TTFT moved, and none on alpha's; dates are those of the runs."""
    found = plots.run_levels(twelve)
    assert isinstance(found, Drawn)
    ttft = found.figure.axes[0]
    diamonds = [line for line in ttft.lines if line.get_marker() == "D" and line.get_linestyle() == "None"]
    (mark,) = [line for line in diamonds if len(x_of(line))]
    (level,) = [each for each in twelve.levels if (each.model, each.metric) == ("beta", "ttft_ms")]
    (shift,) = level.shifts
    assert y_of(mark)[0] == level.estimates[shift.at].value
    days = x_of(mark)[0] - 1_800_000_000 / 86_400
    assert days == pytest.approx(shift.at, abs=0.1)
    assert "TTFT of beta from" in found.sentence


def test_the_page_of_a_trend_has_its_runs(twelve: Trend) -> None:
    """A row for each model and run, a star at the shift, the sentence of it."""
    page = read(trend_html(twelve))
    rows = cells(page.one("table"))
    assert len(rows) == 24
    assert sum(cell.startswith("*") for row in rows for cell in row) == sum(len(each.shifts) for each in twelve.levels)
    assert "beta: TTFT p50 ms shifted from" in page.one("dl").text
    assert page.one("p", **{"class": "sub"}).text == "12 runs, 2027-01-15 08:00 to 2027-01-26 08:00 UTC."


def test_one_run_and_none_with_a_number_are_true_figures() -> None:
    """A single point; and where nothing was measured, a reason."""
    assert isinstance(plots.run_levels(trend(points(1))), Drawn)
    empty = point_of(run_of([], "empty", header(("alpha",))))
    found = plots.run_levels(trend([empty]))
    assert isinstance(found, Left)
    assert found.why == "no run has a known level"
    assert "Left out: no run has a known level." in read(trend_html(trend([empty]))).one("section", id="figure").text


# --- the commands


def test_compare_writes_its_page_beside_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON on stdout stays JSON; the exit code is the gate's."""
    base, slow = (written(tmp_path, noisy(seed, slowed)) for seed, slowed in ((1, None), (3, "gamma")))
    code = call("compare", base, slow, "--assert", "ttft_p50: < 10%", "--format", "json", "--html", tmp_path / "c.html")
    assert code == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["comparisons"]
    assert told.err.endswith(f"Page: {tmp_path / 'c.html'}\n")
    assert "gamma: TTFT p50 is worse" in read((tmp_path / "c.html").read_text("utf-8")).one("dl").text


def test_trend_writes_page_and_figure(tmp_path: Path) -> None:
    """SVG or PNG, as the file's name says."""
    for name in ("one", "two"):
        written(tmp_path / "runs", noisy(1, None, ("alpha",), 4, 1), header(("alpha",), run_id=name))
    svg, png = tmp_path / "t.svg", tmp_path / "t.png"
    assert call("trend", tmp_path / "runs", "--html", tmp_path / "t.html", "--plot", svg) == 0
    assert call("trend", tmp_path / "runs", "--plot", png) == 0
    assert svg.read_text("utf-8").startswith("<?xml")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "2 runs" in read((tmp_path / "t.html").read_text("utf-8")).one("p", **{"class": "sub"}).text


def test_places_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    """And a figure whose name says no format is refused before anything is read."""
    run = written(tmp_path, noisy(1, models=("alpha",), prompts=2, repeats=1), header(("alpha",)))
    with pytest.raises(InputError, match=r"--plot: says no format .*FILE\.svg or FILE\.png"):
        call("trend", run, "--plot", tmp_path / "t.gif")
    for option, name in (("--plot", "t.svg"), ("--html", "t.html")):
        with pytest.raises(DiskError, match="cannot write"):
            call("trend", run, option, tmp_path / "nowhere" / name)
