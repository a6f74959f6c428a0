"""An OTLP receiver on a real socket: it keeps what arrives, and misbehaves as it is told.

    python tests/otlp_sink.py --port 4318        serves until Ctrl-C, then prints the span tree and a count

It decodes with `opentelemetry-proto` alone, so it knows nothing of the exporters that it judges. What arrives is parsed
when it comes and unpacked when it is asked for, so that a burst is not held up by its receiver.
"""

from __future__ import annotations

import argparse
import gzip
import signal
import socket
import ssl
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeVar, cast

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Protocol = Literal["http", "grpc"]
Signal = Literal["traces", "metrics", "logs"]
Attributes = Mapping[str, Any]
T = TypeVar("T")

HOST = "127.0.0.1"
PATHS: Mapping[str, Signal] = {"/v1/traces": "traces", "/v1/metrics": "metrics", "/v1/logs": "logs"}
SERVICES: Mapping[str, Signal] = {
    "opentelemetry.proto.collector.trace.v1.TraceService": "traces",
    "opentelemetry.proto.collector.metrics.v1.MetricsService": "metrics",
    "opentelemetry.proto.collector.logs.v1.LogsService": "logs",
}
REQUESTS: Mapping[Signal, Callable[[], Any]] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
RESPONSES: Mapping[Signal, bytes] = {
    "traces": ExportTraceServiceResponse().SerializeToString(),
    "metrics": ExportMetricsServiceResponse().SerializeToString(),
    "logs": ExportLogsServiceResponse().SerializeToString(),
}
GRPC_STATUS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "UNIMPLEMENTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""What a gRPC receiver says where an HTTP one gives that status."""
OK = 200
GRPC_WORKERS = 64  # so many may hang at once


# --- what a test tells it


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How requests are met. At most one of a `status` other than 200, `hang` and `close`.

    With `first`, only the first so many requests meet it, counted from the sink's start, and later ones are taken.
    """

    delay_s: float = 0.0
    """Seconds before each answer, good or bad, of every request."""
    status: int = OK
    """An HTTP status; over gRPC its counterpart in GRPC_STATUS."""
    retry_after_s: int | None = None
    """Seconds, in `Retry-After`, or in gRPC's RetryInfo."""
    hang: bool = False
    """Read the request, never answer."""
    close: bool = False
    """Read the request, then close the connection. Over gRPC: UNAVAILABLE, which is what its client makes of that."""
    first: int | None = None

    def __post_init__(self) -> None:
        if (self.status != OK) + self.hang + self.close > 1:
            raise ValueError("a request meets one fault: a status, hang or close")
        if self.status != OK and self.status not in GRPC_STATUS:
            raise ValueError(
                f"status {self.status}: only {', '.join(map(str, GRPC_STATUS))} have a counterpart in gRPC"
            )

    def meets(self, number: int) -> bool:
        """Whether request `number`, from 1, meets the fault."""
        return self.first is None or number <= self.first


WELL_BEHAVED = Behaviour()


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files. With `client_ca`, only clients that show a certificate from there are let in."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


# --- what it answers


