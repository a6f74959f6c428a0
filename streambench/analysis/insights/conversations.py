"""Insights on conversations: TTFT from the first turn to the last, prompt cache hits, conversations that ended early.

The first and the last turn of each conversation are compared as a pair, so that differences between prompts cancel out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite, nan
from statistics import median
from typing import TYPE_CHECKING

from streambench.analysis.conversations import ConversationCounts, ConversationRequests, counts_of, sessions_of
from streambench.analysis.insights.insight import Insight
from streambench.analysis.measured import MeasuredRequest
from streambench.analysis.stats.number_format import shown
from streambench.analysis.stats.paired import Comparison, compare, pair
from streambench.analysis.stats.signed_rank import MIN_PROMPTS
from streambench.metrics.definitions import BY_COLUMN, Metric
from streambench.text import counted, percent

if TYPE_CHECKING:
    from streambench.analysis.run import Run

ENDS_TOLD = 4
"""Largest number of listed ways in which conversations ended, most frequent first."""
_TTFT: Metric = BY_COLUMN["ttft_ms"]
FEWEST = 5
"""Fewest later turns with a cache hit, and fewest without one, for a comparison of their medians."""


def conversations(run: Run, names: Mapping[str, str]) -> Iterator[Insight]:
    """Yields the insights on conversations; none if the run has no conversations."""
    sessions = sessions_of(run.measured, run.header)
    if not sessions:
        return
    by_model = {model: [each for each in sessions if each.model == model] for model in names}
    grown = tuple(_growth(names[model], found) for model, found in by_model.items() if found)
    yield Insight("From the first turn to the last", points=grown)
    cached = tuple(_cache(names[model], found) for model, found in by_model.items() if found)
    yield Insight("Prompt cache", points=cached)
    if ends := " ".join(_ends(counts_of(sessions), names)):
        yield Insight("Sessions that ended early", ends)


# --- how it grows


def _growth(name: str, sessions: Sequence[ConversationRequests]) -> str:
    """Returns a sentence on the change of TTFT, with the 95 % interval in brackets if there are enough prompts."""
    whole = [each.requests for each in sessions if _whole(each)]
    pairs = [(requests[0], requests[-1]) for requests in whole]
    if not pairs:
        return f"{name}: no session of two or more turns was completed."
    firsts, lasts = ([_ttft_ms(each[place]) for each in pairs] for place in (0, 1))
    found = compare(pair(lasts, firsts, [first.ticket.prompt_id for first, _ in pairs], ("last", "first")), "ttft_ms")
    levels = f"median {_ms(firsts)} at the first turn, {_ms(lasts)} at the last"
    return f"{name}: {_rise(found)} ({levels}; {counted(len(pairs), 'session')}{_input(pairs)})."


def _rise(found: Comparison) -> str:
    estimate = found.difference
    size = shown(estimate, "ms")
    if estimate.low is None or estimate.high is None:
        return f"TTFT changed by {size} (no interval: it needs {MIN_PROMPTS} prompts, there are {found.prompts})"
    if estimate.low > 0:
        return f"TTFT rose by {size}"
    if estimate.high < 0:
        return f"TTFT fell: it changed by {size}"
    return f"no significant change of TTFT: {size}"


def _input(pairs: Sequence[tuple[MeasuredRequest, MeasuredRequest]]) -> str:
    ends = [[_tokens(each[place], "input") for each in pairs] for place in (0, 1)]
    first, last = ([value for value in end if value is not None] for end in ends)
    if not first or not last:
        return "; input tokens unknown"
    return f"; input {median(first):,.0f} tokens at the first, {median(last):,.0f} at the last"


def _whole(session: ConversationRequests) -> bool:
    requests = session.requests
    all_ok = len(requests) == session.turns > 1 and all(request.ok for request in requests)
    return all_ok and all(isfinite(_ttft_ms(request)) for request in (requests[0], requests[-1]))


# --- what the cache held


def _cache(name: str, sessions: Sequence[ConversationRequests]) -> str:
    shares = _shares(sessions)
    if not shares:
        return f"{name} reports no cached tokens, so it is unknown whether a cache helps."
    if not any(shares.values()):
        return f"{name}: no input came from a cache at any turn."
    last = max(shares)
    turns = [turn for turn in dict.fromkeys((0, 1, last)) if turn in shares]
    texts = ", ".join(f"{percent(shares[turn])} at turn {turn + 1}" for turn in turns)
    return f"{name}: share of the input that came from the cache: {texts}. {_gain(sessions)}"


def _shares(sessions: Iterable[ConversationRequests]) -> dict[int, float]:
    """Returns the share of cached input tokens by turn, over the responses that state both counts."""
    cached: Counter[int] = Counter()
    total: Counter[int] = Counter()
    for request in _answered(sessions):
        some, every = _tokens(request, "cached"), _tokens(request, "input")
        if some is not None and every:
            cached[request.ticket.turn] += some
            total[request.ticket.turn] += every
    return {turn: cached[turn] / total[turn] for turn in sorted(total)}


def _gain(sessions: Sequence[ConversationRequests]) -> str:
    """Compares the TTFT of later turns with and without cached tokens, relative to the conversation's first turn."""
    hits: list[float] = []
    misses: list[float] = []
    for session in sessions:
        first = _ttft_ms(session.requests[0])
        for request in _answered([session]):
            cached, above = _tokens(request, "cached"), _ttft_ms(request) - first
            if request.ticket.turn and cached is not None and isfinite(above):
                (hits if cached else misses).append(above)
    if not misses:
        return "No later turn missed the cache, so its saving cannot be estimated from this model alone."
    if min(len(hits), len(misses)) < FEWEST:
        return f"{len(hits)} later turns hit the cache and {len(misses)} missed it: too few to estimate what it saves."
    less = median(misses) - median(hits)
    helps = f"it saves about {less:,.0f} ms" if less > 0 else "no saving is visible"
    return (
        f"Later turns with a cache hit ({len(hits)}) had a median TTFT {median(hits):,.0f} ms above that of their "
        f"session's first turn, those without ({len(misses)}) {median(misses):,.0f} ms: {helps}."
    )


# --- how it ended


def _ends(found: ConversationCounts, names: Mapping[str, str]) -> Iterator[str]:
    for each in found.ended[:ENDS_TOLD]:
        lost = f", {counted(each.unsent, 'turn')} not sent" if each.unsent else ""
        text = f"{counted(each.sessions, 'session')} ended at turn {each.turn} ({each.reason})"
        yield f"{names[each.model]}: {text}{lost}."
    if others := sum(each.sessions for each in found.ended[ENDS_TOLD:]):
        yield f"{counted(others, 'other session')} also ended early."
    if any(each.unsent for each in found.ended):
        yield "A turn that was not sent counts neither as answered nor as failed."
    if found.cut:
        cut = counted(found.cut, "session")
        yield f"The end of the run cut off {cut}: `streambench resume` sends each of them again in full."


def _answered(sessions: Iterable[ConversationRequests]) -> Iterator[MeasuredRequest]:
    return (request for session in sessions for request in session.requests if request.ok)


def _ttft_ms(request: MeasuredRequest) -> float:
    """Returns TTFT in ms; NaN if it is unknown or the request is not `ok`."""
    found = request.value(_TTFT) if request.ok else None
    return nan if found is None else found


def _tokens(request: MeasuredRequest, which: str) -> int | None:
    found: int | None = getattr(request.record.usage, which, None)
    return found


def _ms(values: Iterable[float]) -> str:
    return f"{median(values):,.0f} ms"
