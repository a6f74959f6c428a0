"""What finish reasons mean, as known servers write them."""

from __future__ import annotations

import pytest

from streambench.metrics.finish_reasons import FINISH_WORDS, FinishMeaning, meaning_of


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("stop", "end"),
        ("FinishReason.STOP", "end"),
        ("tool_calls", "calls"),
        ("MAX_TOKENS", "length"),
        ("FINISH_REASON_MAX_TOKENS", "length"),
        ("content_filter: SAFETY", "filter"),
        ("error_toxic", "filter"),
        ("refusal", "refusal"),
        ("cancel", "failure"),
        ("MALFORMED_FUNCTION_CALL", "failure"),
        ("function_call_filter: MALFORMED_FUNCTION_CALL", "failure"),
        ("error: upstream stopped", "failure"),
        ("abort_by_user", "failure"),
        ("banana", None),
        ("", None),
        (None, None),
    ],
)
def test_a_finish_reason_has_its_meaning(reason: str | None, meaning: FinishMeaning | None) -> None:
    """In any case, behind a class or an enumeration's name, before a text."""
    assert meaning_of(reason) == meaning


def test_each_word_stands_once() -> None:
    words = [word for row in FINISH_WORDS for word in row.words.split()]
    assert len(words) == len(set(words))
