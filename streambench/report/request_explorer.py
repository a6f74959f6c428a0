"""Single requests for the page's explorer: all of a small run; of a large run a sample that contains the worst.

The result is lists and numbers for JSON. Every text is printable and bounded, and the size is bounded for any run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from streambench.analysis.measured import MeasuredRequest
from streambench.metrics.definitions import METRICS
from streambench.metrics.findings import FINDINGS, Finding
from streambench.metrics.outcomes import OUTCOMES, Outcome, evidence
from streambench.records.schema import GENERATED, AttemptRecord, Ticket
from streambench.text import count, for_html

MOST = 1_000
"""Requests in the explorer, at most."""
MARKS = 300
"""Chunks drawn for one request, at most; of more, an even sample that contains both ends of the longest gap."""
WORST_EACH = 8
"""Requests that a model's sample takes of each kind first: the slowest by each metric in WORST_BY, and the first of
each outcome that is not ok."""
WORST_BY = ("ttft", "longest_gap", "e2e")
SHOWN = ("ttft", "e2e", "output_tok_s", "longest_gap")
"""Metrics of one request, in the order of the explorer's columns."""
TENTHS = 100_000
"""Nanoseconds in a tenth of a millisecond, the unit of the drawn times."""
WORD_LIMIT = 300
STATIC = 10

_BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class ExploredRequest:
    """One request: its last attempt, its outcome, and its values by metric (None is unknown)."""

    request: MeasuredRequest
    numbers: Mapping[str, float | None]

    @property
    def record(self) -> AttemptRecord:
        return self.request.record

    @property
    def outcome(self) -> Outcome:
        return self.request.outcome


@dataclass(frozen=True)
class Explorer:
    """The picked requests in order of their seq, out of `total` measured requests."""

    picked: tuple[ExploredRequest, ...]
    total: int
    told: str
    """Says which were picked."""
    worst: tuple[ExploredRequest, ...]
    """At most STATIC requests for a page without scripts: failed ones, then the slowest."""


