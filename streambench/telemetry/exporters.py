"""OpenTelemetry's OTLP exporters for an Endpoint, and a record of what the collector replies to them.

An exporter reports only success or failure: not whether a retry makes sense, not that a collector refused a part
(`partial_success`), and it counts a redirect as a success. `CollectorReplies` records all three: over HTTP through a
`requests` session, which exporters accept; over gRPC through the exporter's stub, which is private, because no public
way exists.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter

from streambench.config.sections import Exporter
from streambench.errors import ConfigError, Problem
from streambench.redaction import Secrets
from streambench.telemetry.batch_queue import ExportReply
from streambench.telemetry.preflight import no_netrc
from streambench.telemetry.settings import Endpoint

TEXT_LIMIT = 200
RETRY_STATUS = frozenset({429, 502, 503, 504})
"""The statuses that OTLP calls retryable; for any other, a retry would get the same reply."""
RETRY_CODES = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "UNAVAILABLE"})
"""Without RESOURCE_EXHAUSTED: it also means that the message was too large, and the exporter has retried it."""
OF_THE_EXPORTER = frozenset({"content-type", "content-encoding", "user-agent"})
NO_HEADERS = ","
"""An empty header list. A gRPC exporter that is given no headers takes those of the environment."""
REFUSED = {"spans": "rejected_spans", "metrics": "rejected_data_points", "logs": "rejected_log_records"}

ExportedKind = Literal["spans", "metrics", "logs"]
ExportResponse: TypeAlias = ExportTraceServiceResponse | ExportMetricsServiceResponse | ExportLogsServiceResponse
T = TypeVar("T", ReadableSpan, ReadableLogRecord)

_REPLIES: dict[ExportedKind, type[ExportResponse]] = {
    "spans": ExportTraceServiceResponse,
    "metrics": ExportMetricsServiceResponse,
    "logs": ExportLogsServiceResponse,
}


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """How one request ended. `rejected` counts the items that the collector refused of a request that was `taken`."""

    taken: bool
    says: str = ""
    again: bool = False
    rejected: int = 0


class CollectorReplies:
    """A collector's replies. `last`: to the newest request since `forget`. `error`: the newest failure or refusal."""

    def __init__(self, signal: ExportedKind, secrets: Secrets) -> None:
        self.signal = signal
        self._secrets = secrets
        self.last: ExportOutcome | None = None
        self.error: str | None = None
        self._taken = False
        self._closed = False

    def close(self) -> None:
        """Ignores all later replies."""
        self._closed = True

    @property
    def hopeless(self) -> bool:
        """True if no request was ever taken and the last one failed."""
        return not self._taken and self.last is not None

    def forget(self) -> None:
        self.last = None

    def add(self, outcome: ExportOutcome) -> None:
        if self._closed:
            return
        self.last = outcome
        self._taken = self._taken or outcome.taken
        if outcome.says:
            self.error = self._secrets.clean(outcome.says, TEXT_LIMIT)

    def add_response(self, reply: Any) -> None:
        """Records the protobuf reply to a request that was taken, completely or in part."""
        partial = reply.partial_success
        rejected = int(getattr(partial, REFUSED[self.signal]))
        says = f"{rejected} {self.signal} refused: {partial.error_message or 'no reason given'}" if rejected else ""
        self.add(ExportOutcome(taken=True, says=says, rejected=rejected))


def secrets_of(endpoint: Endpoint | None) -> Secrets:
    """Returns each header value and each of its words: the second word of `Basic ...` is a secret by itself."""
    values = endpoint.headers.values() if endpoint is not None else ()
    return Secrets([part for value in values for part in (value, *value.split())])


