"""`streambench check`, the assertions of a config, and the forms in which verdicts are told."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from cli.called import call

from analysis.made import MODELS, header, noisy, written
from streambench.analysis.check import AssertionResult, check_assertions
from streambench.analysis.run_quality import QualityWarning, quality_warnings
from streambench.cli.assertion_options import STEP_SUMMARY
from streambench.config.load import load_config
from streambench.errors import ConfigError, ResultsError
from streambench.metrics.assertions import parse_all, parse_text
from streambench.records.schema import AttemptRecord, Failure
from streambench.report.assertions import (
    assertions_markdown,
    assertions_terminal,
    junit_xml,
    warnings_markdown,
    warnings_terminal,
)
from streambench.testing import make_end, make_record, run_of

REFUSED = Failure("http_error", "slow down", status=429)
HOSTILE = AssertionResult("no: failed", "<b>\x1b[31m|@all ]]>\ufffe", "failed", "& \"' [x](http://evil.example)")


@pytest.fixture(autouse=True)
def no_step_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where these tests run in CI themselves."""
    monkeypatch.delenv(STEP_SUMMARY, raising=False)


def printed_run(capsys: pytest.CaptureFixture[str]) -> Any:
    """The only one that `--format json` has printed."""
    (found,) = json.loads(capsys.readouterr().out)["runs"]
    return found


def decisions(text: str, records: list[AttemptRecord], **end: Any) -> list[str]:
    return [each.decision for each in check_assertions(run_of(records, header(), **end), [parse_text(text)])]


def failing(count: int, of: int) -> list[AttemptRecord]:
    """Of one model; the first ones failed."""
    bad = [make_record(seq=seq, kinds="", at_ms=(), failure=REFUSED) for seq in range(count)]
    return bad + [make_record(seq=seq) for seq in range(count, of)]


# --- each kind


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("ttft_p50_ms: < 800", "held"),
        ("ttft_p50_ms: < 200", "failed"),
        ("ttft_p50_ms: < 412", "undecided"),
        ("ttft_p95_ms: < 2s", "held"),
        ("ttft_p99_ms: < 2s", "undecided"),
        ("chunk_gap_p50: < 30", "held"),
        ("error_rate: < 5%", "held"),
        ("error_rate: < 1%", "undecided"),
        ("no: failed, truncated", "held"),
        ("goodput: > 90% with ttft_ms < 5000", "held"),
        ("goodput: > 90% with ttft_ms < 50", "failed"),
        ("goodput: > 10 with ttft_ms < 5000", "held"),
        ("goodput: > 100 with ttft_ms < 5000", "failed"),
        ("ttft_p50: < 10%", "undecided"),
    ],
)
def test_a_run_of_known_answer(text: str, decision: str) -> None:
    """TTFT p50 about 412 ms, gaps 20 ms, 180 requests in 10 s, none failed; there is no baseline and no p99."""
    assert decisions(text, noisy(1, models=("alpha",)))[0] == decision


def test_failed_requests_count() -> None:
    """30 of 100 (95 % interval 22 to 40 %)."""
    assert decisions("error_rate: < 20%", failing(30, 100))[0] == "failed"
    assert decisions("error_rate: < 50%", failing(30, 100))[0] == "held"
    assert decisions("no: http_error", failing(1, 100))[0] == "failed"


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("request_s: > 5.9", "held"),
        ("request_s: > 6.1", "failed"),
        ("system_tok_s: > 17", "held"),
        ("system_tok_s: > 19", "failed"),
    ],
)
def test_throughput_is_a_count_over_the_window(text: str, decision: str) -> None:
    """60 requests of 3 tokens in 10 s: 6 requests and 18 tokens a second."""
    assert decisions(text, [make_record(seq=seq) for seq in range(60)])[0] == decision


def test_unknown_tokens_may_be_any_number() -> None:
    """Of 60 requests one has no usage: what is known, 17.7 a second, is the least that it was."""
    records = [make_record(seq=seq, usage=None if seq == 0 else make_record().usage) for seq in range(60)]
    assert decisions("system_tok_s: > 17", records)[0] == "held"
    assert decisions("system_tok_s: > 19", records)[0] == "undecided"


def test_a_percentile_with_failures_counts_them() -> None:
    """All answers take 100 ms; where 90 of 100 requests broke, half of them never came."""
    assert decisions("ttft_p50_ms: < 800", failing(90, of=100))[0] == "held"
    assert decisions("ttft_p50_with_failures_ms: < 800", failing(90, of=100))[0] == "failed"
    assert decisions("ttft_p50_with_failures_ms: < 800", failing(5, of=100))[0] == "held"


