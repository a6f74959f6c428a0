"""Each finding at the edge of its threshold, and the streams that look like one and are none."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from sentences import numbers_in

from streambench.metrics.findings import FINDINGS, THRESHOLDS, Thresholds, findings, thresholds_of
from streambench.records.schema import AttemptRecord, Failure, JsonAnswer, OutputRequest, ToolCall, Usage
from streambench.testing import MS, make_record, make_timeline


def found(record: AttemptRecord, **thresholds: float) -> dict[str, str]:
    """Name to fact."""
    settings = thresholds_of({"health": thresholds})
    return {one.name: one.fact for one in findings(record, settings)}


def names(record: AttemptRecord, **thresholds: float) -> list[str]:
    return list(found(record, **thresholds))


def stream(
    at_ms: list[float], *, reads: list[int] | None = None, chars: int = 4, tokens: int | None = None, **changes: Any
) -> AttemptRecord:
    """A finished stream of content chunks, each of so many characters; by default as many tokens as chunks."""
    line = make_timeline("c" * len(at_ms), at_ms, reads, [chars] * len(at_ms))
    output = len(at_ms) if tokens is None else tokens
    usage = Usage(input=10, output=output, total=10 + output, source="gateway")
    return make_record(**{"timeline": line, "usage": usage, **changes})


def even(count: int, gap_ms: float = 20, first_ms: float = 100) -> list[float]:
    return [first_ms + gap_ms * at for at in range(count)]


def usage(**counts: Any) -> Usage:
    return Usage(source="gateway", **counts)


# --- the tables -------------------------------------------------------------------------------------------------------


def test_a_good_stream_has_no_findings() -> None:
    """The record that all others here differ from, and one of forty chunks."""
    assert found(make_record()) == {}
    assert found(stream(even(40))) == {}


def test_an_attempt_without_a_stream_has_no_findings() -> None:
    """Nothing came that anything could be found in."""
    refused = Failure("connect_error", detail="refused")
    record = make_record(kinds="", at_ms=(), failure=refused, finish_reason=None, usage=None, done=False, status=None)
    assert found(record) == {}


def test_each_threshold_is_described() -> None:
    """`docs/health.md` lists them."""
    assert list(THRESHOLDS) == [one.name for one in fields(Thresholds)]


def test_thresholds_of_an_old_run_are_the_defaults() -> None:
    """Its header has no such section; one of a newer streambench may have keys unknown here."""
    assert thresholds_of({}) == Thresholds()
    assert thresholds_of({"health": {"stall_ms": 7, "gremlins": 1}}) == Thresholds(stall_ms=7)


SHOWN: dict[str, AttemptRecord] = {
    "no_done": make_record(done=False),
    "no_usage": make_record(usage=None),
    "usage_inconsistent": make_record(usage=usage(input=10, output=3, total=14)),
    "usage_invented": stream(even(5), chars=5, tokens=11),
    "length_limited": make_record(finish_reason="length"),
    "content_filtered": make_record(finish_reason="content_filter"),
    "refused": make_record(kinds="rxxxu"),
    "buffered": stream([100] * 8, reads=[0] * 8),
    "coalesced": stream(even(8), reads=[0, 0, 1, 2, 3, 4, 5, 6]),
    "stalled": stream([100, 700]),
    "model_substituted": make_record(model_asked="gpt-4o", model_served="gpt-4o-mini"),
    "id_changed": make_record(ids=2),
    "after_finish": make_record(after_finish=1),
    "duplicate_role": make_record(roles=2),
    "tool_arguments_invalid": make_record(tool_calls=(ToolCall("look", arguments_valid=False, why="no JSON"),)),
    "tool_not_called": make_record(asked=OutputRequest(tools=1, tool_choice="required")),
    "json_invalid": make_record(
        asked=OutputRequest(json="json_object"), json_answer=JsonAnswer(valid=False, why="no JSON")
    ),
    "unknown_fields": make_record(unknown_fields=("choices.delta.mood",)),
    "keepalives": make_record(comments=1),
    "truncated_utf8": make_record(broken_utf8=1),
    "retried": make_record(attempt=2, retry_wait_ns=500 * MS),
}


def test_every_finding_has_its_record_here() -> None:
    """In the table's order."""
    assert list(SHOWN) == list(FINDINGS)


