"""Records as spans: the tree, what each span carries, and what it never does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from streambench.analysis.frames import SCALARS, attempts_frame, requests_frame
from streambench.metrics.definitions import METRICS
from streambench.metrics.quantiles import quantile
from streambench.records.schema import AttemptRecord, Failure, RunHeader, RunTrace, ToolCall, Usage
from streambench.telemetry.request_spans import request_spans, requests_of
from streambench.telemetry.run_context import RunContext, about_run, parameters
from streambench.telemetry.run_spans import run_spans
from streambench.telemetry.span_model import SpanFacts
from streambench.testing import MS, make_end, make_header, make_record

TRACE = RunTrace("a" * 32, "b" * 16)
GATEWAY = {"base_url": "https://user@hub.example:8443/v1?tenant=7"}
MODEL = {"model": "vendor/alpha-1", "alias": "alpha", "gateway": "demo", "params": {"max_tokens": 64, "temperature": 0}}
START_NS = 1_800_000_000_000_000_000 + 1_000 * MS


def header(**changes: Any) -> RunHeader:
    config = {"models": [MODEL], "gateways": {"demo": GATEWAY}, "load": {"mode": "closed", "concurrency": 4}}
    suite = {"name": "chat", "hash": "c0ffee", "catalogue": {"p0": {"params": {"max_tokens": 8, "stop": "END"}}}}
    return replace(make_header(config=config, suite=suite, trace=TRACE), **changes)


def about(**changes: Any) -> RunContext:
    return about_run(header(**changes))


def request_span(*group: AttemptRecord, of: RunContext | None = None) -> SpanFacts:
    return request_spans(group, of or about())[-1]


def failed(seq: int = 0, attempt: int = 1, **changes: Any) -> AttemptRecord:
    """A 429 after 10 ms."""
    failure = Failure("http_error", "slow down", status=429, code="rate_limit", retry_after_s=0.5)
    nothing: dict[str, Any] = {"finish_reason": None, "usage": None, "model_served": None, "done": False}
    return make_record(
        seq=seq,
        attempt=attempt,
        kinds="",
        at_ms=(),
        **{**nothing, "status": 429, "failure": failure, "ended_ns": 10 * MS, **changes},
    )


RETRIED = (failed(), make_record(attempt=2, start_at_ns=1_600 * MS, retry_wait_ns=590 * MS))
"""A request that won on its second attempt, begun 600 ms after the first."""


# --- the tree


def test_a_request_is_one_span_below_its_model() -> None:
    """With the ids that its record has, and the times of the wall clock."""
    (span,) = request_spans([make_record(trace_id=TRACE.trace_id)], about())
    model, run = run_spans(about(), [make_record()], make_end())
    assert (span.name, span.kind, span.id.trace_id, span.id.span_id) == (
        "chat vendor/alpha-1",
        "client",
        TRACE.trace_id,
        "f000000000000001",
    )
    assert span.parent == model.id
    assert model.parent == run.id
    assert (run.id.trace_id, run.id.span_id, run.parent) == (TRACE.trace_id, TRACE.span_id, None)
    assert (span.start_ns, span.end_ns) == (START_NS, START_NS + 143 * MS)
    assert (model.name, run.name) == ("streambench.model alpha", "streambench.run")


def test_a_turn_names_its_conversation() -> None:
    """A session's name is its own only within its run; a request by itself is no conversation."""
    record = make_record()
    turn = replace(record, ticket=replace(record.ticket, session_id="s3", turn=2))
    told = request_span(turn).attributes
    assert (told["gen_ai.conversation.id"], told["streambench.turn"]) == ("test-run/s3", 2)
    assert not {"gen_ai.conversation.id", "streambench.turn"} & set(request_span(record).attributes)


def test_attempts_have_spans_where_there_were_several() -> None:
    """Below the request's, each with its own ids."""
    first, second, request = request_spans(RETRIED, about())
    assert [span.name for span in (first, second, request)] == ["POST", "POST", "chat vendor/alpha-1"]
    assert first.parent == second.parent == request.id
    assert {first.id.span_id, second.id.span_id} == {record.span_id for record in RETRIED}
    assert "http.request.resend_count" not in first.attributes
    assert second.attributes["http.request.resend_count"] == 1
    assert second.attributes["streambench.retry_wait_s"] == 0.59
    assert first.attributes["streambench.retry_after_s"] == 0.5


