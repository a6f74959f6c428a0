"""Groups of requests: who is in which, what is estimated of each, and how page and command show them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, get_args

import pytest
from report.pages import read
from sentences import numbers_in

from streambench.analysis.groups import group_estimates, group_names, groups_of
from streambench.analysis.leaderboard import leaderboard_of
from streambench.analysis.run import Run
from streambench.cli.main import commands
from streambench.metrics import assertions
from streambench.metrics.assertions import By
from streambench.records.journal import Journal
from streambench.records.schema import AttemptRecord
from streambench.report.group_tables import ON_THE_PAGE, telling_groupings
from streambench.report.page import render_page
from streambench.testing import make_end, make_header, make_record, run_of

CATALOGUE = {
    "hello": {"tags": ["chat", "short"], "chars": 12},
    "essay": {"tags": ["chat"], "chars": 40_000},
    "<b>": {"tags": ["\x1b[31m<i>"], "chars": 300},
    "bare": {},
}
HEADER = make_header("alpha", suite={"hash": "0", "catalogue": CATALOGUE})


def record(seq: int, prompt: str, ttft_ms: float, *, turn: int = 0, **changes: Any) -> AttemptRecord:
    found = make_record(seq=seq, kinds="cc", at_ms=(ttft_ms, ttft_ms + 20), **changes)
    return replace(found, ticket=replace(found.ticket, prompt_id=prompt, turn=turn, repeat=seq))


@pytest.fixture
def run() -> Run:
    """TTFTs of 100 and 200 for hello, 300 for essay's two turns, 400 for the hostile one; one failure, one warm-up."""
    return run_of(
        [
            record(0, "hello", 100),
            record(1, "hello", 200),
            record(2, "essay", 300, turn=0),
            record(3, "essay", 300, turn=1),
            record(4, "<b>", 400),
            record(5, "bare", 1, finish_reason=None),
            record(6, "bare", 9_999, phase="warmup"),
        ],
        HEADER,
    )


@pytest.mark.parametrize(
    ("by", "prompt", "turn", "names"),
    [
        ("prompt", "hello", 0, ("hello",)),
        ("tag", "hello", 0, ("chat", "short")),
        ("tag", "bare", 0, ("(no tag)",)),
        ("tag", "nobody knows it", 0, ("(no tag)",)),
        ("turn", "essay", 1, ("turn 2",)),
        ("length", "hello", 0, ("0 to 99 characters",)),
        ("length", "<b>", 0, ("300 to 999 characters",)),
        ("length", "essay", 0, ("30,000 to 99,999 characters",)),
        ("length", "bare", 0, ("(length unknown)",)),
    ],
)
def test_a_request_is_in_its_groups(by: By, prompt: str, turn: int, names: tuple[str, ...]) -> None:
    """By what the run's header tells of the prompt; a bucket holds its lower end."""
    assert groups_of({"catalogue": CATALOGUE}, by, prompt, turn) == names


def test_each_group_has_its_own_numbers(run: Run) -> None:
    """chat: 100, 200, 300, 300, so 250 in the median; `(no tag)`: its one request failed; warm-up is in none."""
    found = {group.name: group for group in group_estimates(run, "tag")}
    assert list(found) == ["\x1b[31m<i>", "chat", "short", "(no tag)"]
    chat = found["chat"].estimates["ttft_ms", "p50"]
    assert (chat.value, chat.n, chat.clusters) == (median([100, 200, 300, 300]), 4, 2)
    assert found["(no tag)"].requests == 1
    assert {name: share.k for name, share in found["(no tag)"].outcomes.items()} == {"ok": 0, "truncated": 1}
    assert found["(no tag)"].estimates["ttft_ms", "p50"].value is None


def test_groups_stand_in_order_of_size(run: Run) -> None:
    """Not of their names, by which 30,000 would come before 300; what is unknown comes last."""
    found = [name.partition(" ")[0] for name in group_names(run, "length")]
    assert found == ["0", "300", "30,000", "(length"]
    assert group_names(run, "turn") == ["turn 1", "turn 2"]


def test_a_group_that_is_too_small_says_what_it_needs(run: Run) -> None:
    """p95 needs 20 answers, chat has 4."""
    (chat,) = group_estimates(run, "tag", among=["chat"])
    found = chat.estimates["ttft_ms", "p95"]
    assert (found.value, found.needs, found.n) == (None, 20, 4)


def test_the_groups_of_a_large_run_have_intervals() -> None:
    """Two tags of 30 prompts; the interval is over prompts, and holds the median."""
    catalogue = {f"p{n}": {"tags": [f"kind-{n % 2}"]} for n in range(60)}
    records = [record(n, f"p{n % 60}", 100 + n % 60) for n in range(240)]
    run = run_of(records, make_header("alpha", suite={"catalogue": catalogue}))
    for group in group_estimates(run, "tag"):
        found = group.estimates["ttft_ms", "p50"]
        assert found.clusters == 30
        assert found.low is not None
        assert found.high is not None
        assert found.low < 130 < found.high


def test_an_empty_run_has_no_groups() -> None:
    assert group_estimates(run_of([], HEADER), "tag") == []
    assert list(telling_groupings(run_of([], HEADER), leaderboard_of(run_of([], HEADER)))) == []


def test_only_what_tells_something_is_on_the_page() -> None:
    """Of one prompt there is no second group by anything."""
    one = run_of([record(seq, "hello", 100) for seq in range(3)], HEADER)
    assert [each.by for each in telling_groupings(one, leaderboard_of(one))] == ["tag"]
    bare = run_of([record(seq, "bare", 100) for seq in range(3)], HEADER)
    assert read(render_page(bare)).all("section", id="groups") == []


def test_a_page_holds_the_first_of_many_groups() -> None:
    """And says of how many."""
    many = run_of([record(seq, f"p{seq:03}", 100) for seq in range(ON_THE_PAGE + 5)], HEADER)
    (found,) = [each for each in telling_groupings(many, leaderboard_of(many)) if each.by == "prompt"]
    assert (len(found.rows), found.shown, found.total) == (ON_THE_PAGE, ON_THE_PAGE, ON_THE_PAGE + 5)
    note, *_ = read(render_page(many)).one("section", id="groups").one("details").all("p")
    assert numbers_in(note.text) == [ON_THE_PAGE, ON_THE_PAGE + 5]


def test_hostile_names_are_inert_on_the_page(run: Run) -> None:
    """A tag comes from a suite that someone else may have written."""
    page = render_page(run)
    assert "\x1b" not in page
    assert "<i>" not in page
    assert "&lt;i&gt;" in page


def test_the_command_prints_groups(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the terminal, and in Markdown; hostile names are inert in both."""
    with Journal.create(tmp_path, run.header) as journal:
        for each in run.records:
            journal.append(each)
        journal.close(make_end())
    for arguments in ((), ("--markdown",)):
        assert commands.main(["report", str(journal.folder), "--by", "tag", *arguments], standalone_mode=False) == 0
        out = capsys.readouterr().out
        assert "short" in out
        assert "\x1b" not in out


def test_assertions_name_the_same_groupings() -> None:
    """Two rooms, one list."""
    assert get_args(assertions.By) == get_args(By)