@dataclass(frozen=True, slots=True)
class Scope:
    name: str
    version: str
    schema_url: str


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    time_ns: int
    """Since 1970."""
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Link:
    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Span:
    """Ids are lower-case hex; times are nanoseconds since 1970. `parent_id` is None for a root."""

    name: str
    kind: str
    """INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER or UNSPECIFIED."""
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    attributes: Attributes
    events: tuple[Event, ...]
    links: tuple[Link, ...]
    status_code: str
    """UNSET, OK or ERROR."""
    status_message: str
    resource: Attributes
    scope: Scope

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Exemplar:
    """Ids are hex, or None where the exemplar has none. `time_ns` is since 1970."""

    value: float
    time_ns: int
    trace_id: str | None
    span_id: str | None
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Point:
    """A data point. A sum or gauge has `value`; a histogram `count`, `sum`, `bounds` and one bucket more than bounds.

    An exponential histogram has no bounds: `scale`, and its positive buckets from `offset` on. Times are nanoseconds
    since 1970. What a point does not have is None or empty.
    """

    attributes: Attributes
    start_ns: int
    time_ns: int
    value: float | None = None
    count: int | None = None
    sum: float | None = None
    min: float | None = None
    max: float | None = None
    bounds: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()
    scale: int | None = None
    offset: int | None = None
    exemplars: tuple[Exemplar, ...] = ()


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one export."""

    name: str
    unit: str
    kind: str
    """sum, gauge, histogram, exponential_histogram or summary (whose points carry no more than count and sum)."""
    temporality: str | None
    """CUMULATIVE or DELTA; None for a gauge or summary."""
    monotonic: bool
    points: tuple[Point, ...]
    resource: Attributes
    scope: Scope


@dataclass(frozen=True, slots=True)
class Log:
    """`time_ns` is since 1970; ids are hex, or None outside of a span."""

    time_ns: int
    event_name: str
    severity_number: int
    severity_text: str
    body: Any
    attributes: Attributes
    trace_id: str | None
    span_id: str | None
    resource: Attributes
    scope: Scope


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came, refused ones included."""

    path: str
    """The URL's path, or gRPC's `/service/Export`."""
    headers: Mapping[str, str]
    """Names in lower case. gRPC keeps its own, `grpc-encoding` among them, to itself."""
    body: bytes
    """Unpacked, if it came packed."""
    wire_bytes: int
    """The body's length as it came; over gRPC unknown, so that of `body`."""
    at_ns: int
    """On the monotonic clock."""


# --- what is kept


