"""A run's spans and points from what the event loop tells, made on another thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from streambench.redaction import Secrets
from streambench.telemetry.content import content_of
from streambench.telemetry.measurements import Observation
from streambench.telemetry.recorder import CROWDED, Private, Recorder
from streambench.telemetry.request_spans import request_spans, requests_of
from streambench.telemetry.run_context import about_run
from streambench.telemetry.run_spans import run_spans
from streambench.telemetry.settings import TelemetrySettings
from streambench.telemetry.span_model import Attributes, LogFacts, SpanFacts
from streambench.testing import make_end, make_record

from .given import HEADER, RECORDS, play

PLAIN = TelemetrySettings()
PROMPTS = {("p0", 0): ({"role": "user", "content": "say sk-secret-123"},)}


class Kept:
    """An outlet that keeps what it is given."""

    def __init__(self) -> None:
        self.pressure = 0.0
        self.spans: list[SpanFacts] = []
        self.logs: list[LogFacts] = []
        self.points: list[Observation] = []
        self.under_way: dict[Any, int] = {}
        self.broken = False

    def emit(self, span: SpanFacts) -> None:
        if self.broken:
            raise RuntimeError("out of order")
        self.spans.append(span)

    def log(self, log: LogFacts) -> None:
        self.logs.append(log)

    def record(self, observation: Observation) -> None:
        self.points.append(observation)

    def active(self, change: int, attributes: Attributes) -> None:
        alias = attributes["streambench.model"]
        self.under_way[alias] = self.under_way.get(alias, 0) + change


@contextmanager
def listening(settings: TelemetrySettings = PLAIN, private: Private | None = None) -> Iterator[tuple[Recorder, Kept]]:
    kept = Kept()

    def carrier(trace_id: str, span_id: str) -> Mapping[str, str]:
        return {"traceparent": f"00-{trace_id}-{span_id}-01"}

    live = Recorder(settings, lambda _: kept, carrier, private)
    live.opened(HEADER)
    try:
        yield live, kept
    finally:
        live.finish((), 5)


def test_live_spans_are_those_of_the_journal() -> None:
    """Of each request, and at the end of models and run."""
    with listening() as (live, kept):
        play(live)
        about = about_run(HEADER)
        live.finish(run_spans(about, RECORDS, make_end()), 5)
        later = [span for group in requests_of(RECORDS) for span in request_spans(group, about)]
        assert kept.spans == [*later, *run_spans(about, RECORDS, make_end())]
        assert live.fault is None


def test_a_request_between_two_attempts_at_the_end_is_told() -> None:
    """It was stopped before it was over."""
    with listening() as (live, kept):
        live.on_record(RECORDS[1])
        live.finish((), 5)
        assert kept.spans[0].name == "chat alpha"


def test_warm_up_has_spans_and_no_points() -> None:
    """Else the first connection's latency is in every histogram."""
    with listening() as (live, kept):
        play(live)
    assert [(point.attributes["streambench.model"], point.retries) for point in kept.points] == [
        ("alpha", 1),
        ("beta", 0),
    ]


def test_a_failed_request_adds_no_latency_but_its_duration() -> None:
    """A broken stream is short and looks fast."""
    cut = make_record(finish_reason=None)
    with listening() as (live, kept):
        live.on_record(cut)
        live.on_request_end(cut)
    (point,) = kept.points
    assert (point.outcome, point.error_type) == ("truncated", "truncated")
    assert (point.ttfc_s, tuple(point.gaps_ns), point.output_tok_s) == (None, (), None)
    assert point.duration_s == 0.143
    assert point.output_tokens == 3


def test_requests_without_time_for_their_spans_are_counted() -> None:
    """The thread is held at the first; the two others are given back, and told."""
    held, entered = threading.Event(), threading.Event()

    class Holding(Kept):
        def emit(self, span: SpanFacts) -> None:
            if not held.is_set() and span.name.startswith("chat"):
                entered.set()
                held.wait()
            super().emit(span)

    kept = Holding()
    live = Recorder(PLAIN, lambda _: kept, lambda *_: {})
    live.opened(HEADER)
    for record in (RECORDS[0], RECORDS[2], RECORDS[3]):
        live.on_record(record)
        live.on_request_end(record)
    entered.wait()
    assert live.finish((), 0.01) == 2
    held.set()


def test_what_is_under_way_is_counted() -> None:
    """By model; one that began and ended within a look is told all the same."""
    with listening() as (live, kept):
        live.on_attempt_start(RECORDS[0].ticket)
        live.on_attempt_start(RECORDS[3].ticket)
        live.on_attempt_end(RECORDS[0].ticket)
    assert kept.under_way == {"alpha": 0, "beta": 1}


def test_new_requests_wait_for_a_crowded_queue() -> None:
    """And only then."""
    with listening() as (live, kept):
        assert live.held_ns() == 0
        kept.pressure = CROWDED + 0.01
        assert live.held_ns() > 0


def test_a_fault_of_ours_costs_spans_and_is_told() -> None:
    """The thread goes on."""
    with listening() as (live, kept):
        kept.broken = True
        live.on_record(RECORDS[3])
        live.on_request_end(RECORDS[3])
        while live.fault is None:
            pass
        kept.broken = False
        live.on_record(RECORDS[3])
        live.on_request_end(RECORDS[3])
    assert live.fault == "RuntimeError: out of order"
    assert kept.spans[0].name == "chat beta"


# --- content


def private() -> Private:
    return Private(PROMPTS, Secrets(["sk-secret-123"]))


@pytest.mark.parametrize(
    ("content", "on_span", "on_event"),
    [
        ("NO_CONTENT", False, False),
        ("SPAN_ONLY", True, False),
        ("EVENT_ONLY", False, True),
        ("SPAN_AND_EVENT", True, True),
    ],
)
def test_content_goes_where_it_was_asked_for(content: Any, on_span: bool, on_event: bool) -> None:  # noqa: FBT001
    """By default nowhere."""
    record = make_record(text="a word")
    with listening(TelemetrySettings(content=content), private()) as (live, kept):
        assert live.wants_text == (on_span or on_event)
        live.on_record(record)
        live.on_request_end(record)
    assert ("gen_ai.input.messages" in kept.spans[0].attributes) == on_span
    assert [log.attributes["gen_ai.output.messages"] for log in kept.logs] == (
        ['[{"role":"assistant","parts":[{"type":"text","content":"a word"}],"finish_reason":"stop"}]'] * on_event
    )


def test_keys_are_masked_in_content() -> None:
    """Whatever is asked for."""
    told = content_of(PROMPTS["p0", 0], make_record(text="sk-secret-123"), Secrets(["sk-secret-123"]))
    assert "sk-secret-123" not in str(told)
    assert set(told) == {"gen_ai.input.messages", "gen_ai.output.messages"}


def test_parts_that_are_no_text_are_only_named() -> None:
    """An image may be megabytes; a tool call is told."""
    messages = (
        {
            "role": "user",
            "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "x"}}],
        },
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
    )
    told = content_of(messages, make_record(), Secrets())
    assert told == {
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"see"},{"type":"image_url"}]},'
        '{"role":"assistant","parts":[{"type":"tool_call","id":"1","name":"f","arguments":"{}"}]}]'
    }
