"""What telemetry a run has, resolved: flags over the config's `telemetry:` over the OTEL_* environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streambench.telemetry.names import MetricNames

Exporter = Literal["otlp", "console", "none"]
Protocol = Literal["http/protobuf", "grpc"]
Shape = Literal["auto", "run", "request"]
Content = Literal["NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"]
Compat = Literal["langfuse", "openinference"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one signal goes. `url` is complete: with `/v1/traces` by http, host and port by gRPC."""

    url: str
    protocol: Protocol
    source: str
    """What named it, for messages: `--otlp-endpoint`, `telemetry.endpoint` or a variable's name."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 10.0
    compression: Literal["gzip", "none"] = "gzip"
    certificate: str | None = None
    client_key: str | None = None
    client_certificate: str | None = None
    insecure: bool = False
    """gRPC without TLS."""


@dataclass(frozen=True, slots=True)
class Settings:
    """None for an endpoint: that signal does not go out by OTLP."""

    traces: Exporter = "none"
    metrics: Exporter = "none"
    traces_to: Endpoint | None = None
    metrics_to: Endpoint | None = None
    logs_to: Endpoint | None = None
    """Only used where `content` asks for events."""
    shape: Shape = "auto"
    attempts: Literal["auto", "always"] = "auto"
    propagate: bool = True
    """Whether `traceparent` goes to the gateway."""
    content: Content = "NO_CONTENT"
    compat: frozenset[Compat] = frozenset()
    metric_names: MetricNames = "operation"
    required: bool = False
    deadline_s: float = 10.0
    """At exit, for what is still to be sent."""

    @property
    def on(self) -> bool:
        """Whether anything is exported by streambench itself."""
        return self.traces != "none" or self.metrics != "none"
