"""Puts comparisons into sentences, with a verb that fits the metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streambench.analysis.stats.number_format import between, digits, rounded
from streambench.analysis.stats.paired import Comparison, Rank
from streambench.analysis.stats.signed_rank import MIN_PROMPTS
from streambench.metrics.definitions import BY_COLUMN, METRICS, Phrase
from streambench.text import counted, listed, percent

PHRASES: Mapping[str, tuple[str, Phrase]] = {
    **{metric.column: (metric.unit, metric.phrase) for metric in METRICS},
    "ttft_with_retries_ms": ("ms", Phrase("starts", "faster, including retries,")),
}
"""(unit, phrase) by column. Other columns have no unit and use "has ... less than" or "has ... more than"."""


def in_words(comparison: Comparison, metric: str | None = None, client_lag_ms: float | None = None) -> str:
    """Returns one sentence: the better model, by how much, on how many prompts; or that no difference is significant.

    In the second case it adds what would show one. `metric` is the column whose verb is used, by default that of the
    comparison. Model names are not escaped: the caller must do that.
    """
    winner = comparison.winner
    if winner is None:
        return f"no significant difference between {comparison.a} and {comparison.b}{_settle(comparison)}"
    loser, won = _other(comparison, winner)
    unit, phrase = PHRASES.get(metric or comparison.metric) or ("", _plain(comparison))
    low, high = sorted(abs(end) for end in (comparison.difference.low, comparison.difference.high) if end is not None)
    size = abs(comparison.difference.value or 0.0)
    places = digits(size, low, high, client_lag_ms if unit == "ms" else None)
    number = f"{rounded(size, places)} {unit}".rstrip()
    interval = f"(95 % interval {between(low, high, places)})"
    prompts = f"on {won} of {comparison.prompts} prompts"
    return f"{winner} {phrase.does} {number} {phrase.how} than {loser} {interval}, {prompts}"


def leader_in_words(
    places: Sequence[Rank], comparisons: Sequence[Comparison], metric: str, client_lag_ms: float | None = None
) -> str:
    """Returns one sentence on at least two models: which is best in `metric` (a column), or that it is uncertain.

    Raises KeyError if METRICS has no such column.
    """
    phrase = BY_COLUMN[metric].phrase
    does = f"{phrase.does} {phrase.first}"
    tied = [place.model for place in places if place.best == 1]
    if len(tied) > 1:
        pair = _between(comparisons, tied[0], tied[1])
        why = f": {in_words(pair, None, client_lag_ms)}" if pair else ""
        among = "" if len(tied) == 2 and len(places) == 2 else f" among {listed(tied)}"
        return f"It is not certain which model {does}{among}{why}."
    leader = places[0]
    pair = _between(comparisons, leader.model, places[1].model)
    if pair is None or pair.winner is None:
        return f"{leader.model} most likely {does}, but not every difference to the others is significant."
    others = "both others" if len(places) == 3 else f"all {len(places) - 1} others"
    rest = f", and is significantly better than {others}" if len(places) > 2 and leader.worst == 1 else ""
    return f"{in_words(pair, None, client_lag_ms)}{rest}."


def _between(comparisons: Sequence[Comparison], one: str, other: str) -> Comparison | None:
    """Returns the comparison of two models, given in either order; None if there is none."""
    return next((each for each in comparisons if {each.a, each.b} == {one, other}), None)


def _settle(comparison: Comparison) -> str:
    change = percent(comparison.change)
    if comparison.prompts < MIN_PROMPTS:
        have = "has" if comparison.prompts == 1 else "have"
        return f": {counted(comparison.prompts, 'prompt')} {have} an answer from both, but {MIN_PROMPTS} are needed"
    if comparison.more is None:
        return ""
    if comparison.more == 0:
        return f"; a difference of {change} would most likely have been found"
    return f"; a difference of {change} needs about {_about(comparison.more)} more requests to be found"


def _about(count: int) -> str:
    """Returns the count as text, from 100 on rounded to two digits (`140`, `1,300`): a plan is no more exact.

    Smaller counts are exact, and even: one request for each of the two models.
    """
    return rounded(count, 2 - len(str(count))) if count >= 100 else str(count)


def _other(comparison: Comparison, winner: str) -> tuple[str, int]:
    if winner == comparison.a:
        return comparison.b, comparison.won.k
    return comparison.a, comparison.lost.k


def _plain(comparison: Comparison) -> Phrase:
    return Phrase("has", "less" if comparison.better == "lower" else "more")
