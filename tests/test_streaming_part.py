"""What streaming buys, in words: on records whose every difference is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from streambench.parts.streaming import streaming, twins
from streambench.records import AttemptRecord, Usage
from streambench.results import Run
from streambench.testing import make_end, make_header, make_record

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


def answer(records: list[AttemptRecord], *entries: Mapping[str, Any]) -> list[str]:
    header = make_header(*(entries or (ENTRY, WHOLE)))
    run = Run(Path("x"), header, tuple(records), make_end(), ())
    return [part.answer for part in streaming(run, NAMES)]


def test_what_it_buys_is_told_with_its_interval() -> None:
    """The first text at 100, the full text of a whole answer at 140 + 15: 55 ms on every prompt, 15 ms in all."""
    (told,) = answer(asked(12, later_ms=15))
    assert "The first text comes 55.0 ms (55.0 to 55.0) sooner than a whole answer's full text" in told
    assert "106 ms against 160 ms at the median" in told  # k = 5.5: 105.5 and 160.5
    assert "To the last of the text a stream takes 15.0 ms (15.0 to 15.0) less than a whole answer." in told
    assert "Output tokens: equal in all 12 pairs of answers." in told
    assert "Cost is unknown" in told
    assert "Without intervals" not in told


def test_few_prompts_have_no_interval() -> None:
    """And that is said."""
    (told,) = answer(asked(3))
    assert "(55" not in told
    assert "Without intervals: 3 prompts answered in both ways, and it takes 10." in told


def test_tokens_and_cost_that_differ_are_told() -> None:
    """Three tokens streamed and four whole, at 2 USD a million and 1 for the ten of input: 16 and 18 USD a million."""
    price = {"price": {"input": 1.0, "output": 2.0}}
    (told,) = answer(asked(12, tokens=4), {**ENTRY, **price}, {**WHOLE, **price})
    assert "Output tokens: equal in 0 of 12 pairs of answers, 36 streamed against 48 whole in sum." in told
    assert "Cost: equal in 0 of 12 pairs of answers, 0.000192 USD streamed against 0.000216 USD whole in sum." in told


def test_a_slower_stream_is_told_as_one() -> None:
    """The whole answer is there 20 ms before the stream's last text."""
    (told,) = answer(asked(12, later_ms=-20))
    assert "a stream takes 20.0 ms (20.0 to 20.0) more than a whole answer" in told


def test_without_a_pair_nothing_is_claimed() -> None:
    """All whole answers broke."""
    records = [record if record.streamed else replace(record, finish_reason=None) for record in asked(12)]
    assert answer(records) == ["Nothing can be said: no prompt has an answer in both ways."]


def test_only_the_same_model_asked_in_both_ways_is_compared() -> None:
    """By what it is asked for, not by its name: two entries may be written by hand."""
    by_hand = {**WHOLE, "alias": "other name"}
    others = [
        {**WHOLE, "params": {}},
        {**WHOLE, "api": "responses"},
        {**WHOLE, "gateway": "hub"},
        {**WHOLE, "model": "n"},
    ]
    assert list(twins({"models": [ENTRY, by_hand]})) == [("m", "other name")]
    assert list(twins({"models": [ENTRY, *others]})) == []
    assert list(twins({})) == []
    assert answer(asked(12), ENTRY) == []
