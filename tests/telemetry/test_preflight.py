"""The pre-flight against real sockets: what it says of each way in which an endpoint does not take what is sent."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
import trustme
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from streambench.clock import MonotonicClock
from streambench.telemetry.preflight import EndpointFailure, check
from streambench.telemetry.settings import Endpoint, TelemetrySettings
from telemetry.given import facts, opened

KEY = "q7Lk-hunter2-Zx"
LIMIT_S = 3.0
SOON_S = 0.5
PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True)
class Reply:
    status: int = 200
    kind: str = PROTOBUF
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Received:
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Sink:
    port: int
    received: list[Received]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/traces"


@contextmanager
def http_sink(reply: Callable[[str], Reply], tls: ssl.SSLContext | None = None) -> Iterator[Sink]:
    received: list[Received] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            received.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            answer = reply(self.path)
            self.send_response(answer.status)
            for name, value in {"content-type": answer.kind, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that breaks off is what these tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Sink(server.server_port, received)
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def grpc_sink(
    export: Callable[[bytes, Any], Any], services: tuple[str, ...] = ("trace",), credentials: Any = None
) -> Iterator[int]:
    names = {"trace": "trace.v1.TraceService", "metrics": "metrics.v1.MetricsService"}
    server = grpc.server(ThreadPoolExecutor(4))
    method = grpc.unary_unary_rpc_method_handler(
        export, response_serializer=lambda message: message.SerializeToString()
    )
    for service in services:
        name = f"opentelemetry.proto.collector.{names[service]}"
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, {"Export": method})])
    port = (
        server.add_secure_port("127.0.0.1:0", credentials) if credentials else server.add_insecure_port("127.0.0.1:0")
    )
    server.start()
    try:
        yield port
    finally:
        server.stop(None)


@contextmanager
def silent() -> Iterator[int]:
    """A port where connections are taken and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine says of proxies and authorities."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@dataclass(frozen=True)
