"""OpenTelemetry's OTLP exporters for an Endpoint, and an ear on what the collector answers them.

An exporter tells no more than success or failure: not whether another try makes sense, not that a collector refused a
part (`partial_success`), and it takes a redirect for a success. The Ear hears all three: by http through a `requests`
session, which exporters accept; by gRPC through the stub, which is private in them, for want of another way.
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

from streambench.errors import ConfigError, Problem
from streambench.secrets import Secrets
from streambench.telemetry.outbox import Answer
from streambench.telemetry.preflight import no_netrc
from streambench.telemetry.settings import Endpoint, Exporter

TEXT_LIMIT = 200
RETRY_STATUS = frozenset({429, 502, 503, 504})
"""OTLP's own list; any other status will be the same next time."""
RETRY_CODES = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "UNAVAILABLE"})
"""Without RESOURCE_EXHAUSTED: it also means that the message was too large, and the exporter has retried it already."""
OF_THE_EXPORTER = frozenset({"content-type", "content-encoding", "user-agent"})
NO_HEADERS = ","
"""By gRPC an exporter without any takes those of the environment; this is a list of none."""
REFUSED = {"spans": "rejected_spans", "metrics": "rejected_data_points", "logs": "rejected_log_records"}

Signal = Literal["spans", "metrics", "logs"]
Reply: TypeAlias = ExportTraceServiceResponse | ExportMetricsServiceResponse | ExportLogsServiceResponse
T = TypeVar("T", ReadableSpan, ReadableLogRecord)

_REPLIES: dict[Signal, type[Reply]] = {
    "spans": ExportTraceServiceResponse,
    "metrics": ExportMetricsServiceResponse,
    "logs": ExportLogsServiceResponse,
}


@dataclass(frozen=True, slots=True)
class Heard:
    """How one request ended. `rejected` items of one that was `taken` were refused all the same."""

    taken: bool
    says: str = ""
    again: bool = False
    rejected: int = 0


class Ear:
    """What a collector said. `last` is of the newest request since `forget`; `error` of the newest that went wrong."""

    def __init__(self, signal: Signal, secrets: Secrets) -> None:
        self.signal = signal
        self._secrets = secrets
        self.last: Heard | None = None
        self.error: str | None = None
        self._taken = False
        self._closed = False

    def close(self) -> None:
        """Hears nothing from now on."""
        self._closed = True

    @property
    def hopeless(self) -> bool:
        """Whether nothing was ever taken, and the last answer was a failure."""
        return not self._taken and self.last is not None

    def forget(self) -> None:
        self.last = None

    def hears(self, heard: Heard) -> None:
        if self._closed:
            return
        self.last = heard
        self._taken = self._taken or heard.taken
        if heard.says:
            self.error = self._secrets.clean(heard.says, TEXT_LIMIT)

    def hears_reply(self, reply: Any) -> None:
        """The protobuf reply to a request that was taken, wholly or in part."""
        partial = reply.partial_success
        rejected = int(getattr(partial, REFUSED[self.signal]))
        says = f"{rejected} {self.signal} refused: {partial.error_message or 'no reason given'}" if rejected else ""
        self.hears(Heard(taken=True, says=says, rejected=rejected))


def secrets_of(endpoint: Endpoint | None) -> Secrets:
    """Every header's value, and the words of it: the tail of `Basic ...` is a secret by itself."""
    values = endpoint.headers.values() if endpoint is not None else ()
    return Secrets([part for value in values for part in (value, *value.split())])


def sender(export: Callable[[Sequence[T]], Any], ear: Ear) -> Callable[[Sequence[T]], Answer]:
    """An exporter's `export` as an Outbox wants it: it never raises, and says what became of the batch."""

    def send(batch: Sequence[T]) -> Answer:
        ear.forget()
        try:
            succeeded = export(batch).name == "SUCCESS"
        except Exception as error:  # noqa: BLE001 - whatever an exporter raises, the batch has failed
            ear.hears(Heard(taken=False, says=f"{type(error).__name__}: {error}"))
            return Answer(taken=False)
        heard = ear.last or Heard(taken=succeeded)
        taken = succeeded and heard.taken
        return Answer(taken, min(heard.rejected, len(batch)) if taken else 0, again=heard.again)

    return send


# --- one exporter per signal


def span_exporter(kind: Exporter, endpoint: Endpoint | None, ear: Ear) -> SpanExporter:
    """Console exporters write to stderr: stdout is the report's.

    Raises ConfigError where gRPC is asked for without its packages, or a certificate cannot be read.
    """
    if kind == "console" or endpoint is None:
        return ConsoleSpanExporter(out=sys.stderr)
    if endpoint.protocol == "http/protobuf":
        return OTLPSpanExporter(**_http_options(endpoint, ear))
    _needs_grpc(endpoint)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter

    exporter = GrpcSpanExporter(**_grpc_options(endpoint))
    _listen(exporter, ear)
    return exporter


