"""`streambench compare`: unlike runs refused, changes told by model, assertions decided, and the exit code of each."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli.called import call

from analysis.made import MODELS, header, noisy, written
from streambench.analysis.check import check_assertions, exit_code
from streambench.analysis.comparability import differences
from streambench.analysis.compare import compare_runs, sentence
from streambench.analysis.run import load
from streambench.errors import InputError
from streambench.metrics.assertions import parse_text
from streambench.records.schema import Failure
from streambench.report.assertions import assertions_line
from streambench.report.comparison import compared_markdown, compared_terminal
from streambench.testing import MS, run_of

GATE = "ttft_p50: < 10%"
SEEDS = range(20)


def printed_comparison(capsys: pytest.CaptureFixture[str]) -> Any:
    """The only one that `--format json` has printed."""
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    return found


def decisions_printed(out: str) -> list[list[str]]:
    """Decision and model of each row of the terminal's table of assertions."""
    return [line.split()[:2] for line in out.splitlines() if line.split()[:1] in (["FAILED"], ["held"], ["undecided"])]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A base, a run like it, and one whose gamma is 15 % slower."""
    home = tmp_path_factory.mktemp("runs")
    return {
        "base": written(home, noisy(1)),
        "same": written(home, noisy(2)),
        "slow": written(home, noisy(3, slowed="gamma")),
    }


# --- the goal


@pytest.mark.parametrize("slowed", ["gamma", None])
def test_a_planted_slowdown_fails_its_model_and_no_other(slowed: str | None) -> None:
    """15 % slower against a limit of 10 %: in 19 of 20 seeds only gamma fails, and without it all hold."""
    right = 0
    for seed in SEEDS:
        base, new = run_of(noisy(1_000 + seed)), run_of(noisy(2_000 + seed, slowed))
        judged = check_assertions(new, [parse_text(GATE)], base)
        failed = {each.model for each in judged if each.decision == "failed"}
        held = {each.model for each in judged if each.decision == "held"}
        right += failed == ({slowed} if slowed else set()) and held == set(MODELS) - failed
    assert right >= 19


def test_the_command_names_the_slow_model(folders: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1; the others held. Both TTFTs and both E2Es of gamma are marked, and nothing else."""
    assert call("compare", folders["base"], folders["slow"], "--assert", GATE) == 1
    out = capsys.readouterr().out
    assert decisions_printed(out) == [["FAILED", "gamma"], ["held", "alpha"], ["held", "beta"], ["held", "delta"]]
    (first, *others) = [line.split() for line in out.splitlines() if line.endswith(" worse")]
    assert (first[0], len(others)) == ("gamma", 3)


def test_without_it_all_hold(folders: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and nothing is marked."""
    assert call("compare", folders["base"], folders["same"], "--assert", GATE) == 0
    out = capsys.readouterr().out
    assert decisions_printed(out) == [["held", model] for model in MODELS]
    assert not any(line.endswith((" worse", " better")) for line in out.splitlines())


# --- forms


def test_json_holds_the_same(folders: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each model and metric."""
    call("compare", folders["base"], folders["slow"], "--assert", GATE, "--format", "json")
    found = printed_comparison(capsys)
    rows = {(row["model"], row["metric"], row["statistic"]): row for row in found["changes"]}
    assert len(rows) == 4 * 5
    slow = rows["gamma", "ttft_ms", "p50"]
    assert slow["ratio"] == pytest.approx(1.15, abs=0.05)
    assert 1.1 < slow["ratio_low"] < slow["ratio"] < slow["ratio_high"] < 1.25
    assert slow["prompts"] == 36
    assert {model for (model, _, _), row in rows.items() if row["p_holm"] < 0.05} == {"gamma"}
    assert [row["decision"] for row in found["assertions"]] == ["held", "held", "failed", "held"]


def test_markdown_is_a_table(folders: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each row has as many cells as the head."""
    call("compare", folders["base"], folders["slow"], "--format", "markdown")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4 * 6
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}


def test_several_runs_are_compared_with_the_first(folders: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """One that fails is enough."""
    assert call("compare", folders["base"], folders["same"], folders["slow"], "--assert", GATE) == 1
    out = capsys.readouterr().out
    assert [out.count(Path(folders[name]).name) for name in ("base", "same", "slow")] == [2, 1, 1]


@pytest.mark.parametrize("width", [40, 72, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Long cells are folded."""
    compared = compare_runs(run_of(noisy(1, prompts=4)), run_of(noisy(2, prompts=4)))
    assert max(map(len, compared_terminal(compared, width).splitlines())) <= width


def test_hostile_names_are_inert() -> None:
    """No escape, no HTML, no further cell, no mention, no link."""
    name = "\x1b[31m<b>|@all [x](http://evil.example) `\n# big\u202e" + "x" * 500
    runs = [run_of(noisy(seed, models=(name,), prompts=2), header((name,))) for seed in (1, 2)]
    compared = compare_runs(*runs)
    for text in (compared_terminal(compared, 100), compared_markdown(compared)):
        assert "\x1b" not in text
        assert "\u202e" not in text
    for bad in ("<b>", "@all", "http://", "[x](", "\n# big"):
        assert bad not in compared_markdown(compared)
    assert "\x1b" not in assertions_line(check_assertions(runs[0], [parse_text(GATE)], runs[1]))


# --- unlike runs


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (header(suite={"hash": "f" * 16}), "suite.hash"),
        (header(config={"load": {"mode": "closed", "concurrency": 8}}), "load.concurrency"),
        (header(config={"gateways": {"demo": {"http2": True}}}), "gateways.demo.http2"),
        (header((*MODELS, "epsilon")), "models.epsilon.model"),
        (header(simulated=("alpha",)), "simulated"),
    ],
)
def test_a_field_that_decides_what_is_measured_makes_runs_unlike(changed: Any, field: str) -> None:
    """By its name."""
    assert [each.field for each in differences(header(), changed)] == [field]


