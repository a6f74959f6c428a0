"""A run's numbers per model, and the table that shows them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from sentences import numbers_in

from streambench.analysis.summary import (
    NEEDED,
    Example,
    ModelSummary,
    SampleEstimate,
    Summary,
    exit_code,
    sample_estimate,
    summarise,
)
from streambench.analysis.summary_files import to_csv, write_summary
from streambench.metrics.cost import usd
from streambench.metrics.definitions import METRICS
from streambench.records.schema import AttemptRecord, Connection, Failure, Usage, final_attempts
from streambench.report.terminal import render, show
from streambench.testing import MS, make_end, make_header, make_record
from streambench.text import duration, for_terminal, number

PRICED = {"model": "beta-2", "alias": "beta", "price": {"input": 1.0, "output": 2.0}}
HEADER = make_header("alpha", PRICED, "never", simulated=("alpha",), requests_planned=6)
REFUSED = Failure("http_error", "slow down", status=429)
HOSTILE = "\x1b[31m[red]\n\u202e" + "x" * 500


def of(summary: Summary, model: str) -> ModelSummary:
    return next(each for each in summary.models if each.model == model)


def one_model(*records: AttemptRecord) -> ModelSummary:
    return of(summarise(make_header("alpha"), records, make_end()), "alpha")


def run() -> list[AttemptRecord]:
    """alpha: a warm-up, two fine ones and a cut one. beta: one refused."""
    return [
        make_record(seq=0, phase="warmup", kinds="cc", at_ms=(9_000, 9_001)),
        make_record(seq=1),
        make_record(seq=2, kinds="rcccu", at_ms=(290, 300, 320, 340, 341)),
        make_record(seq=3, kinds="c", at_ms=(5,), finish_reason=None),
        make_record(seq=4, model="beta", kinds="", at_ms=(), failure=REFUSED, usage=None),
    ]


# --- which records count


def test_only_ok_requests_of_the_measured_phase_are_in_a_latency() -> None:
    """TTFTs are 100 and 300; the warm-up's 9000 and the cut stream's 5 are not among them. Mean 200, p50 200."""
    assert of(summarise(HEADER, run(), make_end()), "alpha").metrics["ttft_ms"] == SampleEstimate(
        n=2, mean=200, p50=200
    )


def test_what_was_left_out_is_counted() -> None:
    """One not ok, one warm-up."""
    alpha = of(summarise(HEADER, run(), make_end()), "alpha")
    assert (alpha.requests, alpha.ok, alpha.left_out, alpha.warmup) == (3, 2, 1, 1)
    assert alpha.outcomes == {"ok": 2, "truncated": 1}


def test_outcomes_add_up_to_requests() -> None:
    """Each request has exactly one."""
    for model in summarise(HEADER, run(), make_end()).models:
        assert sum(model.outcomes.values()) == model.requests


def test_a_retried_request_counts_once_with_its_last_attempt() -> None:
    """Refused at first, fine then: one request, two attempts, no failure."""
    first = make_record(attempt=1, kinds="", at_ms=(), failure=REFUSED, usage=None)
    alpha = one_model(first, make_record(attempt=2))
    assert (alpha.requests, alpha.attempts, alpha.outcomes) == (1, 2, {"ok": 1})


def test_the_last_attempt_is_the_highest_whatever_the_order() -> None:
    """A journal merged from two processes need not be in order."""
    assert [record.attempt for record in final_attempts([make_record(attempt=2), make_record(attempt=1)])] == [2]


def test_models_keep_the_configs_order_and_none_is_lost() -> None:
    """One that never ran has a row; one that the config does not know comes last."""
    summary = summarise(HEADER, [make_record(model="stray"), *run()], make_end())
    assert [model.model for model in summary.models] == ["alpha", "beta", "never", "stray"]
    assert of(summary, "never").requests == 0


def test_gaps_of_all_requests_are_one_sample() -> None:
    """A distribution: two of 20 ms from each of the two fine requests."""
    assert of(summarise(HEADER, run(), make_end()), "alpha").metrics["chunk_gap_ms"].n == 4


def test_the_share_of_unknown_gaps_is_stated() -> None:
    """Reads 0, 1, 1, 2: of three gaps two were not observed."""
    record = make_record(kinds="cccc", at_ms=(1, 2, 2, 3), reads=(0, 1, 1, 2))
    assert one_model(record).gaps_unknown_share == pytest.approx(2 / 3)


def test_up_to_three_distinct_failures_are_kept_most_frequent_first() -> None:
    """Four kinds of message, one of them twice."""
    messages = ("a", "b", "b", "c", "d")
    records = [make_record(seq=seq, failure=Failure("timeout", text)) for seq, text in enumerate(messages)]
    assert one_model(*records).failures == (("timeout: b", 2), ("timeout: a", 1), ("timeout: c", 1))


def test_each_outcome_has_its_most_frequent_evidence() -> None:
    """Four kinds of failure, one of them told in two ways: none is lost, however many messages there are."""
    told = [("timeout", "a"), ("timeout", "b"), ("timeout", "b"), ("disconnected", "c"), ("too_large", "d")]
    records = [make_record(seq=seq, failure=Failure(kind, text)) for seq, (kind, text) in enumerate(told)]
    assert one_model(*records, make_record(seq=9)).evidence == {
        "timeout": Example("timeout: b", 2),
        "too_large": Example("too_large: d", 1),
        "disconnected": Example("disconnected: c", 1),
    }


# --- estimates


@pytest.mark.parametrize(("name", "needed"), NEEDED.items())
def test_a_percentile_needs_its_sample(name: str, needed: int) -> None:
    """One fewer and it is unknown."""
    assert getattr(sample_estimate([1.0] * (needed - 1)), name) is None
    assert getattr(sample_estimate([1.0] * needed), name) == 1


def test_percentiles_are_linear() -> None:
    """Of 1..100: p50 is 50.5, p90 is 1 + 0.9 x 99 = 90.1, p95 95.05, p99 99.01."""
    found = sample_estimate([float(value) for value in range(1, 101)])
    assert (found.n, found.mean) == (100, 50.5)
    assert (found.p50, found.p90, found.p95, found.p99) == pytest.approx((50.5, 90.1, 95.05, 99.01))


def test_no_sample_is_unknown() -> None:
    """Not zero."""
    assert sample_estimate([]) == SampleEstimate(n=0, mean=None, p50=None)


# --- tokens and cost


def test_failed_attempts_are_paid_for_too() -> None:
    """10 in and 3 out each, of two fine and one cut."""
    usage = of(summarise(HEADER, run(), make_end()), "alpha").usage
    assert (usage.input, usage.output, usage.attempts_known, usage.attempts_unknown) == (30, 9, 3, 0)


def test_unknown_usage_is_counted_as_unknown() -> None:
    """And its sum is null."""
    usage = of(summarise(HEADER, run(), make_end()), "beta").usage
    assert (usage.input, usage.attempts_known, usage.attempts_unknown) == (None, 0, 1)


def test_cost_is_priced_by_the_config_and_the_gateways_kept_apart() -> None:
    """Two of (10 x 1 + 3 x 2) / 1e6 = 0.000016; one unpriced; one stated at 0.5."""
    records = [
        make_record(seq=0, model="beta"),
        make_record(seq=1, model="beta", usage=Usage(input=10, output=3, cost_usd=0.5, source="gateway")),
        make_record(seq=2, model="beta", usage=None),
    ]
    cost = of(summarise(HEADER, records, make_end()), "beta").cost_usd
    assert cost.priced == pytest.approx(0.000032)
    assert (cost.stated, cost.attempts_unpriced) == (0.5, 1)


def test_without_a_price_the_cost_is_unknown() -> None:
    """Not free."""
    assert one_model(make_record()).cost_usd.priced is None


# --- the run


def test_client_lag_is_in_milliseconds() -> None:
    """From the run's end; n is a count."""
    lag = summarise(HEADER, [], make_end(client_lag_ns={"n": 7, "p50": MS, "p99": None, "max": 3 * MS})).client_lag_ms
    assert lag == {"n": 7, "p50": 1, "p90": None, "p99": None, "max": 3}


