"""An OTLP receiver on a real socket, http or gRPC, that can be slow, refuse, hang or fail for a while.

As a program it serves in a process of its own: `python small_sink.py http --delay 0.5`. It prints its port, then for
each line on stdin the number of different spans it holds, and ends with stdin.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

GRPC_CODES = {401: grpc.StatusCode.UNAUTHENTICATED, 404: grpc.StatusCode.UNIMPLEMENTED}
"""Every other status is UNAVAILABLE."""


@dataclass
class Sink:
    """What arrived, and how to answer: each request with the next of `answers`, and `reject` spans of it refused."""

    protocol: str = "http"
    delay_s: float = 0.0
    answers: Callable[[], int] = lambda: 200
    reject: int = 0
    hang: bool = False
    body: bytes | None = None
    url: str = ""
    largest: int = 0
    requests: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def spans(self) -> list[Span]:
        traces = [each for each in self.requests if isinstance(each, ExportTraceServiceRequest)]
        return [
            span
            for request in traces
            for part in request.resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]

    @property
    def metrics(self) -> list[dict[str, Metric]]:
        """Metrics by name, one dict for each export."""
        exports = [each for each in self.requests if isinstance(each, ExportMetricsServiceRequest)]
        return [
            {
                metric.name: metric
                for part in each.resource_metrics
                for scope in part.scope_metrics
                for metric in scope.metrics
            }
            for each in exports
        ]

    def take(self, request: Any, size: int, headers: dict[str, str]) -> int:
        """The status to answer with, after the delay."""
        self.headers.append(headers)
        if self.hang:
            self.released.wait()
        if self.delay_s:
            self.released.wait(self.delay_s)
        status = self.answers()
        if status == 200:
            self.requests.append(request)
            self.largest = max(self.largest, size)
        return status


@contextmanager
def served(sink: Sink) -> Iterator[Sink]:
    with (_http if sink.protocol == "http" else _grpc)(sink):
        try:
            yield sink
        finally:
            sink.released.set()


PATHS: dict[str, tuple[Any, Any]] = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
}


def reply_of(kind: Any, sink: Sink) -> Any:
    reply = kind()
    if sink.reject and kind is ExportTraceServiceResponse:
        reply.partial_success.rejected_spans = sink.reject
        reply.partial_success.error_message = "too old"
    return reply


@contextmanager
def _http(sink: Sink) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        of: ClassVar[Sink] = sink

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            plain = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            request, reply = PATHS[self.path]
            status = self.of.take(
                request.FromString(plain), len(plain), {k.lower(): v for k, v in self.headers.items()}
            )
            content = self.of.body if self.of.body is not None else reply_of(reply, self.of).SerializeToString()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A sender that went away, as one does at its deadline, is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    sink.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _grpc(sink: Sink) -> Iterator[None]:
    def method(kind: Any, reply: Any) -> Any:
        def call(request: Any, context: Any) -> Any:
            headers = {name: str(value) for name, value in context.invocation_metadata()}
            status = sink.take(request, request.ByteSize(), headers)
            if status != 200:
                context.abort(GRPC_CODES.get(status, grpc.StatusCode.UNAVAILABLE), f"answered {status}")
            return reply_of(reply, sink)

        return grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=kind.FromString, response_serializer=reply.SerializeToString
        )

    server = grpc.server(ThreadPoolExecutor(8))
    for name, (kind, reply) in zip(("trace", "metrics", "logs"), PATHS.values(), strict=True):
        service = f"opentelemetry.proto.collector.{name}.v1.{name.capitalize()}Service"
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service, {"Export": method(kind, reply)})]
        )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sink.url = f"127.0.0.1:{port}"
    try:
        yield
    finally:
        sink.released.set()
        server.stop(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("protocol", choices=["http", "grpc"])
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--hang", action="store_true")
    asked = parser.parse_args()
    with served(Sink(asked.protocol, asked.delay, lambda: asked.status, hang=asked.hang)) as sink:
        print(sink.url, flush=True)
        for _ in sys.stdin:
            print(len({span.span_id for span in sink.spans}), flush=True)


if __name__ == "__main__":
    main()
