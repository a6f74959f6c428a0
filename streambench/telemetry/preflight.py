"""Whether every endpoint answers, tried with an empty export before anything is paid for.

On the way: `run` calls `check` between `settings.resolve` and the first request; import it only where something is
exported. HTTP goes through requests, as the exporter's own does, so that proxies, TLS and netrc act the same later.
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

from streambench.secrets import Secrets, mask_url
from streambench.telemetry.settings import Endpoint, Settings, Signal

_EMPTY = b""
"""An export request of no spans, points or records, as protobuf writes it."""
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
class Trouble:
    """An endpoint that will not take what is sent, and how to mend it; no header's value, password or query in it."""

    endpoint: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.endpoint} {self.what}: {self.mend}"


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One endpoint, asked once."""

    signal: Signal
    to: Endpoint
    limit_s: float
    secrets: Secrets

    def of_host(self, what: str, mend: str) -> Trouble:
        """The same for each signal that goes to this host: told once."""
        if self.to.protocol == "grpc":
            return Trouble(self.to.url, what, mend)
        parts = urlsplit(self.to.url)
        return Trouble(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", what, mend)

    def of_path(self, what: str, mend: str) -> Trouble:
        place = f"{self.to.url} ({self.signal})" if self.to.protocol == "grpc" else self.to.shown_url
        return Trouble(place, what, mend)


def check(settings: Settings, limit_s: float = 3.0) -> tuple[Trouble, ...]:
    """Asks every endpoint at once, each signal's by itself; nothing is waited for longer than `limit_s` in all."""
    attempts = [_Attempt(signal, to, limit_s, settings.secrets) for signal, to in settings.endpoints.items()]
    found = _all_at_once([_asking(attempt) for attempt in attempts], limit_s, [_hangs(each) for each in attempts])
    return tuple(dict.fromkeys(trouble for trouble in found if trouble is not None))


def _asking(attempt: _Attempt) -> Callable[[], Trouble | None]:
    ask = _ask_grpc if attempt.to.protocol == "grpc" else _ask_http
    return lambda: ask(attempt)


def _all_at_once(
    questions: Sequence[Callable[[], Trouble | None]], limit_s: float, late: Sequence[Trouble]
) -> list[Trouble | None]:
    """The answers in order; `late` for those that did not come. Daemon threads: a name server can hold one for long."""
    answers: list[Trouble | None] = list(late)

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


# --- by http


def no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An authentication that adds nothing, in whose place `requests` would put one from ~/.netrc."""
    return request


def _ask_http(attempt: _Attempt) -> Trouble | None:
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
                verify=to.certificate,  # else REQUESTS_CA_BUNDLE would win over it
                allow_redirects=False,
                stream=True,
            ) as answer:
                return _judged(attempt, answer, next(answer.iter_content(_MAX_ANSWER), _EMPTY))
        except (OSError, ValueError) as error:  # requests has its errors under both
            return _unanswered(attempt, list(_causes(error)))


def _judged(attempt: _Attempt, answer: requests.Response, body: bytes) -> Trouble | None:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    status = answer.status_code
    if 200 <= status < 300 and kind == "text/html":
        return attempt.of_path("answers with a web page", f"{_is_it_the_base(attempt)}{_OFF[attempt.signal]}")
    if 200 <= status < 300:
        return _partial(attempt, body) if kind == "application/x-protobuf" else None
    if 300 <= status < 400:
        place = attempt.secrets.clean(mask_url(answer.headers.get("location", "another address")), _MAX_TOLD)
        return attempt.of_path(f"redirects ({_status(status)})", f"exports do not follow; is it {place}?")
    return _refused(attempt, status)


def _refused(attempt: _Attempt, status: int) -> Trouble:
    told = f"answers {_status(status)}"
    match status:
        case 401 | 403:
            return _key_refused(attempt, told)
        case 404 | 405:
            return attempt.of_path(told, f"{_is_it_the_base(attempt)}{_OFF[attempt.signal]}")
        case 407:
            return attempt.of_host(told, "the proxy asks for a password; see HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
        case 415:
            return attempt.of_path(told, f"try compression `none` or another protocol: {_PROTOCOL}")
        case _ if status >= 500:
            return attempt.of_path(told, "is the collector, and what it sends on to, up and well?")
    return attempt.of_path(told, f"it takes not even an empty export; see its log, and the headers{_from(attempt)}")


def _key_refused(attempt: _Attempt, told: str) -> Trouble:
    source = attempt.to.headers_source
    if source is None:
        mend = "no headers are set: OTEL_EXPORTER_OTLP_HEADERS, or `telemetry: {headers: ...}`"
        return attempt.of_host(told, mend)
    return attempt.of_host(told, f"is the key right? The headers come from {source}")


def _from(attempt: _Attempt) -> str:
    source = attempt.to.headers_source
    return "" if source is None else f" from {source}"


def _is_it_the_base(attempt: _Attempt) -> str:
    source, path = attempt.to.source, f"/v1/{attempt.signal}"
    if source == f"OTEL_EXPORTER_OTLP_{attempt.signal.upper()}_ENDPOINT":
        return f"{source} is taken as it stands; should it end in {path}?"
    return f"is {source} the base URL? {path} is added to it"


def _partial(attempt: _Attempt, body: bytes) -> Trouble | None:
    try:
        response = _RESPONSES[attempt.signal].FromString(body)
    except DecodeError:
        return attempt.of_path("answers with something else than OTLP", _is_it_the_base(attempt))
    return _warned(attempt, response)


def _warned(attempt: _Attempt, response: Any) -> Trouble | None:
    message = attempt.secrets.clean(response.partial_success.error_message, _MAX_TOLD)
    return attempt.of_path("takes exports with a warning", message) if message else None


def _status(code: int) -> str:
    """Never the server's own words."""
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