def test_attempts_always_have_spans_where_asked() -> None:
    """Also a request's only one."""
    spans = request_spans([make_record()], about(trace=replace(TRACE, attempts="always")))
    assert [span.name for span in spans] == ["POST", "chat vendor/alpha-1"]


def test_above_a_thousand_requests_each_has_a_trace() -> None:
    """Without a parent; linked to its model's span and the run's."""
    each = about(trace=replace(TRACE, shape="request"))
    span = request_span(make_record(), of=each)
    model, run = run_spans(each, [make_record()], make_end())
    assert (span.parent, span.id.trace_id) == (None, f"{1:032x}")
    assert [(link.to, link.attributes["streambench.link"]) for link in span.links] == [
        (model.id, "model"),
        (run.id, "run"),
    ]


def test_the_run_is_below_what_started_it() -> None:
    """A CI job's span, from TRACEPARENT."""
    run = run_spans(about(trace=replace(TRACE, parent_span_id="d" * 16)), [], make_end())[-1]
    assert run.parent is not None
    assert (run.parent.trace_id, run.parent.span_id) == (TRACE.trace_id, "d" * 16)


def test_a_model_has_the_same_span_each_time() -> None:
    """It is not stored."""
    first, again = (run_spans(about(), [], None)[0].id for _ in range(2))
    other = run_spans(about(trace=replace(TRACE, span_id="e" * 16)), [], None)[0].id
    assert first == again != other


def test_a_request_sent_again_by_a_resumed_run_is_another() -> None:
    """Its first part's span has been sent already."""
    broken_off = make_record(failure=Failure("cancelled"), request_span_id="1" * 16)
    again = make_record(attempt=2, segment=1, request_span_id="2" * 16)
    assert requests_of([broken_off, again]) == [[broken_off], [again]]


def test_runs_from_before_ids_were_kept_have_a_tree() -> None:
    """Each request in the trace that its record names, each time the same."""
    old = about_run(make_header("alpha"))
    record = make_record(request_span_id="")
    first, again = request_span(record, of=old), request_span(record, of=old)
    assert first == again
    assert first.parent is None
    assert first.id.trace_id == record.trace_id
    assert len(first.id.span_id) == 16


# --- the request's span


def test_what_the_conventions_want() -> None:
    """Their newest names."""
    record = make_record(usage=Usage(input=10, output=30, total=40, reasoning=12, cached=4, source="gateway"))
    told = request_span(record).attributes
    assert {name: value for name, value in told.items() if not name.startswith("streambench.")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "vendor/alpha-1",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 8,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.model": "alpha",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.09,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 12,
        "gen_ai.prompt.name": "p0",
        "gen_ai.prompt.version": "c0ffee",
        "openai.api.type": "chat_completions",
        "server.address": "hub.example",
        "server.port": 8443,
    }


@pytest.mark.parametrize(
    ("api", "operation", "kind", "path"),
    [
        ("responses", "chat", "responses", "/v1/responses"),
        ("completions", "text_completion", None, "/v1/completions"),
    ],
)
def test_another_api_has_its_operation_and_path(api: str, operation: str, kind: str | None, path: str) -> None:
    """Responses is a chat to the convention, which has no type for legacy Completions."""
    of = about(config={"models": [{**MODEL, "api": api}], "gateways": {"demo": GATEWAY}})
    attempt, request = request_spans([failed(api=api), make_record(attempt=2, api=api)], of)[1:]
    assert request.name == f"{operation} vendor/alpha-1"
    assert request.attributes["gen_ai.operation.name"] == operation
    assert request.attributes.get("openai.api.type") == kind
    assert attempt.attributes["url.path"] == path