class Authority:
    ca: trustme.CA
    bundle: str

    def server(self, *, asks_client: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert("localhost").configure_cert(context)
        if asks_client:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context

    def grpc_server(self) -> Any:
        cert = self.ca.issue_cert("localhost")
        chain = b"".join(pem.bytes() for pem in cert.cert_chain_pems)
        return grpc.ssl_server_credentials([(cert.private_key_pem.bytes(), chain)])


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca = trustme.CA()
    bundle = tmp_path_factory.mktemp("authority") / "ca.pem"
    ca.cert_pem.write_to_path(str(bundle))
    return Authority(ca, str(bundle))


def http(url: str, **changed: Any) -> Endpoint:
    return replace(Endpoint(url, "http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT"), **changed)


def by_grpc(port: int, **changed: Any) -> Endpoint:
    return replace(Endpoint(f"127.0.0.1:{port}", "grpc", "telemetry.endpoint", insecure=True), **changed)


def ask(endpoint: Endpoint, limit_s: float = LIMIT_S) -> tuple[EndpointFailure, ...]:
    return check(TelemetrySettings(traces="otlp", traces_to=endpoint), limit_s)


def said(endpoint: Endpoint, limit_s: float = LIMIT_S) -> str:
    """The one trouble, as one line."""
    (trouble,) = ask(endpoint, limit_s)
    assert len(str(trouble).splitlines()) == 1
    return str(trouble)


# --- what is fine


def test_an_empty_export_is_sent_as_a_full_one_would_be() -> None:
    """Headers, compression and path are the exporter's."""
    with http_sink(lambda _: Reply()) as sink:
        assert ask(http(sink.url, headers={"api-key": KEY})) == ()
    (received,) = sink.received
    assert (received.path, gzip.decompress(received.body)) == ("/v1/traces", b"")
    sent = {name: received.headers.get(name) for name in ("api-key", "content-type", "content-encoding")}
    assert sent == {"api-key": KEY, "content-type": PROTOBUF, "content-encoding": "gzip"}


def test_without_compression_it_is_plain() -> None:
    """No bytes are an empty message."""
    with http_sink(lambda _: Reply()) as sink:
        assert ask(http(sink.url, compression="none")) == ()
    (received,) = sink.received
    assert (received.body, received.headers.get("content-encoding")) == (b"", None)


def test_nothing_to_ask_is_no_trouble() -> None:
    """Without endpoints, as with the console."""
    assert check(TelemetrySettings(traces="console")) == ()


def test_grpc_is_asked_with_its_headers() -> None:
    """An empty message under the service's name."""
    seen: list[tuple[bytes, str | None]] = []

    def export(request: bytes, context: Any) -> ExportTraceServiceResponse:
        seen.append((request, dict(context.invocation_metadata()).get("api-key")))
        return ExportTraceServiceResponse()

    with grpc_sink(export) as port:
        assert ask(by_grpc(port, headers={"api-key": KEY})) == ()
    assert seen == [(b"", KEY)]


def test_tls_files_are_used(authority: Authority, tmp_path: Path) -> None:
    """An authority of one's own, and a client certificate where it is asked for."""
    key, chain = tmp_path / "key.pem", tmp_path / "cert.pem"
    cert = authority.ca.issue_cert("client")
    cert.private_key_pem.write_to_path(str(key))
    cert.cert_chain_pems[0].write_to_path(str(chain))
    files = {"certificate": authority.bundle, "client_key": str(key), "client_certificate": str(chain)}
    with http_sink(lambda _: Reply(), authority.server(asks_client=True)) as sink:
        assert ask(http(f"https://localhost:{sink.port}/v1/traces", **files)) == ()
    with grpc_sink(lambda *_: ExportTraceServiceResponse(), credentials=authority.grpc_server()) as port:
        assert ask(by_grpc(port, url=f"localhost:{port}", insecure=False, **files)) == ()


# --- what a server answers

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("reply", "path", "what", "mend"),
    [
        (Reply(401), "", "401 Unauthorized", "is the key right? The headers come from telemetry.headers"),
        (Reply(403), "", "403 Forbidden", "telemetry.headers"),
        (Reply(404), "/v1/traces", "404 Not Found", f"is {BASE} the base URL? /v1/traces is added to it"),
        (Reply(404, "text/html", b"<html>"), "/v1/traces", "404 Not Found", BASE),
        (Reply(405), "/v1/traces", "405 Method Not Allowed", BASE),
        (Reply(415), "/v1/traces", "415 Unsupported Media Type", "try compression `none` or another protocol"),
        (
            Reply(400),
            "/v1/traces",
            "400 Bad Request",
            "empty export; check its log, and the headers from telemetry.headers",
        ),
        (Reply(407), "", "407 Proxy Authentication Required", "the proxy"),
        (Reply(500), "/v1/traces", "500 Internal Server Error", "are the collector and its backend working?"),
        (Reply(503), "/v1/traces", "503 Service Unavailable", "collector"),
        (Reply(599), "/v1/traces", "599", "collector"),
        (Reply(200, "text/html; charset=utf-8", b"<html>"), "/v1/traces", "responds with a web page", BASE),
        (Reply(200, PROTOBUF, b"\xff\xff"), "/v1/traces", "other than OTLP", BASE),
        (
            Reply(302, headers={"location": f"https://u:{KEY}@login.example/x?key={KEY}"}),
            "/v1/traces",
            "302 Found",
            "exports do not follow redirects; is the endpoint https://***@login.example/x?***?",
        ),
    ],
)
def test_what_an_answer_means(reply: Reply, path: str, what: str, mend: str) -> None:
    """Of the answer its status only; the mend names what to look at."""
    with http_sink(lambda _: reply) as sink:
        (failure,) = ask(http(sink.url, headers={"api-key": KEY}, headers_source="telemetry.headers"))
    assert failure.endpoint == f"http://127.0.0.1:{sink.port}{path}"
    assert what in failure.what
    assert mend in failure.fix
    assert KEY not in str(failure)


