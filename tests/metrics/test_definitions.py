"""Each metric's arithmetic, and what it does where a fact is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streambench.metrics.definitions import (
    METRICS,
    Metric,
    answer_tokens,
    chunk_gaps,
    hidden_tokens,
    parallel_calls,
    streamed_tokens,
)
from streambench.records.schema import AttemptRecord, ChunkTimeline, Connection, JsonAnswer, ToolCall, Usage
from streambench.testing import MS, make_record, make_timeline

TABLE = {metric.name: metric for metric in METRICS}


def value(name: str, record: AttemptRecord) -> float | None:
    return TABLE[name].value(record)


def every_number_differs() -> AttemptRecord:
    """Role, reasoning, reasoning, content, content, content, usage: reads 0, 1, 2, 3, 4, 4, 5."""
    return make_record(
        kinds="rttcccu",
        at_ms=(103, 211, 251, 307, 411, 411, 503),
        reads=(0, 1, 2, 3, 4, 4, 5),
        scheduled_at_ns=1_000 * MS,
        queue_ns=7 * MS,
        start_at_ns=1_019 * MS,
        first_byte_ns=97 * MS,
        last_byte_ns=509 * MS,
        connection=Connection(new=True, dns_ns=2 * MS, connect_ns=11 * MS, tls_ns=31 * MS),
        client_lag_ns=MS // 4,
        usage=Usage(input=10, output=6, source="gateway"),
        tool_calls=(
            ToolCall("one", arguments_valid=True, named_ns=313 * MS, complete_ns=337 * MS),
            ToolCall("two", arguments_valid=True, named_ns=317 * MS, complete_ns=331 * MS),
        ),
        json_answer=JsonAnswer(valid=True, complete_ns=401 * MS),
    )


EXPECTED: dict[str, list[float]] = {
    "ttfb": [97],
    "ttfc": [103],
    "ttft": [211],  # the reasoning chunk
    "ttfa": [307],  # the first content chunk
    "thinking": [96],  # 307 - 211
    "tool_name": [313],  # of the first call
    "tool_call": [337],  # of the call that was complete last
    "json": [401],
    "chunk_gap": [40, 56],  # 251 - 211, 307 - 251; the two chunks of read 4 are not alone in it: unknown
    "longest_gap": [104],  # of 307 - 211 and 411 - 307
    "tpot": [40],  # (411 - 211) / (6 - 1)
    "output_tok_s": [25],  # 1000 / 40
    "e2e": [411],
    "stream_end": [509],
    "response_time": [430],  # 1019 - 1000 + 411
    "start_lag": [19],
    "queue_wait": [7],
    "connect": [44],  # 2 + 11 + 31
    "client_lag": [0.25],
}


def test_every_expected_number_differs() -> None:
    """Else two rows could be swapped unseen."""
    assert len({tuple(numbers) for numbers in EXPECTED.values()}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_each_row_yields_its_own_number(metric: Metric) -> None:
    """A record in which every number differs tells a row that reads its neighbour's field."""
    assert metric.values(every_number_differs()) == pytest.approx(EXPECTED[metric.name])


def test_no_two_rows_are_the_same() -> None:
    """Names, columns and labels are unique, and each row has exactly one way to be read."""
    for field in ("name", "column", "label", "formula"):
        seen = [getattr(metric, field) for metric in METRICS]
        assert len(seen) == len(set(seen)), field
    assert all((metric.of is None) != (metric.each is None) for metric in METRICS)


