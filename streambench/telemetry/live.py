"""A run's spans and points while it goes on, made by a thread of their own from the records that end.

On the event loop a call only notes something down. The thread looks ten times a second, makes what is to be made and
lets go of the interpreter after each request, so that no chunk waits long for its stamp to be read.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from streambench.records import AttemptRecord, RunHeader, Ticket
from streambench.secrets import Secrets
from streambench.telemetry import names
from streambench.telemetry.about import About, about_run
from streambench.telemetry.content import content_of
from streambench.telemetry.facts import Attributes, LogFacts, SpanFacts, Value
from streambench.telemetry.observing import observed
from streambench.telemetry.points import Observation
from streambench.telemetry.settings import Settings
from streambench.telemetry.tree import request_spans

LOOK_S = 0.1
PAUSE_S = 0.0002
"""Between two pieces of work while the run goes on: whoever waits for the interpreter gets it."""
CROWDED = 0.75
"""From this share of the queue on, new requests wait."""
BEHIND = 4_096
"""So many requests that are over and have no spans yet are too many: making them takes some seconds."""
HOLD_NS = 50_000_000
"""How long they wait before they ask again."""

RequestKey = tuple[str, int]


class Outlet(Protocol):
    """Where spans and points go: a pipeline."""

    @property
    def pressure(self) -> float: ...

    def emit(self, span: SpanFacts) -> None: ...

    def log(self, log: LogFacts) -> None: ...

    def record(self, observation: Observation) -> None: ...

    def active(self, change: int, attributes: Attributes) -> None: ...


@dataclass(frozen=True, slots=True)
class Private:
    """What content needs, where the user asked for it."""

    prompts: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]
    """Messages by prompt id and turn."""
    secrets: Secrets


class Live:
    """Listens to one run. `open_outlet` is called once its header is there."""

    def __init__(
        self,
        settings: Settings,
        open_outlet: Callable[[RunHeader], Outlet],
        carrier: Callable[[str, str], Mapping[str, str]],
        private: Private | None = None,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._settings = settings
        self._open = open_outlet
        self._carrier = carrier
        self._private = private if settings.content != "NO_CONTENT" else None
        self._pause_s = pause_s
        self._outlet: Outlet | None = None
        self.about: About | None = None
        """Of the run, once its header is there."""
        self._groups: dict[RequestKey, list[AttemptRecord]] = {}
        self._over: deque[list[AttemptRecord]] = deque()
        self._changes: deque[tuple[str, int]] = deque()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streambench-telemetry", daemon=True)
        self.fault: str | None = None
        """The first error of ours, which cost spans but never the run."""

    # --- on the event loop

    @property
    def wants_text(self) -> bool:
        return self._private is not None

    def carrier(self, trace_id: str, span_id: str) -> Mapping[str, str]:
        return self._carrier(trace_id, span_id)

    def opened(self, header: RunHeader) -> None:
        self.about = about_run(header, self._settings.compat)
        self._outlet = self._open(header)
        self._thread.start()

    def begun(self, ticket: Ticket) -> None:
        self._changes.append((ticket.model, 1))

    def landed(self, ticket: Ticket) -> None:
        self._changes.append((ticket.model, -1))

    def attempt(self, record: AttemptRecord) -> None:
        self._groups.setdefault(_key(record), []).append(record)

    def over(self, record: AttemptRecord) -> None:
        self.over_key(_key(record))

    def over_key(self, key: RequestKey) -> None:
        """As `over`, where the record was handed over before."""
        group = self._groups.pop(key, None)
        if group:
            self._over.append(group)

    @property
    def pressure(self) -> float:
        """How near this is to falling behind for good: as the outlet's, or the share of BEHIND that waits here."""
        outlet = 0.0 if self._outlet is None else self._outlet.pressure
        return max(outlet, len(self._over) / BEHIND)

    def held_ns(self) -> int:
        return HOLD_NS if self.pressure > CROWDED else 0

    # --- after the run

    def finish(self, above: Iterable[SpanFacts], patience_s: float) -> int:
        """Makes what is left, and hands on the spans of the models and of the run. Waits `patience_s` at most.

        Returns for how many requests that was too short: they have no spans.
        """
        if self.about is None or self._outlet is None:
            return 0
        self._over.extend(self._groups.values())  # requests that were stopped before their next attempt
        self._groups = {}
        self._ending.set()
        self._thread.join(patience_s)
        left = self._give_up()
        for span in above:
            self._outlet.emit(span)
        return left

    def _give_up(self) -> int:
        """Takes from the thread, which may be at work yet, what it has not begun."""
        left = 0
        while self._next() is not None:
            left += 1
        return left

    # --- on the thread

    def _run(self) -> None:
        ending = False
        while not ending:
            ending = self._ending.wait(LOOK_S)
            try:
                self._count_active()
            except Exception as error:  # noqa: BLE001  # told at the end; a run is worth more than its spans
                self._note(error)
            while (group := self._next()) is not None:
                try:
                    self._tell(group)
                except Exception as error:  # noqa: BLE001  # see above
                    self._note(error)
                self._pause()

    def _next(self) -> list[AttemptRecord] | None:
        """None where there is none, as also when `finish` took them back."""
        with suppress(IndexError):
            return self._over.popleft()
        return None

    def _pause(self) -> None:
        if self._pause_s and not self._ending.is_set():
            self._ending.wait(self._pause_s)

    def _note(self, error: Exception) -> None:
        self.fault = self.fault or f"{type(error).__name__}: {error}"[:200]

    def _tell(self, group: list[AttemptRecord]) -> None:
        about, outlet = self.about, self._outlet
        if about is None or outlet is None:
            return
        content = self._content(group[-1])
        on_span = content if self._settings.content in ("SPAN_ONLY", "SPAN_AND_EVENT") else {}
        spans = request_spans(group, about, on_span)
        for span in spans:
            self._pause()
            outlet.emit(span)
        if content and self._settings.content in ("EVENT_ONLY", "SPAN_AND_EVENT"):
            request = spans[-1]
            told: dict[str, Value] = {**{name: request.attributes[name] for name in _ON_EVENT}, **content}
            outlet.log(LogFacts(names.CONTENT_EVENT, request.end_ns, request.id, told))
        if group[0].ticket.phase == "measure":
            self._pause()
            outlet.record(observed(group, about))

    def _content(self, record: AttemptRecord) -> dict[str, Value]:
        if self._private is None:
            return {}
        messages = self._private.prompts.get((record.ticket.prompt_id, record.ticket.turn), ())
        return content_of(messages, record, self._private.secrets)

    def _count_active(self) -> None:
        about, outlet = self.about, self._outlet
        sums: Counter[tuple[str, bool]] = Counter()  # starts and ends apart: both are told, also where they cancel out
        while self._changes:
            alias, change = self._changes.popleft()
            sums[alias, change > 0] += change
        if about is None or outlet is None:
            return
        for (alias, _), change in sums.items():
            model = about.models.get(alias)
            outlet.active(change, {**(model.common if model else {}), "streambench.model": alias})


_ON_EVENT = ("streambench.run.id", "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")


def _key(record: AttemptRecord) -> RequestKey:
    return record.ticket.phase, record.ticket.seq
