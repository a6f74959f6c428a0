"""How a conversation grows: TTFT from its first turn to its last, what the prompt cache held, which ended early.

Of each conversation the first and the last turn are a pair, so that only what changes between the two counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite, nan
from statistics import median
from typing import TYPE_CHECKING

from streambench.health import judge
from streambench.metrics import NS_PER_MS, first_arrival_ns
from streambench.parts.part import Part
from streambench.records import GENERATED, AttemptRecord
from streambench.sessions import Counts, Session, counts_of, sessions_of
from streambench.stats import MIN_PROMPTS, Comparison, compare, pair, shown
from streambench.words import of_many

if TYPE_CHECKING:
    from streambench.results import Run

ENDS_TOLD = 4
"""Ways in which conversations ended that are told, most frequent first."""
FEWEST = 5
"""Later turns that found the cache, and that missed it, for a median of each."""


def conversations(run: Run, names: Mapping[str, str]) -> Iterator[Part]:
    """Nothing for a run without conversations."""
    sessions = sessions_of(run.records, run.header)
    if not sessions:
        return
    by_model = {model: [each for each in sessions if each.model == model] for model in names}
    grown = tuple(_growth(names[model], found) for model, found in by_model.items() if found)
    yield Part("From the first turn to the last", points=grown)
    cached = tuple(_cache(names[model], found) for model, found in by_model.items() if found)
    yield Part("Prompt cache", points=cached)
    if told := " ".join(_ends(counts_of(sessions), names)):
        yield Part("Sessions that ended early", told)


# --- how it grows


def _growth(name: str, sessions: Sequence[Session]) -> str:
    """In brackets the 95 % interval, where there are prompts enough for one."""
    whole = [each.records for each in sessions if _whole(each)]
    pairs = [(records[0], records[-1]) for records in whole]
    if not pairs:
        return f"{name}: no session of two turns or more came to its end."
    firsts, lasts = ([_ttft_ms(each[place]) for each in pairs] for place in (0, 1))
    found = compare(pair(lasts, firsts, [first.ticket.prompt_id for first, _ in pairs], ("last", "first")), "ttft_ms")
    levels = f"median {_ms(firsts)} at the first turn, {_ms(lasts)} at the last"
    return f"{name}: {_rise(found)} ({levels}; {of_many(len(pairs), 'session')}{_input(pairs)})."


def _rise(found: Comparison) -> str:
    estimate = found.difference
    size = shown(estimate, "ms")
    if estimate.low is None or estimate.high is None:
        return f"TTFT changed by {size} (no interval: that takes {MIN_PROMPTS} prompts, here are {found.prompts})"
    if estimate.low > 0:
        return f"TTFT rose by {size}"
    if estimate.high < 0:
        return f"TTFT fell, it changed by {size}"
    return f"no change of TTFT can be shown, {size}"


def _input(pairs: Sequence[tuple[AttemptRecord, AttemptRecord]]) -> str:
    ends = [[_tokens(each[place], "input") for each in pairs] for place in (0, 1)]
    first, last = ([value for value in end if value is not None] for end in ends)
    if not first or not last:
        return "; input tokens unknown"
    return f"; input {median(first):,.0f} tokens at the first, {median(last):,.0f} at the last"


def _whole(session: Session) -> bool:
    records = session.records
    fine = len(records) == session.turns > 1 and all(judge(record) == "ok" for record in records)
    return fine and all(isfinite(_ttft_ms(record)) for record in (records[0], records[-1]))


# --- what the cache held


def _cache(name: str, sessions: Sequence[Session]) -> str:
    shares = _shares(sessions)
    if not shares:
        return f"{name} states no cached tokens, so whether a cache helps is unknown."
    if not any(shares.values()):
        return f"{name}: no input came from a cache at any turn."
    last = max(shares)
    turns = [turn for turn in dict.fromkeys((0, 1, last)) if turn in shares]
    told = ", ".join(f"{100 * shares[turn]:.0f} % at turn {turn + 1}" for turn in turns)
    return f"{name}: of the input {told} came from the cache. {_gain(sessions)}"


def _shares(sessions: Iterable[Session]) -> dict[int, float]:
    """By turn, of the answers that state both counts."""
    cached: Counter[int] = Counter()
    total: Counter[int] = Counter()
    for record in _answered(sessions):
        some, every = _tokens(record, "cached"), _tokens(record, "input")
        if some is not None and every:
            cached[record.ticket.turn] += some
            total[record.ticket.turn] += every
    return {turn: cached[turn] / total[turn] for turn in sorted(total)}


def _gain(sessions: Sequence[Session]) -> str:
    """Later turns that found something against those that did not, each above the first turn of its conversation."""
    hits: list[float] = []
    misses: list[float] = []
    for session in sessions:
        first = _ttft_ms(session.records[0])
        for record in _answered([session]):
            cached, above = _tokens(record, "cached"), _ttft_ms(record) - first
            if record.ticket.turn and cached is not None and isfinite(above):
                (hits if cached else misses).append(above)
    if not misses:
        return "No later turn missed it, so what it saves cannot be told from this model by itself."
    if min(len(hits), len(misses)) < FEWEST:
        return (
            f"{len(hits)} later turns found something there and {len(misses)} did not: too few to tell what it saves."
        )
    less = median(misses) - median(hits)
    helps = f"it saves about {less:,.0f} ms" if less > 0 else "it saves nothing that can be seen"
    return (
        f"Later turns lay {median(hits):,.0f} ms above their session's first where they found something there "
        f"({len(hits)}), {median(misses):,.0f} ms where not ({len(misses)}): {helps}."
    )


# --- how it ended


def _ends(found: Counts, names: Mapping[str, str]) -> Iterator[str]:
    for each in found.ended[:ENDS_TOLD]:
        lost = f", {of_many(each.unsent, 'turn')} not sent" if each.unsent else ""
        told = f"{of_many(each.sessions, 'session')} ended at turn {each.turn} ({each.reason})"
        yield f"{names[each.model]}: {told}{lost}."
    if others := sum(each.sessions for each in found.ended[ENDS_TOLD:]):
        yield f"So did {of_many(others, 'other')}."
    if any(each.unsent for each in found.ended):
        yield "A turn that was not sent is neither answered nor failed."
    if found.cut:
        yield f"The end of the run cut {of_many(found.cut, 'session')}: streambench resume sends each again whole."


def _answered(sessions: Iterable[Session]) -> Iterator[AttemptRecord]:
    return (record for session in sessions for record in session.records if judge(record) == "ok")


def _ttft_ms(record: AttemptRecord) -> float:
    """Not a number where nobody knows it."""
    found = first_arrival_ns(record.timeline, GENERATED) if judge(record) == "ok" else None
    return nan if found is None else found / NS_PER_MS


def _tokens(record: AttemptRecord, which: str) -> int | None:
    found: int | None = getattr(record.usage, which, None)
    return found


def _ms(values: Iterable[float]) -> str:
    return f"{median(values):,.0f} ms"