def metric_exporter(kind: Exporter, endpoint: Endpoint | None, ear: Ear) -> MetricExporter:
    """As `span_exporter`; temporality and aggregation are what the environment prefers."""
    if kind == "console" or endpoint is None:
        return ConsoleMetricExporter(out=sys.stderr)
    if endpoint.protocol == "http/protobuf":
        return OTLPMetricExporter(**_http_options(endpoint, ear))
    _needs_grpc(endpoint)
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter

    exporter = GrpcMetricExporter(**_grpc_options(endpoint))
    _listen(exporter, ear)
    return exporter


def log_exporter(endpoint: Endpoint, ear: Ear) -> LogRecordExporter:
    """As `span_exporter`."""
    if endpoint.protocol == "http/protobuf":
        return OTLPLogExporter(**_http_options(endpoint, ear))
    _needs_grpc(endpoint)
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter

    exporter = GrpcLogExporter(**_grpc_options(endpoint))
    _listen(exporter, ear)
    return exporter


# --- by http


def _http_options(endpoint: Endpoint, ear: Ear) -> dict[str, Any]:
    return {
        "endpoint": endpoint.url,
        "headers": dict(endpoint.headers),
        "timeout": endpoint.timeout_s,
        "compression": Compression.Gzip if endpoint.compression == "gzip" else Compression.NoCompression,
        "certificate_file": endpoint.certificate,
        "client_key_file": endpoint.client_key,
        "client_certificate_file": endpoint.client_certificate,
        "session": _ListeningSession(endpoint, ear),
    }


class _ListeningSession(requests.Session):
    def __init__(self, endpoint: Endpoint, ear: Ear) -> None:
        super().__init__()
        self._ear = ear
        self._certificate = endpoint.certificate
        self._sent = OF_THE_EXPORTER | {name.lower() for name in endpoint.headers}

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Without the headers that the exporter took from the environment by itself: the endpoint has them, or is not
        the one that they are for. With the certificate given here, or REQUESTS_CA_BUNDLE would win over it.
        """
        given = kwargs.get("headers") or {}
        kwargs["headers"] = {name: value for name, value in given.items() if name.lower() in self._sent}
        kwargs["verify"] = self._certificate
        kwargs["auth"] = no_netrc
        try:
            response = super().request(*args, **kwargs)
        except OSError as error:  # `requests` derives all of its own from it
            again = isinstance(error, requests.ConnectionError | requests.Timeout)
            self._ear.hears(Heard(taken=False, says=_cause_of(error), again=again))
            raise
        self._hear(response)
        return response

    def _hear(self, response: requests.Response) -> None:
        status = response.status_code
        if not 200 <= status < 300:
            says = f"{status} {response.reason or ''}".rstrip()
            self._ear.hears(Heard(taken=False, says=says, again=status in RETRY_STATUS))
        elif response.content.lstrip()[:1] == b"<":
            self._ear.hears(Heard(taken=False, says=f"{status}, but with a web page: no OTLP endpoint"))
        else:
            self._ear.hears_reply(_decoded(self._ear.signal, response.content))


def _decoded(signal: Signal, content: bytes) -> Reply:
    """The reply, or an empty one where a backend answers success in words of its own, as some do."""
    try:
        reply: Reply = _REPLIES[signal].FromString(content)
    except Exception:  # noqa: BLE001 - protobuf's own DecodeError; protobuf is OpenTelemetry's affair, not ours
        return _REPLIES[signal]()
    return reply


def _cause_of(error: BaseException) -> str:
    """The innermost reason: `Connection refused`, not the three libraries that passed it on."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    inner: BaseException | None = error
    while inner is not None:
        error, inner = inner, inner.__cause__ or inner.__context__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# --- by gRPC


def _needs_grpc(endpoint: Endpoint) -> None:
    try:
        import opentelemetry.exporter.otlp.proto.grpc  # noqa: F401 - only whether it is there
    except ImportError as error:
        problem = Problem(
            "gRPC needs its extra: pip install 'streambench[grpc]', or use http/protobuf", where=endpoint.source
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


def _listen(exporter: Any, ear: Ear) -> None:
    """Gives an exporter a stub that listens.

    `_stub`, `_client` and `_channel` are private, and the exporter makes a new client of `_stub` when it connects
    anew. Where a later version has them no more, it works on unheard: a failure is then final, since nobody knows.
    """
    stub = getattr(exporter, "_stub", None)
    channel = getattr(exporter, "_channel", None)
    if stub is None or channel is None:
        return
    exporter._stub = lambda made: _ListeningStub(stub(made), ear)  # noqa: SLF001
    exporter._client = exporter._stub(channel)  # noqa: SLF001


class _ListeningStub:
    def __init__(self, stub: Any, ear: Ear) -> None:
        self._stub = stub
        self._ear = ear

    def Export(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - gRPC's own name
        from grpc import RpcError

        try:
            reply = self._stub.Export(*args, **kwargs)
        except RpcError as error:
            code = error.code().name
            says = "no answer in time" if code == "DEADLINE_EXCEEDED" else f"{code} {error.details() or ''}".rstrip()
            self._ear.hears(Heard(taken=False, says=says, again=code in RETRY_CODES))
            raise
        self._ear.hears_reply(reply)
        return reply