def test_a_whole_answer_is_no_stream() -> None:
    """The convention sets `stream` of streams only, and knows a first chunk of them alone."""
    told = request_span(make_record(streamed=False, kinds="cu", at_ms=(140, 140), reads=(0, 0))).attributes
    assert told.keys().isdisjoint({"gen_ai.request.stream", "gen_ai.response.time_to_first_chunk"})
    assert told["streambench.time_to_first_token_s"] == 0.14
    assert not any(name.startswith("streambench.chunk.gap.p") for name in told)


def test_gaps_are_summed_up_in_seconds() -> None:
    """Of 10, 20, 30 and 40 ms: by linear interpolation."""
    record = make_record(kinds="ccccc", at_ms=(100, 110, 130, 160, 200))
    told = request_span(record).attributes
    gaps = {name.split(".")[-1]: value for name, value in told.items() if ".chunk.gap." in name}
    assert gaps == {
        "min_s": 0.01,
        "mean_s": 0.025,
        "p50_s": 0.025,
        "p90_s": pytest.approx(0.037),
        "p95_s": pytest.approx(0.0385),
        "p99_s": pytest.approx(0.0397),
        "max_s": 0.04,
        "stddev_s": pytest.approx(0.0111803, rel=1e-5),
        "stalls": 0,
    }


def test_what_was_not_observed_is_left_out() -> None:
    """Chunks that came in one read have no known gaps; no usage is no tokens; nothing is zero for want of knowing."""
    told = request_span(make_record(reads=(0, 1, 1, 1, 2), usage=None)).attributes
    assert told["streambench.chunk.gaps_unknown"] == 2
    assert not [
        name for name in told if name.startswith("streambench.chunk.gap.") and name != "streambench.chunk.gap.stalls"
    ]
    assert not [name for name in told if name.startswith("gen_ai.usage.")]
    assert not any(value is None for value in told.values())


def test_a_retried_success_is_no_error() -> None:
    """Its attempts carry theirs; its times count from the first one's start."""
    first, second, request = request_spans(RETRIED, about())
    assert (first.error, second.error, request.error) == ("http_error 429 rate_limit: slow down", None, None)
    assert first.attributes["error.type"] == "429"
    assert "error.type" not in request.attributes
    assert request.attributes["gen_ai.response.time_to_first_chunk"] == 0.69
    assert request.attributes["streambench.time_to_first_token_s"] == 0.7
    assert second.attributes["streambench.time_to_first_token_s"] == 0.1
    assert request.attributes["streambench.attempts"] == 2
    assert request.attributes["streambench.findings"] == ("retried",)


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (failed(), "429"),
        (make_record(finish_reason=None), "truncated"),
        (make_record(failure=Failure("timeout", "no chunk for 30 s", "idle")), "timeout"),
        (make_record(failure=Failure("cancelled")), "cancelled"),
        (make_record(error_frame=Failure("stream_error", "overloaded", code="x1")), "stream_error"),
    ],
)
def test_failures(record: AttemptRecord, kind: str) -> None:
    """A status, a type of few values, and an exception that says it in words."""
    span = request_span(record)
    assert span.error
    assert span.attributes["error.type"] == kind
    (event,) = [event for event in span.events if event.name == "exception"]
    assert event.attributes["exception.type"] == kind


def test_a_cut_stream_has_an_error_for_its_finish_reason() -> None:
    """As the convention wants it; one that never began has none."""
    assert request_span(make_record(finish_reason=None)).attributes["gen_ai.response.finish_reasons"] == ("error",)
    assert "gen_ai.response.finish_reasons" not in request_span(failed()).attributes


