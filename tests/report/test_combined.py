"""Several runs on one page: each model of each run a row, paired by prompt, and what is unlike said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from sentences import numbers_in

from report.figures.runs import HOSTILE, answer, header_of, resumed
from streambench.analysis.combine import combined
from streambench.analysis.leaderboard import leaderboard_of
from streambench.analysis.run import Run
from streambench.cli.main import commands
from streambench.errors import ResultsError
from streambench.records.journal import Journal
from streambench.records.schema import RunEnd, RunHeader
from streambench.report.combined import board_together
from streambench.report.leaderboard_tables import usage_rows
from streambench.report.markdown import render_markdown
from streambench.report.page import alerts as alerts_of
from streambench.report.page import render_page
from streambench.report.terminal import STATUS
from streambench.testing import make_end, run_of

from .pages import alerts, data_of, read, verdict

PROMPTS = {f"p{place}": 20 for place in range(12)}


def run(name: str, ttft: float, models: Sequence[str] = ("alpha", "beta"), **changes: object) -> Run:
    """Twelve prompts of each model; beta takes twice as long."""
    records = [
        answer(2 * place + k, model, prompt, block=place, ttft=ttft * (k + 1) + place, gaps=[10, 10])
        for place, prompt in enumerate(PROMPTS)
        for k, model in enumerate(models)
    ]
    header = replace(header_of(models, PROMPTS), name=name, run_id=name, requests_planned=len(records))
    return replace(run_of(records, replace(header, **changes)), path=Path(f"{name}-folder"))  # type: ignore[arg-type]


def test_each_model_of_each_run_is_a_row() -> None:
    """With its own numbers, and places over all: 100, 200 and 300, 600 ms."""
    whole, found = board_together([run("day", 300), run("night", 100)])
    rows = {row.name: row.estimates["ttft_ms:p50"].value for row in found.rows}
    # the median of base + 0..11 is base + 5.5
    assert rows == {"alpha @ day": 305.5, "beta @ day": 605.5, "alpha @ night": 105.5, "beta @ night": 205.5}
    assert next(place.model for place in found.places("ttft_ms")) == "alpha @ night"
    assert found.requests == 48 == whole.header.requests_planned
    assert found.summary.complete


def test_models_of_two_runs_are_paired_by_prompt() -> None:
    """All twelve prompts. Page and Markdown name both folders, and say that the runs were not at the same time."""
    whole, found = board_together([run("day", 300), run("night", 100)])
    pair = found.between("ttft_ms", "alpha @ day", "alpha @ night")
    assert pair is not None
    assert pair.prompts == 12
    assert pair.winner == "alpha @ night"
    page = read(render_page(whole, found))
    assert page.one("h1").text == "day and night"
    folders, moments, _ = alerts(page)
    assert numbers_in(folders)[0] == 2
    assert re.findall(r"\w+-folder", folders) == ["day-folder", "night-folder"]
    assert verdict(page)["First token"].startswith("alpha @ night ")
    assert moments[:40] in render_markdown(whole, found)


def test_requests_have_numbers_of_their_own() -> None:
    """The second run's count from 100 on, as the page says."""
    whole, found = board_together([run("day", 300), run("night", 100)])
    page = read(render_page(whole, found))
    assert sorted(record.ticket.seq for record in whole.records) == [*range(24), *range(100, 124)]
    assert [100, 107, 7] in [numbers_in(alert) for alert in alerts(page)]
    assert len(data_of(page)["rows"]) == 48


def test_another_suite_is_said_and_never_paired() -> None:
    """The same id may be another prompt."""
    other = {"hash": "f" * 16, "catalogue": {}}
    whole, found = board_together([run("day", 300), run("night", 100, suite=other)])
    (alert,) = [alert for alert in alerts_of(whole, found) if "suite.hash" in alert]
    assert alert.startswith("night ")
    pair = found.between("ttft_ms", "alpha @ day", "alpha @ night")
    assert pair is None or (pair.prompts == 0 and pair.winner is None)


