"""What changed between runs, and levels over many, as pages and figures: the same numbers, inert, nothing fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from analysis.made import header, noisy, written
from cli.called import call
from sentences import numbers_in

from report.figures.drawing import x_of, y_of
from report.figures.runs import HOSTILE
from report.pages import Element, alerts, read
from streambench.analysis.check import check_assertions
from streambench.analysis.compare import RunsCompared, compare_runs, sentence
from streambench.analysis.run import Run
from streambench.analysis.trend import Point, Trend, point_of, trend
from streambench.errors import DiskError, InputError
from streambench.metrics.assertions import parse_text
from streambench.report.comparison import UNLIKE, sentences
from streambench.report.figures import catalogue
from streambench.report.figures.figure import DrawnFigure, SkippedFigure
from streambench.report.runs_page import compared_html, trend_html
from streambench.testing import run_of

DAY_NS = 86_400 * 10**9
BASE = run_of(noisy(1), header(), name="base")
SLOW = run_of(noisy(3, slowed="gamma"), header(), name="slow")
FAST = run_of(noisy(4, slowed="beta", factor=0.8), header(suite={"hash": "f" * 16}), name="fast")


def page_of(*news: Run) -> Element:
    compared = [compare_runs(BASE, new) for new in news]
    judged = [check_assertions(new, [parse_text("ttft_p50: < 10%")], BASE, unlike_too=True) for new in news]
    return read(compared_html(compared, judged))


def cells(table: Element) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows()]


def points(days: int, models: Sequence[str] = ("alpha", "beta"), from_day: int = 6) -> list[Point]:
    """One a day; beta is 15 % slower from a day on."""
    return [
        point_of(
            run_of(
                noisy(day, "beta" if day >= from_day else None, models, prompts=12, repeats=3),
                replace(header(models), wall_ns=1_800_000_000 * 10**9 + day * DAY_NS),
                name=f"run-{day}",
            )
        )
        for day in range(days)
    ]


@pytest.fixture(scope="module")
def twelve() -> Trend:
    return trend(points(12))


# --- what changed


def test_the_page_tells_each_models_change_with_its_interval() -> None:
    """In the sentences of `compare`: gamma is worse; the table's row has interval and verdict."""
    page = page_of(SLOW)
    (verdict,) = page.one("dl").all("div")
    compared = compare_runs(BASE, SLOW)
    assert [each.text for each in verdict.all("dd")][:4] == [sentence(compared, model) for model in compared.models]
    verdicts, changes = page.all("table")
    assert cells(verdicts)[0][:3] == ["FAILED", "gamma", "ttft_p50: < 10%"]
    row = next(row for row in cells(changes) if row[0] == "gamma")
    assert row[1] == "TTFT p50, ms"
    assert row[-1] == "worse"
    (change,) = [each for each in compared.of("gamma") if (each.metric, each.statistic) == ("ttft_ms", "p50")]
    ends = (change.ratio.low, change.ratio.high)
    assert numbers_in(row[-2]) == pytest.approx([100 * (end - 1) for end in ends if end is not None], abs=0.05)
    (cell,) = [cell for cell in changes.rows()[12] if cell.text == "worse"]
    assert cell.attributes["class"] == "worse"


def test_several_runs_stand_on_one_page() -> None:
    """Each with its tables and its marks; what is unlike is said above."""
    page = page_of(SLOW, FAST)
    assert [each.text for each in page.all("h2")] == ["Verdict", "Figure", "slow", "fast"]
    assert len(page.all("table")) == 4
    (alert,) = alerts(page)
    assert alert.startswith(f"fast : {UNLIKE.capitalize()}")
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
    base, new = (run_of(noisy(1, None, models, 12, 2), header(models), name=name) for name in ("b", HOSTILE[0]))
    compared = [compare_runs(base, new)]
    judged = check_assertions(new, [parse_text("ttft_p50: < 10%")], base)
    pages = [compared_html(compared, [judged]), trend_html(trend([point_of(base), point_of(new)]))]
    for html in pages:
        assert "<script" not in html
        assert "\x1b" not in html
        assert "\u202e" not in html
        read(html)


def test_nothing_in_common_is_a_true_page() -> None:
    """A sentence in the figure's place, and the one of the terminal."""
    other = run_of(noisy(1, models=("omega",)), header(("omega",)), name="other")
    page = read(compared_html([compare_runs(BASE, other)], [()]))
    assert [each.text for each in page.one("dl").all("dd")][:1] == sentences(compare_runs(BASE, other))
    left_out = catalogue.run_changes([compare_runs(BASE, other)])
    assert isinstance(left_out, SkippedFigure)
    assert left_out.why in page.one("section", id="figure").text
    assert page.all("figure") == []


def figure_of(compared: Sequence[RunsCompared]) -> DrawnFigure:
    found = catalogue.run_changes(compared)
    assert isinstance(found, DrawnFigure)
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
    (fast,) = [each for each in compared[1].of("beta") if (each.metric, each.statistic) == ("ttft_ms", "p50")]
    assert fast.ratio.value is not None
    assert "beta" in found.sentence
    assert numbers_in(found.sentence)[-1] == pytest.approx(100 * (fast.ratio.value - 1), abs=0.05)  # the largest


