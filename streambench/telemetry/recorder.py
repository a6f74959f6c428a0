"""Creates spans and points during a run, in a thread, from the records of requests that have ended.

Calls on the event loop only store something. The thread looks for work ten times a second and pauses after each span
and request to release the GIL, so that no chunk waits long for its timestamp.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from streambench.records.schema import AttemptRecord, RunHeader, Ticket
from streambench.redaction import Secrets
from streambench.runner.observers import RunTelemetry
from streambench.telemetry import semconv
from streambench.telemetry.content import content_of
from streambench.telemetry.measurements import Observation, observed
from streambench.telemetry.request_spans import request_spans
from streambench.telemetry.run_context import RunContext, about_run
from streambench.telemetry.settings import TelemetrySettings
from streambench.telemetry.span_model import Attributes, LogFacts, SpanFacts, Value

LOOK_S = 0.1
PAUSE_S = 0.0002
"""The pause between two pieces of work during the run: a thread that waits for the GIL gets it."""
CROWDED = 0.75
"""Above this pressure, new requests wait."""
BEHIND = 4_096
"""If this many ended requests have no spans yet, the pressure is 1: creating the spans takes several seconds."""
HOLD_NS = 50_000_000
"""How long new requests wait before they check the pressure again, in nanoseconds."""

SpanKey = tuple[str, int]


class SpanSink(Protocol):
    """Takes spans and points: a pipeline."""

    @property
    def pressure(self) -> float: ...

    def emit(self, span: SpanFacts) -> None: ...

    def log(self, log: LogFacts) -> None: ...

    def record(self, observation: Observation) -> None: ...

    def active(self, change: int, attributes: Attributes) -> None: ...


@dataclass(frozen=True, slots=True)
class Private:
    """The data that exporting content needs, if the user asked for content."""

    prompts: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]
    """Messages by prompt id and turn."""
    secrets: Secrets


class Recorder(RunTelemetry):
    """Observes one run. `open_outlet` is called when the run's header is known."""

    def __init__(
        self,
        settings: TelemetrySettings,
        open_outlet: Callable[[RunHeader], SpanSink],
        carrier: Callable[[str, str], Mapping[str, str]],
        private: Private | None = None,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._settings = settings
        self._open = open_outlet
        self._carrier = carrier
        self._private = private if settings.content != "NO_CONTENT" else None
        self._pause_s = pause_s
        self._outlet: SpanSink | None = None
        self.about: RunContext | None = None
        """The run's context; None until its header is known."""
        self._groups: dict[SpanKey, list[AttemptRecord]] = {}
        self._over: deque[list[AttemptRecord]] = deque()
        self._changes: deque[tuple[str, int]] = deque()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streambench-telemetry", daemon=True)
        self.fault: str | None = None
        """The first internal error. It costs spans, but does not end the run."""

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

    def on_attempt_start(self, ticket: Ticket) -> None:
        self._changes.append((ticket.model, 1))

    def on_attempt_end(self, ticket: Ticket) -> None:
        self._changes.append((ticket.model, -1))

    def on_record(self, record: AttemptRecord) -> None:
        self._groups.setdefault(_key(record), []).append(record)

    def on_request_end(self, record: AttemptRecord) -> None:
        self.over_key(_key(record))

    def over_key(self, key: SpanKey) -> None:
        """Like `on_request_end`, for a key whose records were passed to `on_record`."""
        group = self._groups.pop(key, None)
        if group:
            self._over.append(group)

    @property
    def pressure(self) -> float:
        """The larger of the outlet's pressure and the share of BEHIND that the requests without spans make up."""
        outlet = 0.0 if self._outlet is None else self._outlet.pressure
        return max(outlet, len(self._over) / BEHIND)

    def held_ns(self) -> int:
        return HOLD_NS if self.pressure > CROWDED else 0

    # --- after the run

    def finish(self, above: Iterable[SpanFacts], patience_s: float) -> int:
        """Creates the spans that are left, then emits those of the models and of the run. Waits at most `patience_s`.

        Returns the number of requests that got no spans because time ran out.
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
        """Removes the requests that the thread, which may still be working, has not begun. Returns their number."""
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
            except Exception as error:  # noqa: BLE001  # reported at the end; must not end the run
                self._note(error)
            while (group := self._next()) is not None:
                try:
                    self._tell(group)
                except Exception as error:  # noqa: BLE001  # reported at the end; must not end the run
                    self._note(error)
                self._pause()

    def _next(self) -> list[AttemptRecord] | None:
        """Returns the attempts of the next request; None if no request waits, or `finish` removed them."""
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
            attributes: dict[str, Value] = {**{name: request.attributes[name] for name in _ON_EVENT}, **content}
            outlet.log(LogFacts(semconv.CONTENT_EVENT, request.end_ns, request.id, attributes))
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
        sums: Counter[tuple[str, bool]] = Counter()  # starts and ends separately: both are reported even if equal
        while self._changes:
            alias, change = self._changes.popleft()
            sums[alias, change > 0] += change
        if about is None or outlet is None:
            return
        for (alias, _), change in sums.items():
            model = about.models.get(alias)
            outlet.active(change, {**(model.common if model else {}), "streambench.model": alias})


_ON_EVENT = ("streambench.run.id", "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")


def _key(record: AttemptRecord) -> SpanKey:
    return record.ticket.phase, record.ticket.seq