@pytest.mark.parametrize("name", FINDINGS)
def test_a_fact_alone_is_found_alone(name: str) -> None:
    """A record that is fine but for one thing has one finding, told in one sentence on one line."""
    (told,) = findings(SHOWN[name])
    assert told.name == name
    assert told.fact
    assert "\n" not in told.fact


def test_each_fact_in_words() -> None:
    """The only test of them: the others read the numbers and the names."""
    assert {name: found(record)[name] for name, record in SHOWN.items()} == {
        "no_done": "the body ended after 5 chunks without [DONE]",
        "no_usage": "usage was requested, but the finished stream has none",
        "usage_inconsistent": "10 input and 3 output tokens make 13, but the usage says 14 in total",
        "usage_invented": "11 output tokens are billed for 5 chunks of 5.0 characters, the size of a token",
        "length_limited": "the answer was cut off by a token limit: finish_reason length after 12 characters",
        "content_filtered": "a filter stopped the answer: finish_reason content_filter after 12 characters",
        "refused": "the model declined with a refusal of 12 characters",
        "buffered": "8 chunks of output came in 1 read, so the gaps between them are unknown",
        "coalesced": "2 of 8 chunks of output shared a read with another (25 %)",
        "stalled": "1 gap over 500 ms; the longest (600 ms) came after 1 of 2 chunks of output, 100 ms after the start",
        "model_substituted": "asked for gpt-4o, served by gpt-4o-mini",
        "id_changed": "2 response ids in one stream of 5 chunks",
        "after_finish": "1 chunk of output came after the finish_reason",
        "duplicate_role": "2 deltas of one choice carried a role",
        "tool_arguments_invalid": "1 of 1 tool call; `look`: no JSON",
        "tool_not_called": "a call was required; 12 characters and finish_reason stop came instead",
        "json_invalid": "json_object was requested; the answer: no JSON",
        "unknown_fields": "1 field that no known gateway sends: choices.delta.mood",
        "keepalives": "1 keep-alive (comments or empty events)",
        "truncated_utf8": "1 frame with half a character or bytes that are not UTF-8",
        "retried": "this is attempt 2, sent after a wait of 500 ms since the previous attempt",
    }


def test_findings_come_in_the_tables_order() -> None:
    """Whatever their number."""
    record = make_record(attempt=2, comments=3, ids=2, done=False, usage=None, finish_reason="length")
    assert names(record) == ["no_done", "no_usage", "length_limited", "id_changed", "keepalives", "retried"]


# --- the end ----------------------------------------------------------------------------------------------------------

BROKEN = [
    {"failure": Failure("disconnected", detail="cut")},
    {"failure": Failure("timeout", detail="idle")},
    {"error_frame": Failure("stream_error", "overloaded")},
]


@pytest.mark.parametrize("end", BROKEN)
def test_what_broke_off_is_not_blamed_for_what_it_lacks(end: dict[str, Any]) -> None:
    """Neither [DONE] nor usage could come any more; nor is a half answer in one read called buffered."""
    assert names(make_record(done=False, usage=None, finish_reason=None, **end)) == []
    assert "buffered" not in names(stream([100] * 8, reads=[0] * 8, done=False, **end))


def test_a_stream_that_ended_early_lacks_its_done_but_not_its_usage() -> None:
    """The outcome says that it is truncated; that usage would have come after the finish is no news."""
    assert names(make_record(done=False, usage=None, finish_reason=None)) == ["no_done"]