def test_a_group_is_judged_by_its_own_requests() -> None:
    """The first ten prompts failed, and they alone are tagged bad; a tag that nobody has decides nothing."""
    catalogue = {f"p{n}": {"tags": ["bad" if n < 10 else "good"]} for n in range(100)}
    run = run_of(failing(10, of=100), header(suite={"hash": "0", "catalogue": catalogue}))
    stated = {tag: {"error_rate": "< 20%"} for tag in ("bad", "good", "goood")}
    found = [each for each in check_assertions(run, parse_all({"by_tag": stated})[0]) if each.model == "alpha"]
    assert [each.decision for each in found] == ["failed", "held", "undecided"]
    assert set(re.findall(r"\w+", found[2].why)) > {"goood", "bad", "good"}


def test_what_was_never_asked_is_undecided() -> None:
    """The other three models of the config have no request."""
    for text in ("error_rate: < 5%", "no: failed", "ttft_p50: < 1s", "goodput: > 1 with e2e < 1s"):
        assert decisions(text, failing(0, 100))[1:] == ["undecided"] * 3


def test_an_unlike_baseline_decides_nothing() -> None:
    """And the field is named."""
    base = run_of(noisy(2), header(suite={"hash": "f" * 16}))
    judged = check_assertions(run_of(noisy(1), header()), [parse_text("ttft_p50: < 10%")], base)
    assert {each.decision for each in judged} == {"undecided"}
    assert "suite.hash" in judged[0].why


# --- the command


def test_check_takes_the_runs_own_assertions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From its header, with its baseline: two assertions on each of four models."""
    base = written(tmp_path, noisy(1))
    asserted = {"error_rate": "< 5%", "regression": {"baseline": base, "ttft_p50": "10%"}}
    run = written(tmp_path, noisy(3, slowed="gamma"), header(config={"assertions": asserted}))
    assert call("check", run, "--format", "json") == 1
    found = printed_run(capsys)["assertions"]
    assert len(found) == 8
    assert {(each["model"], each["decision"]) for each in found if each["decision"] != "held"} == {("gamma", "failed")}


@pytest.mark.parametrize(
    ("records", "end", "arguments", "code"),
    [
        (noisy(1), {}, ("--assert", "ttft_p50: < 1s"), 0),
        (noisy(1), {}, ("--assert", "ttft_p50: < 10ms"), 1),
        (noisy(1), {}, ("--assert", "ttft_p99: < 1s"), 4),
        (noisy(1), {}, ("--assert", "ttft_p99: < 1s", "--undecided", "pass"), 0),
        (noisy(1), {"status": "budget"}, ("--assert", "ttft_p50: < 10ms"), 3),
        (failing(5, 5), {}, (), 1),
    ],
)
def test_exit_codes(records: Any, end: Any, arguments: tuple[str, ...], code: int, tmp_path: Path) -> None:
    """0 held, 1 failed or a model had only failures, 3 incomplete, 4 undecided."""
    run = written(tmp_path, records, end=make_end(**end))
    assert call("check", run, *arguments) == code


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    """Exit code 2."""
    with pytest.raises(ResultsError, match=re.escape(str(tmp_path))) as caught:
        call("check", str(tmp_path))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_json_has_verdicts_and_doubts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One entry a run."""
    call("check", written(tmp_path, noisy(1)), "--assert", "no: failed", "--format", "json")
    run = printed_run(capsys)
    assert [each["decision"] for each in run["assertions"]] == ["held"] * 4
    assert run["doubts"] == []


