"""LiteLLM, a real gateway, continues the trace of whoever asks it: its own spans stand below the caller's.

The caller is first the OpenAI SDK with a `traceparent` made by hand, then a whole `streambench run`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from home import MARK
from openai import OpenAI
from otlp_sink import Sink, Span, print_tree
from parts import tail
from stack import build_environment, proxy

from streambench.simulator.process import SimulatorProcess

from .running import ids, ids_of_record, named, to, traced_home

# Long, for the first run on a machine builds the environment, which counts as part of the first test.
pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

KEY = f"sk-spans-{secrets.token_hex(16)}"
PROMPT = "a secret word: albatross"
SERVER_SPAN = "POST /v1/chat/completions"
"""Made by the FastAPI inside LiteLLM, once the callback has given the process a tracer."""
OWN_SPAN = "litellm_request"
"""LiteLLM's, with tokens and cost. Its `Received Proxy Server Request` does not come where `custom_auth` decides."""
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Proxied:
    """LiteLLM's address, and where its spans go."""

    url: str
    sink: Sink
    log: Path


@dataclass(frozen=True, slots=True)
class Parent:
    """A span of the caller's, in hex."""

    trace_id: str
    span_id: str

    @property
    def traceparent(self) -> str:
        """Version 00, sampled; https://www.w3.org/TR/trace-context/#traceparent-header."""
        return f"00-{self.trace_id}-{self.span_id}-01"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """LiteLLM in front of a simulated model, its spans going to a sink."""
    build_environment()
    folder = tmp_path_factory.mktemp("litellm-spans")
    (folder / "models.yaml").write_text("models: {sim: {ttft_ms: 50, gap_ms: 5, tokens: 8}}\n")
    with SimulatorProcess(folder / "models.yaml") as upstream, Sink() as sink:
        url = upstream.base_url()
        models = {"sim": {"model": "openai/sim", "api_base": url, "api_key": "none"}}
        with proxy(folder, url, key=KEY, models=models, otlp_endpoint=sink.endpoint) as address:
            yield Proxied(address, sink, folder / "gateway.log")


def ask(proxied: Proxied, parent: Parent) -> None:
    """One streamed request, from within `parent`."""
    with OpenAI(base_url=proxied.url, api_key=KEY, max_retries=0) as client:
        stream = client.chat.completions.create(
            model="sim",
            messages=[{"role": "user", "content": PROMPT}],
            stream=True,
            extra_headers={"traceparent": parent.traceparent},
        )
        assert sum(1 for _ in stream) > 1


def children(proxied: Proxied, parent: Parent) -> dict[str, Span]:
    """By name, what stands right below the caller's span, once both that are expected there have come."""

    def found() -> dict[str, Span]:
        return {span.name: span for span in proxied.sink.spans if span.parent_id == parent.span_id}

    came = proxied.sink.wait_until(lambda: found().keys() >= {SERVER_SPAN, OWN_SPAN}, PATIENCE_S)
    assert came, f"{print_tree(proxied.sink.spans)}\n{tail(proxied.log)}"
    return found()


def test_its_server_span_is_a_child_of_the_callers(proxied: Proxied) -> None:
    """In the caller's trace, below the caller's very span; so is its own span of the call."""
    parent = Parent(secrets.token_hex(16), secrets.token_hex(8))
    ask(proxied, parent)
    below = children(proxied, parent)
    seen = {name: (span.kind, span.trace_id, span.resource["service.name"]) for name, span in below.items()}
    assert seen == {
        SERVER_SPAN: ("SERVER", parent.trace_id, "litellm"),
        OWN_SPAN: ("INTERNAL", parent.trace_id, "litellm"),
    }


def test_two_callers_do_not_mix(proxied: Proxied) -> None:
    """Each trace has its own server span, below its own caller."""
    parents = [Parent(secrets.token_hex(16), secrets.token_hex(8)) for _ in range(2)]
    for parent in parents:
        ask(proxied, parent)
    traces = [children(proxied, parent)[SERVER_SPAN].trace_id for parent in parents]
    assert traces == [parent.trace_id for parent in parents]


def test_its_spans_hold_no_key_and_no_prompt(proxied: Proxied) -> None:
    """As the stack starts it: a test that searches the sink finds its own leaks, not LiteLLM's."""
    parent = Parent(secrets.token_hex(16), secrets.token_hex(8))
    ask(proxied, parent)
    children(proxied, parent)
    assert [text for text in (KEY, "albatross") if text.encode() in proxied.sink.raw] == []


def test_a_runs_requests_have_its_spans_below_them(proxied: Proxied, tmp_path: Path) -> None:
    """Of each of our requests: LiteLLM's server span and its own, and both in the run's trace."""
    with traced_home(tmp_path) as home:
        config = home.config(
            {"model": "sim", "alias": "proxied"}, gateway={"base_url": proxied.url, "api_key": "${PROXY_KEY}"}
        )
        ran = home.run(config, env=to(proxied.sink, PROXY_KEY=KEY, OTEL_METRICS_EXPORTER="none"))
    assert ran.code == 0, ran.err
    (trace_id,) = {trace for trace, _ in ids_of_record(ran)}

    def here(name: str) -> list[Span]:
        return [span for span in named(proxied.sink.spans, name) if span.trace_id == trace_id]

    came = proxied.sink.wait_until(lambda: len(here(SERVER_SPAN)) == len(here(OWN_SPAN)) == 3, PATIENCE_S)
    assert came, f"{print_tree(proxied.sink.spans)}\n{tail(proxied.log)}"
    chats = here("chat sim")
    assert ids(chats) == {(record.trace_id, record.request_span_id) for record in ran.run.records}
    for name in (SERVER_SPAN, OWN_SPAN):
        assert sorted(span.parent_id or "" for span in here(name)) == sorted(span.span_id for span in chats)
        assert {span.resource["service.name"] for span in here(name)} == {"litellm"}
    assert {span.resource["service.name"] for span in chats} == {"streambench"}
    assert ids_of_record(ran) <= ids(proxied.sink.spans)
    assert [text for text in (KEY, MARK) if text.encode() in proxied.sink.raw] == []
