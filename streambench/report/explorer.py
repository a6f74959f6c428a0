"""Single requests for the page's explorer: all of a small run, of a large one a stated sample that holds the worst.

Plain lists and numbers for JSON; every text in it is inert and bounded, and its size does not grow with the run's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from streambench.findings import FINDINGS, Finding, findings, thresholds_of
from streambench.health import OUTCOMES, Outcome, evidence, judge
from streambench.metrics import METRICS
from streambench.records import GENERATED, AttemptRecord, RunHeader, Ticket, final_attempts
from streambench.report.names import safe

MOST = 1_000
"""Requests in the explorer."""
MARKS = 300
"""Chunks of one lane that are drawn; of more, an even sample with both ends of its longest gap."""
WORST_EACH = 8
"""Of a model's quota: the slowest by each of WORST_BY, and the first of each outcome that is not ok."""
WORST_BY = ("ttft", "longest_gap", "e2e")
SHOWN = ("ttft", "e2e", "output_tok_s", "longest_gap")
"""Metrics of one request, in the order in which its row has them."""
TENTHS = 100_000
"""Nanoseconds of a tenth of a millisecond, the unit of a lane."""
WORD_LIMIT = 300
STATIC = 10

_BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: its last attempt, what it came to, and its numbers by metric (None is unknown)."""

    record: AttemptRecord
    outcome: Outcome
    numbers: Mapping[str, float | None]


@dataclass(frozen=True)
class Explorer:
    """The picked requests in order of their seq, of `total` measured ones."""

    picked: tuple[Seen, ...]
    total: int
    told: str
    """Says which were picked."""
    worst: tuple[Seen, ...]
    """A few for a page without scripts: what failed, then the slowest."""


def explorer(records: Iterable[AttemptRecord]) -> Explorer:
    """Of the measured requests; warm-up is left out."""
    seen = [_seen(record) for record in final_attempts(r for r in records if r.ticket.phase == "measure")]
    by_model: dict[str, list[Seen]] = {}
    for one in seen:
        by_model.setdefault(one.record.ticket.model, []).append(one)
    if len(seen) <= MOST:
        picked, told = seen, f"all {len(seen):,} measured requests" if len(seen) != 1 else "the one measured request"
    else:
        quota = max(1, MOST // len(by_model))
        picked = [one for part in by_model.values() for one in _sample(part, quota)]
        told = (
            f"a sample of {len(picked):,} of the {len(seen):,} measured requests: of each model up to {quota:,}, among "
            f"them the {WORST_EACH} with the highest TTFT, E2E and longest gap, the first {WORST_EACH} of each outcome "
            "that is not ok, and an even sample of the rest, in order of their numbers"
        )
    picked = sorted(picked, key=lambda one: one.record.ticket.seq)
    return Explorer(tuple(picked), len(seen), told, tuple(_worst(seen)))


def _seen(record: AttemptRecord) -> Seen:
    return Seen(record, judge(record), {name: _BY_NAME[name].value(record) for name in SHOWN})


def _sample(part: Sequence[Seen], quota: int) -> list[Seen]:
    """Never more than `quota`; the worst come first."""
    kept: dict[int, Seen] = {}
    for one in (*_firsts_of_each(part), *_slowest(part)):
        if len(kept) < quota:
            kept[one.record.ticket.seq] = one
    rest = [one for one in part if one.record.ticket.seq not in kept]
    room = min(quota - len(kept), len(rest))
    return [*kept.values(), *(rest[place * len(rest) // room] for place in range(room))]


def _firsts_of_each(part: Sequence[Seen]) -> list[Seen]:
    found: dict[Outcome, list[Seen]] = {}
    for one in part:
        if one.outcome != "ok" and len(found.setdefault(one.outcome, [])) < WORST_EACH:
            found[one.outcome].append(one)
    return [one for group in found.values() for one in group]


def _slowest(part: Sequence[Seen]) -> list[Seen]:
    found: list[Seen] = []
    for name in WORST_BY:
        known = [one for one in part if one.outcome == "ok" and one.numbers[name] is not None]
        found += sorted(known, key=lambda one: -(one.numbers[name] or 0.0))[:WORST_EACH]
    return found


def _worst(seen: Sequence[Seen]) -> list[Seen]:
    failed = [one for one in seen if one.outcome != "ok"][: STATIC // 2]
    slow = sorted((one for one in seen if one.outcome == "ok"), key=lambda one: -(one.numbers["e2e"] or 0.0))
    return [*failed, *slow[: STATIC - len(failed)]]


# --- as JSON


def as_data(found: Explorer, header: RunHeader, names: Mapping[str, str], trace_url: str | None) -> dict[str, Any]:
    """What the page's script reads. `names` has each model's shown name; a request is a list: see `FIELDS`."""
    words, prompts = _Words(), _Words()
    models = list(names)
    outcomes = list(dict.fromkeys(one.outcome for one in found.picked))
    kinds = list(FINDINGS)
    thresholds = thresholds_of(header.config)
    rows = []
    for one in found.picked:
        told = findings(one.record, thresholds)
        rows.append(
            [
                one.record.ticket.seq,
                models.index(one.record.ticket.model),
                outcomes.index(one.outcome),
                prompts.place(_prompt(one.record.ticket)),
                one.record.ticket.repeat,
                one.record.attempt,
                [_short(one.numbers[name]) for name in SHOWN],
                [[kinds.index(each.name), words.place(_fact(each))] for each in told],
                words.place(safe(evidence(one.record, one.outcome), WORD_LIMIT)) if one.outcome != "ok" else -1,
                _trace(one.record),
                _phases(one.record),
                *_lane(one.record),
            ]
        )
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
    """Of a conversation with its turn, from 1."""
    return safe(ticket.prompt_id, 80) + (f", turn {ticket.turn + 1}" if ticket.session_id else "")


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
"""What the entries of a request are: indices into the lists beside, and the lane in tenths of a millisecond."""


class _Words:
    """Texts that many requests share, each once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        return self._places.setdefault(text, len(self._places))

    @property
    def texts(self) -> list[str]:
        return list(self._places)


def _fact(found: Finding) -> str:
    return safe(found.fact, WORD_LIMIT)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _trace(record: AttemptRecord) -> str:
    """Only what is a trace id: it goes into a link."""
    plain = record.trace_id.lower()
    return plain if len(plain) == 32 and set(plain) <= set("0123456789abcdef") else ""


def _phases(record: AttemptRecord) -> list[int | None]:
    """Queue before the start, then sent, headers, and the end, since the start; tenths of a millisecond."""
    times = (record.queue_ns, record.sent_ns, record.headers_ns, record.ended_ns)
    return [None if at is None else round(at / TENTHS) for at in times]


def _lane(record: AttemptRecord) -> tuple[str, list[int], int]:
    """Kinds, the time since the chunk before of each, and how many chunks there were."""
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
    """JSON that may stand inside a `<script>` element: no `<`, `>` or `&`, nothing but ASCII."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
