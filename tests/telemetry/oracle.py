"""The official instrumentation of the OpenAI SDK as a second opinion, which our spans must not contradict.

`drive` runs it in a process of its own, for it patches the SDK that our client uses too; `compare` holds a span of ours
against one of its. As a program it is that process: it reads what to ask from standard input, and answers in JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from inspect import signature
from statistics import median_low
from typing import Any, Protocol

FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
"""Seconds; to the first chunk of any kind, a role-only one too."""
EQUAL = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.request.stream",
    "gen_ai.response.model",
    "gen_ai.response.finish_reasons",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.request.max_tokens",
    "gen_ai.request.temperature",
    "gen_ai.request.top_p",
    "gen_ai.request.seed",
    "server.address",
    "server.port",
)
"""Keys whose values must be the same wherever the official span has them."""
TOLERANCE_S = 0.002
SECRET_VARIABLE = "STREAMBENCH_ORACLE_KEY"


class AnySpan(Protocol):
    """What `compare` reads of a span: `otlp_sink.Span` has it, and so has `OracleSpan`."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class OracleSpan:
    """A span of the official instrumentation. Times are seconds."""

    name: str
    kind: str
    status_code: str
    attributes: Mapping[str, Any]
    events: tuple[str, ...]
    duration_s: float
    before_wire_s: float
    """From the span's start until the SDK handed the request to its HTTP library: the SDK's own work, about 1 ms."""

    @property
    def first_chunk_s(self) -> float:
        """As the official span says, counted from the call of the SDK."""
        return float(self.attributes[FIRST_CHUNK])

    @property
    def first_chunk_from_wire_s(self) -> float:
        """The same without the SDK's work before the wire, since our requests are built before their clock starts."""
        return self.first_chunk_s - self.before_wire_s


@dataclass(frozen=True, slots=True)
class OracleMetric:
    """A histogram: how many values in all, their sum, and the attributes of each series."""

    name: str
    unit: str
    count: int
    sum: float
    bounds: tuple[float, ...]
    series: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Told:
    """One span a request in order, and the metrics of them all."""

    spans: tuple[OracleSpan, ...]
    metrics: tuple[OracleMetric, ...]

    def metric(self, name: str) -> OracleMetric:
        return next(metric for metric in self.metrics if metric.name == name)

    @property
    def typical(self) -> OracleSpan:
        """The one with the median time to first chunk: of several, a busy machine delays some."""
        middle = median_low(span.first_chunk_from_wire_s for span in self.spans)
        return next(span for span in self.spans if span.first_chunk_from_wire_s == middle)

    @property
    def fastest(self) -> OracleSpan:
        """The one with the least time to first chunk, which a busy machine delayed least."""
        return min(self.spans, key=lambda span: span.first_chunk_from_wire_s)


# --- for the tests