def test_usage_is_only_missed_where_it_was_asked_for() -> None:
    """`include_usage: false`; but a gateway that refuses the question leaves the tokens unknown all the same."""
    assert names(make_record(usage=None, usage_asked=False)) == []
    refused = found(make_record(usage=None, usage_asked=False, usage_refused=True))
    assert list(refused) == ["no_usage"]
    assert "stream_options" in refused["no_usage"]


def test_tokens_counted_by_ourselves_are_no_usage() -> None:
    """The gateway stated none."""
    assert names(make_record(usage=Usage(output=3, source="tokenizer"))) == ["no_usage"]


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("length", "length_limited"),
        ("MAX_TOKENS", "length_limited"),
        ("content_filter", "content_filtered"),
        ("SAFETY", "content_filtered"),
        ("refusal", "refused"),
        ("stop", None),
        ("tool_calls", None),
        ("weird", None),
    ],
)
def test_finish_reasons(reason: str, name: str | None) -> None:
    """In the words of the gateways."""
    assert names(make_record(finish_reason=reason)) == ([name] if name else [])


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "numbers"),
    [
        ({"input": 10, "output": 3, "total": 13}, None),
        ({"input": 10, "output": 3}, None),
        ({"output": 3, "total": 13}, None),
        ({"input": 10, "output": 3, "total": 12}, [10, 3, 13, 12]),
        ({"input": 10, "output": 3, "total": 13, "reasoning": 4}, [4, 3]),
        ({"input": 10, "output": 3, "total": 13, "cached": 11}, [11, 10]),
        ({"input": 10, "output": 3, "total": 20, "reasoning": 7}, [10, 3, 13, 20, 7]),
        ({"input": 10, "output": 0, "total": 10}, [12]),
        ({"input": 10, "output": 3, "total": 13, "reasoning": 3}, [12]),
    ],
)
def test_counts_that_contradict_one_another(counts: dict[str, int], numbers: list[float] | None) -> None:
    """Three chunks of four characters came; hidden reasoning is not part of them. The fact has the numbers in order."""
    facts = found(make_record(usage=usage(**counts)))
    assert {name: numbers_in(fact) for name, fact in facts.items()} == (
        {"usage_inconsistent": numbers} if numbers else {}
    )


@pytest.mark.parametrize(("chars", "wrong"), [(31, False), (32, False), (33, True)])
def test_more_characters_than_the_tokens_can_carry(chars: int, *, wrong: bool) -> None:
    """Two tokens carry 2 x 16 = 32 at most."""
    assert ("usage_inconsistent" in found(stream([100], chars=chars, tokens=2))) == wrong


def test_one_odd_token_is_no_contradiction() -> None:
    """31 characters in one token: a line of dashes may be one. From 32 on it is judged."""
    assert names(stream([100], chars=31, tokens=1)) == []
    assert names(stream([100], chars=32, tokens=1)) == ["usage_inconsistent"]


@pytest.mark.parametrize(("tokens", "wrong"), [(96, False), (97, True)])
def test_far_fewer_characters_than_the_tokens_have(tokens: int, *, wrong: bool) -> None:
    """20 characters make up to 20 / 0.25 = 80 tokens, and 16 may leave none: 96."""
    assert ("usage_inconsistent" in found(stream([100], chars=20, tokens=tokens))) == wrong


def test_nothing_billed_for_nothing_is_right() -> None:
    """An empty answer, with its end token or without; 17 tokens for nothing are one too many."""
    for tokens, expected in ((0, []), (1, []), (16, []), (17, ["usage_inconsistent"])):
        record = make_record(kinds="ro", at_ms=(1, 2), usage=usage(input=10, output=tokens, total=10 + tokens))
        assert names(record) == expected


def test_hidden_reasoning_that_is_told_is_right() -> None:
    """500 of 505 tokens were thought and not streamed: five for 20 characters."""
    counts = usage(input=10, output=505, total=515, reasoning=500)
    assert names(stream(even(5), chars=4, usage=counts)) == []