def test_without_an_end_the_lag_is_the_worst_that_the_records_saw() -> None:
    """A killed run is judged by what it left."""
    records = [make_record(seq=0, client_lag_ns=MS), make_record(seq=1, client_lag_ns=2 * MS)]
    assert summarise(HEADER, records).client_lag_ms["max"] == 2


@pytest.mark.parametrize(
    ("records", "status", "code"),
    [
        (run()[:3], "complete", 0),
        (run()[:4], "complete", 0),  # one failure among fine ones
        (run(), "complete", 1),  # beta had only failures
        (run(), "interrupted", 3),
        (run(), "duration_limit", 3),
        (run()[:3], "disk_error", 3),
        (run()[:3], None, 3),  # killed
        ([make_record(failure=Failure("cancelled"))], "complete", 0),
        ([], "complete", 0),
    ],
)
def test_the_exit_code_says_what_happened(records: list[AttemptRecord], status: str | None, code: int) -> None:
    """0 all fine, 1 a model had only failures, 3 incomplete."""
    end = make_end(status=status) if status else None
    assert exit_code(summarise(HEADER, records, end)) == code


# --- summary.json and summary.csv


def test_the_json_has_the_promised_schema() -> None:
    """The keys that others build on."""
    plain = json.loads(json.dumps(summarise(HEADER, run(), make_end()).to_plain(), allow_nan=False))
    assert plain["schema"] == 1
    assert plain["run_id"] == "test-run"
    assert plain["status"] == "complete"
    assert set(plain["client_lag_ms"]) == {"n", "p50", "p90", "p99", "max"}
    alpha = plain["models"]["alpha"]
    assert alpha["simulated"] is True
    assert set(alpha["metrics"]) == {metric.column for metric in METRICS}
    assert set(alpha["metrics"]["ttft_ms"]) == {"n", "mean", "p50", "p90", "p95", "p99"}
    assert alpha["metrics"]["ttft_ms"]["p99"] is None
    assert plain["models"]["beta"]["failures"] == [{"evidence": "http_error 429: slow down", "count": 1}]