def test_runs_of_one_name_are_numbered() -> None:
    """So are those whose name would make another model's."""
    assert list(combined([run("x", 1), run("x", 1, run_id="y")]).models) == [
        "alpha @ run 1",
        "beta @ run 1",
        "alpha @ run 2",
        "beta @ run 2",
    ]
    assert combined([run("x", 1), run("x", 1)]).header.name == "x, run 1 and run 2"
    assert combined([run("a @ b", 1), run("c", 1)]).models[0] == "alpha @ run 1"


@pytest.mark.parametrize("place", [0, 1])
def test_a_run_that_goes_on_makes_the_whole_incomplete(place: int) -> None:
    """Whichever it is; one that was stopped tells its own reason."""
    runs = [run("day", 300), run("night", 100)]
    stopped: RunEnd = replace(make_end(), status="budget", reason="the budget of 5 requests is spent")
    for end, said in ((None, STATUS["unfinished"]), (stopped, "the budget of 5 requests is spent")):
        runs[place] = replace(runs[place], end=end)
        whole, found = board_together(runs)
        assert said in " ".join(alerts_of(whole, found))


def test_hostile_names_are_inert() -> None:
    """Of runs and of models."""
    whole, found = board_together([run(HOSTILE[0], 300, HOSTILE[:2]), run(HOSTILE[2], 100, HOSTILE[3:5])])
    html = render_page(whole, found)
    assert "<script>alert" not in html
    assert "\x1b" not in html
    assert not read(html).all("script", src="x")


def folder_of(parent: Path, header: RunHeader) -> Path:
    with Journal.create(parent, header) as journal:
        for record in run("any", 100).records:
            journal.append(record)
        journal.close(make_end())
    return journal.folder


def test_the_command_writes_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where --output says, else together.html; the runs' folders stay as they were. A run twice is refused."""
    folders = [folder_of(tmp_path, header_of(("alpha", "beta"), PROMPTS, run_id=name)) for name in ("one", "two")]
    before = [sorted(folder.iterdir()) for folder in folders]
    monkeypatch.chdir(tmp_path)
    arguments = ["report", *map(str, folders), "--together"]
    for more, name in (([], "together.html"), (["--output", "x.html"], "x.html")):
        result = CliRunner().invoke(commands, [*arguments, *more], standalone_mode=False, catch_exceptions=False)
        assert result.output.endswith(f"Report: {name}\n")
        assert "alpha @ run 2" in (tmp_path / name).read_text("utf-8")
    assert [sorted(folder.iterdir()) for folder in folders] == before
    with pytest.raises(ResultsError, match="is the same run"):
        commands.main(["report", str(folders[0]), str(folders[0]), "--together"], standalone_mode=False)


def test_rates_are_over_each_runs_own_window() -> None:
    """As on the page of that run alone: clocks of two runs are not one."""
    runs = [run("day", 300), run("night", 100)]
    alone = [each["request_s"] for one in runs for each in usage_rows(leaderboard_of(one), one)]
    whole, found = board_together(runs)
    assert [each["request_s"] for each in usage_rows(found, whole)] == alone
    assert "-" not in alone


def test_a_resumed_run_keeps_its_parts_among_others() -> None:
    """Each request still starts when it did, and nothing says that the whole was resumed."""
    other = resumed()
    whole, found = board_together([run("day", 300), other])
    started = {name: set(part["started"]) for name, part in whole.requests.groupby("model", observed=True)}
    for name, part in other.requests.groupby("model", observed=True):
        assert started[f"{name} @ {other.header.name}"] == set(part["started"])
    assert found.summary.resumed == 0
    assert "resumed" in found.remarks[0]


def test_an_empty_run_among_others_is_a_true_page() -> None:
    """Its models have no numbers, the others have theirs."""
    empty = replace(run("empty", 1), records=())
    whole, found = board_together([run("day", 300), empty])
    assert len(read(render_page(whole, found)).one("table", id="board").rows()) == 4
    assert len(found.places("ttft_ms")) == 2