def test_usage_of_an_unfinished_stream_is_not_held_against_its_text() -> None:
    """Some gateways state it with every chunk; the one that broke off may be late by a chunk."""
    assert "usage_inconsistent" not in names(stream(even(8), tokens=0, finish_reason=None))


@pytest.mark.parametrize(("tokens", "wrong"), [(6, True), (7, False)])
def test_tokens_of_one_choice_for_the_chunks_of_two(tokens: int, *, wrong: bool) -> None:
    """As llama.cpp bills n = 2: 12 chunks of four characters for 6 tokens. At 7 it may be the cut of the text."""
    assert ("usage_inconsistent" in found(stream(even(12), tokens=tokens))) == wrong


def test_a_text_cut_into_characters_is_no_contradiction() -> None:
    """A gateway that smooths the stream sends a letter or two a chunk: 40 chunks for 20 tokens."""
    assert names(stream(even(40), chars=2, tokens=20)) == []


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, True),
        ({"tokens": 9}, False),  # 5 chunks x 2 = 10
        ({"tokens": 10}, True),
        ({"chars": 6, "tokens": 10}, True),
        ({"chars": 7, "tokens": 10}, False),  # chunks of several tokens
        ({"chars": 2, "tokens": 10}, True),
        ({"chars": 1, "tokens": 10}, False),  # one character may be several tokens
        ({"finish_reason": "length"}, False),
        ({"finish_reason": "tool_calls"}, False),
        ({"usage": usage(input=10, output=11, total=21, reasoning=6)}, False),
        ({"at_ms": even(3), "tokens": 11}, False),  # too few to compare
    ],
)
def test_an_invented_usage(changes: dict[str, Any], *, wrong: bool) -> None:
    """LiteLLM's early clean end: 11 tokens for five chunks of five characters, finish_reason stop."""
    record = stream(**{"at_ms": even(5), "chars": 5, "tokens": 11, **changes})
    assert ("usage_invented" in found(record)) == wrong


# --- how it came ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chunks", "reads", "wrong"), [(8, 1, True), (8, 2, True), (8, 3, False), (7, 1, False)])
def test_all_in_one_or_two_reads_is_buffered(chunks: int, reads: int, *, wrong: bool) -> None:
    """Of eight chunks up; a short answer may well come at once. The reads are 200 ms apart."""
    of = [min(at, reads - 1) for at in range(chunks)]
    assert ("buffered" in found(stream([100 + 200.0 * read for read in of], reads=of))) == wrong


@pytest.mark.parametrize(
    ("span_ms", "wait_ms", "wrong"),
    [
        (10, 1000, True),  # 1 % of the wait, 0.5 ms a chunk
        (18, 360, True),  # 5 %
        (18, 350, False),  # 5.1 %
        (20, 1000, False),  # 2 %, but 1 ms a chunk: a fast model that was slow to start
        (400, 4000, False),
    ],
)
def test_all_at_the_end_of_the_wait_is_buffered(span_ms: float, wait_ms: float, *, wrong: bool) -> None:
    """21 chunks, each in a read of its own, in the last so many milliseconds of the wait."""
    at_ms = [wait_ms - span_ms + span_ms * at / 20 for at in range(21)]
    assert ("buffered" in found(stream(at_ms))) == wrong


def test_a_short_answer_is_not_buffered() -> None:
    """Three chunks in two reads, and what ends a stream in the last of them."""
    record = make_record(kinds="rcccou", at_ms=(90, 90, 90, 95, 95, 95), reads=(0, 0, 0, 1, 1, 1))
    assert names(record) == []


@pytest.mark.parametrize(("shared", "wrong"), [(2, False), (3, True)])
def test_chunks_that_shared_a_read(shared: int, *, wrong: bool) -> None:
    """Of ten: 2 are a share of 0.2, which is not above it; 3 are."""
    reads = [0] * shared + list(range(1, 11 - shared))
    facts = found(stream(even(10), reads=reads))
    assert ("coalesced" in facts) == wrong
    assert not wrong or numbers_in(facts["coalesced"])[:2] == [3, 10]