@pytest.mark.parametrize("config", [{"repeats": 9}, {"seed": 3}, {"assertions": {"ttft_p50": "< 1"}}, {"name": "b"}])
def test_what_does_not_decide_it_may_differ(config: dict[str, Any]) -> None:
    """Pairing by prompt takes care of repeats and order."""
    assert differences(header(), header(config=config)) == []


def test_models_in_another_order_are_the_same() -> None:
    """They are told apart by alias, not by place."""
    assert differences(header(), header(MODELS[::-1])) == []


def test_unlike_runs_are_refused_with_the_fields(folders: dict[str, str], tmp_path: Path) -> None:
    """Exit code 2; each field with both values."""
    other = written(tmp_path, noisy(4, prompts=2), header(config={"load": {"mode": "closed", "concurrency": 8}}))
    with pytest.raises(InputError) as caught:
        call("compare", folders["base"], other)
    assert caught.value.exit_code == 2
    (problem,) = caught.value.problems
    assert (problem.where, problem.found, problem.accepted) == ("load.concurrency", "8", "4")


def test_force_compares_them_and_says_so(
    folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The warning is in the output, with the field."""
    other = written(tmp_path, noisy(4, prompts=2), header(suite={"hash": "f" * 16}))
    assert call("compare", folders["base"], other, "--force") == 0
    out = capsys.readouterr().out
    assert "\nWARNING: " in out
    assert re.search(r"\nsuite\.hash\W.*\b0{16}\b.*\bf{16}\b", out)


# --- exit codes


def test_an_incomplete_run_is_3(folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was killed: there is no end."""
    killed = written(tmp_path, noisy(4, prompts=2), end=None)
    assert call("compare", folders["base"], killed, "--assert", GATE) == 3
    assert "unfinished" in capsys.readouterr().out


@pytest.mark.parametrize(("extra", "code"), [((), 4), (("--undecided", "pass"), 0), (("--undecided", "fail"), 1)])
def test_a_sample_that_cannot_decide_is_4(folders: dict[str, str], tmp_path: Path, extra: Any, code: int) -> None:
    """Three prompts carry no interval."""
    few = written(tmp_path, noisy(4, prompts=3))
    assert call("compare", folders["base"], few, "--assert", GATE, *extra) == code


def test_a_failure_outweighs_what_is_undecided() -> None:
    """1, whatever the others are."""
    judged = check_assertions(run_of(noisy(1, prompts=2)), [parse_text(GATE), parse_text("no: failed")], None)
    assert exit_code(judged) == 4
    assert exit_code([*judged, judged[0].__class__("a", "m", "failed", "")]) == 1


def test_a_text_that_is_no_assertion_is_told_with_what_is_accepted(folders: dict[str, str]) -> None:
    """Exit code 2, each of them."""
    with pytest.raises(InputError) as caught:
        call("compare", folders["base"], folders["same"], "--assert", "speed: < 1", "--assert", "error_rate: > 1%")
    assert [problem.where for problem in caught.value.problems] == ["--assert", "--assert"]
    assert "METRIC_STATISTIC" in str(caught.value.problems[0])
    assert "`< SHARE`" in str(caught.value.problems[1])


def test_an_empty_run_is_undecided_not_a_crash(
    folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No requests, so no change and no verdict."""
    assert call("compare", folders["base"], written(tmp_path, []), "--assert", GATE, "--format", "json") == 4
    found = printed_comparison(capsys)
    assert {row["ratio"] for row in found["changes"]} == {None}
    assert {row["decision"] for row in found["assertions"]} == {"undecided"}


def test_a_model_that_only_fails_is_1_even_where_undecided_passes(folders: dict[str, str], tmp_path: Path) -> None:
    """Nothing is left to compare, which must not pass for a success."""
    broken = [
        replace(r, failure=Failure("timeout", "late")) if r.ticket.model == "beta" else r for r in noisy(2, prompts=12)
    ]
    run = written(tmp_path, broken)
    assert call("compare", folders["base"], run) == 1
    assert call("compare", folders["base"], run, "--assert", "ttft_p50: < 90%", "--undecided", "pass") == 1
    judged = check_assertions(
        load(run), [parse_text("ttft_p50: < 90%"), parse_text("ttft_p50: < 9s")], load(folders["base"])
    )
    assert {(each.model, each.decision) for each in judged if each.decision == "failed"} == {("beta", "failed")}
    assert sum(each.decision == "failed" for each in judged) == 2


def test_runs_of_one_folder_name_are_told_by_their_paths(tmp_path: Path) -> None:
    """As `a/run` and `b/run`."""
    compared = compare_runs(run_of(noisy(1, prompts=2), name="a/run"), run_of(noisy(2, prompts=2), name="b/run"))
    assert (compared.base, compared.new) == ("a/run", "b/run")
    assert set(compared.only_in) == {"a/run", "b/run"}


def test_a_change_smaller_than_our_own_lag_is_not_called_one() -> None:
    """gamma's TTFT moved by about 60 ms; the client's lag was 200 ms in one run."""
    lag = {"n": 9, "p50": 0, "p90": 0, "p99": 200 * MS, "max": 200 * MS}
    base = run_of(noisy(1))
    steady = compare_runs(base, run_of(noisy(3, slowed="gamma")))
    shaky = compare_runs(base, run_of(noisy(3, slowed="gamma"), client_lag_ns=lag))
    assert [each.shown(each.of("gamma")[0]) for each in (steady, shaky)] == [True, False]


def test_a_sentence_tells_what_changed_or_that_nothing_can_be_shown() -> None:
    """In words: slower, no larger than the lag, failing, not significant, unknown. 60 of 180 requests fail: 33.3 %."""
    base = run_of(noisy(1))
    slow = noisy(3, slowed="gamma")
    lag = {"n": 9, "p50": 0, "p90": 0, "p99": 200 * MS, "max": 200 * MS}
    failing = [
        replace(r, failure=Failure("timeout")) if r.ticket.model == "gamma" and r.ticket.seq % 3 == 0 else r
        for r in noisy(1)
    ]
    news = run_of(slow), run_of(slow, client_lag_ns=lag), run_of(failing), run_of(noisy(2)), run_of(noisy(1, prompts=2))
    assert [sentence(compare_runs(base, new), "gamma") for new in news] == [
        "gamma: TTFT p50 is worse: +15.9 % (95 % interval +11.9 to +20.0), on 36 prompts; TTFT p95 is "
        "worse: +14 % (95 % interval +6 to +23), on 36 prompts; E2E p50 is worse: +14.4 % (95 % interval +10.8 to "
        "+18.1), on 36 prompts; E2E p95 is worse: +13 % (95 % interval +5 to +22), on 36 prompts",
        "gamma: no change larger than the client lag: TTFT p50 +15.9 % (95 % interval +11.9 to +20.0)",
        "gamma: 33.3 percentage points more requests failed",
        "gamma: no significant change: TTFT p50 +0.6 % (95 % interval -2.5 to +4.2)",
        "gamma: a change cannot be judged; that needs 10 prompts in both runs",
    ]
