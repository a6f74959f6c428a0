"""Determines how each conversation of a run ended, from its measured requests and its header. Pure.

`resume`, the summary and the insights use it. A failed turn ends its conversation. An answered turn also ends it if
the next turn cannot continue from the answer. An incomplete conversation that did not end was cut by the run's end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from streambench.analysis.measured import MeasuredRequest
from streambench.config.sections import Breakers, Retry
from streambench.metrics.outcomes import Outcome
from streambench.records.schema import AttemptRecord, RunHeader
from streambench.runner.breakers import refused_key
from streambench.runner.retry import decide
from streambench.workload.conversation import TOO_LONG
from streambench.workload.turns import TurnFacts, halted

CUT = "cancelled"
_TEXT = "cx"
"""Kinds of chunks whose text goes into the conversation's history: content and refusals."""


@dataclass(frozen=True, slots=True)
class ConversationRequests:
    """One conversation of one model. `requests` holds a request for each turn that was sent, in order of turns."""

    id: str
    model: str
    prompt_id: str
    turns: int
    """Number of planned turns."""
    requests: tuple[MeasuredRequest, ...]
    ended: str | None
    """Why the conversation ended early, at its last request; None if it is whole or was cut by the end of the run."""

    @property
    def unsent(self) -> int:
        """Number of turns that were not sent because the conversation had ended."""
        return self.turns - len(self.requests) if self.ended else 0

    @property
    def cut(self) -> bool:
        """True if the conversation is incomplete and did not end by itself: a resumed run sends it again."""
        return not self.ended and (len(self.requests) < self.turns or not self.requests[-1].ok)


@dataclass(frozen=True, slots=True)
class ConversationEnds:
    """Sessions of one model that ended at the same turn for the same reason.

    `turn` counts from 1; `unsent` is the total number of turns that these sessions did not send.
    """

    model: str
    turn: int
    reason: str
    sessions: int
    unsent: int


@dataclass(frozen=True, slots=True)
class ConversationCounts:
    """Numbers of a run's sessions by how they ended. A resumed run sends the `cut` ones again."""

    begun: int
    whole: int
    cut: int
    ended: tuple[ConversationEnds, ...]
    """Sorted by number of sessions, largest first."""


def counts_of(sessions: Sequence[ConversationRequests]) -> ConversationCounts:
    """Returns how many sessions are whole, cut, or ended early, and where and why they ended."""
    found: Counter[tuple[str, int, str]] = Counter()
    unsent: Counter[tuple[str, int, str]] = Counter()
    for each in sessions:
        if each.ended is not None:
            key = (each.model, len(each.requests), each.ended)
            found[key] += 1
            unsent[key] += each.unsent
    cut = sum(each.cut for each in sessions)
    ended = tuple(ConversationEnds(*key, count, unsent[key]) for key, count in found.most_common())
    return ConversationCounts(len(sessions), len(sessions) - cut - found.total(), cut, ended)


def sessions_of(measured: Iterable[MeasuredRequest], header: RunHeader) -> list[ConversationRequests]:
    """Returns the conversations of a run's measured requests, in the order in which they were first recorded."""
    groups: defaultdict[str, list[MeasuredRequest]] = defaultdict(list)
    for request in measured:
        if request.ticket.session_id is not None:
            groups[request.ticket.session_id].append(request)
    catalogue, is_open = header.suite.get("catalogue") or {}, _is_open(header)
    return [
        _session(name, group, facts_in(catalogue.get(group[0].ticket.prompt_id)), is_open)
        for name, group in groups.items()
    ]


def _is_open(header: RunHeader) -> Callable[[MeasuredRequest], bool]:
    """Returns a function that is True for a request that a resumed run sends again.

    That is the case if a retry was still due, or if the gateway refused the API key and that stops the run.
    """
    retry, breakers = (_mapping(header.config.get(key)) for key in ("retry", "breakers"))
    policy = Retry(**{one.name: retry[one.name] for one in fields(Retry) if one.name in retry})
    changed = header.resumed[-1].changed if header.resumed else {}
    rules = Breakers(key_refused=changed.get("breakers.key_refused", breakers.get("key_refused", True)))

    def judged(request: MeasuredRequest) -> bool:
        if refused_key(rules, request.record, None) is not None:
            return True
        return decide(policy, request.record, request.outcome, draw=0.5).wait_s is not None

    return judged


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def facts_in(entry: object) -> tuple[TurnFacts, ...]:
    """Returns the facts of each turn from a prompt's entry in the header's catalogue.

    Returns () if the entry has no turns, or if their fields are unknown to this version.
    """
    plain = entry.get("turns") if isinstance(entry, dict) else None
    try:
        return tuple(TurnFacts(**{**each, "answers": tuple(each["answers"])}) for each in plain or ())
    except (TypeError, KeyError):
        return ()


def ended_by(record: AttemptRecord, outcome: Outcome, turns: Sequence[TurnFacts]) -> str | None:
    """Returns why the conversation ended at this record, the last attempt of its turn; None if it did not end there.

    A cancelled request does not end a conversation, because this client cancelled it, not the model.
    """
    turn = record.ticket.turn
    if outcome != "ok":
        return None if outcome == CUT else outcome
    if turn + 1 >= len(turns):
        return None
    spoke = any(kind in _TEXT for kind in record.timeline.kind)
    return halted(_called(record), turns[turn], turns[turn + 1], spoke=spoke)


def _called(record: AttemptRecord) -> list[str | None] | None:
    """Returns the names of the functions called by the first choice; None if a call was too long to keep.

    The conversation continues from the first choice. Names masked in the record never match the next turn's results,
    because functions that the next turn answers are never masked.
    """
    mine = [call for call in record.tool_calls if call.choice == record.tool_calls[0].choice]
    return None if any(call.why == TOO_LONG for call in mine) else [call.name for call in mine]


def _session(
    name: str, group: Sequence[MeasuredRequest], turns: Sequence[TurnFacts], is_open: Callable[[MeasuredRequest], bool]
) -> ConversationRequests:
    requests = tuple(sorted(group, key=lambda request: request.ticket.turn))
    last = requests[-1]
    planned = len(turns) or len(requests)
    ended = None if is_open(last) else ended_by(last.record, last.outcome, turns)
    return ConversationRequests(name, last.ticket.model, last.ticket.prompt_id, planned, requests, ended)