def test_the_end_of_a_stream_in_one_read_is_not_coalesced() -> None:
    """Only output counts: the last content, the finish and the usage in one write are how gateways end."""
    kinds = "r" + "c" * 9 + "ou"
    reads = [0, 0, *range(1, 9), 8, 8]
    assert names(make_record(kinds=kinds, at_ms=even(12), reads=reads, usage=usage(input=1, output=9, total=10))) == []


def test_a_buffered_stream_is_not_coalesced_too() -> None:
    """It is the same and worse."""
    assert names(stream([100] * 20, reads=[0] * 20)) == ["buffered"]


@pytest.mark.parametrize(("gap_ms", "wrong"), [(500, False), (500.001, True)])
def test_a_gap_over_the_limit_is_a_stall(gap_ms: float, *, wrong: bool) -> None:
    """The wait for the first chunk is none."""
    assert ("stalled" in found(stream([900, 900 + gap_ms]))) == wrong


def test_stalls_are_counted_and_the_longest_is_placed() -> None:
    """Gaps of 600, 20 and 800 ms after 1, 2 and 3 of 4 chunks; the third is at 100 + 600 + 20 = 720 ms."""
    told = found(stream([100, 700, 720, 1520]))["stalled"]
    assert numbers_in(told) == [2, 500, 800, 3, 4, 720]


def test_a_pause_that_ends_in_a_burst_is_a_stall() -> None:
    """Its chunk gap is unknown, but nothing came between the two reads."""
    assert "stalled" in found(stream([100, 900, 900, 900], reads=[0, 1, 1, 1]))


@pytest.mark.parametrize(("stamps", "wrong"), [("kernel", True), ("read", False), ("sdk", False)])
def test_our_own_lag_is_no_stall(stamps: str, *, wrong: bool) -> None:
    """600 ms, of which 150 may be ours, unless the kernel took the time."""
    record = stream([100, 700], stamps=stamps, client_lag_ns=150 * MS)
    assert ("stalled" in found(record)) == wrong


def test_a_threshold_is_a_setting() -> None:
    """A stall from 10 ms on; eight chunks too few to be called buffered."""
    assert names(stream([100, 120]), stall_ms=10) == ["stalled"]
    assert names(stream([100] * 8, reads=[0] * 8), min_chunks=9) == []


# --- who answered -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4", "gpt-4-0613"),
        ("gpt-3.5-turbo", "gpt-35-turbo"),
        ("openai/gpt-4o", "gpt-4o"),
        ("openai/gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4o", "openai/gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
        ("anthropic/claude-3.5-sonnet", "claude-3-5-sonnet-20241022"),
        ("claude-3-5-sonnet", "us.anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("claude-3-5-sonnet", "claude-3-5-sonnet@20241022"),
        ("gemini-1.5-pro", "gemini-1.5-pro-002"),
        ("mistral-large-latest", "mistral-large-2411"),
        ("llama3", "llama3:latest"),
        ("llama3", "llama3:8b"),
        ("accounts/fireworks/models/llama-v3p1-8b-instruct", "llama-v3p1-8b-instruct"),
        ("meta-llama/Llama-3.1-8B-Instruct", "/models/Llama-3.1-8B-Instruct/"),
        ("deepseek/deepseek-chat:free", "deepseek/deepseek-chat"),
    ],
)
def test_the_same_model_by_another_name(asked: str, served: str) -> None:
    """A dated version, a provider's prefix, other punctuation, a tag on one side."""
    assert names(make_record(model_asked=asked, model_served=served)) == []


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4"),
        ("gpt-4", "gpt-4-32k"),
        ("gpt-4", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
        ("openai/gpt-4o", "openai/gpt-4o-mini"),
        ("qwen2:7b", "qwen2:72b"),
        ("llama-3-8b", "llama-3-70b"),
        ("text-davinci-003", "text-davinci-002"),
        ("claude-3-opus", "claude-3-haiku"),
        ("nope", "smollm2-tools"),
    ],
)
def test_another_model(asked: str, served: str) -> None:
    """And the fact names both."""
    fact = found(make_record(model_asked=asked, model_served=served))["model_substituted"]
    assert [word for word in re.split(r"[ ,]+", fact) if word in (asked, served)] == [asked, served]