def sender(export: Callable[[Sequence[T]], Any], replies: CollectorReplies) -> Callable[[Sequence[T]], ExportReply]:
    """Wraps an exporter's `export` as the `send` of a BatchQueue, which never raises and returns an ExportReply."""

    def send(batch: Sequence[T]) -> ExportReply:
        replies.forget()
        try:
            succeeded = export(batch).name == "SUCCESS"
        except Exception as error:  # noqa: BLE001 - any exception of an exporter means that the batch failed
            replies.add(ExportOutcome(taken=False, says=f"{type(error).__name__}: {error}"))
            return ExportReply(taken=False)
        outcome = replies.last or ExportOutcome(taken=succeeded)
        taken = succeeded and outcome.taken
        return ExportReply(taken, min(outcome.rejected, len(batch)) if taken else 0, again=outcome.again)

    return send


# --- one exporter per signal


def span_exporter(kind: Exporter, endpoint: Endpoint | None, replies: CollectorReplies) -> SpanExporter:
    """Returns an exporter of spans. A console exporter writes to stderr, because stdout holds the report.

    Raises ConfigError if gRPC is requested without its packages, or gRPC's TLS files cannot be read.
    """
    if kind == "console" or endpoint is None:
        return ConsoleSpanExporter(out=sys.stderr)
    if endpoint.protocol == "http/protobuf":
        return OTLPSpanExporter(**_http_options(endpoint, replies))
    _needs_grpc(endpoint)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter

    exporter = GrpcSpanExporter(**_grpc_options(endpoint))
    _listen(exporter, replies)
    return exporter


def metric_exporter(kind: Exporter, endpoint: Endpoint | None, replies: CollectorReplies) -> MetricExporter:
    """Like `span_exporter`, for metrics. Temporality and aggregation are those that the environment prefers."""
    if kind == "console" or endpoint is None:
        return ConsoleMetricExporter(out=sys.stderr)
    if endpoint.protocol == "http/protobuf":
        return OTLPMetricExporter(**_http_options(endpoint, replies))
    _needs_grpc(endpoint)
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter

    exporter = GrpcMetricExporter(**_grpc_options(endpoint))
    _listen(exporter, replies)
    return exporter


def log_exporter(endpoint: Endpoint, replies: CollectorReplies) -> LogRecordExporter:
    """Like `span_exporter`, for log records over OTLP only."""
    if endpoint.protocol == "http/protobuf":
        return OTLPLogExporter(**_http_options(endpoint, replies))
    _needs_grpc(endpoint)
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter

    exporter = GrpcLogExporter(**_grpc_options(endpoint))
    _listen(exporter, replies)
    return exporter


# --- over HTTP


def _http_options(endpoint: Endpoint, replies: CollectorReplies) -> dict[str, Any]:
    return {
        "endpoint": endpoint.url,
        "headers": dict(endpoint.headers),
        "timeout": endpoint.timeout_s,
        "compression": Compression.Gzip if endpoint.compression == "gzip" else Compression.NoCompression,
        "certificate_file": endpoint.certificate,
        "client_key_file": endpoint.client_key,
        "client_certificate_file": endpoint.client_certificate,
        "session": _ListeningSession(endpoint, replies),
    }