def test_a_column_carries_its_unit() -> None:
    """Milliseconds are in the name; a speed has its unit there already."""
    assert {metric.column for metric in METRICS} >= {"ttft_ms", "chunk_gap_ms", "output_tok_s"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_an_attempt_that_never_connected_has_no_number(metric: Metric) -> None:
    """Only our own waiting is known then; nothing raises."""
    record = make_record(
        kinds="", at_ms=(), first_byte_ns=None, last_byte_ns=None, connection=None, usage=None, client_lag_ns=None
    )
    assert len(metric.values(record)) == (metric.name in {"start_lag", "queue_wait"})


# --- tools and reasoning


def test_one_call_that_never_was_complete_leaves_the_time_unknown() -> None:
    """The calls that were complete say nothing of when an agent could go on."""
    done = ToolCall("one", arguments_valid=True, named_ns=1, complete_ns=9)
    record = make_record(kinds="ffo", at_ms=(1, 2, 3), tool_calls=(done, ToolCall("two", arguments_valid=False)))
    assert value("tool_call", record) is None
    assert value("tool_name", record) == pytest.approx(1e-6)


def test_calls_of_two_choices_are_not_parallel() -> None:
    """Two of choice 0, one of choice 1."""
    assert parallel_calls(make_record(tool_calls=(ToolCall("a"), ToolCall("b"), ToolCall("c", choice=1)))) == 2


@pytest.mark.parametrize(
    ("kinds", "reads"), [("rccu", None), ("tttu", None), ("cttu", None), ("rtcu", (0, 1, 1, 2)), ("", None)]
)
def test_thinking_time_is_unknown_without_a_thought_and_an_answer_in_reads_of_their_own(
    kinds: str, reads: tuple[int, ...] | None
) -> None:
    """Hidden, without an answer, the answer first, both in one read, nothing."""
    at_ms = tuple(100 + 10 * (reads[place] if reads else place) for place in range(len(kinds)))
    assert value("thinking", make_record(kinds=kinds, at_ms=at_ms, reads=reads)) is None


@pytest.mark.parametrize(
    ("kinds", "reasoning", "hidden", "answered"),
    [
        ("rttcc", 20, 0, 10),  # 8 characters may be 20 tokens
        ("rcc", 20, 20, 10),  # none of them came
        ("rttcc", None, None, None),  # nobody says how many there were
        ("rcc", 0, 0, 30),
        ("rcc", 31, 31, None),  # more than the output that should hold them: no answer of -1
    ],
)
def test_reasoning_is_billed_streamed_or_hidden(
    kinds: str, reasoning: int | None, hidden: int | None, answered: int | None
) -> None:
    """Of 30 output tokens; the four characters of each chunk show whether any came."""
    usage = Usage(input=5, output=30, reasoning=reasoning, source="gateway")
    record = make_record(kinds=kinds, at_ms=tuple(range(100, 100 + len(kinds))), usage=usage)
    assert (hidden_tokens(record), answer_tokens(record)) == (hidden, answered)


def test_a_summary_of_the_thoughts_is_neither_streamed_nor_hidden() -> None:
    """8 characters hold 32 tokens at most, and 16 may leave none: of 1,000 nobody knows what was streamed."""
    usage = Usage(input=5, output=1_100, reasoning=1_000, source="gateway")
    assert hidden_tokens(make_record(kinds="ttc", at_ms=(1, 2, 3), usage=usage)) is None


# --- gaps


def test_gaps_between_reads_are_observed() -> None:
    """100, 120, 150: 20 and 30."""
    assert chunk_gaps(make_timeline("ccc", (100, 120, 150))) == [20 * MS, 30 * MS]


def test_gaps_into_and_inside_a_shared_read_are_unknown() -> None:
    """Reads a, b, b, c: only the gap out of b is known, 160 - 140."""
    assert chunk_gaps(make_timeline("cccc", (100, 140, 140, 160), (0, 1, 1, 2))) == [None, None, 20 * MS]


def test_a_buffered_stream_has_no_gaps() -> None:
    """All in one read: unknown, not zero."""
    assert chunk_gaps(make_timeline("ccc", (100, 100, 100), (0, 0, 0))) == [None, None]


def test_a_chunk_that_is_not_generated_does_not_hide_a_gap() -> None:
    """The last content often shares its read with the finish chunk; the first with the role chunk."""
    assert chunk_gaps(make_timeline("rccou", (100, 100, 120, 120, 120), (0, 0, 1, 1, 1))) == [20 * MS]


@pytest.mark.parametrize("kinds", ["", "r", "c", "ru"])
def test_fewer_than_two_generated_chunks_have_no_gap(kinds: str) -> None:
    """Nothing to measure between."""
    assert chunk_gaps(make_timeline(kinds, range(len(kinds)))) == []


def test_a_stall_that_ends_in_a_burst_is_the_longest_gap() -> None:
    """Read 1 comes 900 ms after read 0 with three chunks: their gaps are unknown, the wait is not."""
    record = make_record(kinds="cccc", at_ms=(100, 1000, 1000, 1000), reads=(0, 1, 1, 1))
    assert value("longest_gap", record) == 900
    assert TABLE["chunk_gap"].values(record) == []


# --- pace


def with_usage(kinds: str, **usage: int | None) -> AttemptRecord:
    at_ms = tuple(100 + 50 * place for place in range(len(kinds)))
    return make_record(kinds=kinds, at_ms=at_ms, usage=Usage(source="gateway", **usage))


def test_reasoning_that_was_never_streamed_is_not_a_streamed_token() -> None:
    """100 billed, 80 of them hidden: 20 came."""
    assert streamed_tokens(with_usage("ccc", output=100, reasoning=80)) == 20


def test_reasoning_that_was_streamed_counts() -> None:
    """Four characters of it can hold the 8 that are billed: all 20 came."""
    assert streamed_tokens(with_usage("tcc", output=20, reasoning=8)) == 20


def test_where_nobody_knows_how_much_reasoning_came_there_is_no_pace() -> None:
    """Of a summary, or of far fewer characters than were billed: with all 100, speed would be an invention."""
    summary = replace(with_usage("tcc", output=20, reasoning=8), summarised=True)
    for record in (with_usage("tcc", output=100, reasoning=80), summary):
        assert (hidden_tokens(record), streamed_tokens(record)) == (None, None)
        assert (value("tpot", record), value("output_tok_s", record)) == (None, None)


def test_hidden_reasoning_does_not_speed_up_tpot() -> None:
    """(200 - 100) / (21 - 1) = 5, not 100 / (101 - 1) = 1."""
    assert value("tpot", with_usage("ccc", output=101, reasoning=80)) == 5


@pytest.mark.parametrize("usage", [{}, {"output": 0}, {"output": 1}, {"output": 50, "reasoning": 49}])
def test_tpot_needs_two_streamed_tokens(usage: dict[str, int]) -> None:
    """Unknown usage and a single token have no pace."""
    assert value("tpot", with_usage("ccc", **usage)) is None
    assert value("output_tok_s", with_usage("ccc", **usage)) is None


def test_a_stream_in_one_read_has_no_pace() -> None:
    """Its tokens did not come infinitely fast; how fast is unknown."""
    record = make_record(kinds="ccc", at_ms=(100, 100, 100), reads=(0, 0, 0))
    assert value("tpot", record) is None
    assert value("output_tok_s", record) is None


def test_output_speed_is_the_inverse_of_tpot() -> None:
    """20 ms a token is 50 tokens a second: (140 - 100) / (3 - 1)."""
    record = make_record()
    assert value("tpot", record) == 20
    assert value("output_tok_s", record) == 50


def test_trailing_usage_is_outside_e2e() -> None:
    """The last content came at 140, the usage chunk at 141."""
    assert value("e2e", make_record()) == 140


def test_ttfa_of_reasoning_alone_is_unknown() -> None:
    """It never answered."""
    record = make_record(kinds="rtt", at_ms=(1, 2, 3))
    assert value("ttft", record) == 2
    assert value("ttfa", record) is None


def test_a_reused_connection_has_no_connect_time() -> None:
    """Unknown, not zero: it would pull the mean down."""
    assert value("connect", make_record(connection=Connection(new=False))) is None


def test_a_plain_connection_without_tls_has_a_connect_time() -> None:
    """The parts that are known: 3 + 4."""
    assert value("connect", make_record(connection=Connection(new=True, dns_ns=3 * MS, connect_ns=4 * MS))) == 7


# --- cost


def test_a_timeline_with_columns_of_unlike_length_is_refused() -> None:
    """Rather than paired wrongly."""
    with pytest.raises(ValueError, match="differ in length"):
        chunk_gaps(ChunkTimeline(offset_ns=(1, 2), kind="c", chars=(1,), read=(0,)))


def test_tokens_that_cannot_be_in_the_text_make_no_speed() -> None:
    """12,000 billed for 12 characters: what a gateway invents must not look fast; 16 more than came may be unseen."""
    invented = make_record(usage=Usage(input=8, output=12_000, source="gateway"))
    plausible = make_record(usage=Usage(input=8, output=40, source="gateway"))
    for name in ("tpot", "output_tok_s"):
        metric = next(metric for metric in METRICS if metric.name == name)
        assert metric.value(invented) is None
        assert metric.value(plausible) is not None


def test_what_is_kept_of_one_timeline_is_never_told_of_another() -> None:
    """Two that are alike but for one arrival, asked for in turns."""
    one, other = make_timeline("ccc", (100, 120, 150)), make_timeline("ccc", (100, 120, 151))
    for _ in range(2):
        assert chunk_gaps(one) == [20 * MS, 30 * MS]
        assert chunk_gaps(other) == [20 * MS, 31 * MS]