def test_the_provider_is_told_where_the_headers_name_it() -> None:
    """OpenRouter and others do."""
    record = make_record(model_asked="a-model", model_served="b-model", headers={"x-provider": "acme"})
    assert "acme" in found(record)["model_substituted"]


@pytest.mark.parametrize(("asked", "served"), [(None, "y"), ("x", None)])
def test_an_unknown_model_is_no_other(asked: str | None, served: str | None) -> None:
    """An old record does not say what was asked; a gateway need not say what it served."""
    assert names(make_record(model_asked=asked, model_served=served)) == []


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_one_of_a_thing_is_none_too_many() -> None:
    """One id, one role, a first attempt."""
    assert names(make_record(ids=1, roles=1, attempt=1)) == []


def test_keep_alives_are_counted() -> None:
    """Comments and empty events are not told apart."""
    assert [numbers_in(found(make_record(comments=count))["keepalives"]) for count in (1, 8)] == [[1], [8]]


def test_the_worst_call_is_told() -> None:
    """How many of how many, and why the first of them."""
    calls = (ToolCall("a", arguments_valid=True), ToolCall("b"), ToolCall("c", arguments_valid=False, why="no JSON"))
    fact = found(make_record(tool_calls=calls))["tool_arguments_invalid"]
    assert numbers_in(fact) == [1, 3]
    assert fact.endswith("`c`: no JSON")


def test_half_a_call_of_a_broken_stream_is_not_judged() -> None:
    """It was never finished."""
    calls = (ToolCall("a", arguments_valid=False, why="no JSON"),)
    assert names(make_record(tool_calls=calls, finish_reason=None)) == []


def test_the_wait_before_a_retry_is_told() -> None:
    """Attempt 3, after 1.5 s."""
    told = found(make_record(attempt=3, retry_wait_ns=1500 * MS))["retried"]
    assert numbers_in(told) == [3, 1_500]


# --- what was asked of the answer's form ------------------------------------------------------------------------------


def called(choice: Any, name: str | None, *calls: str | None, finish: str | None = "tool_calls") -> list[str]:
    asked = OutputRequest(tools=2, tool_choice=choice, function=name)
    record = make_record(asked=asked, tool_calls=tuple(map(ToolCall, calls)), finish_reason=finish)
    return [one.fact for one in findings(record) if one.name == "tool_not_called"]


def test_a_named_function_is_to_be_called_and_no_other() -> None:
    """A call without a name may have been the one."""
    assert called("function", "look", "look") == []
    assert called("function", "look", "leap", "look") == []
    (fact,) = called("function", "look", "leap")
    assert re.findall("`(.*?)`", fact) == ["look", "leap"]
    assert called("function", "look", None) == []


def test_a_call_is_missed_only_where_one_was_required_and_the_answer_came_to_its_end() -> None:
    """With auto, none or an unknown choice the model answers as it likes; a broken stream proves nothing."""
    assert called("auto", None) == called("none", None) == called(None, None) == []
    assert called("required", None, finish=None) == []
    (fact,) = called("required", None)
    assert numbers_in(fact) == [12]
    assert "tool_calls" in fact


def test_json_that_broke_off_is_not_told() -> None:
    """It never had a chance."""
    answer = JsonAnswer(valid=False, why="invalid JSON at character 9 of 9")
    assert "json_invalid" not in {one.name for one in findings(make_record(json_answer=answer, finish_reason=None))}
