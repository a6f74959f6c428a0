"""Facts, settings and waits that the tests of telemetry share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from streambench.records.schema import AttemptRecord, Failure, RunTrace
from streambench.runner.observers import RunTelemetry
from streambench.telemetry.pipeline import Pipeline, open_pipeline
from streambench.telemetry.settings import Endpoint, TelemetrySettings
from streambench.telemetry.span_model import SpanFacts, SpanId, Value
from streambench.testing import make_header, make_record

START_NS = 1_790_000_000_123_456_789
KEY = "sk-very-secret-1234"

HEADER = replace(make_header("alpha", "beta"), trace=RunTrace("a" * 32, "b" * 16))
RECORDS = (
    make_record(seq=0, phase="warmup"),
    make_record(seq=1, failure=Failure("http_error", status=503), status=503, kinds="", at_ms=()),
    make_record(seq=1, attempt=2),
    make_record(seq=2, model="beta"),
)
"""Of the second, which is tried again, its request is not over."""


def span_id(number: int, *, sampled: bool = True) -> SpanId:
    return SpanId(f"{0xABC0000 + number:032x}", f"{0xD00000 + number:016x}", sampled)


def facts(number: int = 0, attributes: dict[str, Value] | None = None, *, sampled: bool = True) -> SpanFacts:
    found = attributes if attributes is not None else {"streambench.request.index": number}
    return SpanFacts(f"chat {number}", "client", span_id(number, sampled=sampled), None, START_NS, START_NS + 5, found)


def settings_for(url: str, protocol: str, **changes: object) -> TelemetrySettings:
    path = "/v1/traces" if protocol == "http" else ""
    endpoint = Endpoint(
        url + path, "grpc" if protocol == "grpc" else "http/protobuf", "test", headers={"x-key": KEY}, insecure=True
    )
    return TelemetrySettings(**{"traces": "otlp", "traces_to": endpoint, **changes})  # type: ignore[arg-type]


def opened(settings: TelemetrySettings, **resource: str) -> Pipeline:
    return open_pipeline(settings, run_id="run-1", version="1.2.3", resource=resource)


def attributes_of(items: object) -> dict[str, object]:
    """Of a span, an event, a link or a resource, as Python has them."""
    found: dict[str, object] = {}
    for item in items:  # type: ignore[attr-defined]
        kind = item.value.WhichOneof("value")
        value = getattr(item.value, kind)
        found[item.key] = tuple(each.string_value for each in value.values) if kind == "array_value" else value
    return found


def until(true: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Waits for something that another thread does."""
    end = time.monotonic() + limit_s
    pause = threading.Event()
    while not true():
        assert time.monotonic() < end
        pause.wait(0.01)


def play(live: RunTelemetry, records: Sequence[AttemptRecord] = RECORDS) -> None:
    """As the engine tells of them."""
    for at, record in enumerate(records):
        live.on_attempt_start(record.ticket)
        live.on_attempt_end(record.ticket)
        live.on_record(record)
        if at != 1:
            live.on_request_end(record)