def drive(
    base_url: str,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    requests: int = 1,
    api_key: str = "none",
    params: Mapping[str, Any] | None = None,
    content: str = "NO_CONTENT",
    timeout_s: float = 60.0,
) -> Told:
    """What the official instrumentation says of so many streamed requests, one after another.

    One more goes before them, unseen, so that none pays for the connection. `params` are further fields of the request;
    `content` is one of the four values of OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT. Raises AssertionError
    with what the process wrote, if it failed.
    """
    question = {
        "base_url": base_url,
        "model": model,
        "messages": [dict(message) for message in messages],
        "requests": requests,
        "params": dict(params or {}),
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    settings = {SECRET_VARIABLE: api_key, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": content}
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(question),
        env={**environment, **settings},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return told_from(done.stdout)


def compare(oracle_span: OracleSpan, our_span: AnySpan, tolerance_s: float = TOLERANCE_S) -> list[str]:
    """Every contradiction between the official span of a stream and ours, in words; none if ours says all it says.

    Name and kind are equal; so are the values of EQUAL; the time to first chunk, both counted from the wire, is within
    `tolerance_s`; and ours has every key that the official one has. Two spans of one stream, or of two requests that
    were answered alike: ids and the duration are not looked at.
    """
    theirs, ours = oracle_span.attributes, our_span.attributes
    found = [f"{key} is missing" for key in theirs if key not in ours]
    named = {"name": (oracle_span.name, our_span.name), "kind": (oracle_span.kind, our_span.kind)}
    both = {**named, **{key: (theirs[key], ours[key]) for key in EQUAL if key in theirs and key in ours}}
    found += [
        f"{key}: {_plain(his)!r}, ours {_plain(own)!r}" for key, (his, own) in both.items() if not _same(his, own)
    ]
    if FIRST_CHUNK in theirs and FIRST_CHUNK in ours:
        apart = float(ours[FIRST_CHUNK]) - oracle_span.first_chunk_from_wire_s
        if abs(apart) > tolerance_s:
            found.append(
                f"{FIRST_CHUNK}: ours is {apart * 1000:+.3f} ms from {oracle_span.first_chunk_from_wire_s:.6f} s"
            )
    return found


def _same(one: Any, other: Any) -> bool:
    return bool(_plain(one) == _plain(other))


def _plain(value: Any) -> Any:
    """Arrays are tuples here and lists there."""
    return list(value) if isinstance(value, tuple) else value


def told_from(answer: str) -> Told:
    """The program's JSON as values."""
    plain = json.loads(answer)
    spans = tuple(OracleSpan(**{**span, "events": tuple(span["events"])}) for span in plain["spans"])
    metrics = tuple(
        OracleMetric(**{**metric, "bounds": tuple(metric["bounds"]), "series": tuple(metric["series"])})
        for metric in plain["metrics"]
    )
    return Told(spans, metrics)


# --- the process; what it needs is imported in it alone


def answer(question: Mapping[str, Any]) -> Told:
    """Ask, instrumented, and collect what the instrumentation made of it."""
    from openai import OpenAI
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    handed_over: list[int] = []
    client = OpenAI(
        base_url=question["base_url"],
        api_key=os.environ[SECRET_VARIABLE],
        http_client=_stamping(handed_over.append),
        max_retries=0,
    )
    _read(client, question)
    handed_over.clear()
    kept, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(kept))
    OpenAIInstrumentor().instrument(tracer_provider=tracing, meter_provider=MeterProvider([reader]))
    for _ in range(question["requests"]):
        _read(client, question)
    pairs = zip(kept.get_finished_spans(), handed_over, strict=True)
    return Told(tuple(_span(span, at_ns) for span, at_ns in pairs), tuple(_metrics(reader.get_metrics_data())))


def _read(client: Any, question: Mapping[str, Any]) -> None:
    """One streamed request, read to its end as a user does. A failure is what the span tells."""
    from openai import OpenAIError

    create = client.chat.completions.create
    known = signature(create).parameters  # what the SDK has no argument for, the instrumentation does not see
    params = {name: value for name, value in question["params"].items() if name in known}
    other = {name: value for name, value in question["params"].items() if name not in known}
    asked = {"model": question["model"], "messages": question["messages"], "stream_options": {"include_usage": True}}
    try:
        with create(**asked, **params, extra_body=other, stream=True) as stream:
            for _ in stream:
                pass
    except OpenAIError:
        return


def _stamping(note: Callable[[int], None]) -> Any:
    """An HTTP client that notes when it is given a request, in nanoseconds since 1970, as the spans count."""
    import httpx2

    class Stamping(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            note(time.time_ns())
            return super().handle_request(request)

    return httpx2.Client(transport=Stamping(), timeout=60)


def _span(span: Any, handed_over_ns: int) -> OracleSpan:
    return OracleSpan(
        name=span.name,
        kind=span.kind.name,
        status_code=span.status.status_code.name,
        attributes=dict(span.attributes),
        events=tuple(event.name for event in span.events),
        duration_s=(span.end_time - span.start_time) / 1e9,
        before_wire_s=(handed_over_ns - span.start_time) / 1e9,
    )


def _metrics(data: Any) -> Iterator[OracleMetric]:
    for metric in (m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics):
        points = list(metric.data.data_points)
        yield OracleMetric(
            name=metric.name,
            unit=metric.unit,
            count=sum(point.count for point in points),
            sum=sum(point.sum for point in points),
            bounds=tuple(points[0].explicit_bounds),
            series=tuple(dict(point.attributes) for point in points),
        )


if __name__ == "__main__":
    print(json.dumps(asdict(answer(json.load(sys.stdin))), indent=1))