def test_events() -> None:
    """First chunk, first answer after reasoning, longest stall and exception; in order, and no more than these."""
    record = make_record(
        kinds="rttccc", at_ms=(50, 100, 110, 200, 900, 2_000), finish_reason=None, failure=Failure("disconnected")
    )
    events = request_span(record).events
    assert [(event.name, (event.at_ns - START_NS) // MS) for event in events] == [
        ("streambench.first_chunk", 50),
        ("streambench.first_answer", 200),
        ("streambench.longest_stall", 2_000),
        ("exception", 2_002),
    ]
    assert events[2].attributes == {"streambench.gap_s": 1.1, "streambench.chunk.index": 5}


def test_a_span_has_the_stalls_that_its_finding_has() -> None:
    """Our own lag is no stall, where it can be in a stamp: neither here nor there."""
    late = make_record(kinds="cc", at_ms=(100, 700), stamps="read", client_lag_ns=200 * MS)
    span = request_span(late)
    assert span.attributes["streambench.chunk.gap.stalls"] == 0
    assert "stalled" not in str(span.attributes.get("streambench.findings"))
    assert [event.name for event in span.events] == ["streambench.first_chunk"]


def test_compat() -> None:
    """Langfuse's column for the first token and OpenInference's event, where asked for."""
    plain = request_span(make_record())
    both = request_span(make_record(), of=about_run(header(), frozenset({"langfuse", "openinference"})))
    more = {name: both.attributes[name] for name in both.attributes.keys() - plain.attributes.keys()}
    assert more == {
        "langfuse.observation.completion_start_time": "2027-01-15T08:00:01.090000Z",
        "openinference.span.kind": "LLM",
        "session.id": "test-run",
    }
    assert {event.name for event in both.events} - {event.name for event in plain.events} == {
        "First Token Stream Event"
    }


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"max_completion_tokens": 9}, {"gen_ai.request.max_tokens": 9}),
        ({"temperature": True, "seed": "x", "top_k": None}, {}),
        ({"n": 1}, {}),
        ({"n": 2}, {"gen_ai.request.choice.count": 2}),
        ({"stop": ["a", "b"]}, {"gen_ai.request.stop_sequences": ("a", "b")}),
        ({"stop": [1]}, {}),
        ({"reasoning_effort": "low"}, {"gen_ai.request.reasoning.level": "low"}),
        ({"response_format": {"type": "json_schema"}}, {"gen_ai.output.type": "json"}),
        ({"user": "someone", "metadata": {"a": 1}}, {}),
    ],
)
def test_parameters(params: dict[str, Any], told: dict[str, Any]) -> None:
    """What has a name in the convention, in its type; nothing else."""
    assert parameters(params) == told


# --- on every span


def all_spans(records: Sequence[AttemptRecord], of: RunContext) -> list[SpanFacts]:
    return [
        *(span for group in requests_of(records) for span in request_spans(group, of)),
        *run_spans(of, records, make_end()),
    ]


def test_every_span_says_whose_it_is() -> None:
    """Backends that drop links and kinds still group by these."""
    spans = all_spans(RETRIED, about())
    wanted = {"streambench.run.id": "test-run", "streambench.suite.name": "chat", "streambench.suite.hash": "c0ffee"}
    assert all(span.attributes.items() >= wanted.items() for span in spans)
    assert all(span.attributes["streambench.model"] == "alpha" for span in spans if span.name != "streambench.run")


def test_gen_ai_is_on_the_request_alone() -> None:
    """Else a backend counts its tokens twice."""
    for span in all_spans(RETRIED, about()):
        has = [name for name in span.attributes if name.startswith("gen_ai.")]
        assert bool(has) == span.name.startswith("chat "), span.name


def test_no_span_passes_the_limit_of_attributes() -> None:
    """128, of which a backend would drop the oldest."""
    richest = make_record(
        kinds="rtcccf",
        at_ms=(1, 2, 900, 901, 902, 903),
        usage=Usage(1, 2, 3, 1, 1, 0.1, "gateway"),
        tool_calls=(ToolCall("f", arguments_valid=False, why="no JSON"),),
        unknown_fields=("x",),
        comments=9,
    )
    group = [failed(), replace(richest, attempt=2)]
    everything = about_run(header(), frozenset({"langfuse", "openinference"}))
    assert max(len(span.attributes) for span in request_spans(group, everything)) < 90


def test_no_url_has_a_user_or_a_query() -> None:
    """Either may hold a key."""
    attempt = request_spans(RETRIED, about())[0]
    assert attempt.attributes["url.full"] == "https://hub.example:8443/v1/chat/completions"
    assert attempt.attributes["url.path"] == "/v1/chat/completions"


