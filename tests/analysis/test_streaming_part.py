"""The insight on streaming, on records whose every difference is known; one test keeps the words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sentences import numbers_in, words_of

from streambench.analysis.insights.streaming import form_pairs, streaming
from streambench.records.schema import AttemptRecord, Usage
from streambench.testing import make_header, make_record, run_of

ENTRY: Mapping[str, Any] = {"model": "m", "alias": "m", "gateway": "demo", "params": {"max_tokens": 8}}
WHOLE: Mapping[str, Any] = {**ENTRY, "alias": "m (whole)", "stream": False}
NAMES = {"m": "m", "m (whole)": "m (whole)"}


def asked(prompts: int, *, tokens: int = 3, later_ms: float = 0) -> list[AttemptRecord]:
    """Of each prompt k a stream with its first text at 100 + k ms and its last 40 ms later, and a whole answer that is
    there when the stream's last text is, and later by so much.
    """
    records = []
    for k in range(prompts):
        at = [90 + k, 100 + k, 120 + k, 140 + k, 141 + k]
        streamed = make_record(seq=2 * k, model="m", at_ms=at)
        whole = make_record(seq=2 * k + 1, model="m (whole)", kinds="cu", at_ms=[140 + k + later_ms] * 2, reads=[0, 0])
        usage = Usage(input=10, output=tokens, total=10 + tokens, source="gateway")
        records += [streamed, replace(whole, streamed=False, usage=usage)]
    pairs = ((record, record.ticket.seq // 2) for record in records)
    return [replace(one, ticket=replace(one.ticket, prompt_id=f"p{k:02}", block=k)) for one, k in pairs]


def answers_on(records: list[AttemptRecord], *entries: Mapping[str, Any]) -> list[str]:
    header = make_header(*(entries or (ENTRY, WHOLE)))
    return [part.answer for part in streaming(run_of(records, header), NAMES)]


def test_what_it_buys_is_told_with_its_interval() -> None:
    """The first text at 100, the full text of a whole answer at 140 + 15: 55 ms on every prompt, 15 ms in all. The
    medians are those of k = 5.5: 105.5 and 160.5. In words.
    """
    assert answers_on(asked(12, later_ms=15)) == [
        "The first text of a stream comes 55.0 ms (55.0 to 55.0) earlier than the full text of a non-streamed answer: "
        "median 106 ms against 160 ms. A stream takes 15.0 ms (15.0 to 15.0) less than a non-streamed answer to "
        "complete its text. Output tokens: equal in all 12 pairs of answers. Cost is unknown, as the config has no "
        "price and the gateway did not state a cost both ways."
    ]


def test_few_prompts_have_no_interval() -> None:
    """40 ms earlier (medians 101 and 141), 0 ms at the end, 3 pairs; and that it takes 10 prompts."""
    (found,) = answers_on(asked(3))
    assert numbers_in(found) == [40, 101, 141, 0, 3, 3, 10]


def test_tokens_and_cost_that_differ_are_told() -> None:
    """Three tokens streamed and four whole, at 2 USD a million and 1 for the ten of input: 16 and 18 USD a million."""
    price = {"price": {"input": 1.0, "output": 2.0}}
    (found,) = answers_on(asked(12, tokens=4), {**ENTRY, **price}, {**WHOLE, **price})
    assert numbers_in(found)[-8:] == [0, 12, 36, 48, 0, 12, 0.000192, 0.000216]


def test_a_slower_stream_is_told_as_one() -> None:
    """The whole answer is there 20 ms before the stream's last text, and 20 ms after its first (106 against 126)."""
    (slower,), (quicker,) = (answers_on(asked(12, later_ms=later_ms)) for later_ms in (-20, 20))
    assert numbers_in(slower) == [20, 20, 20, 106, 126, 20, 20, 20, 12]
    assert words_of(slower) != words_of(quicker)


def test_without_a_pair_nothing_is_claimed() -> None:
    """All whole answers broke."""
    records = [record if record.streamed else replace(record, finish_reason=None) for record in asked(12)]
    (found,) = answers_on(records)
    assert numbers_in(found) == []


def test_only_the_same_model_asked_in_both_ways_is_compared() -> None:
    """By what it is asked for, not by its name: two entries may be written by hand."""
    by_hand = {**WHOLE, "alias": "other name"}
    others = [
        {**WHOLE, "params": {}},
        {**WHOLE, "api": "responses"},
        {**WHOLE, "gateway": "hub"},
        {**WHOLE, "model": "n"},
    ]
    assert list(form_pairs({"models": [ENTRY, by_hand]})) == [("m", "other name")]
    assert list(form_pairs({"models": [ENTRY, *others]})) == []
    assert list(form_pairs({})) == []
    assert answers_on(asked(12), ENTRY) == []