class _ListeningSession(requests.Session):
    def __init__(self, endpoint: Endpoint, replies: CollectorReplies) -> None:
        super().__init__()
        self._replies = replies
        self._certificate = endpoint.certificate
        self._sent = OF_THE_EXPORTER | {name.lower() for name in endpoint.headers}

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Sends the endpoint's headers and certificate only.

        Headers that the exporter took from the environment itself are removed: the endpoint has them already, or they
        are for another endpoint. The certificate is passed here, or else REQUESTS_CA_BUNDLE would override it.
        """
        given = kwargs.get("headers") or {}
        kwargs["headers"] = {name: value for name, value in given.items() if name.lower() in self._sent}
        kwargs["verify"] = self._certificate
        kwargs["auth"] = no_netrc
        try:
            response = super().request(*args, **kwargs)
        except OSError as error:  # the base class of all exceptions of `requests`
            again = isinstance(error, requests.ConnectionError | requests.Timeout)
            self._replies.add(ExportOutcome(taken=False, says=_cause_of(error), again=again))
            raise
        self._add_response(response)
        return response

    def _add_response(self, response: requests.Response) -> None:
        status = response.status_code
        if not 200 <= status < 300:
            says = f"{status} {response.reason or ''}".rstrip()
            self._replies.add(ExportOutcome(taken=False, says=says, again=status in RETRY_STATUS))
        elif response.content.lstrip()[:1] == b"<":
            self._replies.add(ExportOutcome(taken=False, says=f"{status}, but with a web page: not an OTLP endpoint"))
        else:
            self._replies.add_response(_decoded(self._replies.signal, response.content))


def _decoded(signal: ExportedKind, content: bytes) -> ExportResponse:
    """Returns the reply; an empty one if it is not protobuf, since some backends answer success with other text."""
    try:
        reply: ExportResponse = _REPLIES[signal].FromString(content)
    except Exception:  # noqa: BLE001 - protobuf's DecodeError, which this module does not import
        return _REPLIES[signal]()
    return reply


def _cause_of(error: BaseException) -> str:
    """Returns the innermost cause: `Connection refused`, without the messages of the three libraries around it."""
    if isinstance(error, requests.Timeout):
        return "no response before the timeout"
    inner: BaseException | None = error
    while inner is not None:
        error, inner = inner, inner.__cause__ or inner.__context__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# --- over gRPC


def _needs_grpc(endpoint: Endpoint) -> None:
    try:
        import opentelemetry.exporter.otlp.proto.grpc  # noqa: F401 - only checks that it is installed
    except ImportError as error:
        problem = Problem(
            "gRPC needs the extra `grpc`: pip install 'streambench[grpc]', or use http/protobuf", where=endpoint.source
        )
        raise ConfigError([problem]) from error


def _grpc_options(endpoint: Endpoint) -> dict[str, Any]:
    from grpc import Compression as GrpcCompression  # type: ignore[import-untyped]
    from grpc import ssl_channel_credentials

    credentials = None
    if not endpoint.insecure:
        files = (endpoint.certificate, endpoint.client_key, endpoint.client_certificate)
        credentials = ssl_channel_credentials(*(_read(file, endpoint) for file in files))
    return {
        "endpoint": endpoint.url,
        "insecure": endpoint.insecure,
        "credentials": credentials,
        "headers": {name.lower(): value for name, value in endpoint.headers.items()} or NO_HEADERS,
        "timeout": endpoint.timeout_s,
        "compression": GrpcCompression.Gzip if endpoint.compression == "gzip" else GrpcCompression.NoCompression,
    }


def _read(file: str | None, endpoint: Endpoint) -> bytes | None:
    try:
        return None if file is None else Path(file).read_bytes()
    except OSError as error:
        raise ConfigError([Problem(f"{file}: {error.strerror}", where=endpoint.source)]) from error


def _listen(exporter: Any, replies: CollectorReplies) -> None:
    """Replaces an exporter's stub by one that passes replies to `replies`.

    `_stub`, `_client` and `_channel` are private; the exporter creates a new client from `_stub` when it reconnects. If
    a later version lacks `_stub` or `_channel`, replies stay unknown, and a batch that failed is not retried.
    """
    stub = getattr(exporter, "_stub", None)
    channel = getattr(exporter, "_channel", None)
    if stub is None or channel is None:
        return
    exporter._stub = lambda made: _ListeningStub(stub(made), replies)  # noqa: SLF001
    exporter._client = exporter._stub(channel)  # noqa: SLF001


class _ListeningStub:
    def __init__(self, stub: Any, replies: CollectorReplies) -> None:
        self._stub = stub
        self._replies = replies

    def Export(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - gRPC's name
        from grpc import RpcError

        try:
            reply = self._stub.Export(*args, **kwargs)
        except RpcError as error:
            code = error.code().name
            says = (
                "no response before the timeout"
                if code == "DEADLINE_EXCEEDED"
                else f"{code} {error.details() or ''}".rstrip()
            )
            self._replies.add(ExportOutcome(taken=False, says=says, again=code in RETRY_CODES))
            raise
        self._replies.add_response(reply)
        return reply