def test_junit_and_the_step_summary_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case for each model; the summary is appended to."""
    monkeypatch.setenv(STEP_SUMMARY, str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("before\n")
    run = written(tmp_path / "runs", noisy(1))
    call("check", run, "--assert", "ttft_p50: < 10ms", "--junit", str(tmp_path / "junit.xml"))
    suite = Xml.parse(tmp_path / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "4", "0")
    assert [case.get("classname") for case in suite] == list(MODELS)
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("before\n## ")
    assert all(f"| {model} |" in summary for model in MODELS)


def test_an_undecided_case_is_skipped_in_junit() -> None:
    """So that a CI shows it as neither."""
    suite = Xml.fromstring(junit_xml("run", [AssertionResult("a: < 1", "m", "undecided", "too few")]))[0]
    assert suite[0][0].tag == "skipped"


def test_hostile_text_is_inert_in_every_form() -> None:
    """XML can be read back and holds no control; no escape, tag, mention or link anywhere else."""
    xml = junit_xml("\x1b<x>", [HOSTILE])
    assert Xml.fromstring(xml)[0][0].get("classname") == "<b>\\x1b[31m|@all ]]>\\ufffe"
    doubt = QualityWarning("too_few", HOSTILE.model + HOSTILE.why)
    for text in (assertions_terminal([HOSTILE], 80), warnings_terminal([doubt], 80)):
        assert "\x1b" not in text
    for text in (assertions_markdown([HOSTILE]), warnings_markdown([doubt])):
        for bad in ("\x1b", "<b>", "@all", "http://", "[x]("):
            assert bad not in text


# --- the config


CONFIG = """
gateways: {hub: {base_url: "https://gateway.example/v1", api_key: none}}
models: [big]
prompts: [Hi]
assert:
"""


def asserted(folder: Path, text: str) -> Any:
    (folder / "c.yaml").write_text(CONFIG + text)
    return load_config(folder / "c.yaml", env={})


def test_assertions_of_a_config_are_in_its_masked_form(tmp_path: Path) -> None:
    """So the header has them; the baseline by its whole path."""
    base = written(tmp_path / "runs", [])
    config = asserted(tmp_path, f"  ttft_p95_ms: '< 800'\n  regression: {{baseline: '{base}', ttft_p50: 10%}}\n")
    assert config.masked()["assertions"] == {
        "ttft_p95_ms": "< 800",
        "regression": {"baseline": base, "ttft_p50": "10%"},
    }


def test_a_config_without_assertions_has_none_in_its_header(tmp_path: Path) -> None:
    """So runs of before can still be resumed."""
    (tmp_path / "c.yaml").write_text(CONFIG.replace("assert:", ""))
    assert "assertions" not in load_config(tmp_path / "c.yaml", env={}).masked()


@pytest.mark.parametrize(
    ("text", "line", "where"),
    [
        ("  ttft_p5: '< 800'", 6, "assert.ttft_p5"),
        ("  error_rate: < 1%\n  ttft_p50: '> 3'", 7, "assert.ttft_p50"),
        ("  no: [slow]", 6, "assert.no"),
        ("  regression: {ttft_p50: 10%}", 6, "assert.regression.baseline"),
        ("  regression: {baseline: nowhere, ttft_p50: 10%}", 6, "assert.regression.baseline"),
        ("  regression: {baseline: ., ttft_p50: 10%}", 6, "assert.regression.baseline"),
        ("  regression: {baseline: ., goodput: 10%}", 6, "assert.regression.goodput"),
        ("  regression: 10%", 6, "assert.regression"),
        ("  ttft_p50: < 10%", 6, "assert.regression.baseline"),
        ("  - ttft", 5, "assert"),
    ],
)
def test_a_wrong_assertion_is_told_at_load(tmp_path: Path, text: str, line: int, where: str) -> None:
    """With file, line, key and what is accepted; before a request is paid for."""
    with pytest.raises(ConfigError) as caught:
        asserted(tmp_path, text + "\n")
    problem = next(each for each in caught.value.problems if each.where == where)
    assert problem.accepted
    assert problem.line in (line, line - 1)


# --- good enough to quote?


def kinds(records: list[AttemptRecord], **end: Any) -> set[str]:
    return {doubt.kind for doubt in quality_warnings(run_of(records, header(), **end))}


def test_a_sound_run_has_no_doubts() -> None:
    """36 prompts, five repeats, four models, no trend."""
    assert kinds(noisy(1)) == set()


def test_each_doubt_is_found_where_it_is_planted() -> None:
    """One at a time."""
    sound = noisy(1)
    failed = [replace(r, failure=REFUSED) if r.ticket.model == "beta" and r.ticket.seq % 3 else r for r in sound]
    assert "too_few" in kinds(noisy(1, prompts=3))
    assert "incomplete" in kinds(sound, status="budget")
    assert "clock" in kinds(sound, clock_steps=2)
    assert "uneven_failures" in kinds(failed)
    lag = {"n": 9, "p50": 0, "p90": 0, "p99": 400_000_000, "max": 400_000_000}
    assert "client_lag" in kinds(noisy(1, slowed="gamma", factor=1.5), client_lag_ns=lag)
    assert {d.kind for d in quality_warnings(run_of(sound, header(simulated=("alpha",))))} == {"simulated"}


def test_a_first_repeat_that_is_slower_is_a_cache() -> None:
    """Each prompt's first answer takes twice as long."""
    first = {r.ticket.seq for r in noisy(1) if r.ticket.repeat == 0}
    slow = {r.ticket.seq: r for r in noisy(1, factor=2.0, slowed="alpha")}
    records = [slow[r.ticket.seq] if r.ticket.seq in first else r for r in noisy(1, models=("alpha",))]
    assert "cache" in kinds(records)


def test_an_empty_run_is_doubted_not_a_crash() -> None:
    """Nothing was measured."""
    assert "too_few" in kinds([])
