"""What the official instrumentation says of our simulator's streams, and that a run's own spans say the same.

If a newer release of it says something else, a test here fails first, and tells what changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from otlp_sink import Sink, Span

from streambench.simulator.process import SimulatorProcess

from .oracle import FIRST_CHUNK, OracleSpan, Told, compare, drive
from .running import named, to, traced_home

MODELS = """
models:
  plain: {ttft_ms: 60, gap_ms: 5, tokens: 8, role_chunk: none}
  thinker: {ttft_ms: 20, gap_ms: 2, tokens: 6, reasoning: {tokens: 4}, role_chunk: none}
  early: {ttft_ms: 60, gap_ms: 2, tokens: 4, role_chunk: early}
  broken: {ttft_ms: 5, gap_ms: 2, tokens: 8, fault: cut}
  refused: {ttft_ms: 5, gap_ms: 2, tokens: 8, fault: http_503}
"""
MESSAGES = [{"role": "user", "content": "a secret word: albatross"}]
REQUESTS = 5
BOUNDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
LATE_S = 0.5  # what a busy machine may add to a delay


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = tmp_path_factory.mktemp("oracle") / "models.yaml"
    models.write_text(MODELS)
    with SimulatorProcess(models) as simulator:
        yield simulator.base_url()


@pytest.fixture(scope="module")
def told(url: str) -> Told:
    return drive(url, "plain", MESSAGES, requests=REQUESTS, params={"max_tokens": 50, "temperature": 0, "odd": 1})


def test_a_span_a_request(told: Told) -> None:
    """Its name holds operation and model; it is a CLIENT's, without status or events."""
    seen = [(span.name, span.kind, span.status_code, span.events) for span in told.spans]
    assert seen == [("chat plain", "CLIENT", "UNSET", ())] * REQUESTS


def test_its_keys(told: Told, url: str) -> None:
    """All that it says of a plain stream. Of tokens that were not cached it says nothing."""
    span = told.spans[0]
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "plain",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.temperature": 0,
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "plain",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.id": span.attributes["gen_ai.response.id"],
        "gen_ai.usage.input_tokens": span.attributes["gen_ai.usage.input_tokens"],
        "gen_ai.usage.output_tokens": 8,
        "server.address": "127.0.0.1",
        "server.port": int(url.split(":")[-1].removesuffix("/v1")),
        FIRST_CHUNK: span.first_chunk_s,
    }


def test_reasoning_is_counted(url: str) -> None:
    """4 tokens of reasoning and 6 of answer: 10 of output, of which 4 are told apart."""
    span = drive(url, "thinker", MESSAGES).spans[0]
    counted = [span.attributes[f"gen_ai.usage.{name}output_tokens"] for name in ("", "reasoning.")]
    assert counted == [10, 4]


def test_first_chunk_is_when_the_gateway_sent_it(told: Told) -> None:
    """60 ms, and not earlier."""
    for span in told.spans:
        assert 0.060 <= span.first_chunk_from_wire_s <= span.first_chunk_s <= 0.060 + LATE_S


def test_a_chunk_with_the_role_alone_is_a_first_chunk_to_it(url: str) -> None:
    """The role comes at once and the first token after 60 ms: half the spans at least saw the role's."""
    early = drive(url, "early", MESSAGES, requests=REQUESTS)
    assert median(span.first_chunk_s for span in early.spans) < 0.060


def test_its_metrics(told: Told) -> None:
    """Names and units; tokens are counted once for input and once for output."""
    seen = {metric.name: (metric.unit, metric.count) for metric in told.metrics}
    chunks = 8 + 1 + 1  # tokens, the finish, the usage; one gap less
    assert seen == {
        "gen_ai.client.operation.duration": ("s", REQUESTS),
        "gen_ai.client.operation.time_to_first_chunk": ("s", REQUESTS),
        "gen_ai.client.operation.time_per_output_chunk": ("s", REQUESTS * (chunks - 1)),
        "gen_ai.client.token.usage": ("{token}", REQUESTS * 2),
    }


def test_its_buckets(told: Told) -> None:
    """The convention's 14 bounds for every time."""
    times = [metric.bounds for metric in told.metrics if metric.unit == "s"]
    assert times == [BOUNDS] * 3


def test_the_metric_is_the_sum_of_the_spans(told: Told) -> None:
    """Time to first chunk is one value, told twice."""
    metric = told.metric("gen_ai.client.operation.time_to_first_chunk")
    assert metric.sum == pytest.approx(sum(span.first_chunk_s for span in told.spans), abs=1e-9)


def test_it_says_no_word_of_the_prompt_unless_asked(url: str, told: Told) -> None:
    """By default no content; with SPAN_ONLY the messages stand on the span as JSON."""
    assert "albatross" not in repr(told)
    (span,) = drive(url, "plain", MESSAGES, content="SPAN_ONLY").spans
    assert "albatross" in span.attributes["gen_ai.input.messages"]


@pytest.mark.parametrize("model", ["refused", "broken"])
def test_a_failure_is_an_error_with_its_type(url: str, model: str) -> None:
    """A 503 and a connection that was cut in the middle of the stream."""
    (span,) = drive(url, model, MESSAGES).spans
    assert span.status_code == "ERROR"
    assert span.attributes["error.type"]