def test_an_empty_run_has_a_true_summary() -> None:
    """Nulls, noughts and no division."""
    plain = summarise(make_header("alpha"), []).to_plain()
    assert plain["status"] == "unfinished"
    assert plain["models"]["alpha"]["metrics"]["ttft_ms"] == {
        "n": 0,
        "mean": None,
        "p50": None,
        "p90": None,
        "p95": None,
        "p99": None,
    }


def test_csv_and_json_carry_the_same_numbers(tmp_path: Path) -> None:
    """A row a model, a column a number."""
    summary = summarise(HEADER, run(), make_end())
    write_summary(tmp_path, summary)
    head, first, *_ = (line.split(",") for line in to_csv(summary.to_rows()).split("\r\n"))
    row = dict(zip(head, first, strict=True))
    metrics = summary.to_plain()["models"]["alpha"]["metrics"]
    for column, numbers in metrics.items():
        for name, value in numbers.items():
            assert row[f"{column}_{name}"] == ("" if value is None else str(value)), (column, name)
    assert (row["model"], row["outcome_ok"], row["outcome_truncated"]) == ("alpha", "2", "1")


# --- the table


def many() -> Summary:
    """Names and failures of every awkward sort."""
    header = make_header("alpha", PRICED, "never", HOSTILE, "模型" * 30, simulated=("alpha", HOSTILE))
    kinds = ("timeout", "disconnected", "connect_error", "too_large")
    failed = [
        make_record(seq=seq, model=HOSTILE, failure=Failure(kind, f"{HOSTILE} {seq}")) for seq, kind in enumerate(kinds)
    ]
    return summarise(header, [*run(), *failed, make_record(model="模型" * 30)], make_end(status="interrupted"))


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_the_table_fits_its_width(width: int) -> None:
    """No line is wider than asked for, counted in terminal cells; only a path may be."""
    for line in render(many(), width=width).split("\n"):
        assert cell_len(line) <= width, line


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_column_is_lost_at_any_width(width: int) -> None:
    """A narrow terminal gets more tables, not fewer numbers."""
    text = render(summarise(HEADER, run(), make_end()), width=width)
    for head in ("ok/all", "TTFT", "p95 ms", "gap", "p99 ms", "TPOT", "tok/s", "E2E", "tokens", "cost"):
        assert head in text
    assert "1 truncated" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_hostile_names_and_messages_are_inert(width: int) -> None:
    """No escape, no newline, no direction override; markup is shown, not obeyed."""
    text = render(many(), width=width)
    assert all(char == "\n" or char.isprintable() for char in text)
    assert r"\x1b[31m[r" in text
    assert "x" * 400 not in text


def faulty() -> Summary:
    """alpha: three ways to time out, a cut stream and two findings, in seven requests; beta is fine."""
    failed = [make_record(seq=at, failure=Failure("timeout", why)) for at, why in enumerate(("idle", "idle", "total"))]
    odd = [make_record(seq=4, ids=2), make_record(seq=5, ids=3, comments=1), make_record(seq=6)]
    cut = make_record(seq=3, kinds="rc", at_ms=(1, 2), finish_reason=None)
    return summarise(make_header("alpha", "beta"), [*failed, cut, *odd, make_record(seq=7, model="beta")], make_end())


