"""What became of a run's conversations, told from its records and header alone. Pure.

On the way: records -> sessions -> resume, summary and parts. A turn that failed ended its conversation; one that was
answered may have too, where the next turn cannot go on from it; else whoever ran the run stopped it in between.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streambench.breakers import Rules, refused_key
from streambench.health import judge
from streambench.records import AttemptRecord, RunHeader, final_attempts
from streambench.retries import RetryPolicy
from streambench.tool_calls import TOO_LONG
from streambench.turns import TurnFacts, halted

CUT = "cancelled"
_TEXT = "cx"
"""Kinds of chunks that a history has the text of: content, refusals."""


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation of one model. `records` has the last attempt of each turn that was sent, in order."""

    id: str
    model: str
    prompt_id: str
    turns: int
    """As planned."""
    records: tuple[AttemptRecord, ...]
    ended: str | None
    """Why it ended at its last record; None where it came to its end, or was cut by the end of the run."""

    @property
    def unsent(self) -> int:
        """Turns that were not sent because it had ended."""
        return self.turns - len(self.records) if self.ended else 0

    @property
    def cut(self) -> bool:
        """Neither whole nor ended: a resumed run sends it again."""
        return not self.ended and (len(self.records) < self.turns or judge(self.records[-1]) != "ok")


@dataclass(frozen=True, slots=True)
class Ends:
    """Sessions of one model that ended alike. `turn` counts from 1; `unsent` are the turns that they left, together."""

    model: str
    turn: int
    reason: str
    sessions: int
    unsent: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a run's sessions. Those `cut` by the end of the run are sent again by a resumption."""

    begun: int
    whole: int
    cut: int
    ended: tuple[Ends, ...]
    """Most sessions first."""


def counts_of(sessions: Sequence[Session]) -> Counts:
    found: Counter[tuple[str, int, str]] = Counter()
    unsent: Counter[tuple[str, int, str]] = Counter()
    for each in sessions:
        if each.ended is not None:
            key = (each.model, len(each.records), each.ended)
            found[key] += 1
            unsent[key] += each.unsent
    cut = sum(each.cut for each in sessions)
    ended = tuple(Ends(*key, count, unsent[key]) for key, count in found.most_common())
    return Counts(len(sessions), len(sessions) - cut - found.total(), cut, ended)


def sessions_of(records: Iterable[AttemptRecord], header: RunHeader) -> list[Session]:
    """The measured conversations, in the order in which they were first recorded."""
    groups: defaultdict[str, list[AttemptRecord]] = defaultdict(list)
    turns = (record for record in records if record.ticket.session_id is not None and record.ticket.phase == "measure")
    for record in final_attempts(turns):
        groups[record.ticket.session_id or ""].append(record)
    catalogue, is_open = header.suite.get("catalogue") or {}, _is_open(header)
    return [
        _session(name, group, facts_in(catalogue.get(group[0].ticket.prompt_id)), is_open)
        for name, group in groups.items()
    ]


def _is_open(header: RunHeader) -> Callable[[AttemptRecord], bool]:
    """Whether a resumption sends this request again, the last attempt of which failed: another was to follow, or its
    key was refused.
    """
    retry, breakers = (_mapping(header.config.get(key)) for key in ("retry", "breakers"))
    usual = RetryPolicy()
    policy = RetryPolicy(
        attempts=retry.get("attempts", usual.attempts),
        on=frozenset(retry.get("on", usual.on)),
        statuses=frozenset(retry.get("statuses", usual.statuses)),
        max_retry_after_s=retry.get("max_retry_after", usual.max_retry_after_s),
        phases=frozenset(retry.get("phases", usual.phases)),
    )
    changed = header.resumed[-1].changed if header.resumed else {}
    rules = Rules(key_refused=changed.get("breakers.key_refused", breakers.get("key_refused", True)))

    def judged(record: AttemptRecord) -> bool:
        if refused_key(rules, record, None) is not None:
            return True
        return policy.after(record, judge(record), draw=0.5).wait_s is not None

    return judged


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def facts_in(entry: object) -> tuple[TurnFacts, ...]:
    """The turns' facts in a prompt's entry of the header's catalogue; none where it has no turns, or no known ones."""
    plain = entry.get("turns") if isinstance(entry, dict) else None
    try:
        return tuple(TurnFacts(**{**each, "answers": tuple(each["answers"])}) for each in plain or ())
    except (TypeError, KeyError):
        return ()


def ended_by(record: AttemptRecord, turns: Sequence[TurnFacts]) -> str | None:
    """Why the conversation ended with this record, the last attempt of its turn; None where it did not.

    A request that we broke off ourselves ends nothing: it says nothing of the model.
    """
    outcome, turn = judge(record), record.ticket.turn
    if outcome != "ok":
        return None if outcome == CUT else outcome
    if turn + 1 >= len(turns):
        return None
    spoke = any(kind in _TEXT for kind in record.timeline.kind)
    return halted(_called(record), turns[turn], turns[turn + 1], spoke=spoke)


def _called(record: AttemptRecord) -> list[str | None] | None:
    """The functions that the first choice called, as the conversation goes on from it; None where one was too long. A
    name that was hidden is none that the next turn has a result for: those never are.
    """
    mine = [call for call in record.tool_calls if call.choice == record.tool_calls[0].choice]
    return None if any(call.why == TOO_LONG for call in mine) else [call.name for call in mine]


def _session(
    name: str, group: Sequence[AttemptRecord], turns: Sequence[TurnFacts], is_open: Callable[[AttemptRecord], bool]
) -> Session:
    records = tuple(sorted(group, key=lambda record: record.ticket.turn))
    last = records[-1]
    planned = len(turns) or len(records)
    ended = None if is_open(last) else ended_by(last, turns)
    return Session(name, last.ticket.model, last.ticket.prompt_id, planned, records, ended)
