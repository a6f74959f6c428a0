"""The verdict in sentences: order of models by TTFT, output speed and E2E with its certainty, failures, and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streambench.analysis.insights.insight import Insight
from streambench.analysis.leaderboard import STREAMED, Leaderboard, LeaderboardRow
from streambench.analysis.stats.diagnostics import uneven_failures
from streambench.analysis.stats.estimates import share
from streambench.analysis.stats.number_format import share_interval, shown
from streambench.analysis.stats.paired import Rank
from streambench.analysis.stats.wording import leader_in_words
from streambench.metrics.cost import times_as_much, usd
from streambench.metrics.definitions import BY_COLUMN, Phrase
from streambench.metrics.findings import thresholds_of
from streambench.records.schema import RunHeader
from streambench.text import TOLD, count, counted, listed, percent

Line = Insight
"""One question of the verdict and its answer: the same type as the insights that only some runs have."""


@dataclass(frozen=True, slots=True)
class _HeadlineQuestion:
    """A question that a ranking by `metric`, a column, answers."""

    title: str
    metric: str
    not_streamed: str = ""
    """What is said of the models without streamed responses, if these are not ranked."""

    @property
    def unit(self) -> str:
        return BY_COLUMN[self.metric].unit

    @property
    def phrase(self) -> Phrase:
        return BY_COLUMN[self.metric].phrase


_ORDERED = (
    _HeadlineQuestion("First token", "ttft_ms", "Not ranked, as a non-streamed answer arrives all at once: {names}."),
    _HeadlineQuestion("Output speed", "output_tok_s", "Non-streamed answers have no output speed: {names}."),
    _HeadlineQuestion("End to end", "e2e_ms"),
)


def headline(board: Leaderboard, header: RunHeader) -> tuple[Line, ...]:
    """Returns the verdict, most important question first; one line that says so if no request was measured."""
    if not board.requests:
        return (Line("Nothing measured", "No request was measured, so there is no result for any model."),)
    return tuple(_lines(board, header))


def _lines(board: Leaderboard, header: RunHeader) -> Iterator[Line]:
    for question in _ORDERED if any(row.model.ok for row in board.rows) else _ORDERED[:1]:
        answer = _ordered(board, question)
        if question.metric == "output_tok_s":
            answer = f"{answer} {_stalls(board, header)}".strip()
        if answer:
            yield Line(question.title, answer)
    yield Line("Failures", _failures(board))
    cost = _cost(board)
    if cost:
        yield Line("Cost", cost)
    yield from gathered(board.parts)


def gathered(parts: Sequence[Line]) -> Iterator[Line]:
    """Merges the insights of one topic into one with a point for each, if there are more than TOLD of them."""
    topics = Counter(part.topic for part in parts)
    shown: set[str] = set()
    for part in parts:
        if not part.topic or topics[part.topic] <= TOLD:
            yield part
        elif part.topic not in shown:
            shown.add(part.topic)
            alike = [each for each in parts if each.topic == part.topic]
            heads = (each.question.removeprefix(f"{part.topic}, ") for each in alike)
            points = (f"{head}: {each.answer}" for head, each in zip(heads, alike, strict=True))
            yield Line(part.topic, points=tuple(points))


def _ordered(board: Leaderboard, question: _HeadlineQuestion) -> str:
    places = board.places(question.metric)
    silent = _silent(board, question, places)
    if not places:
        return silent
    if len(places) == 1:
        return f"{_alone(board, question, places[0])}{f' {silent}' if silent else ''}"
    first = leader_in_words(places, board.comparisons[question.metric], question.metric, board.lag_ms)
    sentences = [first, _last(question, places), silent]
    return " ".join(sentence for sentence in sentences if sentence)


def _silent(board: Leaderboard, question: _HeadlineQuestion, places: Sequence[Rank]) -> str:
    """Returns sentences on the models that are not ranked by this metric and why; "" if there are none."""
    barred = board.unranked if question.metric in STREAMED else ()
    missing = [row.name for row in board.rows if row.name not in {place.model for place in places} | set(barred)]
    texts = [question.not_streamed.format(names=listed(barred))] if barred else []
    if places and question.metric == "ttft_ms" and not any(map(_streams, board.rows)):
        texts = ["No answer was streamed, so the first token arrived with the last."]
    return " ".join([*texts, *([_missing(question, places, missing)] if missing else [])])


def _missing(question: _HeadlineQuestion, places: Sequence[Rank], missing: Sequence[str]) -> str:
    if not places and question.metric != "ttft_ms":
        return "Unknown: no answer had the chunks and the token count that are needed."
    if not places:
        return "No model gave a complete answer, so no latency is known."
    return f"Unknown for {listed(missing)}."


def _alone(board: Leaderboard, question: _HeadlineQuestion, place: Rank) -> str:
    found = board.row(place.model).estimates[f"{question.metric}:p50"]
    number = shown(found, question.unit, board.lag_ms if question.unit == "ms" else None)
    return f"{place.model}: median {number} over {counted(found.n, 'answer')}; there is no other model to compare with."


def _last(question: _HeadlineQuestion, places: Sequence[Rank]) -> str:
    last = [place.model for place in places if place.worst == len(places)]
    return f"{last[0]} {question.phrase.does} {question.phrase.last}." if len(places) > 2 and len(last) == 1 else ""


def _stalls(board: Leaderboard, header: RunHeader) -> str:
    limit = f"{thresholds_of(header.config).stall_ms:g} ms"
    stalled = [(row, row.model.findings.get("stalled", 0)) for row in board.rows]
    texts = [f"{row.name} in {count} of {row.model.requests} requests" for row, count in stalled if count]
    if texts:
        return f"Pauses over {limit}: {listed(texts)}."
    return f"No answer paused for more than {limit}." if any(map(_streams, board.rows)) else ""


def _streams(row: LeaderboardRow) -> bool:
    """True if a pause could be observed: the model has `ok` requests that were streamed."""
    return row.model.ok > 0 and not row.facts.whole


def _failures(board: Leaderboard) -> str:
    asked = sum(row.asked for row in board.rows)
    failed = sorted((row for row in board.rows if row.failed), key=lambda row: -row.failed / row.asked)
    if not failed:
        known = share(0, asked)
        at_most = f" (the true failure rate may be up to {percent(known.high)})" if known.high else ""
        every = "the only measured request" if asked == 1 else f"all {count(asked)} measured requests"
        return f"None: {every} succeeded{at_most}." if asked else "Unknown: every measured request was cancelled."
    text = listed([_broke(row) for row in failed], 3)
    others = [row for row in board.rows if row.asked and not row.failed]
    rest = f" {counted(len(others), 'other model')} had none." if others else ""
    counts = {row.name: (row.failed, row.asked) for row in board.rows}
    uneven = uneven_failures(counts)
    alike = len({row.failed / row.asked for row in board.rows if row.asked}) < 2
    chance = "" if uneven or alike else " The difference between the models may be chance."
    sure = " The difference between the models is significant." if uneven else ""
    return f"{text}.{rest}{sure}{chance}"


def _broke(row: LeaderboardRow) -> str:
    found = share(row.failed, row.asked)
    worst = max(
        (name for name in row.model.outcomes if name not in ("ok", "cancelled")), key=lambda n: row.model.outcomes[n]
    )
    ends = share_interval(found)
    counts = f"{row.failed} of {row.asked} requests"
    return f"{row.name} failed in {counts} ({percent(found.value)}, {ends}; most often: {worst})"


def _cost(board: Leaderboard) -> str:
    """Compares models by mean cost per request, over requests with a known cost; "" if fewer than two have one."""
    costs = {row.name: row.model.cost_usd for row in board.rows}
    known = [(cost.per_request, name) for name, cost in costs.items() if cost.per_request is not None]
    if len(known) < 2:
        return ""
    (low, cheapest), (high, dearest) = min(known), max(known)
    times = times_as_much(low, high)
    stated = [name for _, name in known if costs[name].by == "gateway"]
    by = "as stated by the gateway" if len(stated) == len(known) else "by the config's prices"
    but = f" ({listed(stated)}: as stated by the gateway)" if 0 < len(stated) < len(known) else ""
    return (
        f"On average, a request cost {usd(low)} USD with {cheapest} (the lowest) and {usd(high)} USD with "
        f"{dearest}{times}; {by}{but}, for the answer lengths of this run, failed attempts included."
    )