EXAMPLE = re.compile(r"^(\w*) +(\d of \d) +(\w+):? +(\S.*)$", re.MULTILINE)
"""Model, requests, outcome or finding, and its example; a model is named once."""


def test_every_outcome_and_finding_is_shown_by_an_example() -> None:
    """Aligned below the table, a model named once; `ok` is no failure, and beta has nothing to tell."""
    found = faulty()
    alpha = found.models[0]
    text = render(found, width=140)
    assert [row.groups()[:3] for row in EXAMPLE.finditer(text)] == [
        ("alpha", "3 of 7", "timeout"),
        ("", "1 of 7", "truncated"),
        ("alpha", "2 of 7", "id_changed"),
        ("", "1 of 7", "keepalives"),
    ]
    timeout, *others = (row[4] for row in EXAMPLE.finditer(text))
    assert timeout.startswith("idle ")
    assert numbers_in(timeout) == [1]  # of the three timeouts one had another message
    assert others == [alpha.evidence["truncated"].text.removeprefix("truncated: "), *alpha.facts.values()]
    assert {row.start(3) - row.start() for row in EXAMPLE.finditer(text)} == {len("model  requests  ")}


def test_in_a_narrow_terminal_examples_stand_below_their_model() -> None:
    """And are wrapped, never cut."""
    found = faulty()
    text = render(found, width=60)
    assert re.findall(r"^  (\d of \d) (\w+): ", text, re.MULTILINE) == [
        ("3 of 7", "timeout"),
        ("1 of 7", "truncated"),
        ("2 of 7", "id_changed"),
        ("1 of 7", "keepalives"),
    ]
    assert text.count("\nalpha\n  ") == 2
    joined, alpha = " ".join(text.split()), found.models[0]
    assert all(fact in joined for fact in (alpha.evidence["truncated"].text, *alpha.facts.values()))


def test_nothing_is_told_of_a_run_without_faults() -> None:
    """No empty headings: the table, a blank line, the notes."""
    text = render(summarise(make_header("alpha"), [make_record()], make_end()), width=140)
    assert not EXAMPLE.search(text)
    assert text.strip().count("\n\n") == 1


@pytest.mark.parametrize("width", [60, 140])
def test_hostile_evidence_is_inert_and_bounded(width: int) -> None:
    """Escapes, newlines, overrides of direction and 10,000 characters, in a message and in a fact."""
    text = "\x1b[2J\r\n\u202e[red]" + "x" * 10_000
    records = [make_record(failure=Failure("timeout", text)), make_record(seq=1, unknown_fields=(text,))]
    shown = render(summarise(make_header("alpha"), records, make_end()), width=width, colour=False)
    assert all(char == "\n" or char.isprintable() for char in shown)
    assert r"\x1b[2J\r\n\u202e[red]" in shown
    assert shown.count("x" * 20) <= 2 * 240 // 20


def test_a_cost_that_nobody_has_takes_no_column() -> None:
    """It is told in a line below the table."""
    table, notes = render(summarise(make_header("alpha"), [make_record()], make_end()), width=140).strip().split("\n\n")
    assert "cost" not in table
    assert "USD" not in table
    assert len([line for line in notes.split("\n") if line.startswith("Cost: ")]) == 1


def test_many_simulated_models_are_not_named_again() -> None:
    """Nine are marked in the table."""
    names = [f"sim-{at}" for at in range(9)]
    text = render(summarise(make_header(*names, simulated=tuple(names)), [], make_end()), width=140)
    table, notes = text.strip().split("\n\n")
    assert table.count(" (simulated)") == 9
    assert [numbers_in(line) for line in notes.split("\n") if line.startswith("Simulated")] == [[9]]
    assert "sim-" not in notes


def test_a_pipe_gets_plain_ascii() -> None:
    """No colour and no box to garble a log."""
    out = io.StringIO()
    show(summarise(HEADER, run(), make_end()), Path("results/x"), out)
    assert out.getvalue().isascii()
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_colour() -> None:
    """Failures stand out."""
    assert re.search("\x1b\\[31m.*1 truncated", render(summarise(HEADER, run(), make_end()), width=120, colour=True))