def explorer(requests: Iterable[MeasuredRequest]) -> Explorer:
    """Picks requests: all if there are at most MOST, else up to MOST // models of each model.

    `requests` are a run's measured requests, without warm-up.
    """
    seen = [_seen(request) for request in requests]
    by_model: dict[str, list[ExploredRequest]] = {}
    for one in seen:
        by_model.setdefault(one.record.ticket.model, []).append(one)
    if len(seen) <= MOST:
        picked = seen
        sample = f"all {count(len(seen))} measured requests" if len(seen) != 1 else "the one measured request"
    else:
        quota = max(1, MOST // len(by_model))
        picked = [one for part in by_model.values() for one in _sample(part, quota)]
        sample = (
            f"a sample of {count(len(picked))} of the {count(len(seen))} measured requests: up to {count(quota)} per "
            f"model, with the {WORST_EACH} of the highest TTFT, E2E and longest gap each, the first {WORST_EACH} of "
            "each outcome that is not ok, and an even sample of the rest, in order of their numbers"
        )
    picked = sorted(picked, key=lambda one: one.record.ticket.seq)
    return Explorer(tuple(picked), len(seen), sample, tuple(_worst(seen)))


def _seen(request: MeasuredRequest) -> ExploredRequest:
    return ExploredRequest(request, {name: request.value(_BY_NAME[name]) for name in SHOWN})


def _sample(part: Sequence[ExploredRequest], quota: int) -> list[ExploredRequest]:
    """Returns at most `quota` requests of one model: failed ones, the slowest, then an even sample of the rest."""
    kept: dict[int, ExploredRequest] = {}
    for one in (*_firsts_of_each(part), *_slowest(part)):
        if len(kept) < quota:
            kept[one.record.ticket.seq] = one
    rest = [one for one in part if one.record.ticket.seq not in kept]
    room = min(quota - len(kept), len(rest))
    return [*kept.values(), *(rest[place * len(rest) // room] for place in range(room))]


def _firsts_of_each(part: Sequence[ExploredRequest]) -> list[ExploredRequest]:
    found: dict[Outcome, list[ExploredRequest]] = {}
    for one in part:
        if one.outcome != "ok" and len(found.setdefault(one.outcome, [])) < WORST_EACH:
            found[one.outcome].append(one)
    return [one for group in found.values() for one in group]


def _slowest(part: Sequence[ExploredRequest]) -> list[ExploredRequest]:
    found: list[ExploredRequest] = []
    for name in WORST_BY:
        known = [one for one in part if one.outcome == "ok" and one.numbers[name] is not None]
        found += sorted(known, key=lambda one: -(one.numbers[name] or 0.0))[:WORST_EACH]
    return found


def _worst(seen: Sequence[ExploredRequest]) -> list[ExploredRequest]:
    failed = [one for one in seen if one.outcome != "ok"][: STATIC // 2]
    slow = sorted((one for one in seen if one.outcome == "ok"), key=lambda one: -(one.numbers["e2e"] or 0.0))
    return [*failed, *slow[: STATIC - len(failed)]]


# --- as JSON


def as_data(found: Explorer, names: Mapping[str, str], trace_url: str | None) -> dict[str, Any]:
    """Returns what the page's script reads. `names` maps models to shown names; a request is a list as in FIELDS."""
    words, prompts = _Words(), _Words()
    models = list(names)
    outcomes = list(dict.fromkeys(one.outcome for one in found.picked))
    kinds = list(FINDINGS)
    rows = [
        [
            one.record.ticket.seq,
            models.index(one.record.ticket.model),
            outcomes.index(one.outcome),
            prompts.place(_prompt(one.record.ticket)),
            one.record.ticket.repeat,
            one.record.attempt,
            [_short(one.numbers[name]) for name in SHOWN],
            [[kinds.index(each.name), words.place(_fact(each))] for each in one.request.findings],
            words.place(for_html(evidence(one.record, one.outcome), WORD_LIMIT)) if one.outcome != "ok" else -1,
            _trace(one.record),
            _phases(one.record),
            *_lane(one.record),
        ]
        for one in found.picked
    ]
    return {
        "fields": list(FIELDS),
        "models": [names[model] for model in models],
        "outcomes": outcomes,
        "meanings": [OUTCOMES[outcome] for outcome in outcomes],
        "findings": kinds,
        "prompts": prompts.texts,
        "words": words.texts,
        "trace_url": trace_url,
        "rows": rows,
    }


def _prompt(ticket: Ticket) -> str:
    """Returns the prompt's id, with the turn (from 1) if it is part of a conversation."""
    return for_html(ticket.prompt_id, 80) + (f", turn {ticket.turn + 1}" if ticket.session_id else "")


FIELDS = (
    "seq",
    "model",
    "outcome",
    "prompt",
    "repeat",
    "attempt",
    "numbers",
    "findings",
    "message",
    "trace",
    "phases",
    "kinds",
    "deltas",
    "chunks",
)
"""The entries of a request's list.

`model`, `outcome`, `prompt`, `findings` and `message` hold indices into the data's other lists; `message` is -1 for an
`ok` request. `phases` and `deltas` are in tenths of a millisecond, `numbers` in the metrics' units. `chunks` counts all
chunks; `kinds` and `deltas` hold those that are drawn.
"""


class _Words:
    """Collects texts that many requests share, each stored once and referred to by its index."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        return self._places.setdefault(text, len(self._places))

    @property
    def texts(self) -> list[str]:
        return list(self._places)


def _fact(found: Finding) -> str:
    return for_html(found.fact, WORD_LIMIT)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _trace(record: AttemptRecord) -> str:
    """Returns the trace id; "" if it is not 32 hexadecimal digits, as it becomes part of a link."""
    plain = record.trace_id.lower()
    return plain if len(plain) == 32 and set(plain) <= set("0123456789abcdef") else ""


def _phases(record: AttemptRecord) -> list[int | None]:
    """Returns the time in the queue, then sent, headers and end since the start, in tenths of a millisecond."""
    times = (record.queue_ns, record.sent_ns, record.headers_ns, record.ended_ns)
    return [None if at is None else round(at / TENTHS) for at in times]


def _lane(record: AttemptRecord) -> tuple[str, list[int], int]:
    """Returns the drawn chunks' kinds, each one's time since the one before, and the number of all chunks."""
    line = record.timeline
    places = _marked(line.offset_ns, line.kind)
    at = [round(line.offset_ns[place] / TENTHS) for place in places]
    deltas = [later - earlier for earlier, later in zip([0, *at], at, strict=False)]
    return "".join(line.kind[place] for place in places), deltas, len(line.kind)


def _marked(offset_ns: Sequence[int], kinds: str) -> list[int]:
    count = len(kinds)
    if count <= MARKS:
        return list(range(count))
    kept = {place * (count - 1) // (MARKS - 3) for place in range(MARKS - 2)}
    generated = [place for place, kind in enumerate(kinds) if kind in GENERATED]
    if len(generated) > 1:
        before, after = max(pairwise(generated), key=lambda pair: offset_ns[pair[1]] - offset_ns[pair[0]])
        kept |= {before, after}
    return sorted(kept)


def to_script(data: Any) -> str:
    """Returns ASCII JSON that is safe inside a `<script>` element: `<`, `>` and `&` are escaped.

    Raises ValueError if `data` contains NaN or infinity.
    """
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