def test_many_models_and_runs_fit() -> None:
    """Forty models of three runs: every name is there, and the lanes grow."""
    names = tuple(f"model-{place}" for place in range(40))
    base, *news = (run_of(noisy(seed, None, names, 8, 1), header(names), name=f"r{seed}") for seed in range(4))
    found = figure_of([compare_runs(base, new) for new in news])
    assert [text.get_text() for text in found.figure.axes[0].get_yticklabels()] == list(names)
    assert found.figure.get_figheight() > 15


# --- levels over runs


def test_the_figure_of_levels_marks_the_shift(twelve: Trend) -> None:
    """A diamond at the run where beta's TTFT moved, and none on alpha's; dates are those of the runs."""
    found = catalogue.run_levels(twelve)
    assert isinstance(found, DrawnFigure)
    ttft = found.figure.axes[0]
    diamonds = [line for line in ttft.lines if line.get_marker() == "D" and line.get_linestyle() == "None"]
    (mark,) = [line for line in diamonds if len(x_of(line))]
    (level,) = [each for each in twelve.levels if (each.model, each.metric) == ("beta", "ttft_ms")]
    (shift,) = level.shifts
    assert y_of(mark)[0] == level.estimates[shift.at].value
    days = x_of(mark)[0] - 1_800_000_000 / 86_400
    assert days == pytest.approx(shift.at, abs=0.1)
    assert "beta" in found.sentence
    assert numbers_in(found.sentence)[:3] == [12, round(shift.before), round(shift.after)]


def test_the_page_of_a_trend_has_its_runs(twelve: Trend) -> None:
    """A row for each model and run, a star at each shift and a line on it, and one on chance; the first and the last
    start.
    """
    page = read(trend_html(twelve))
    rows = cells(page.one("table"))
    assert len(rows) == 24
    shifts = sum(len(each.shifts) for each in twelve.levels)
    assert sum(cell.startswith("*") for row in rows for cell in row) == shifts
    lines = [each.text for each in page.one("dl").all("dd")]
    assert [line.startswith("* beta") for line in lines] == [*[True] * shifts, False]
    sub = page.one("p", **{"class": "sub"}).text
    assert numbers_in(sub)[0] == 12
    assert re.findall(r"[\d-]{10} [\d:]{5}", sub) == ["2027-01-15 08:00", "2027-01-26 08:00"]


def test_one_run_and_none_with_a_number_are_true_figures() -> None:
    """A single point; and where nothing was measured, a reason."""
    assert isinstance(catalogue.run_levels(trend(points(1))), DrawnFigure)
    empty = point_of(run_of([], header(("alpha",)), name="empty"))
    found = catalogue.run_levels(trend([empty]))
    assert isinstance(found, SkippedFigure)
    assert found.why
    assert found.why in read(trend_html(trend([empty]))).one("section", id="figure").text


# --- the commands


def test_compare_writes_its_page_beside_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON on stdout stays JSON; the exit code is the gate's."""
    base, slow = (written(tmp_path, noisy(seed, slowed)) for seed, slowed in ((1, None), (3, "gamma")))
    code = call("compare", base, slow, "--assert", "ttft_p50: < 10%", "--format", "json", "--html", tmp_path / "c.html")
    assert code == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["comparisons"]
    assert told.err.endswith(f"Page: {tmp_path / 'c.html'}\n")
    verdicts, _ = read((tmp_path / "c.html").read_text("utf-8")).all("table")
    assert cells(verdicts)[0][:2] == ["FAILED", "gamma"]


def test_trend_writes_page_and_figure(tmp_path: Path) -> None:
    """SVG or PNG, as the file's name says."""
    for name in ("one", "two"):
        written(tmp_path / "runs", noisy(1, None, ("alpha",), 4, 1), header(("alpha",), run_id=name))
    svg, png = tmp_path / "t.svg", tmp_path / "t.png"
    assert call("trend", tmp_path / "runs", "--html", tmp_path / "t.html", "--plot", svg) == 0
    assert call("trend", tmp_path / "runs", "--plot", png) == 0
    assert svg.read_text("utf-8").startswith("<?xml")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert numbers_in(read((tmp_path / "t.html").read_text("utf-8")).one("p", **{"class": "sub"}).text)[0] == 2


def test_places_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    """And a figure with another extension is refused before anything is read."""
    run = written(tmp_path, noisy(1, models=("alpha",), prompts=2, repeats=1), header(("alpha",)))
    with pytest.raises(InputError, match=r"--plot: .*FILE\.svg or FILE\.png"):
        call("trend", run, "--plot", tmp_path / "t.gif")
    for option, name in (("--plot", "t.svg"), ("--html", "t.html")):
        with pytest.raises(DiskError, match="cannot write"):
            call("trend", run, option, tmp_path / "nowhere" / name)