def test_an_output_that_knows_only_ascii_is_no_error() -> None:
    """LANG=C and a model named in Chinese."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    show(many(), None, out)
    out.flush()
    assert b"\\u6a21" in raw.getvalue()


def test_the_notes_say_what_the_table_cannot() -> None:
    """Each is a fact that a reader needs to trust the numbers. In words; other tests read the numbers of a note."""
    text = render(summarise(HEADER, run(), make_end(status="interrupted")), Path("results/x"), width=200)
    assert text.strip().split("\n\n")[-1].split("\n") == [
        "This run is incomplete: it was interrupted, after 4 of 6 requests.",
        "Simulated, so not a measurement of a real model: alpha.",
        "Client lag of this run (how late streambench's own event loop was): p50 0.05 ms, p99 0.20 ms, max 1.00 ms.",
        "Left out of all latencies: 2 requests that were not ok, 1 warm-up request.",
        "Timestamps: the kernel's receive time of each read.",
        "A dash is an unknown number; n<20 beside it means that the sample is too small (needed: p50 1, p90 10, p95 "
        "20, p99 100).",
        "Files: results/x",
        "To send the rest: streambench resume results/x",
    ]


def test_a_long_path_stays_on_one_line() -> None:
    """So that it can be copied."""
    folder = Path("results") / ("x" * 200)
    assert f"Files: {folder}" in render(summarise(HEADER, [], make_end()), folder, width=80).split("\n")


def test_a_run_without_models_has_a_table() -> None:
    """Empty, and still true."""
    assert "Client lag" in render(summarise(make_header(), []), width=80)


# --- text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (0, "0.00"), (0.424, "0.42"), (8.314, "8.31"), (41.66, "41.7"), (411.7, "412"), (1204.2, "1,204")],
)
def test_numbers_have_about_three_digits(value: float | None, shown: str) -> None:
    """A dash for the unknown, two decimals for the small."""
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (0, "0.00"), (12.345, "12.35"), (0.01234, "0.0123"), (0.00000123456, "0.00000123")],
)
def test_small_amounts_keep_their_digits(value: float | None, shown: str) -> None:
    """A request may cost a hundredth of a cent."""
    assert usd(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "-"), (0.2, "0 s"), (59.4, "59 s"), (125, "2:05"), (3_725, "1:02:05")]
)
def test_durations_are_short(seconds: float | None, shown: str) -> None:
    """As on a clock."""
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gpt-4o", "gpt-4o"),
        ("模型 🙂", "模型 🙂"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\tc\0", r"a\nb\tc\x00"),
        ("\u202eevil", r"\u202eevil"),
        ("a" * 30 + "b" * 30, "a" * 12 + ".." + "b" * 6),
    ],
)
def test_foreign_text_is_inert_and_bounded(text: str, shown: str) -> None:
    """Printable text stays; controls are spelled; of a long text both ends are kept."""
    assert for_terminal(text, 20) == shown


def test_any_text_is_bounded() -> None:
    """A message of 10 MB costs nothing."""
    texts: list[Any] = ["\0" * 10_000_000, "x" * 10_000_000, "\0" * 15, "x" * 41]
    assert all(len(for_terminal(text, 20)) <= 20 for text in texts)


def test_attempts_that_fell_back_to_coarser_stamps_are_told() -> None:
    """Of two answered attempts one has the kernel's stamps, one the read's, as the wall clock was set once."""
    records = [make_record(seq=0, stamps="kernel"), make_record(seq=1, stamps="read")]
    summary = summarise(make_header("alpha"), records, make_end(clock_steps=1))
    assert summary.to_plain()["stamps_seen"] == {"kernel": 1, "read": 1}
    shown = render(summary, width=200)
    lines = [line for line in shown.split("\n") if line.startswith("Timestamps")]
    assert [numbers_in(line) for line in lines] == [[1, 1, 1]]  # attempts of each kind, steps of the clock


def test_set_up_inside_latencies_is_told() -> None:
    """One of two requests opened its connection: 1 ms of DNS, 2 of TCP, 4 of TLS."""
    new = Connection(new=True, dns_ns=MS, connect_ns=2 * MS, tls_ns=4 * MS)
    summary = summarise(make_header("alpha"), [make_record(seq=0, connection=new), make_record(seq=1)], make_end())
    (note,) = [line for line in render(summary, width=200).split("\n") if "connection" in line]
    assert numbers_in(note) == [1, 2, 7]
