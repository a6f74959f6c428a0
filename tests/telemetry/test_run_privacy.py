"""What a run writes, prints and sends holds no key, and no prompt or output that was not asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from home import KEY, MARK, Ran
from otlp_sink import Sink
from scripted_gateway import ScriptedGateway, Seen, delta, error, sse, streamed

from .running import OUTPUT, THOUGHT, TracedHome, answering, named, scripted, to

HEADER = "otlp-secret-5f2e9c"
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
TEXTS = (MARK, OUTPUT, THOUGHT)


@dataclass(frozen=True)
class Played:
    """A run and an export of it: what was written, and what came."""

    ran: Ran
    sink: Sink

    @property
    def here(self) -> dict[str, bytes]:
        """Every file of the run's folder, and what was printed."""
        files = {file.name: file.read_bytes() for file in self.ran.results.rglob("*") if file.is_file()}
        return {**files, "stdout": self.ran.out.encode(), "stderr": self.ran.err.encode()}

    def holding(self, text: str) -> list[str]:
        return [name for name, held in self.here.items() if text.encode() in held]


def echoing(seen: Seen) -> Iterable[bytes]:
    """A gateway that cannot keep anything to itself: it says the prompt and the key in an error, and in its answer."""
    said = f"{seen.json['messages'][-1]['content']} {seen.header('authorization')}"
    if seen.json["model"] == "beta":
        return [error("400 Bad Request", f"cannot answer: {said}", f"x-request-id: {KEY}", code=KEY)]
    body = sse(delta(f"{OUTPUT} {said}"), delta(finish_reason="stop"), "[DONE]")
    return [streamed(body)]


def play(home: TracedHome, content: str | None = None, *, echo: bool = False, protocol: str = "http") -> Played:
    with Sink("grpc" if protocol == "grpc" else "http") as sink:
        with ScriptedGateway(echoing if echo else answering("beta")) as gateway:
            config = home.config(
                "alpha",
                "beta",
                gateway=scripted(gateway.url),
                telemetry={
                    "attempts": "always",
                    "compat": ["langfuse", "openinference"],
                    "headers": {"x-api-key": "${OTLP_KEY}"},
                },
            )
            env = to(sink, OTLP_KEY=HEADER, OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{HEADER}")
            if protocol == "grpc":
                env["OTEL_EXPORTER_OTLP_PROTOCOL"] = "grpc"
            ran = home.run(config, env=env | ({CONTENT: content} if content else {}))
        home.export(ran, sink, env=env)
        return Played(ran, sink)


@pytest.mark.parametrize("echo", [False, True], ids=["plain", "echoing"])
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_no_key_and_no_text_by_default(home: TracedHome, protocol: str, echo: bool) -> None:  # noqa: FBT001
    """Not in a file, not in what is printed, not in a byte at the sink; also where the gateway says them aloud."""
    played = play(home, echo=echo, protocol=protocol)
    assert named(played.sink.spans, "chat alpha")
    assert [text for text in (KEY, *TEXTS) if text.encode() in played.sink.raw] == []
    assert {text: played.holding(text) for text in (KEY, *TEXTS)} == {text: [] for text in (KEY, *TEXTS)}


@pytest.mark.parametrize("content", [None, "SPAN_AND_EVENT"])
def test_the_collectors_key_is_in_no_file(home: TracedHome, content: str | None) -> None:
    """It reaches the collector as a header, and nothing else of it is anywhere."""
    played = play(home, content)
    assert played.holding(HEADER) == []
    sent = [request.headers for request in played.sink.received]
    assert all(headers["x-api-key"] == HEADER for headers in sent)
    assert [request.path for request in played.sink.received if HEADER.encode() in request.body] == []
    assert any(headers["authorization"] == f"Bearer {HEADER}" for headers in sent)


@pytest.mark.parametrize("content", ["NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"])
@pytest.mark.parametrize("echo", [False, True], ids=["plain", "echoing"])
def test_content_is_where_it_was_asked_for(home: TracedHome, content: str, echo: bool) -> None:  # noqa: FBT001
    """On the request's span, in a log record below it, both or neither; never in the journal, and never with a key."""
    played = play(home, content, echo=echo)
    on_spans, in_events = content in ("SPAN_ONLY", "SPAN_AND_EVENT"), content in ("EVENT_ONLY", "SPAN_AND_EVENT")
    assert KEY.encode() not in played.sink.raw
    assert {text: played.holding(text) for text in (KEY, *TEXTS)} == {text: [] for text in (KEY, *TEXTS)}
    live = played.sink.spans[: len(played.sink.spans) // 2]
    chats = named(live, "chat alpha")
    told = [(span.span_id, dict(span.attributes)) for span in chats if "gen_ai.input.messages" in span.attributes]
    logs = [log for log in played.sink.logs if log.attributes["gen_ai.request.model"] == "alpha"]
    assert len(chats) == 3
    assert len(told) == (3 if on_spans else 0)
    assert {log.span_id for log in logs} == ({span.span_id for span in chats} if in_events else set())
    assert {log.event_name for log in logs} <= {"gen_ai.client.inference.operation.details"}
    for attributes in (*(one for _, one in told), *(dict(log.attributes) for log in logs)):
        assert attributes["streambench.run.id"] == played.ran.run.header.run_id
        (asked,), (answered,) = (json.loads(attributes[f"gen_ai.{side}.messages"]) for side in ("input", "output"))
        assert (asked["role"], answered["role"]) == ("user", "assistant")
        assert MARK in asked["parts"][0]["content"]
        assert OUTPUT in answered["parts"][-1]["content"]
        if not echo:
            assert answered["parts"][0] == {"type": "reasoning", "content": THOUGHT}


def test_content_is_nowhere_else(home: TracedHome) -> None:
    """With SPAN_ONLY no other attribute, event or status has a word of it, and no attempt's or run's span."""
    played = play(home, "SPAN_ONLY")
    for span in played.sink.spans:
        kept = {name: value for name, value in span.attributes.items() if not name.endswith(".messages")}
        rest = repr((span.name, span.status_message, span.events, span.resource, kept))
        assert [text for text in TEXTS if text in rest] == []
        assert span.name.startswith("chat") or kept == span.attributes


def test_an_export_sends_no_content(home: TracedHome) -> None:
    """It is not in the journal, so that the same spans go out without."""
    played = play(home, "SPAN_ONLY")
    half = len(played.sink.spans) // 2
    assert [name for span in played.sink.spans[half:] for name in span.attributes if name.endswith(".messages")] == []
