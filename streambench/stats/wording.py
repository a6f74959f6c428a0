"""A comparison as a sentence, with the verb that fits its metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streambench.stats.paired import Comparison
from streambench.stats.printing import between, digits, rounded
from streambench.stats.ranking import Place
from streambench.stats.signed_rank import MIN_PROMPTS
from streambench.words import listed, of_count


@dataclass(frozen=True, slots=True)
class Phrase:
    """`does` and `how`, around the number: "starts 212 ms sooner than", "writes 12 tok/s faster than"."""

    unit: str
    does: str
    how: str


PHRASES: Mapping[str, Phrase] = {
    "ttfb_ms": Phrase("ms", "sends its first byte", "sooner"),
    "ttfc_ms": Phrase("ms", "sends its first chunk", "sooner"),
    "ttft_ms": Phrase("ms", "starts", "sooner"),
    "ttft_with_retries_ms": Phrase("ms", "starts", "sooner, retries included,"),
    "ttfa_ms": Phrase("ms", "starts its answer", "sooner"),
    "thinking_ms": Phrase("ms", "thinks", "less"),
    "tool_name_ms": Phrase("ms", "names its call", "sooner"),
    "tool_call_ms": Phrase("ms", "has its calls complete", "sooner"),
    "json_ms": Phrase("ms", "has its JSON complete", "sooner"),
    "chunk_gap_ms": Phrase("ms", "keeps a", "shorter gap"),
    "longest_gap_ms": Phrase("ms", "keeps a", "shorter longest gap"),
    "tpot_ms": Phrase("ms", "takes", "less for a token"),
    "output_tok_s": Phrase("tok/s", "writes", "faster"),
    "e2e_ms": Phrase("ms", "ends", "sooner"),
    "stream_end_ms": Phrase("ms", "closes its stream", "sooner"),
    "response_time_ms": Phrase("ms", "ends", "sooner, waiting included,"),
    "start_lag_ms": Phrase("ms", "was sent", "less late"),
    "queue_wait_ms": Phrase("ms", "waited", "less"),
    "connect_ms": Phrase("ms", "connects", "quicker"),
    "client_lag_ms": Phrase("ms", "was timed", "more closely"),
}
"""By column; another one is "has 3 less" or "more"."""


def in_words(comparison: Comparison, metric: str | None = None, client_lag_ms: float | None = None) -> str:
    """One sentence: who is better, by how much, on how many prompts; or that nothing can be shown, and what it takes.

    `metric` is the column whose verb is used; the comparison's own without it. Model names come as they are: whoever
    prints them makes them inert.
    """
    winner = comparison.winner
    if winner is None:
        return f"no difference can be shown between {comparison.a} and {comparison.b}{_settle(comparison)}"
    loser, won = _other(comparison, winner)
    phrase = PHRASES.get(metric or comparison.metric) or _plain(comparison)
    low, high = sorted(abs(end) for end in (comparison.difference.low, comparison.difference.high) if end is not None)
    size = abs(comparison.difference.value or 0.0)
    places = digits(size, low, high, client_lag_ms if phrase.unit == "ms" else None)
    number = f"{rounded(size, places)} {phrase.unit}".rstrip()
    interval = f"(95 % interval {between(low, high, places)})"
    prompts = f"on {won} of {comparison.prompts} prompts"
    return f"{winner} {phrase.does} {number} {phrase.how} than {loser} {interval}, {prompts}"


def leader_in_words(
    places: Sequence[Place], comparisons: Sequence[Comparison], does: str, client_lag_ms: float | None = None
) -> str:
    """One sentence on two models or more: who `does` ("starts first"), how surely, or that it cannot be told."""
    tied = [place.model for place in places if place.best == 1]
    if len(tied) > 1:
        pair = _between(comparisons, tied[0], tied[1])
        why = f": {in_words(pair, None, client_lag_ms)}" if pair else ""
        among = "" if len(tied) == 2 and len(places) == 2 else f" among {listed(tied)}"
        return f"It cannot be told who {does}{among}{why}."
    leader = places[0]
    pair = _between(comparisons, leader.model, places[1].model)
    if pair is None or pair.winner is None:
        return f"{leader.model} most likely {does}, but is not told apart from every other."
    others = "both others" if len(places) == 3 else f"all {len(places) - 1} others"
    rest = f", and is surely ahead of {others}" if len(places) > 2 and leader.worst == 1 else ""
    return f"{in_words(pair, None, client_lag_ms)}{rest}."


def _between(comparisons: Sequence[Comparison], one: str, other: str) -> Comparison | None:
    """The comparison of the two, whichever was named first."""
    return next((each for each in comparisons if {each.a, each.b} == {one, other}), None)


def _settle(comparison: Comparison) -> str:
    change = f"{comparison.change:.0%}".replace("%", " %")
    if comparison.prompts < MIN_PROMPTS:
        have = "has" if comparison.prompts == 1 else "have"
        return f": {of_count(comparison.prompts, 'prompt')} {have} an answer from both, and it takes {MIN_PROMPTS}"
    if comparison.more is None:
        return ""
    if comparison.more == 0:
        return f"; one of {change} would most likely have shown"
    return f"; about {_about(comparison.more)} more requests would settle {change}"


def _about(count: int) -> str:
    """Two digits: `140`, `1,300`; a plan is no more exact than that. Small ones are even, a request for each."""
    return rounded(count, 2 - len(str(count))) if count >= 100 else str(count)


def _other(comparison: Comparison, winner: str) -> tuple[str, int]:
    if winner == comparison.a:
        return comparison.b, comparison.won.k
    return comparison.a, comparison.lost.k


def _plain(comparison: Comparison) -> Phrase:
    return Phrase("", "has", "less" if comparison.better == "lower" else "more")