def test_a_missing_key_is_told_apart_from_a_wrong_one() -> None:
    """With where to put it."""
    with http_sink(lambda _: Reply(401)) as sink:
        line = said(http(sink.url))
    assert "no headers are set" in line
    assert "OTEL_EXPORTER_OTLP_HEADERS, or `telemetry: {headers: ...}`" in line


def test_a_signals_own_variable_is_taken_as_it_stands() -> None:
    """So its path may be missing."""
    with http_sink(lambda _: Reply(404)) as sink:
        line = said(http(sink.url, source="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used as given; should it end in /v1/traces?" in line


def test_a_warning_in_a_success_is_told() -> None:
    """Masked, since it may repeat what was sent."""
    partial = ExportTracePartialSuccess(error_message=f"quota nearly\nspent by {KEY}")
    response = ExportTraceServiceResponse(partial_success=partial)
    with http_sink(lambda _: Reply(body=response.SerializeToString())) as sink:
        line = said(http(sink.url, headers={"api-key": KEY}))
    assert line.endswith(" with a warning: quota nearly spent by ***")
    with grpc_sink(lambda *_: response) as port:
        assert "with a warning" in said(by_grpc(port))


def test_each_signal_is_asked_by_itself() -> None:
    """Many backends take traces and no metrics; the mend is to switch these off."""
    with http_sink(lambda path: Reply(404 if path == "/v1/metrics" else 200)) as sink:
        base = f"http://127.0.0.1:{sink.port}"
        to = TelemetrySettings(traces_to=http(f"{base}/v1/traces"), metrics_to=http(f"{base}/v1/metrics"))
        (trouble,) = check(to, LIMIT_S)
    assert trouble.endpoint == f"{base}/v1/metrics"
    assert trouble.fix.endswith("OTEL_METRICS_EXPORTER=none, or `telemetry: {metrics: none}`")


def test_what_is_wrong_with_a_host_is_told_once() -> None:
    """Not for each signal that goes there."""
    base = f"http://127.0.0.1:{closed_port()}"
    to = TelemetrySettings(traces_to=http(f"{base}/v1/traces"), metrics_to=http(f"{base}/v1/metrics"))
    assert [trouble.endpoint for trouble in check(to, LIMIT_S)] == [base]


# --- where no answer comes


def test_a_closed_port() -> None:
    """By either protocol."""
    port = closed_port()
    expected = f"127.0.0.1:{port} refuses connections: is the collector running, and is "
    assert said(http(f"http://127.0.0.1:{port}/v1/traces")).startswith(f"http://{expected}OTEL_EXPORTER_OTLP_ENDPOINT")
    assert said(by_grpc(port)).startswith(f"{expected}telemetry.endpoint its host and port?")


def test_an_unknown_host() -> None:
    """`.invalid` never resolves."""
    assert "collector.invalid:4318 is not found" in said(http("http://collector.invalid:4318/v1/x"))
    assert "collector.invalid:4317 is not found" in said(by_grpc(0, url="collector.invalid:4317"))


def test_an_endpoint_that_hangs_costs_the_limit_once() -> None:
    """All of them are asked at the same time; 2 s on top are for a busy machine."""
    clock = MonotonicClock()
    with ExitStack() as stack:
        ports = [stack.enter_context(silent()) for _ in range(3)]
        to = TelemetrySettings(
            traces_to=http(f"http://127.0.0.1:{ports[0]}/v1/traces"),
            metrics_to=by_grpc(ports[1]),
            logs_to=http(f"https://127.0.0.1:{ports[2]}/v1/logs"),
        )
        begun_ns = clock.now_ns()
        troubles = check(to, SOON_S)
        took_s = (clock.now_ns() - begun_ns) / 1e9
    assert [trouble.what for trouble in troubles] == ["does not respond within 0.5 s"] * 3
    assert took_s < SOON_S + 2


def test_an_answer_that_never_ends_costs_the_limit_too() -> None:
    """A header is promised more bytes than come."""
    release = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n1")
            release.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        line = said(http(f"http://127.0.0.1:{listener.getsockname()[1]}/"), SOON_S)
        release.set()
    assert " 0.5 s" in line


# --- TLS


def test_an_unknown_authority(authority: Authority) -> None:
    """The mend names the variable and the key for its certificate."""
    mend = "certificate: OTEL_EXPORTER_OTLP_CERTIFICATE, or `telemetry: {certificate: ...}`"
    with http_sink(lambda _: Reply(), authority.server()) as sink:
        line = said(http(f"https://localhost:{sink.port}/v1/traces"))
    assert "has a certificate that is not trusted (" in line
    assert line.endswith(mend)
    with grpc_sink(lambda *_: ExportTraceServiceResponse(), credentials=authority.grpc_server()) as port:
        line = said(by_grpc(port, url=f"localhost:{port}", insecure=False))
    assert "has a certificate that is not trusted (" in line
    assert line.endswith(mend)


def test_the_authority_given_wins_over_the_environments(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """requests by itself prefers REQUESTS_CA_BUNDLE; neither the pre-flight nor the exporter does."""
    other = Path(authority.bundle).with_name("other.pem")
    trustme.CA().cert_pem.write_to_path(str(other))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    with http_sink(lambda _: Reply(), authority.server()) as sink:
        to = http(f"https://localhost:{sink.port}/v1/traces", certificate=authority.bundle)
        assert not check(TelemetrySettings(traces="otlp", traces_to=to))
        pipeline = opened(TelemetrySettings(traces="otlp", traces_to=to))
        pipeline.emit(facts())
        assert pipeline.close(10).delivered == 1


def test_the_header_given_wins_over_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """requests by itself would put the password of ~/.netrc in its place; neither pre-flight nor exporter does."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with http_sink(lambda _: Reply()) as sink:
        to = http(sink.url, headers={"authorization": "Bearer given"})
        assert not check(TelemetrySettings(traces="otlp", traces_to=to))
        pipeline = opened(TelemetrySettings(traces="otlp", traces_to=to))
        pipeline.emit(facts())
        assert pipeline.close(10).delivered == 1
        assert {request.headers["authorization"] for request in sink.received} == {"Bearer given"}


def test_a_certificate_for_another_name(authority: Authority) -> None:
    """It is for `localhost`, and the address was asked."""
    with http_sink(lambda _: Reply(), authority.server()) as sink:
        line = said(http(f"https://127.0.0.1:{sink.port}/v1/traces", certificate=authority.bundle))
    assert "certificate for another host name" in line
    with grpc_sink(lambda *_: ExportTraceServiceResponse(), credentials=authority.grpc_server()) as port:
        assert "certificate for another host name" in said(by_grpc(port, insecure=False, certificate=authority.bundle))


def test_a_missing_client_certificate(authority: Authority) -> None:
    """The server says so, or just closes."""
    with http_sink(lambda _: Reply(), authority.server(asks_client=True)) as sink:
        line = said(http(f"https://localhost:{sink.port}/v1/traces", certificate=authority.bundle))
    assert "client certificate" in line
    assert "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" in line


def test_tls_where_there_is_none() -> None:
    """One letter too many."""
    with http_sink(lambda _: Reply()) as sink:
        line = said(http(f"https://127.0.0.1:{sink.port}/v1/traces"))
        assert line.endswith("write http:// instead of https://")
        line = said(by_grpc(sink.port, insecure=False))
        assert line.endswith("write http:// instead of https://")


def test_no_tls_where_there_is_some(authority: Authority) -> None:
    """A server that hears no handshake closes."""
    with http_sink(lambda _: Reply(), authority.server()) as sink:
        assert "does it expect TLS (https://)" in said(http(sink.url))
        assert "does it expect TLS (https://)" in said(by_grpc(sink.port))


@pytest.mark.parametrize("key", ["certificate", "client_certificate"])
def test_a_file_that_is_no_certificate(authority: Authority, tmp_path: Path, key: str) -> None:
    """Its name is told, nothing of what it holds."""
    file = tmp_path / "x.pem"
    file.write_text(KEY)
    files = {"certificate": authority.bundle, key: str(file)}
    with http_sink(lambda _: Reply(), authority.server()) as sink:
        line = said(http(f"https://localhost:{sink.port}/", **files))
    assert "a TLS file cannot be used" in line
    assert "PEM" in line
    assert str(file) in line
    assert KEY not in line


def test_a_file_for_grpc_that_is_no_certificate(authority: Authority, tmp_path: Path) -> None:
    """Or that cannot be read."""
    (tmp_path / "x.pem").write_text("x")
    with grpc_sink(lambda *_: ExportTraceServiceResponse(), credentials=authority.grpc_server()) as port:
        for name in ("x.pem", "missing.pem"):
            line = said(by_grpc(port, url=f"localhost:{port}", insecure=False, certificate=str(tmp_path / name)))
            assert str(tmp_path / name) in line


# --- the wrong protocol, and gRPC's own answers


def test_http_to_a_grpc_server() -> None:
    """Seldom on 4317 only."""
    with grpc_sink(lambda *_: ExportTraceServiceResponse()) as port:
        line = said(http(f"http://127.0.0.1:{port}/v1/traces"))
    assert "set protocol grpc: OTEL_EXPORTER_OTLP_PROTOCOL, or" in line


def test_grpc_to_an_http_server() -> None:
    """And the other way round."""
    with http_sink(lambda _: Reply()) as sink:
        line = said(by_grpc(sink.port))
    assert "set protocol http/protobuf: OTEL_EXPORTER_OTLP_PROTOCOL" in line


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "X_HEADERS"),
        (grpc.StatusCode.PERMISSION_DENIED, "X_HEADERS"),
        (grpc.StatusCode.UNAVAILABLE, "running?"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "X_HEADERS"),
    ],
)
def test_what_a_grpc_status_means(code: Any, mend: str) -> None:
    """Never with the server's own words, which may hold the key."""
    with grpc_sink(lambda _, context: context.abort(code, f"no such key: {KEY}")) as port:
        (failure,) = ask(by_grpc(port, headers={"api-key": KEY}, headers_source="X_HEADERS"))
    assert code.name in failure.what
    assert mend in failure.fix
    assert KEY not in str(failure)


def test_a_grpc_collector_without_metrics() -> None:
    """Its traces are fine."""
    with grpc_sink(lambda *_: ExportTraceServiceResponse()) as port:
        (trouble,) = check(TelemetrySettings(traces_to=by_grpc(port), metrics_to=by_grpc(port)), LIMIT_S)
    assert str(trouble).startswith(f"127.0.0.1:{port} (metrics) does not accept metrics: ")
    with grpc_sink(lambda *_: ExportMetricsServiceResponse(), ("trace", "metrics")) as port:
        assert check(TelemetrySettings(traces_to=by_grpc(port), metrics_to=by_grpc(port)), LIMIT_S) == ()


# --- proxies and secrets


def test_a_proxy_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter would go through it as well."""
    monkeypatch.setenv("HTTP_PROXY", f"http://me:{KEY}@127.0.0.1:{closed_port()}")
    line = said(http("http://collector.example/v1/traces"))
    assert line.startswith("http://collector.example cannot be reached: its proxy failed")
    assert line.endswith("HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
    assert KEY not in line


def test_a_password_in_the_url_is_never_told() -> None:
    """Neither is a query, whether the host answers or not."""
    for reply in (Reply(401), Reply(404)):
        with http_sink(lambda _, reply=reply: reply) as sink:  # type: ignore[misc]
            line = said(http(f"http://me:{KEY}@127.0.0.1:{sink.port}/v1/traces?k={KEY}"))
        assert KEY not in line
    assert KEY not in said(http(f"http://me:{KEY}@127.0.0.1:{closed_port()}/v1/traces?k={KEY}"))