@dataclass
class _Inbox:
    """All that came. Requests that were taken wait as parsed messages until somebody asks for what is in them."""

    received: list[Received] = field(default_factory=list)
    taken: dict[Signal, list[Any]] = field(default_factory=lambda: {"traces": [], "metrics": [], "logs": []})
    spans: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, request: Received) -> int:
        """Keep it whatever becomes of it; its number, from 1."""
        with self.changed:
            self.received.append(request)
            self.changed.notify_all()
            return len(self.received)

    def take(self, kind: Signal, message: Any) -> None:
        with self.changed:
            self.taken[kind].append(message)
            if kind == "traces":
                self.spans += sum(len(s.spans) for r in message.resource_spans for s in r.scope_spans)
            self.changed.notify_all()

    def messages(self, kind: Signal) -> list[Any]:
        with self.changed:
            return list(self.taken[kind])


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What to answer: 200 with the response of its kind, another status, or nothing."""

    status: int
    retry_after_s: int | None = None
    kind: Signal | None = None


class Sink:
    """The receiver. Entering it starts it; leaving it closes its port and every connection.

    `behaviour` may be set anew while it runs. With port 0 it takes any free one.
    """

    def __init__(
        self,
        protocol: Protocol = "http",
        behaviour: Behaviour = WELL_BEHAVED,
        port: int = 0,
        tls: Tls | None = None,
    ) -> None:
        self.protocol = protocol
        self.behaviour = behaviour
        self.tls = tls
        self.port = port
        self._inbox = _Inbox()
        self._spans: list[Span] = []
        self._unpacked = 0
        self._unpacking = threading.Lock()
        self._stopped = threading.Event()
        self._server: _HttpServer | _GrpcServer | None = None

    def __enter__(self) -> Sink:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Serve; after a `stop` on the same port again, with all that had come before."""
        self._stopped.clear()
        self._server = (_HttpServer if self.protocol == "http" else _GrpcServer)(self, self.port)
        self.port = self._server.port

    def stop(self) -> None:
        """Close the port and every connection at once; requests that hang are never answered."""
        self._stopped.set()
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:PORT`, or https, for OTEL_EXPORTER_OTLP_ENDPOINT with either protocol."""
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}"

    @property
    def received(self) -> tuple[Received, ...]:
        """Every request in order of arrival, refused ones included; not those to a path that is none of OTLP's."""
        with self._inbox.changed:
            return tuple(self._inbox.received)

    @property
    def requests(self) -> int:
        """How many requests came, refused ones included."""
        with self._inbox.changed:
            return len(self._inbox.received)

    @property
    def raw(self) -> bytes:
        """Everything that came, for a test to search: each request's path, headers and unpacked body."""
        return b"\n".join(_flat(request) for request in self.received)

    @property
    def span_count(self) -> int:
        """Of the spans taken; cheap, for nothing is unpacked."""
        with self._inbox.changed:
            return self._inbox.spans

    @property
    def spans(self) -> tuple[Span, ...]:
        """Those of every request that was answered 200, in order of arrival; one that was sent twice is here twice."""
        with self._unpacking:
            messages = self._inbox.messages("traces")
            self._spans += [span for message in messages[self._unpacked :] for span in spans_of(message)]
            self._unpacked = len(messages)
            return tuple(self._spans)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of every request that was answered 200, in order of arrival: cumulative ones come again and again."""
        return tuple(metric for message in self._inbox.messages("metrics") for metric in metrics_of(message))

    def metric(self, name: str) -> Metric:
        """The newest of that name. Raises AssertionError with the names there are."""
        found = [metric for metric in self.metrics if metric.name == name]
        assert found, f"no metric {name}, only {sorted({metric.name for metric in self.metrics})}"
        return found[-1]

    @property
    def logs(self) -> tuple[Log, ...]:
        return tuple(log for message in self._inbox.messages("logs") for log in logs_of(message))

    def wait_for(self, n_spans: int, seconds: float) -> tuple[Span, ...]:
        """All spans, once there are so many at least. Raises AssertionError if they are not within `seconds`."""
        came = self.wait_until(lambda: self._inbox.spans >= n_spans, seconds)
        assert came, f"{self.span_count} of {n_spans} spans after {seconds} s, in {self.requests} requests"
        return self.spans

    def wait_until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Whether it became true within `seconds`; asked anew at each arrival."""
        with self._inbox.changed:
            return self._inbox.changed.wait_for(true, seconds)

    def judge(self, request: Received, kind: Signal | None) -> _Verdict | None:
        """What a request is answered, after its delay; None to close its connection. For the two servers below."""
        if kind is None:
            return _Verdict(404)
        fate = self.behaviour
        faulty = fate.meets(self._inbox.note(request))
        if faulty and fate.hang:
            self._stopped.wait()
        elif fate.delay_s:
            self._stopped.wait(fate.delay_s)
        if self._stopped.is_set() or (faulty and fate.close):
            return None
        if faulty and fate.status != OK:
            return _Verdict(fate.status, fate.retry_after_s)
        return self._taken(request, kind)

    def _taken(self, request: Received, kind: Signal) -> _Verdict:
        message = REQUESTS[kind]()
        try:
            message.ParseFromString(request.body)
        except DecodeError:
            return _Verdict(400)
        self._inbox.take(kind, message)
        return _Verdict(OK, kind=kind)


def _flat(request: Received) -> bytes:
    heads = [request.path, *(f"{name}: {value}" for name, value in request.headers.items())]
    return "\n".join(heads).encode() + b"\n" + request.body


# --- HTTP


class _HttpServer:
    def __init__(self, sink: Sink, port: int) -> None:
        self._server = _Threads((HOST, port), type("Handler", (_Handler,), {"sink": sink}))
        if sink.tls:
            # the handshake is left to each connection's own thread: a slow one must not stop the others
            self._server.socket = sink.tls.context().wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is a fault of this sink and is shown."""
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    sink: ClassVar[Sink]
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: apart, the client's delayed ACK would cost 40 ms
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        length = self.headers.get("content-length")
        if length is None:
            self._answer(411, b"")
            return
        wire = self.rfile.read(int(length))
        if len(wire) < int(length):
            self.close_connection = True
            return
        body = _unpacked(wire, self.headers.get("content-encoding", "identity"))
        if body is None or self.headers.get("content-type") != "application/x-protobuf":
            self._answer(415, b"")
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.path.partition("?")[0]
        self._tell(self.sink.judge(Received(path, headers, body, len(wire), time.monotonic_ns()), PATHS.get(path)))

    def _tell(self, verdict: _Verdict | None) -> None:
        if verdict is None:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._answer(verdict.status, RESPONSES[verdict.kind] if verdict.kind else b"", verdict.retry_after_s)

    def _answer(self, status: int, body: bytes, retry_after_s: int | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        if retry_after_s is not None:
            self.send_header("retry-after", str(retry_after_s))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Silent: a test's output is its own."""


def _unpacked(wire: bytes, encoding: str) -> bytes | None:
    """None for what cannot be unpacked."""
    try:
        match encoding:
            case "gzip":
                return gzip.decompress(wire)
            case "deflate":
                return zlib.decompress(wire)
            case "identity":
                return wire
    except (OSError, EOFError, zlib.error):
        return None
    return None


# --- gRPC


class _GrpcServer:
    """Real gRPC, with its usual limit of 4 MiB a message."""

    def __init__(self, sink: Sink, port: int) -> None:
        import grpc  # type: ignore[import-untyped]  # here, so that HTTP alone does without it

        self._grpc = grpc
        self._sink = sink
        self._pool = ThreadPoolExecutor(GRPC_WORKERS)
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers([self._service(name) for name in SERVICES])
        where = f"{HOST}:{port}"
        credentials = self._credentials(sink.tls) if sink.tls else None
        self.port = (
            self._server.add_secure_port(where, credentials) if credentials else self._server.add_insecure_port(where)
        )
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()
        self._pool.shutdown()

    def _credentials(self, tls: Tls) -> Any:
        return self._grpc.ssl_server_credentials(
            [(tls.key.read_bytes(), tls.certificate.read_bytes())],
            root_certificates=tls.client_ca.read_bytes() if tls.client_ca else None,
            require_client_auth=tls.client_ca is not None,
        )

    def _service(self, name: str) -> Any:
        def export(body: bytes, context: Any) -> bytes:
            headers = {key: _as_text(value) for key, value in context.invocation_metadata()}
            request = Received(f"/{name}/Export", headers, body, len(body), time.monotonic_ns())
            return self._told(self._sink.judge(request, SERVICES[name]), context)

        handler = self._grpc.unary_unary_rpc_method_handler(export)
        return self._grpc.method_handlers_generic_handler(name, {"Export": handler})

    def _told(self, verdict: _Verdict | None, context: Any) -> bytes:
        if verdict is not None and verdict.kind:
            return RESPONSES[verdict.kind]
        status, wait_s = (503, None) if verdict is None else (verdict.status, verdict.retry_after_s)
        code = self._grpc.StatusCode[GRPC_STATUS[status]]
        if wait_s is not None:
            context.set_trailing_metadata(_retry_info(code.value[0], wait_s))
        context.abort(code, "as the test wants it")
        raise AssertionError("abort raises")


def _as_text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.hex()


def _retry_info(code: int, wait_s: int) -> tuple[tuple[str, bytes], ...]:
    """gRPC's Retry-After, a RetryInfo: where the OTLP specification wants it, and where Python's exporter looks."""
    from google.protobuf.any_pb2 import Any as Packed  # type: ignore[import-untyped]  # ships no types, nor do these
    from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]
    from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

    wait = RetryInfo(retry_delay=Duration(seconds=wait_s))
    detail = Packed()
    detail.Pack(wait)
    status = Status(code=code, details=[detail])
    return (
        ("grpc-status-details-bin", status.SerializeToString()),
        ("google.rpc.retryinfo-bin", wait.SerializeToString()),
    )


# --- from protobuf to values


def spans_of(message: Any) -> Iterator[Span]:
    """The spans of an ExportTraceServiceRequest."""
    for resource, scoped in _scoped(message.resource_spans, "scope_spans"):
        scope = _scope(scoped)
        for span in scoped.spans:
            yield _span(span, resource, scope)


def _span(span: Any, resource: Attributes, scope: Scope) -> Span:
    return Span(
        name=span.name,
        kind=type(span).SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=tuple(Event(each.name, each.time_unix_nano, _attributes(each.attributes)) for each in span.events),
        links=tuple(Link(each.trace_id.hex(), each.span_id.hex(), _attributes(each.attributes)) for each in span.links),
        status_code=("UNSET", "OK", "ERROR")[span.status.code],
        status_message=span.status.message,
        resource=resource,
        scope=scope,
    )


def metrics_of(message: Any) -> Iterator[Metric]:
    """The metrics of an ExportMetricsServiceRequest."""
    for resource, scoped in _scoped(message.resource_metrics, "scope_metrics"):
        scope = _scope(scoped)
        for metric in scoped.metrics:
            yield _metric(metric, resource, scope)


def _metric(metric: Any, resource: Attributes, scope: Scope) -> Metric:
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    return Metric(
        name=metric.name,
        unit=metric.unit,
        kind=kind,
        temporality=("UNSPECIFIED", "DELTA", "CUMULATIVE")[temporality]
        if (temporality := getattr(data, "aggregation_temporality", None)) is not None
        else None,
        monotonic=getattr(data, "is_monotonic", False),
        points=tuple(map(POINTS[kind], data.data_points)),
        resource=resource,
        scope=scope,
    )


def _number_point(point: Any) -> Point:
    value = getattr(point, point.WhichOneof("value"))
    return Point(**_about(point), value=value, exemplars=_exemplars(point))


def _histogram_point(point: Any) -> Point:
    bounds, buckets = tuple(point.explicit_bounds), tuple(point.bucket_counts)
    return Point(**_about(point), **_totals(point), bounds=bounds, buckets=buckets, exemplars=_exemplars(point))


def _exponential_point(point: Any) -> Point:
    positive = point.positive
    return Point(
        **_about(point),
        **_totals(point),
        buckets=tuple(positive.bucket_counts),
        scale=point.scale,
        offset=positive.offset,
        exemplars=_exemplars(point),
    )


def _summary_point(point: Any) -> Point:
    return Point(**_about(point), count=point.count, sum=point.sum)


POINTS: Mapping[str, Callable[[Any], Point]] = {
    "sum": _number_point,
    "gauge": _number_point,
    "histogram": _histogram_point,
    "exponential_histogram": _exponential_point,
    "summary": _summary_point,
}


def _about(point: Any) -> dict[str, Any]:
    return {
        "attributes": _attributes(point.attributes),
        "start_ns": point.start_time_unix_nano,
        "time_ns": point.time_unix_nano,
    }


def _totals(point: Any) -> dict[str, Any]:
    optional = {name: getattr(point, name) if point.HasField(name) else None for name in ("sum", "min", "max")}
    return {"count": point.count, **optional}


def _exemplars(point: Any) -> tuple[Exemplar, ...]:
    return tuple(
        Exemplar(
            value=getattr(each, each.WhichOneof("value")),
            time_ns=each.time_unix_nano,
            trace_id=each.trace_id.hex() or None,
            span_id=each.span_id.hex() or None,
            attributes=_attributes(each.filtered_attributes),
        )
        for each in point.exemplars
    )


def logs_of(message: Any) -> Iterator[Log]:
    """The records of an ExportLogsServiceRequest."""
    for resource, scoped in _scoped(message.resource_logs, "scope_logs"):
        scope = _scope(scoped)
        for record in scoped.log_records:
            yield _log(record, resource, scope)


def _log(record: Any, resource: Attributes, scope: Scope) -> Log:
    return Log(
        time_ns=record.time_unix_nano,
        event_name=record.event_name,
        severity_number=record.severity_number,
        severity_text=record.severity_text,
        body=_value(record.body),
        attributes=_attributes(record.attributes),
        trace_id=record.trace_id.hex() or None,
        span_id=record.span_id.hex() or None,
        resource=resource,
        scope=scope,
    )


def _scoped(resources: Iterable[Any], scopes: str) -> Iterator[tuple[Attributes, Any]]:
    for each in resources:
        attributes = _attributes(each.resource.attributes)
        for scoped in getattr(each, scopes):
            yield attributes, scoped


def _scope(scoped: Any) -> Scope:
    return Scope(scoped.scope.name, scoped.scope.version, scoped.schema_url)


def _attributes(pairs: Iterable[Any]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    """The Python value: str, bool, int, float, bytes, a tuple for an array, a dict for a mapping, None for nothing."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    held = getattr(value, kind)
    if kind == "array_value":
        return tuple(map(_value, held.values))
    return _attributes(held.values) if kind == "kvlist_value" else held


# --- drawing it


def print_tree(spans: Sequence[Span], most: int | None = None) -> str:
    """The spans as trees, a line each, in order of their start; of siblings the first `most`, then how many more.

    A span that came twice stands there once, as x2. One whose parent is not among them stands at the root, and says so.
    """
    times = dict.fromkeys(map(_key, spans), 0)
    for span in spans:
        times[_key(span)] += 1
    once = sorted({_key(span): span for span in spans}.values(), key=lambda span: (span.start_ns, -span.end_ns))
    below: dict[tuple[str, str | None], list[Span]] = {}
    for span in once:
        above = span.parent_id if (span.trace_id, span.parent_id) in times else None
        below.setdefault((span.trace_id, above), []).append(span)
    drawing = _Drawing(times, below, most)
    traces = list(dict.fromkeys(span.trace_id for span in once))
    lines = [line for trace in _some(traces, most) for line in (f"trace {trace}", *drawing.under(trace, None, ""))]
    hidden = len(traces) - len(_some(traces, most))
    return "\n".join([*lines, *([f"... {hidden} more traces"] if hidden else [])])


def _key(span: Span) -> tuple[str, str | None]:
    return span.trace_id, span.span_id


def _some(items: list[T], most: int | None) -> list[T]:
    return items if most is None or len(items) <= most else items[:most]


@dataclass(frozen=True, slots=True)
class _Drawing:
    times: Mapping[tuple[str, str | None], int]
    below: Mapping[tuple[str, str | None], list[Span]]
    most: int | None

    def under(self, trace: str, span_id: str | None, margin: str) -> Iterator[str]:
        children = self.below.get((trace, span_id), [])
        shown = _some(children, self.most)
        hidden = len(children) - len(shown)
        for span in shown:
            last = span is shown[-1] and not hidden
            yield margin + ("└─ " if last else "├─ ") + self._line(span)
            yield from self.under(trace, span.span_id, margin + ("   " if last else "│  "))
        if hidden:
            yield f"{margin}└─ ... {hidden} more"

    def _line(self, span: Span) -> str:
        parts = [span.name, span.kind, f"{span.seconds:.3f} s"]
        if span.status_code != "UNSET":
            parts.append(" ".join([span.status_code, span.status_message]).strip())
        if span.events:
            parts.append(f"events: {', '.join(event.name for event in span.events)}")
        if span.links:
            parts.append(f"links: {', '.join(f'{link.trace_id[:8]}/{link.span_id[:8]}' for link in span.links)}")
        if self.times[_key(span)] > 1:
            parts.append(f"x{self.times[_key(span)]}")
        if span.parent_id and (span.trace_id, span.parent_id) not in self.times:
            parts.append(f"parent {span.parent_id} is not here")
        return "  ".join(parts)


def count(sink: Sink) -> str:
    """What came, in one line."""
    distinct = len({_key(span) for span in sink.spans})
    names = sorted({metric.name for metric in sink.metrics})
    told = [f"{sink.requests} requests", f"{sink.span_count} spans ({distinct} distinct)", f"{len(sink.logs)} logs"]
    return ", ".join([*told, f"{len(names)} metrics"]) + (f": {', '.join(names)}" if names else "")


def main() -> None:
    parser = argparse.ArgumentParser(description="Receive OTLP, then print the span tree and a count.")
    parser.add_argument("--port", type=int, default=4318, help="0 for any free one")
    parser.add_argument("--protocol", choices=["http", "grpc"], default="http")
    parser.add_argument("--for", type=float, dest="seconds", help="stop after so many seconds; else at Ctrl-C")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="before each answer")
    parser.add_argument("--status", type=int, default=OK, choices=[OK, *GRPC_STATUS], help="answer this instead of 200")
    parser.add_argument("--most", type=int, default=20, help="of siblings and traces that are printed")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    behaviour = Behaviour(delay_s=wanted.delay, status=wanted.status)
    sink = Sink(cast("Protocol", wanted.protocol), behaviour, wanted.port)
    try:
        sink.start()
    except (OSError, OverflowError, RuntimeError) as problem:  # RuntimeError is gRPC's
        raise SystemExit(f"cannot listen on port {wanted.port}: {problem}") from None
    print(f"READY {sink.endpoint}", flush=True)
    with suppress(KeyboardInterrupt):
        threading.Event().wait(wanted.seconds)
    sink.stop()
    print(print_tree(sink.spans, wanted.most))
    print(count(sink))


if __name__ == "__main__":
    main()
