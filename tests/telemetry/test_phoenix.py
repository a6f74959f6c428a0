"""Phoenix takes what a run sends, by HTTP and by gRPC, and gives it back over REST."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from home import KEY, MARK, Ran
from otlp_sink import Sink, Span
from phoenix import PROJECT_ATTRIBUTE, Phoenix, PhoenixSpan, phoenix
from scripted_gateway import ScriptedGateway

from .given import until
from .running import (
    OUTPUT,
    PROTOCOLS,
    QUICK_RETRY,
    answering,
    ids,
    ids_of_record,
    scripted,
    spans_line,
    to,
    traced_home,
)

# Long, for the first run on a machine builds Phoenix's environment, which counts as part of the first test.
pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

PATIENCE_S = 60.0
REPEATS = 4
RUN_ID = "streambench.run.id"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Stored:
    """A run, what Phoenix gave back of it, and what an export of the same run was at the sink."""

    ran: Ran
    spans: tuple[PhoenixSpan, ...]
    exported: dict[str, Span]

    def one(self, name: str) -> list[PhoenixSpan]:
        return [span for span in self.spans if span.name.startswith(name)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    with phoenix(tmp_path_factory.mktemp("phoenix")) as running:
        yield running


@pytest.fixture(params=["http", "grpc"], scope="module")
def stored(request: pytest.FixtureRequest, server: Phoenix, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Two models, 24 requests of which one was retried, in a project of its own; sent a second time by `export`."""
    project = f"p-{uuid4().hex[:8]}"
    environment = to(
        server.endpoint(request.param),
        OTEL_METRICS_EXPORTER="none",
        OTEL_RESOURCE_ATTRIBUTES=f"{PROJECT_ATTRIBUTE}={project}",
    )
    with (
        traced_home(tmp_path_factory.mktemp("phoenix-run")) as home,
        ScriptedGateway(answering("beta")) as gateway,
        Sink(request.param) as sink,
    ):
        config = home.config(
            "alpha",
            "beta",
            gateway=scripted(gateway.url),
            repeats=REPEATS,
            retry=QUICK_RETRY,
            telemetry={"protocol": PROTOCOLS[request.param], "compat": ["openinference"]},
        )
        ran = home.run(config, env=environment)
        server.wait_for(project, spans_line(ran).delivered, PATIENCE_S)
        again = home.start("export", str(ran.folder), "--to", "otlp", env=environment).end()
        assert spans_line(again).delivered == spans_line(ran).delivered, again.err
        assert home.export(ran, sink).code == 0
        later = spans_line(home.run(config, env=environment)).delivered

    def stored_of(run_id: str, *, other: bool = False) -> tuple[PhoenixSpan, ...]:
        return tuple(one for one in server.spans(project) if (one.attributes[RUN_ID] == run_id) is not other)

    # It stores in order of arrival: once the next run is there, what came a second time would be as well.
    run_id = ran.run.header.run_id
    until(lambda: len(stored_of(run_id, other=True)) >= later, PATIENCE_S)
    return Stored(ran, stored_of(run_id), {span.span_id: span for span in sink.spans})


def test_every_span_is_stored_once(stored: Stored) -> None:
    """All in one trace, with the ids of the record; that they were sent twice doubles nothing."""
    expected = 1 + 2 + 2 * 3 * REPEATS + 2
    assert stored.ran.code == 0
    assert len(stored.spans) == expected
    assert {(span.trace_id, span.span_id) for span in stored.spans} == ids_of_record(stored.ran)
    assert len({span.trace_id for span in stored.spans}) == 1


def test_it_has_the_tree(stored: Stored) -> None:
    """Run, model, request, attempt: one root, and each span below the one that the sink has it below."""
    (root,) = (span for span in stored.spans if span.parent_id is None)
    assert root.name == "streambench.run"
    assert {span.span_id: span.parent_id for span in stored.spans} == {
        span_id: span.parent_id for span_id, span in stored.exported.items()
    }
    assert ids(stored.exported.values()) == ids_of_record(stored.ran)


def test_a_request_is_what_was_sent(stored: Stored) -> None:
    """Attributes, events, times to the microsecond and status come back as they went in."""
    for span in (*stored.one("chat"), *stored.one("POST")):
        sent = stored.exported[span.span_id]
        assert abs(span.start - (EPOCH + timedelta(microseconds=sent.start_ns // 1000))) <= timedelta(microseconds=1)
        assert abs(span.end - (EPOCH + timedelta(microseconds=sent.end_ns // 1000))) <= timedelta(microseconds=1)
        assert (span.status_code, span.status_message) == (sent.status_code, sent.status_message)
        assert [event.name for event in span.events] == [event.name for event in sent.events]
        kept = {key: value for key, value in sent.attributes.items() if key not in TAKEN_OUT}
        told = {key: span.attributes.get(key) for key in kept}
        assert told == {key: list(value) if isinstance(value, tuple) else value for key, value in kept.items()}


TAKEN_OUT = {"openinference.span.kind"}
"""Read by Phoenix as `span_kind`, and no attribute any more."""


def test_it_knows_a_request_for_a_call_of_a_model(stored: Stored) -> None:
    """It reads `gen_ai.*` as its own: an LLM span with model and tokens. A run or an attempt is nothing to it."""
    kinds = {span.name.split()[0]: span.span_kind for span in stored.spans}
    assert kinds == {"streambench.run": "UNKNOWN", "streambench.model": "UNKNOWN", "chat": "LLM", "POST": "UNKNOWN"}
    for chat in stored.one("chat"):
        counted = [chat.attributes[f"llm.token_count.{kind}"] for kind in ("prompt", "completion")]
        assert (chat.attributes["llm.model_name"], counted) == (chat.name.removeprefix("chat "), [9, 7])


def test_no_key_and_no_text_is_stored(stored: Stored) -> None:
    """In whatever it gives back."""
    assert [text for text in (KEY, MARK, OUTPUT) if text in repr(stored.spans)] == []