def test_the_embedded_gateway_has_no_address() -> None:
    """Its port is another in each run."""
    config = {"models": [MODEL], "gateways": {"demo": {"base_url": "embedded"}}}
    told = request_span(make_record(), of=about(config=config)).attributes
    assert not [name for name in told if name.startswith("server.")]


# --- the run's and the models' spans


def test_sums() -> None:
    """Of the measured requests; warm-up is only counted."""
    records = [make_record(seq=0, phase="warmup"), make_record(seq=1), failed(seq=2), *RETRIED]
    model, run = run_spans(about(), records, make_end())
    for span in (model, run):
        told = {name: span.attributes[f"streambench.{name}"] for name in ("requests.ok", "requests.failed", "retries")}
        assert told == {"requests.ok": 2, "requests.failed": 1, "retries": 1}
        assert span.attributes["streambench.requests.warmup"] == 1
        assert span.attributes["streambench.tokens.output"] == 6
        assert span.attributes["streambench.outcomes"] == ("http_error: 1", "ok: 2")
        assert span.attributes["streambench.time_to_first_token.p50_s"] == 0.4  # of 0.1 and 0.7
    assert run.attributes["test.suite.run.status"] == "success"
    assert (run.start_ns, run.end_ns) == (run.start_ns, header().wall_ns + 12_000 * MS)


@pytest.mark.parametrize(
    ("status", "suite", "error"),
    [
        ("complete", "success", None),
        ("interrupted", "aborted", None),
        ("duration_limit", "timed_out", None),
        ("key_refused", "failure", "gateway hub refused the key"),
    ],
)
def test_how_a_run_ended(status: Any, suite: str, error: str | None) -> None:
    """Whoever stops a run on purpose has no error."""
    run = run_spans(about(), [], make_end(status=status, reason=error))[-1]
    assert (run.attributes["test.suite.run.status"], run.error) == (suite, error)


def test_a_killed_run_has_a_span() -> None:
    """Its span has an error that says that the run did not finish."""
    run = run_spans(about(), [make_record()], None)[-1]
    assert (run.attributes["streambench.run.status"], run.end_ns) == ("unfinished", START_NS + 143 * MS)
    assert run.error == "the run did not finish"


# --- the same numbers as everywhere


def test_every_metric_of_one_number_has_an_attribute() -> None:
    """A name of its own; a distribution has none."""
    attributes = [metric.attribute for metric in SCALARS]
    assert None not in attributes
    assert len(set(attributes)) == len(attributes)
    assert all(metric.attribute is None for metric in METRICS if metric.each)


def test_spans_and_frames_agree_to_the_nanosecond() -> None:
    """The attempts' with the attempts frame, the requests' with the requests frame."""
    odd = make_record(seq=3, kinds="rtcccu", at_ms=(0.000_001, 33.333_333, 1_234.567_891, 1_300.1, 1_333.3, 1_334))
    always = about(trace=replace(TRACE, attempts="always"))
    records = [*RETRIED, make_record(seq=1), failed(seq=2), odd]
    spans = [request_spans(group, always) for group in requests_of(records)]
    attempts = attempts_frame(records, header())
    for row, span in zip(attempts.to_dict("records"), [s for group in spans for s in group[:-1]], strict=True):
        for metric in SCALARS:
            assert in_ns(span.attributes.get(str(metric.attribute)), metric.unit) == from_frame(
                row[metric.column], metric.unit
            ), metric.name
    waits = requests_frame(records, header())["ttft_with_retries_ms"]
    for wait, group in zip(waits, spans, strict=True):
        told = group[-1].attributes.get("streambench.time_to_first_token_s")
        assert in_ns(told, "ms") == from_frame(wait, "ms")


def in_ns(told: Any, unit: str) -> Any:
    return told if unit != "ms" or told is None else round(told * 1_000_000_000)


def from_frame(value: float, unit: str) -> int | float | None:
    if value != value:  # NaN
        return None
    return round(value * 1_000_000) if unit == "ms" else value


@pytest.mark.parametrize(("share", "found"), [(0, 1.0), (0.5, 2.5), (0.95, 3.85), (1, 4.0)])
def test_quantiles(share: float, found: float) -> None:
    """As pandas and numpy draw them by default."""
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == pytest.approx(found)
