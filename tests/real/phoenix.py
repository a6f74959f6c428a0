"""Arize Phoenix: a tracing backend with a database behind it, sent to by HTTP and gRPC and read back over REST.

It lives in `.venv-phoenix`, built on first use in about a minute (855 MB). It stores what it takes a while later, so
whoever reads must wait; span links, OpenTelemetry's kinds and resource attributes it does not give back.
"""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from parts import Environment, answers, free_ports, get_json, process, tail

ENVIRONMENT = Environment(".venv-phoenix", "phoenix.txt")
PROJECT_ATTRIBUTE = "openinference.project.name"
"""Of the resource: the project that its spans go to."""
PAGE = 1000  # spans, the most it gives at once
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class PhoenixEvent:
    name: str
    at: datetime
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PhoenixSpan:
    """A span as Phoenix gives it back. Ids are hex; times have whole microseconds, and a time zone."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    span_kind: str
    """OpenInference's: LLM, CHAIN, ... or UNKNOWN; not OpenTelemetry's."""
    start: datetime
    end: datetime
    status_code: str
    status_message: str
    attributes: Mapping[str, Any]
    """Flat, with dots; `gen_ai.*` is joined by the `llm.*` that it was converted to."""
    events: tuple[PhoenixEvent, ...]


@dataclass(frozen=True, slots=True)
class Phoenix:
    """The running server."""

    http_endpoint: str
    """For OTEL_EXPORTER_OTLP_ENDPOINT with http/protobuf; pages and REST are here as well."""
    grpc_endpoint: str
    log: Path

    def endpoint(self, protocol: Literal["http", "grpc"]) -> str:
        return self.http_endpoint if protocol == "http" else self.grpc_endpoint

    def spans(self, project: str) -> tuple[PhoenixSpan, ...]:
        """All of the project's, in order of storing; none while there is no such project."""
        try:
            return tuple(map(_span, self._pages(project)))
        except urllib.error.HTTPError as refused:
            refused.close()
            if refused.code == 404:
                return ()
            raise

    def wait_for(self, project: str, n_spans: int, seconds: float) -> tuple[PhoenixSpan, ...]:
        """All spans, once there are so many at least. Raises AssertionError if they are not within `seconds`."""
        deadline = time.monotonic() + seconds
        while len(spans := self.spans(project)) < n_spans:
            assert time.monotonic() < deadline, f"{len(spans)} of {n_spans} spans after {seconds} s\n{tail(self.log)}"
            time.sleep(POLL_S)
        return spans

    def _pages(self, project: str) -> Iterator[Mapping[str, Any]]:
        query: dict[str, Any] = {"limit": PAGE, "order": "asc"}
        while True:
            page = get_json(f"{self.http_endpoint}/v1/projects/{quote(project)}/spans?{urlencode(query)}")
            yield from page["data"]
            if not page["next_cursor"]:
                return
            query["cursor"] = page["next_cursor"]


def _span(plain: Mapping[str, Any]) -> PhoenixSpan:
    return PhoenixSpan(
        name=plain["name"],
        trace_id=plain["context"]["trace_id"],
        span_id=plain["context"]["span_id"],
        parent_id=plain["parent_id"],
        span_kind=plain["span_kind"],
        start=datetime.fromisoformat(plain["start_time"]),
        end=datetime.fromisoformat(plain["end_time"]),
        status_code=plain["status_code"],
        status_message=plain["status_message"],
        attributes=plain["attributes"],
        events=tuple(
            PhoenixEvent(each["name"], datetime.fromisoformat(each["timestamp"]), each["attributes"])
            for each in plain["events"]
        ),
    )


@contextmanager
def phoenix(folder: Path) -> Iterator[Phoenix]:
    """The server, up and answering on free ports, with its database and its log in `folder`. Raises StackError."""
    ENVIRONMENT.build()
    http, grpc = free_ports(2)
    settings = {
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(http),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    }
    with process("phoenix", [ENVIRONMENT.python, "-m", "phoenix.server.main", "serve"], folder, settings) as part:
        server = Phoenix(f"http://127.0.0.1:{http}", f"http://127.0.0.1:{grpc}", part.log)
        part.wait_for(lambda: answers(f"{server.http_endpoint}/readyz"))
        yield server
