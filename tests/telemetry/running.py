"""Runs of the real command whose spans go to a sink: what the tests of whole runs share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.warm_process import WarmProcess
from home import KEY, Home, Ran, Started
from otlp_sink import Sink, Span
from scripted_gateway import Answer, Seen, delta, error, sse, streamed

from streambench.records.schema import AttemptRecord
from streambench.simulator.process import SimulatorProcess
from streambench.telemetry.request_spans import request_spans, requests_of
from streambench.telemetry.run_context import about_run
from streambench.telemetry.run_spans import run_spans

OUTPUT = "albatrosses sleep upon the wing"
"""What the scripted gateway answers; the prompts hold MARK."""
THOUGHT = "gannets are never asked"
ANSWER = sse(
    {"id": "r-1", "choices": [{"index": 0, "delta": {"reasoning_content": THOUGHT}, "finish_reason": None}]},
    delta(OUTPUT),
    delta(" and wake."),
    delta(finish_reason="stop"),
    {"id": "r-1", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}},
    "[DONE]",
)
CALLER = {
    "model": "caller",
    "params": {"tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]},
}
FORMED = {"model": "caller", "alias": "formed", "params": {"response_format": {"type": "json_object"}}}
"""A tool call, and an answer in JSON."""
QUICK_RETRY = {"attempts": 3, "backoff": "20ms", "jitter": 0}
PROTOCOLS = {"http": "http/protobuf", "grpc": "grpc"}
"""As the sink and others call them, and as the config does."""
BUSY = error("503 Busy", "try later")
MODELS = """
models:
  swift: {ttft_ms: 10, gap_ms: 2, tokens: 8}
  steady: {ttft_ms: 30, gap_ms: 3, tokens: 8}
  thinker: {ttft_ms: 10, gap_ms: 2, tokens: 6, reasoning: {tokens: 4}}
  caller: {ttft_ms: 10, gap_ms: 2, tokens: 6, tools: true}
  flaky: {ttft_ms: 5, gap_ms: 2, tokens: 6, fault: {http_503: 0.5}}
  clumped: {ttft_ms: 5, gap_ms: 4, tokens: 12, burst: 3, role_chunk: none}
  cut: {ttft_ms: 5, gap_ms: 2, tokens: 8, fault: cut}
"""


class TracedHome(Home):
    """A user's folder. No OTEL_* variable of the machine's reaches its commands."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, WarmProcess)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, file_limit: int | None = None) -> Started:
        hidden = {name: "" for name in os.environ if name.startswith("OTEL_") or name == "TRACEPARENT"}
        return super().start(*arguments, env={**hidden, **(env or {})}, file_limit=file_limit)

    def export(self, ran: Ran, sink: Sink, *arguments: str, env: Mapping[str, str] | None = None) -> Ran:
        """`streambench export` of the folder that a run left."""
        where = ("--to", "otlp", "--endpoint", sink.endpoint)
        return self.start("export", str(ran.folder), *where, *arguments, env={"HUB_API_KEY": KEY, **(env or {})}).end()


@contextmanager
def traced_home(folder: Path) -> Iterator[TracedHome]:
    home = TracedHome(folder)
    try:
        yield home
    finally:
        home.close()


def to(sink: Sink | str, **more: str) -> dict[str, str]:
    """The one variable that a user sets, and others."""
    url = sink if isinstance(sink, str) else sink.endpoint
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "HUB_API_KEY": KEY, **more}


def scripted(url: str) -> dict[str, str]:
    """A scripted gateway in a config, asked with KEY."""
    return {"base_url": url, "api_key": "${HUB_API_KEY}"}


@contextmanager
def simulated(folder: Path) -> Iterator[dict[str, Any]]:
    """A simulator of MODELS that outlives the runs, as a gateway in a config."""
    models = folder / "hub.yaml"
    models.write_text(MODELS)
    with SimulatorProcess(models) as process:
        yield {"base_url": process.base_url(), "api_key": "none"}


def answering(*models_busy_once: str) -> Answer:
    """ANSWER, but to the first request of each of these models BUSY."""
    busy = set(models_busy_once)

    def answer(seen: Seen) -> Iterable[bytes]:
        if seen.json["model"] in busy:
            busy.remove(seen.json["model"])
            return [BUSY]
        return [streamed(ANSWER)]

    return answer


# --- what came


@dataclass(frozen=True, slots=True)
class Line:
    """The last line about spans, in numbers."""

    ended: int
    delivered: int
    others: Mapping[str, int]


def spans_line(ran: Ran) -> Line:
    """Of a run's stderr, or of an export's stdout."""
    (line,) = [one for one in (ran.err + ran.out).splitlines() if one.startswith("spans: ")]
    told = {name: int(count.replace(",", "")) for count, name in re.findall(r"([\d,]+) ([a-z ]+)", line.split("(")[0])}
    return Line(told.pop("ended"), told.pop("delivered"), told)


def ids(spans: Iterable[Span]) -> set[tuple[str, str]]:
    return {(span.trace_id, span.span_id) for span in spans}


def ids_of_record(ran: Ran) -> set[tuple[str, str]]:
    """What the run's folder says that its spans are."""
    run = ran.run
    about = about_run(run.header)
    facts = [span for group in requests_of(run.records) for span in request_spans(group, about)]
    return {(one.id.trace_id, one.id.span_id) for one in (*facts, *run_spans(about, run.records, run.end))}


def named(spans: Iterable[Span], name: str) -> list[Span]:
    """Those whose name begins so, in order of their start."""
    return sorted((span for span in spans if span.name.startswith(name)), key=lambda span: span.start_ns)


def shape(spans: Sequence[Span]) -> dict[str, list[tuple[str, ...]]]:
    """The names on each way from a root down to a span, sorted, by trace."""
    by_id = {(span.trace_id, span.span_id): span for span in spans}

    def way(span: Span) -> tuple[str, ...]:
        above = by_id.get((span.trace_id, span.parent_id or ""))
        return (*(way(above) if above else ()), span.name)

    found: dict[str, list[tuple[str, ...]]] = {}
    for span in spans:
        found.setdefault(span.trace_id, []).append(way(span))
    return {trace: sorted(ways) for trace, ways in found.items()}


def in_order(records: Iterable[AttemptRecord]) -> list[AttemptRecord]:
    return sorted(records, key=lambda record: record.start_at_ns)
