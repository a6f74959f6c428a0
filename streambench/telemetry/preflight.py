"""Checks every endpoint with an empty export, before any request is paid for.

`prepare` calls `check` after `settings.resolve` and before the first request; the doctor calls it too. Import this
module only if something is exported. HTTP goes through `requests`, as in the exporter, so that proxies, TLS and netrc
behave the same in the run.
"""

from __future__ import annotations

import gzip
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import BadStatusLine
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from streambench.redaction import Secrets, mask_url
from streambench.telemetry.settings import Endpoint, Signal, TelemetrySettings

_EMPTY = b""
"""An export request without spans, points or records, encoded as protobuf."""
_MAX_ANSWER = 64 * 1024
_MAX_TOLD = 200

_RESPONSES: Mapping[Signal, Any] = {
    "traces": ExportTraceServiceResponse,
    "metrics": ExportMetricsServiceResponse,
    "logs": ExportLogsServiceResponse,
}
_SERVICES: Mapping[Signal, str] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_OFF: Mapping[Signal, str] = {
    "traces": "",
    "metrics": "; or switch metrics off: OTEL_METRICS_EXPORTER=none, or `telemetry: {metrics: none}`",
    "logs": "; or switch events off: OTEL_LOGS_EXPORTER=none",
}
_CERTIFICATES: Final = "OTEL_EXPORTER_OTLP_CERTIFICATE, or `telemetry: {certificate: ...}`"
_CLIENT_FILES: Final = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY"
_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL, or `telemetry: {protocol: ...}`"


@dataclass(frozen=True, slots=True)
class EndpointFailure:
    """Why an endpoint does not take exports, and how to fix it. Holds no header value, password or query."""

    endpoint: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.endpoint} {self.what}: {self.fix}"


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One check of one endpoint."""

    signal: Signal
    to: Endpoint
    limit_s: float
    secrets: Secrets

    def of_host(self, what: str, fix: str) -> EndpointFailure:
        """Returns a failure that is equal for all signals sent to this host, so that it is reported once."""
        if self.to.protocol == "grpc":
            return EndpointFailure(self.to.url, what, fix)
        parts = urlsplit(self.to.url)
        return EndpointFailure(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", what, fix)

    def of_path(self, what: str, fix: str) -> EndpointFailure:
        place = f"{self.to.url} ({self.signal})" if self.to.protocol == "grpc" else self.to.shown_url
        return EndpointFailure(place, what, fix)


def check(settings: TelemetrySettings, limit_s: float = 3.0) -> tuple[EndpointFailure, ...]:
    """Checks the endpoint of each signal, all in parallel, for at most `limit_s`. Returns the distinct failures."""
    attempts = [_Attempt(signal, to, limit_s, settings.secrets) for signal, to in settings.endpoints.items()]
    found = _all_at_once([_asking(attempt) for attempt in attempts], limit_s, [_hangs(each) for each in attempts])
    return tuple(dict.fromkeys(trouble for trouble in found if trouble is not None))


def _asking(attempt: _Attempt) -> Callable[[], EndpointFailure | None]:
    ask = _ask_grpc if attempt.to.protocol == "grpc" else _ask_http
    return lambda: ask(attempt)


def _all_at_once(
    questions: Sequence[Callable[[], EndpointFailure | None]], limit_s: float, late: Sequence[EndpointFailure]
) -> list[EndpointFailure | None]:
    """Returns the answers in order, with the entry of `late` for each that did not come.

    The threads are daemons, because a DNS lookup can block one for long.
    """
    answers: list[EndpointFailure | None] = list(late)

    def answer(place: int) -> None:
        answers[place] = questions[place]()

    threads = [Thread(target=answer, args=(place,), daemon=True) for place in range(len(questions))]
    for thread in threads:
        thread.start()
    everyone = Thread(target=_join_all, args=(threads,), daemon=True)
    everyone.start()
    everyone.join(limit_s)
    return list(answers)


def _join_all(threads: Sequence[Thread]) -> None:
    for thread in threads:
        thread.join()


# --- over HTTP


def no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An `auth` that adds nothing. Without any, `requests` would use the credentials in ~/.netrc."""
    return request