# --- compare


@pytest.fixture
def theirs(told: Told) -> OracleSpan:
    return told.typical


def ours(theirs: OracleSpan, **changed: object) -> OracleSpan:
    """A span of ours that agrees: it counts from the wire, and says more."""
    agreed = {**theirs.attributes, FIRST_CHUNK: theirs.first_chunk_from_wire_s, "streambench.run.id": "r"}
    return replace(theirs, attributes={**agreed, **changed})


def test_a_span_that_says_all_of_it_agrees(theirs: OracleSpan) -> None:
    """More keys are no contradiction, nor are arrays as tuples."""
    assert compare(theirs, ours(theirs, **{"gen_ai.response.finish_reasons": ("stop",)})) == []


def test_two_equal_requests_agree(told: Told) -> None:
    """Two streams of the same model, within what a busy machine adds to each."""
    one, other = told.spans[:2]
    from_wire = {**other.attributes, FIRST_CHUNK: other.first_chunk_from_wire_s}
    assert compare(one, replace(other, attributes=from_wire), tolerance_s=LATE_S) == []


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("gen_ai.usage.output_tokens", 9, "gen_ai.usage.output_tokens: 8, ours 9"),
        ("gen_ai.response.model", "other", "gen_ai.response.model: 'plain', ours 'other'"),
        ("gen_ai.response.finish_reasons", ("length",), "gen_ai.response.finish_reasons: ['stop'], ours ['length']"),
    ],
)
def test_another_value_is_told(theirs: OracleSpan, key: str, value: object, says: str) -> None:
    """With both values."""
    assert compare(theirs, ours(theirs, **{key: value})) == [says]


def test_a_missing_key_is_told(theirs: OracleSpan) -> None:
    """By its name."""
    kept = {key: value for key, value in ours(theirs).attributes.items() if key != "gen_ai.response.id"}
    assert compare(theirs, replace(theirs, attributes=kept)) == ["gen_ai.response.id is missing"]


def test_a_first_chunk_that_is_2_1_ms_late_is_told(theirs: OracleSpan) -> None:
    """1.9 ms are within the tolerance, 2.1 ms are not."""
    at = theirs.first_chunk_from_wire_s
    assert compare(theirs, ours(theirs, **{FIRST_CHUNK: at + 0.0019})) == []
    (said,) = compare(theirs, ours(theirs, **{FIRST_CHUNK: at + 0.0021}))
    assert "+2.100 ms" in said


def test_another_name_is_told(theirs: OracleSpan) -> None:
    """So is another kind."""
    assert compare(theirs, replace(ours(theirs), name="chat", kind="INTERNAL")) == [
        "name: 'chat plain', ours 'chat'",
        "kind: 'CLIENT', ours 'INTERNAL'",
    ]


# --- a run's own spans

PARAMS: dict[str, Any] = {"max_tokens": 50, "temperature": 0, "top_p": 0.9, "seed": 7}
ROUNDS = 6
"""A busy machine delays the fastest of several requests now and then; in six rounds in a row it does not."""


def spans_of_a_run(folder: Path, url: str, model: str) -> list[Span]:
    """The same stream as often, one after another, by the command."""
    with traced_home(folder) as home, Sink() as sink:
        config = home.config(
            {"model": model, "params": PARAMS},
            gateway={"base_url": url, "api_key": "none"},
            prompts=[{"id": "p", "messages": MESSAGES}],
            repeats=REQUESTS,
            load={"mode": "closed", "concurrency": 1},
            warmup={"requests": 1},
        )
        home.run(config, "--quiet", env=to(sink, OTEL_METRICS_EXPORTER="none"))
        return [span for span in named(sink.spans, "chat") if span.attributes["streambench.phase"] == "measure"]


@pytest.mark.parametrize("model", ["plain", "thinker"])
def test_a_runs_spans_do_not_contradict_it(tmp_path: Path, url: str, model: str) -> None:
    """By the fastest of several requests: every key that it has, the same values, and the first chunk within 2 ms."""
    said: list[list[str]] = []
    for number in range(ROUNDS):
        (tmp_path / str(number)).mkdir()
        theirs = drive(url, model, MESSAGES, requests=REQUESTS, params=PARAMS).fastest
        spans = spans_of_a_run(tmp_path / str(number), url, model)
        assert len(spans) == REQUESTS
        said.append(compare(theirs, min(spans, key=lambda span: span.attributes[FIRST_CHUNK])))
        if not said[-1]:
            return
    pytest.fail(f"{said}")


@pytest.mark.parametrize("model", ["refused", "broken"])
def test_a_runs_failures_do_not_contradict_it(tmp_path: Path, url: str, model: str) -> None:
    """An error where it has one, with a type; the rest of its keys too."""
    (theirs,) = drive(url, model, MESSAGES, params=PARAMS).spans
    ours = spans_of_a_run(tmp_path, url, model)[0]
    assert (ours.status_code, theirs.status_code) == ("ERROR", "ERROR")
    assert theirs.attributes.keys() - ours.attributes.keys() == set()
    assert (ours.name, ours.kind) == (theirs.name, theirs.kind)
