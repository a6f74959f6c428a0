"""docs/telemetry.md and a rich run agree: each key that is sent is in its tables, and each key there can be sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from home import ROOT
from otlp_sink import Sink
from scripted_gateway import ScriptedGateway, Seen, delta, error, sse, streamed

from streambench.telemetry import semconv

from .running import CALLER, FORMED, QUICK_RETRY, scripted, simulated, to, traced_home

DOCS = (ROOT / "docs" / "telemetry.md").read_text("utf-8")
CODE = "\n".join(file.read_text("utf-8") for file in sorted((ROOT / "streambench" / "telemetry").glob("*.py")))
PARAMS: Mapping[str, Any] = {
    "max_tokens": 64,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "seed": 7,
    "stop": ["END"],
    "n": 2,
    "reasoning_effort": "low",
    "service_tier": "flex",
    "response_format": {"type": "json_object"},
}
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 7,
    "total_tokens": 16,
    "cost": 0.01,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
SDKS_OWN = ("telemetry.sdk.", "openinference.project.name")
"""Of the resource: what the SDK says of itself, and what Phoenix calls its project (under Backends in the docs)."""

NOT_IN_THIS_RUN = {
    "gen_ai.conversation.id",
    "streambench.resumed",
    "streambench.segment",
    "streambench.tls_s",
    "streambench.turn",
}


def section(title: str) -> str:
    """Of the docs, from its heading to the next of any level."""
    return re.split(rf"^#+ {re.escape(title)}$", DOCS, flags=re.MULTILINE)[1].split("\n#")[0]


def rows(title: str) -> set[str]:
    """The first cell of each row of a section's tables."""
    return set(re.findall(r"^\| `([\w.]+)` \|", section(title), re.MULTILINE))


RESOURCE, EVERY, RUN = rows("Resource"), rows("Every span"), rows("Run and model")
REQUEST, ATTEMPT = rows("Request (`chat`)"), rows("Attempt (`POST`)")
EVENTS = rows("Events of a request, four at most")
METRICS = set(re.findall(r"^\| `([\w.]+)` \| (?:histogram|counter|updowncounter) \|", section("Metrics"), re.MULTILINE))


def answer(seen: Seen) -> Iterable[bytes]:
    """Reasoning, two answers, a tool call, comments and all that usage can say; of the model `shut` only 429."""
    if seen.json["model"] == "shut":
        return [error("429 Too Many Requests", "slow down", "retry-after: 0")]
    thought = {"id": "r-1", "model": "m-1", "choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}
    pieces = [delta("a"), delta("b"), delta(finish_reason="stop"), {"id": "r-1", "choices": [], "usage": USAGE}]
    return [streamed(b": wait\n\n" + sse(thought, *pieces, "[DONE]"))]


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    """What came of a run against a scripted gateway, and of one against the simulator, where gaps are known."""
    folder = tmp_path_factory.mktemp("rich")
    preset = {"attempts": "always", "compat": ["langfuse", "openinference"]}
    with Sink() as sink, simulated(folder) as hub, traced_home(folder) as home:
        with ScriptedGateway(answer) as gateway:
            models = [{"model": "m", "alias": "rich", "params": PARAMS, "price": {"input": 1, "output": 2}}, "shut"]
            config = home.config(
                *models, gateway=scripted(gateway.url), retry=QUICK_RETRY, telemetry=preset, warmup={"requests": 1}
            )
            assert home.run(config, env=to(sink)).code == 1
        config = home.config(
            *("swift", "thinker", "cut"), CALLER, FORMED, gateway=hub, telemetry=preset, health={"stall_ms": 1}
        )
        assert home.run(config, "--otel-trace", "request", env=to(sink)).code == 1
        with ScriptedGateway(answer) as gateway:
            config = home.config(
                "m", gateway=scripted(gateway.url), load={"mode": "poisson", "rate": 50}, telemetry=preset
            )
            assert home.run(config, env=to(sink)).code == 0
        yield sink


def sent(sink: Sink, name: str) -> set[str]:
    return {key for span in sink.spans if span.name.split()[0] == name for key in span.attributes}


@pytest.mark.parametrize(
    ("name", "documented"),
    [
        ("streambench.run", EVERY | RUN),
        ("streambench.model", EVERY | RUN | {"streambench.gateway.name"}),
        ("chat", EVERY | REQUEST),
        ("POST", EVERY | REQUEST | ATTEMPT),
    ],
)
def test_every_key_of_a_span_is_documented(sink: Sink, name: str, documented: set[str]) -> None:
    """In the table of its kind."""
    assert documented
    assert sent(sink, name)
    assert sorted(sent(sink, name) - documented) == []


def test_every_key_around_the_spans_is_documented(sink: Sink) -> None:
    """Of the resource, the events and the links."""
    resource = {key for span in sink.spans for key in span.resource if not key.startswith(SDKS_OWN)}
    assert sorted(resource - RESOURCE) == []
    events = {event.name for span in sink.spans for event in span.events}
    assert sorted(events - EVENTS - {"First Token Stream Event"}) == []
    keys = {key for span in sink.spans for event in span.events for key in event.attributes}
    keys |= {key for span in sink.spans for link in span.links for key in link.attributes}
    assert sorted(key for key in keys if f"`{key}`" not in DOCS) == []


def test_every_metric_is_documented_and_every_one_there_is_ours(sink: Sink) -> None:
    """Names, and their labels."""
    assert set(semconv.INSTRUMENTS) == METRICS
    assert {metric.name for metric in sink.metrics} <= METRICS
    labels = {key for metric in sink.metrics for point in metric.points for key in point.attributes}
    assert sorted(key for key in labels if f"`{key}`" not in section("Metrics")) == []


@pytest.mark.parametrize(
    ("documented", "name"),
    [(RUN, "streambench.run"), (REQUEST, "chat"), (ATTEMPT, "POST"), (EVERY, "chat")],
    ids=["run", "request", "attempt", "every"],
)
def test_every_documented_key_is_sent_or_can_be(sink: Sink, documented: set[str], name: str) -> None:
    """By the rich run; but for what it takes TLS or a resumed run for, which is at least written in the code."""
    missing = documented - sent(sink, name)
    assert sorted(missing - NOT_IN_THIS_RUN) == []
    assert [key for key in missing if f'"{key}"' not in CODE] == []


def test_every_documented_event_and_resource_key_is_sent(sink: Sink) -> None:
    """All of them, by the rich run."""
    assert sorted(EVENTS - {event.name for span in sink.spans for event in span.events}) == []
    assert sorted(RESOURCE - {key for span in sink.spans for key in span.resource}) == []