def _ask_http(attempt: _Attempt) -> EndpointFailure | None:
    to = attempt.to
    packed = to.compression == "gzip"
    headers = {
        "content-type": "application/x-protobuf",
        **({"content-encoding": "gzip"} if packed else {}),
        **to.headers,
    }
    files = (to.client_certificate, to.client_key) if to.client_certificate and to.client_key else to.client_certificate
    with requests.Session() as session:
        session.verify = to.certificate or True
        session.cert = files
        try:
            with session.post(
                to.url,
                data=gzip.compress(_EMPTY) if packed else _EMPTY,
                headers=headers,
                auth=no_netrc,
                timeout=attempt.limit_s,
                verify=to.certificate,  # else REQUESTS_CA_BUNDLE would override it
                allow_redirects=False,
                stream=True,
            ) as answer:
                return _failure_in(attempt, answer, next(answer.iter_content(_MAX_ANSWER), _EMPTY))
        except (OSError, ValueError) as error:  # the errors of `requests` derive from these
            return _unanswered(attempt, list(_causes(error)))


def _failure_in(attempt: _Attempt, answer: requests.Response, body: bytes) -> EndpointFailure | None:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    status = answer.status_code
    if 200 <= status < 300 and kind == "text/html":
        return attempt.of_path("responds with a web page", f"{_is_it_the_base(attempt)}{_OFF[attempt.signal]}")
    if 200 <= status < 300:
        return _partial(attempt, body) if kind == "application/x-protobuf" else None
    if 300 <= status < 400:
        place = attempt.secrets.clean(mask_url(answer.headers.get("location", "another address")), _MAX_TOLD)
        return attempt.of_path(
            f"redirects ({_status(status)})", f"exports do not follow redirects; is the endpoint {place}?"
        )
    return _refused(attempt, status)


