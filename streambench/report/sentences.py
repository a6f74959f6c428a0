"""The verdict in words: who starts first, who writes fastest, who breaks; how sure that is, and where it is open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streambench import stats
from streambench.findings import thresholds_of
from streambench.money import times_as_much, usd
from streambench.parts import Part
from streambench.records import RunHeader
from streambench.report.standings import STREAMED, Board, Row
from streambench.stats import Place
from streambench.words import TOLD, listed, of_many, percent

Line = Part
"""What every run is asked is told as what only some are."""


@dataclass(frozen=True, slots=True)
class _Words:
    question: str
    metric: str
    first: str
    """Of a model: `starts first`."""
    last: str
    unit: str


_WHOLE = {
    "ttft_ms": "Not ranked, as the first word of a whole answer comes with its last: {names}.",
    "output_tok_s": "Whole answers have no pace: {names}.",
}
_ORDERED = (
    _Words("First word", "ttft_ms", "starts first", "starts last", "ms"),
    _Words("Pace", "output_tok_s", "writes fastest", "writes slowest", "tok/s"),
    _Words("Whole answer", "e2e_ms", "ends first", "ends last", "ms"),
)


def headline(board: Board, header: RunHeader) -> tuple[Line, ...]:
    """The answers in order of what a reader asks first; also of a run that has nothing to answer."""
    if not board.requests:
        return (Line("Nothing measured", "No request was measured, so there is nothing to say of any model."),)
    return tuple(_lines(board, header))


def _lines(board: Board, header: RunHeader) -> Iterator[Line]:
    for words in _ORDERED if any(row.model.ok for row in board.rows) else _ORDERED[:1]:
        answer = _ordered(board, words)
        if words.metric == "output_tok_s":
            answer = f"{answer} {_stalls(board, header)}".strip()
        if answer:
            yield Line(words.question, answer)
    yield Line("Failures", _failures(board))
    cost = _cost(board)
    if cost:
        yield Line("Cost", cost)
    yield from gathered(board.parts)


def gathered(parts: Sequence[Line]) -> Iterator[Line]:
    """Questions that are put to one model each become one where they are many, with a point for each."""
    topics = Counter(part.topic for part in parts)
    told: set[str] = set()
    for part in parts:
        if not part.topic or topics[part.topic] <= TOLD:
            yield part
        elif part.topic not in told:
            told.add(part.topic)
            alike = [each for each in parts if each.topic == part.topic]
            heads = (each.question.removeprefix(f"{part.topic}, ") for each in alike)
            points = (f"{head}: {each.answer}" for head, each in zip(heads, alike, strict=True))
            yield Line(part.topic, points=tuple(points))


def _ordered(board: Board, words: _Words) -> str:
    places = board.places(words.metric)
    silent = _silent(board, words, places)
    if not places:
        return silent
    if len(places) == 1:
        return f"{_alone(board, words, places[0])}{f' {silent}' if silent else ''}"
    first = stats.leader_in_words(places, board.comparisons[words.metric], words.first, board.lag_ms)
    sentences = [first, _last(words, places), silent]
    return " ".join(sentence for sentence in sentences if sentence)


def _silent(board: Board, words: _Words, places: Sequence[Place]) -> str:
    """Models without a number here."""
    barred = board.unranked if words.metric in STREAMED else ()
    missing = [row.name for row in board.rows if row.name not in {place.model for place in places} | set(barred)]
    told = [_WHOLE[words.metric].format(names=listed(barred))] if barred else []
    if places and words.metric == "ttft_ms" and not any(map(_streams, board.rows)):
        told = ["Every answer came whole, so its first word came with its last."]
    return " ".join([*told, *([_missing(words, places, missing)] if missing else [])])


def _missing(words: _Words, places: Sequence[Place], missing: Sequence[str]) -> str:
    if not places and words.metric != "ttft_ms":
        return "Unknown: no answer came with the chunks and the token count that it takes."
    if not places:
        return "No model gave a whole answer, so no latency is known."
    return f"No number for {listed(missing)}."


def _alone(board: Board, words: _Words, place: Place) -> str:
    found = board.row(place.model).estimates[f"{words.metric}:p50"]
    number = stats.shown(found, words.unit, board.lag_ms if words.unit == "ms" else None)
    return f"{place.model}: {number} in the median, over {of_many(found.n, 'answer')}; no other model to compare with."


def _last(words: _Words, places: Sequence[Place]) -> str:
    last = [place.model for place in places if place.worst == len(places)]
    return f"{last[0]} {words.last}." if len(places) > 2 and len(last) == 1 else ""


def _stalls(board: Board, header: RunHeader) -> str:
    limit = f"{thresholds_of(header.config).stall_ms:g} ms"
    stalled = [(row, row.model.findings.get("stalled", 0)) for row in board.rows]
    told = [f"{row.name} in {count} of {row.model.requests} requests" for row, count in stalled if count]
    if told:
        return f"Pauses over {limit}: {listed(told)}."
    return f"No answer paused for more than {limit}." if any(map(_streams, board.rows)) else ""


def _streams(row: Row) -> bool:
    """Whether a pause could have been seen."""
    return row.model.ok > 0 and not row.facts.whole


def _failures(board: Board) -> str:
    asked = sum(row.asked for row in board.rows)
    failed = sorted((row for row in board.rows if row.failed), key=lambda row: -row.failed / row.asked)
    if not failed:
        known = stats.share(0, asked)
        at_most = f" (their true share may still be up to {percent(known.high)})" if known.high else ""
        every = "the only measured request" if asked == 1 else f"all {asked:,} measured requests"
        return f"None: {every} ended well{at_most}." if asked else "None was asked."
    told = listed([_broke(row) for row in failed], 3)
    others = [row for row in board.rows if row.asked and not row.failed]
    rest = f" {of_many(len(others), 'other model')} had none." if others else ""
    counts = {row.name: (row.failed, row.asked) for row in board.rows}
    uneven = stats.uneven_failures(counts)
    alike = len({row.failed / row.asked for row in board.rows if row.asked}) < 2
    chance = "" if uneven or alike else " That the models differ in this may be chance."
    sure = " That is no chance: the models differ." if uneven else ""
    return f"{told}.{rest}{sure}{chance}"


def _broke(row: Row) -> str:
    found = stats.share(row.failed, row.asked)
    worst = max(
        (name for name in row.model.outcomes if name not in ("ok", "cancelled")), key=lambda n: row.model.outcomes[n]
    )
    ends = stats.share_interval(found)
    return f"{row.name} broke {row.failed} of {row.asked} requests ({percent(found.value)}, {ends}; most: {worst})"


def _cost(board: Board) -> str:
    """For what a request took on average, over those whose cost is known."""
    costs = {row.name: row.model.cost_usd for row in board.rows}
    known = [(cost.per_request, name) for name, cost in costs.items() if cost.per_request is not None]
    if len(known) < 2:
        return ""
    (low, cheapest), (high, dearest) = min(known), max(known)
    times = times_as_much(low, high)
    stated = [name for _, name in known if costs[name].by == "gateway"]
    by = "as the gateway states it" if len(stated) == len(known) else "by the prices of the config"
    but = f" ({listed(stated)} as the gateway states it)" if 0 < len(stated) < len(known) else ""
    return (
        f"A request took {usd(low)} USD of {cheapest} on average, the least, and {usd(high)} USD of {dearest}{times}; "
        f"{by}{but}, at the lengths that were answered, failed attempts included."
    )