# --- where no answer came


def _unanswered(attempt: _Attempt, causes: Sequence[BaseException]) -> Trouble:
    """The innermost cause that we know words for decides."""
    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in causes):
        return attempt.of_host("is not reached: its proxy fails", "see HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
    for cause in reversed(causes):
        for kind, told in _HTTP_CAUSES:
            if isinstance(cause, kind):
                return told(attempt, cause)
    if str(causes[0]).startswith("Could not find"):  # requests looks for the files beforehand
        return _files_unusable(attempt)
    return attempt.of_host(f"cannot be asked ({type(causes[-1]).__name__})", f"see {attempt.to.source}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """From the outside in; urllib3 keeps what it wraps as an argument."""
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        wrapped = inner.args[0] if inner.args and isinstance(inner.args[0], BaseException) else None
        inner = inner.__cause__ or inner.__context__ or wrapped


def _hangs(attempt: _Attempt) -> Trouble:
    mend = f"is {attempt.to.source} the right host and port, and is no firewall between?"
    return attempt.of_host(f"gives no answer within {attempt.limit_s:g} s", mend)


def _unknown_host(attempt: _Attempt) -> Trouble:
    return attempt.of_host("is not found: no such host name", f"is {attempt.to.source} spelled right?")


def _nobody_there(attempt: _Attempt) -> Trouble:
    return attempt.of_host("refuses connections", f"is the collector up, and is {attempt.to.source} its host and port?")


def _speaks_no_http(attempt: _Attempt) -> Trouble:
    return attempt.of_host("does not answer by HTTP, as a gRPC server does", f"protocol grpc: {_PROTOCOL}")


def _closes(attempt: _Attempt) -> Trouble:
    mend = (
        "does it speak TLS (https://), or another protocol?"
        if _is_plain(attempt)
        else f"is a client certificate missing ({_CLIENT_FILES})?"
    )
    return attempt.of_host("closes the connection without an answer", mend)


def _is_plain(attempt: _Attempt) -> bool:
    to = attempt.to
    return to.insecure if to.protocol == "grpc" else to.url.lower().startswith("http:")


def _untrusted(attempt: _Attempt, why: str) -> Trouble:
    if "not valid for" in why:
        return attempt.of_host("has a certificate for another name", f"write the name it is for in {attempt.to.source}")
    told = attempt.secrets.clean(why, _MAX_TOLD)
    return attempt.of_host(f"has a certificate that is not trusted ({told})", f"name its authority: {_CERTIFICATES}")


def _tls_failed(attempt: _Attempt, reason: str) -> Trouble:
    if "WRONG_VERSION_NUMBER" in reason:
        return attempt.of_host("does not speak TLS", "write http:// for https://")
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return attempt.of_host("asks for a client certificate", _CLIENT_FILES)
    if reason in _OF_FILES:
        return _files_unusable(attempt)
    return attempt.of_host(f"fails at TLS ({reason or 'no reason given'})", f"see {_CERTIFICATES}, and {_CLIENT_FILES}")


_OF_FILES = ("NO_CERTIFICATE_OR_CRL_FOUND", "PEM lib", "", "NO_START_LINE", "KEY_VALUES_MISMATCH", "BAD_BASE64_DECODE")
"""What OpenSSL says of a file that is no certificate or no key."""


def _files_unusable(attempt: _Attempt) -> Trouble:
    to = attempt.to
    names = [name for name in (to.certificate, to.client_certificate, to.client_key) if name is not None]
    return attempt.of_host("is not reached: a TLS file cannot be used", f"PEM is expected in {', '.join(names)}")


_HTTP_CAUSES: Sequence[tuple[type[BaseException], Callable[[_Attempt, Any], Trouble]]] = (
    (socket.gaierror, lambda attempt, _: _unknown_host(attempt)),
    (ssl.SSLCertVerificationError, lambda attempt, cause: _untrusted(attempt, cause.verify_message)),
    (ssl.SSLEOFError, lambda attempt, _: _closes(attempt)),
    (ssl.SSLError, lambda attempt, cause: _tls_failed(attempt, cause.reason or "")),
    (TimeoutError, lambda attempt, _: _hangs(attempt)),
    (requests.exceptions.Timeout, lambda attempt, _: _hangs(attempt)),
    (ConnectionRefusedError, lambda attempt, _: _nobody_there(attempt)),
    (ConnectionError, lambda attempt, _: _closes(attempt)),
    (BadStatusLine, lambda attempt, _: _speaks_no_http(attempt)),
)
"""The first that fits: `RemoteDisconnected` is a ConnectionError, and a BadStatusLine as well."""


# --- by gRPC


def _ask_grpc(attempt: _Attempt) -> Trouble | None:
    import grpc  # type: ignore[import-untyped]  # an extra, and slow to load

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
    """Raises OSError for a file that cannot be read."""
    import grpc

    if to.insecure:
        return grpc.insecure_channel(to.url, compression=packed)
    files = (to.certificate, to.client_key, to.client_certificate)
    credentials = grpc.ssl_channel_credentials(*(None if file is None else Path(file).read_bytes() for file in files))
    return grpc.secure_channel(to.url, credentials, compression=packed)


def _failed_call(attempt: _Attempt, code: str, details: str) -> Trouble:
    """By the status code, and where gRPC could not connect by its own words, which name the cause."""
    match code:
        case "DEADLINE_EXCEEDED":
            return _hangs(attempt)
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return _key_refused(attempt, f"answers {code}")
        case "UNIMPLEMENTED" if "http2 header with status" not in details:
            return attempt.of_path(
                f"takes no {attempt.signal}", f"is {attempt.to.source} a collector?{_OFF[attempt.signal]}"
            )
        case "UNAVAILABLE" | "UNIMPLEMENTED" | "INTERNAL" | "UNKNOWN":
            known = (words for words in _GRPC_WORDS if words in details)
            return _GRPC_WORDS[next(known, "")](attempt, code)
    return attempt.of_path(f"answers {code}", f"see its log, and the headers{_from(attempt)}")


def _speaks_http(attempt: _Attempt) -> Trouble:
    return attempt.of_host("does not answer by gRPC, as an HTTP server does", f"protocol http/protobuf: {_PROTOCOL}")


_GRPC_WORDS: Mapping[str, Callable[[_Attempt, str], Trouble]] = {
    "Connection refused": lambda attempt, _: _nobody_there(attempt),
    "errors resolving": lambda attempt, _: _unknown_host(attempt),
    "DNS resolution failed": lambda attempt, _: _unknown_host(attempt),
    "WRONG_VERSION_NUMBER": lambda attempt, _: _tls_failed(attempt, "WRONG_VERSION_NUMBER"),
    "CERTIFICATE_VERIFY_FAILED": lambda attempt, _: _untrusted(attempt, "unknown authority, or out of date"),
    "Hostname Verification": lambda attempt, _: _untrusted(attempt, "not valid for"),
    "security handshaker": lambda attempt, _: _files_unusable(attempt),
    "Tls handshake failed": lambda attempt, _: _tls_failed(attempt, "HANDSHAKE_FAILED"),
    "Failed parsing HTTP/2": lambda attempt, _: _speaks_http(attempt),
    "http1.x server": lambda attempt, _: _speaks_http(attempt),
    "http2 header with status": lambda attempt, _: _speaks_http(attempt),
    "Socket closed": lambda attempt, _: _closes(attempt),
    "reset by peer": lambda attempt, _: _closes(attempt),
    "": lambda attempt, code: attempt.of_host(f"answers {code}", "is the collector, and what it sends on to, up?"),
}
"""What gRPC core 1.85 writes into a failed call's details; the empty one fits all others."""