def _refused(attempt: _Attempt, status: int) -> EndpointFailure:
    answer = f"responds with {_status(status)}"
    match status:
        case 401 | 403:
            return _key_refused(attempt, answer)
        case 404 | 405:
            return attempt.of_path(answer, f"{_is_it_the_base(attempt)}{_OFF[attempt.signal]}")
        case 407:
            return attempt.of_host(answer, "the proxy requires a password; check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
        case 415:
            return attempt.of_path(answer, f"try compression `none` or another protocol: {_PROTOCOL}")
        case _ if status >= 500:
            return attempt.of_path(answer, "are the collector and its backend working?")
    return attempt.of_path(
        answer, f"it does not accept even an empty export; check its log, and the headers{_from(attempt)}"
    )


def _key_refused(attempt: _Attempt, answer: str) -> EndpointFailure:
    source = attempt.to.headers_source
    if source is None:
        fix = "no headers are set; set OTEL_EXPORTER_OTLP_HEADERS, or `telemetry: {headers: ...}`"
        return attempt.of_host(answer, fix)
    return attempt.of_host(answer, f"is the key right? The headers come from {source}")


def _from(attempt: _Attempt) -> str:
    source = attempt.to.headers_source
    return "" if source is None else f" from {source}"


def _is_it_the_base(attempt: _Attempt) -> str:
    source, path = attempt.to.source, f"/v1/{attempt.signal}"
    if source == f"OTEL_EXPORTER_OTLP_{attempt.signal.upper()}_ENDPOINT":
        return f"{source} is used as given; should it end in {path}?"
    return f"is {source} the base URL? {path} is added to it"


def _partial(attempt: _Attempt, body: bytes) -> EndpointFailure | None:
    try:
        response = _RESPONSES[attempt.signal].FromString(body)
    except DecodeError:
        return attempt.of_path("responds with something other than OTLP", _is_it_the_base(attempt))
    return _warned(attempt, response)


def _warned(attempt: _Attempt, response: Any) -> EndpointFailure | None:
    message = attempt.secrets.clean(response.partial_success.error_message, _MAX_TOLD)
    return attempt.of_path("accepts exports with a warning", message) if message else None


def _status(code: int) -> str:
    """Returns the status code with its standard phrase, never the server's text."""
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


# --- without a response


def _unanswered(attempt: _Attempt, causes: Sequence[BaseException]) -> EndpointFailure:
    """Describes a proxy's error, else the innermost cause that is listed in `_HTTP_CAUSES`."""
    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in causes):
        return attempt.of_host("cannot be reached: its proxy failed", "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
    for cause in reversed(causes):
        for kind, failure_of in _HTTP_CAUSES:
            if isinstance(cause, kind):
                return failure_of(attempt, cause)
    if str(causes[0]).startswith("Could not find"):  # `requests` looks for the TLS files before it connects
        return _files_unusable(attempt)
    return attempt.of_host(f"cannot be checked ({type(causes[-1]).__name__})", f"check {attempt.to.source}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields the error and its causes, outermost first. urllib3 keeps a wrapped error as an argument."""
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        wrapped = inner.args[0] if inner.args and isinstance(inner.args[0], BaseException) else None
        inner = inner.__cause__ or inner.__context__ or wrapped


def _hangs(attempt: _Attempt) -> EndpointFailure:
    fix = f"is {attempt.to.source} the right host and port, and does a firewall block it?"
    return attempt.of_host(f"does not respond within {attempt.limit_s:g} s", fix)


def _unknown_host(attempt: _Attempt) -> EndpointFailure:
    return attempt.of_host("is not found: the host name does not exist", f"is {attempt.to.source} spelled correctly?")


def _connection_refused(attempt: _Attempt) -> EndpointFailure:
    return attempt.of_host(
        "refuses connections", f"is the collector running, and is {attempt.to.source} its host and port?"
    )


def _speaks_no_http(attempt: _Attempt) -> EndpointFailure:
    return attempt.of_host("does not respond over HTTP; it may be a gRPC server", f"set protocol grpc: {_PROTOCOL}")


def _closes(attempt: _Attempt) -> EndpointFailure:
    fix = (
        "does it expect TLS (https://) or another protocol?"
        if _is_plain(attempt)
        else f"is a client certificate missing ({_CLIENT_FILES})?"
    )
    return attempt.of_host("closes the connection without a response", fix)


def _is_plain(attempt: _Attempt) -> bool:
    to = attempt.to
    return to.insecure if to.protocol == "grpc" else to.url.lower().startswith("http:")


def _untrusted(attempt: _Attempt, why: str) -> EndpointFailure:
    if "not valid for" in why:
        return attempt.of_host(
            "has a certificate for another host name", f"use the name in the certificate in {attempt.to.source}"
        )
    reason = attempt.secrets.clean(why, _MAX_TOLD)
    return attempt.of_host(
        f"has a certificate that is not trusted ({reason})", f"set the CA certificate: {_CERTIFICATES}"
    )


def _tls_failed(attempt: _Attempt, reason: str) -> EndpointFailure:
    if "WRONG_VERSION_NUMBER" in reason:
        return attempt.of_host("does not speak TLS", "write http:// instead of https://")
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return attempt.of_host("requires a client certificate", f"set {_CLIENT_FILES}")
    if reason in _OF_FILES:
        return _files_unusable(attempt)
    return attempt.of_host(
        f"fails at TLS ({reason or 'no reason given'})", f"check {_CERTIFICATES}, and {_CLIENT_FILES}"
    )


_OF_FILES = ("NO_CERTIFICATE_OR_CRL_FOUND", "PEM lib", "", "NO_START_LINE", "KEY_VALUES_MISMATCH", "BAD_BASE64_DECODE")
"""OpenSSL's reasons for a file that is not a certificate or not a key."""


def _files_unusable(attempt: _Attempt) -> EndpointFailure:
    to = attempt.to
    names = [name for name in (to.certificate, to.client_certificate, to.client_key) if name is not None]
    return attempt.of_host(
        "cannot be reached: a TLS file cannot be used", f"the PEM format is expected in {', '.join(names)}"
    )


_HTTP_CAUSES: Sequence[tuple[type[BaseException], Callable[[_Attempt, Any], EndpointFailure]]] = (
    (socket.gaierror, lambda attempt, _: _unknown_host(attempt)),
    (ssl.SSLCertVerificationError, lambda attempt, cause: _untrusted(attempt, cause.verify_message)),
    (ssl.SSLEOFError, lambda attempt, _: _closes(attempt)),
    (ssl.SSLError, lambda attempt, cause: _tls_failed(attempt, cause.reason or "")),
    (TimeoutError, lambda attempt, _: _hangs(attempt)),
    (requests.exceptions.Timeout, lambda attempt, _: _hangs(attempt)),
    (ConnectionRefusedError, lambda attempt, _: _connection_refused(attempt)),
    (ConnectionError, lambda attempt, _: _closes(attempt)),
    (BadStatusLine, lambda attempt, _: _speaks_no_http(attempt)),
)
"""The first match counts: `RemoteDisconnected` is both a ConnectionError and a BadStatusLine."""


# --- over gRPC


def _ask_grpc(attempt: _Attempt) -> EndpointFailure | None:
    import grpc  # type: ignore[import-untyped]  # an extra, and slow to import

    to = attempt.to
    packed = grpc.Compression.Gzip if to.compression == "gzip" else grpc.Compression.NoCompression
    try:
        with _channel(to, packed) as channel:
            export = channel.unary_unary(
                _SERVICES[attempt.signal],
                request_serializer=bytes,
                response_deserializer=_RESPONSES[attempt.signal].FromString,
            )
            response = export(_EMPTY, timeout=attempt.limit_s, metadata=tuple(to.headers.items()))
            return _warned(attempt, response)
    except grpc.RpcError as error:
        return _failed_call(attempt, error.code().name, error.details() or "")
    except OSError:
        return _files_unusable(attempt)


def _channel(to: Endpoint, packed: Any) -> Any:
    """Raises OSError if a TLS file cannot be read."""
    import grpc

    if to.insecure:
        return grpc.insecure_channel(to.url, compression=packed)
    files = (to.certificate, to.client_key, to.client_certificate)
    credentials = grpc.ssl_channel_credentials(*(None if file is None else Path(file).read_bytes() for file in files))
    return grpc.secure_channel(to.url, credentials, compression=packed)


def _failed_call(attempt: _Attempt, code: str, details: str) -> EndpointFailure:
    """Decides by the status code and, if gRPC could not connect, by the details, which name the cause."""
    match code:
        case "DEADLINE_EXCEEDED":
            return _hangs(attempt)
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return _key_refused(attempt, f"responds with {code}")
        case "UNIMPLEMENTED" if "http2 header with status" not in details:
            return attempt.of_path(
                f"does not accept {attempt.signal}", f"is {attempt.to.source} a collector?{_OFF[attempt.signal]}"
            )
        case "UNAVAILABLE" | "UNIMPLEMENTED" | "INTERNAL" | "UNKNOWN":
            known = (words for words in _GRPC_WORDS if words in details)
            return _GRPC_WORDS[next(known, "")](attempt, code)
    return attempt.of_path(f"responds with {code}", f"check its log, and the headers{_from(attempt)}")


def _speaks_http(attempt: _Attempt) -> EndpointFailure:
    return attempt.of_host(
        "does not respond over gRPC; it may be an HTTP server", f"set protocol http/protobuf: {_PROTOCOL}"
    )


_GRPC_WORDS: Mapping[str, Callable[[_Attempt, str], EndpointFailure]] = {
    "Connection refused": lambda attempt, _: _connection_refused(attempt),
    "errors resolving": lambda attempt, _: _unknown_host(attempt),
    "DNS resolution failed": lambda attempt, _: _unknown_host(attempt),
    "WRONG_VERSION_NUMBER": lambda attempt, _: _tls_failed(attempt, "WRONG_VERSION_NUMBER"),
    "CERTIFICATE_VERIFY_FAILED": lambda attempt, _: _untrusted(attempt, "unknown authority, or expired"),
    "Hostname Verification": lambda attempt, _: _untrusted(attempt, "not valid for"),
    "security handshaker": lambda attempt, _: _files_unusable(attempt),
    "Tls handshake failed": lambda attempt, _: _tls_failed(attempt, "HANDSHAKE_FAILED"),
    "Failed parsing HTTP/2": lambda attempt, _: _speaks_http(attempt),
    "http1.x server": lambda attempt, _: _speaks_http(attempt),
    "http2 header with status": lambda attempt, _: _speaks_http(attempt),
    "Socket closed": lambda attempt, _: _closes(attempt),
    "reset by peer": lambda attempt, _: _closes(attempt),
    "": lambda attempt, code: attempt.of_host(f"responds with {code}", "are the collector and its backend running?"),
}
"""What gRPC core 1.85 writes into a failed call's details; the empty text matches all others."""
