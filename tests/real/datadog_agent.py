"""Datadog's test agent: a vendor's own decoder of OTLP, by HTTP and by gRPC, which tells what it understood.

It lives in `.venv-datadog`, built on first use in some 10 s (75 MB). What it tells is JSON of what it decoded with its
own protobuf; here it is unpacked as the sink's values, so that a test reads both receivers alike.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otlp_sink import Metric, Protocol, Span, metrics_of, spans_of
from parts import Environment, answers, free_ports, get_json, process, tail

ENVIRONMENT = Environment(".venv-datadog", "datadog-agent.txt")
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class DatadogAgent:
    """The running agent. It keeps what came until `clear`."""

    http_endpoint: str
    """For OTEL_EXPORTER_OTLP_ENDPOINT with http/protobuf; it answers questions here as well."""
    grpc_endpoint: str
    log: Path

    def endpoint(self, protocol: Protocol) -> str:
        return self.http_endpoint if protocol == "http" else self.grpc_endpoint

    @property
    def spans(self) -> tuple[Span, ...]:
        """All that it decoded, in order of arrival."""
        return tuple(span for message in self._told("traces", ExportTraceServiceRequest) for span in spans_of(message))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The same."""
        return tuple(
            metric for message in self._told("metrics", ExportMetricsServiceRequest) for metric in metrics_of(message)
        )

    def wait_for(self, n_spans: int, seconds: float) -> tuple[Span, ...]:
        """All spans, once there are so many at least. Raises AssertionError if they are not within `seconds`."""
        deadline = time.monotonic() + seconds
        while len(spans := self.spans) < n_spans:
            assert time.monotonic() < deadline, f"{len(spans)} of {n_spans} spans after {seconds} s\n{tail(self.log)}"
            time.sleep(POLL_S)
        return spans

    def clear(self) -> None:
        """Forget what came."""
        assert answers(f"{self.http_endpoint}/test/session/clear")

    def _told(self, what: str, request: Any) -> list[Any]:
        newest_first = get_json(f"{self.http_endpoint}/test/session/{what}")
        return [ParseDict(each, request()) for each in reversed(newest_first)]


@contextmanager
def datadog_agent(logs: Path) -> Iterator[DatadogAgent]:
    """The agent, up and answering on free ports; it logs into `logs`. Raises StackError."""
    ENVIRONMENT.build()
    own, http, grpc = free_ports(3)
    where = ["--host", "127.0.0.1", "--port", str(own), "--otlp-http-port", str(http), "--otlp-grpc-port", str(grpc)]
    command = [ENVIRONMENT.python, "-m", "ddapm_test_agent.agent", *where]
    with process("datadog", command, logs) as part:
        agent = DatadogAgent(f"http://127.0.0.1:{http}", f"http://127.0.0.1:{grpc}", part.log)
        part.wait_for(lambda: answers(f"{agent.http_endpoint}/test/session/traces"))
        yield agent
