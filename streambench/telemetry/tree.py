"""Records as spans: run -> model -> request -> attempt. Pure, so that a finished run gives the very spans it gave live.

Times on a request's span count from its first attempt's start, as a user waits; those on an attempt's from its own.
A metric of the METRICS table has the same attribute on both: METRIC_ATTRIBUTES.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from math import fsum, sqrt

from streambench.clock import NS, iso_utc
from streambench.findings import findings, stalls
from streambench.health import evidence, judge
from streambench.metrics import METRICS, chunk_gaps, first_arrival_ns, last_arrival_ns
from streambench.money import price_in, priced_usd, stated_usd, total
from streambench.quantiles import quantile
from streambench.records import ANSWER, GENERATED, AttemptRecord
from streambench.telemetry import names
from streambench.telemetry.about import About, Model
from streambench.telemetry.facts import Attributes, EventFacts, LinkFacts, SpanFacts, SpanId, Value, known
from streambench.trace_ids import model_span_id

METRIC_ATTRIBUTES: Mapping[str, str] = {
    "ttfb": "streambench.time_to_first_byte_s",
    "ttfc": "streambench.time_to_first_chunk_s",
    "ttft": "streambench.time_to_first_token_s",
    "ttfa": "streambench.time_to_first_answer_s",
    "thinking": "streambench.thinking_s",
    "tool_name": "streambench.time_to_tool_name_s",
    "tool_call": "streambench.time_to_tool_calls_s",
    "json": "streambench.time_to_json_s",
    "longest_gap": "streambench.longest_gap_s",
    "tpot": "streambench.time_per_output_token_s",
    "output_tok_s": "streambench.output_tokens_per_s",
    "e2e": "streambench.e2e_s",
    "stream_end": "streambench.stream_end_s",
    "response_time": "streambench.response_time_s",
    "start_lag": "streambench.start_lag_s",
    "queue_wait": "streambench.queue_wait_s",
    "connect": "streambench.connect_s",
    "client_lag": "streambench.client_lag_s",
}
"""The attribute of each metric that has one number an attempt; in seconds, but for tokens a second."""

FROM_START = frozenset({"ttfb", "ttfc", "ttft", "ttfa", "tool_name", "tool_call", "json", "e2e", "stream_end"})
"""Metrics that count from the start, so that on a request's span the attempts before the last are inside."""

DESCRIPTION_CHARS = 500

_API_TYPES: Mapping[str, str] = {"chat": "chat_completions", "responses": "responses"}
"""`openai.api.type` by API; the convention has no word for legacy Completions."""


def requests_of(records: Iterable[AttemptRecord]) -> list[list[AttemptRecord]]:
    """The attempts of each request, in order; requests by their first record. A request that a resumed run sent anew
    is another one, as it had another span.
    """
    found: dict[tuple[str, int, str], list[AttemptRecord]] = {}
    for record in records:
        key = (record.ticket.phase, record.ticket.seq, record.request_span_id or str(record.segment))
        found.setdefault(key, []).append(record)
    return [sorted(group, key=lambda record: record.attempt) for group in found.values()]


def request_spans(group: Sequence[AttemptRecord], about: About, content: Attributes | None = None) -> list[SpanFacts]:
    """The spans of one request: its attempts', where they have any, then its own. `group` is not empty."""
    first, last = group[0], group[-1]
    model = model_of(first, about)
    own = SpanId(first.trace_id, request_span(first), about.trace.sampled or about.trace.shape == "request")
    spans = []
    if len(group) > 1 or about.trace.attempts == "always":
        spans = [_attempt_span(record, own, model, about) for record in group]
    start_ns, end_ns = about.wall_ns(first), about.wall_ns(last) + last.ended_ns
    of_its_own = about.trace.shape == "request"
    spans.append(
        SpanFacts(
            name=f"{model.common.get('gen_ai.operation.name', 'chat')} {model.asked}",
            kind="client",
            id=own,
            parent=None if of_its_own else model.span,
            start_ns=start_ns,
            end_ns=max(start_ns, end_ns),
            attributes={**_request_attributes(group, model, about), **(content or {})},
            events=_events(group, about),
            links=_links(model, about) if of_its_own else (),
            error=_error(last),
        )
    )
    return spans


# --- the request


def _request_attributes(group: Sequence[AttemptRecord], model: Model, about: About) -> dict[str, Value]:
    first, last = group[0], group[-1]
    scalars = _scalars(last, shift_ns(group))
    scalars |= {METRIC_ATTRIBUTES[name]: value for name, value in _of_the_wait(group).items()}
    first_chunk = scalars.pop(METRIC_ATTRIBUTES["ttfc"], None)
    return known(
        {
            **about.everywhere,
            **model.common,
            **model.request,
            **about.prompt_params.get(first.ticket.prompt_id, {}),
            "gen_ai.request.stream": True if last.streamed else None,  # the convention leaves it out of a whole answer
            "openai.api.type": _API_TYPES.get(last.api),
            "gen_ai.response.time_to_first_chunk": first_chunk if last.streamed else None,
            "gen_ai.response.model": last.model_served,
            "gen_ai.response.id": last.response_id,
            "gen_ai.response.finish_reasons": _finish_reasons(last),
            "gen_ai.prompt.name": first.ticket.prompt_id,
            "gen_ai.prompt.version": about.everywhere["streambench.suite.hash"],
            **_usage(last),
            "error.type": error_type(last),
            **_ticket(first, about),
            "streambench.attempts": len(group),
            **_verdict(last, about),
            **_stream(last, about),
            **_money(group, about),
            **scalars,
            **_compat(last, about),
        }
    )


def _of_the_wait(group: Sequence[AttemptRecord]) -> dict[str, float | None]:
    """Metrics that the last attempt does not know alone: when the request began, and how late we were at worst."""
    lags = [record.client_lag_ns for record in group if record.client_lag_ns is not None]
    first = group[0]
    return {
        "start_lag": (first.start_at_ns - first.scheduled_at_ns) / NS,
        "queue_wait": first.queue_ns / NS,
        "client_lag": max(lags) / NS if lags else None,
    }


def _ticket(record: AttemptRecord, about: About) -> dict[str, Value | None]:
    ticket = record.ticket
    return {
        "streambench.record.id": f"{about.header.run_id}/{ticket.phase}/{ticket.seq}",
        "streambench.model": ticket.model,
        "streambench.gateway.name": ticket.gateway,
        "streambench.request.index": ticket.seq,
        "streambench.repeat.index": ticket.repeat,
        "streambench.block.index": ticket.block,
        **_turn(record, about),
        "streambench.phase": ticket.phase,
        "streambench.simulated": ticket.model in about.header.simulated,
        "streambench.segment": record.segment or None,
    }


def _turn(record: AttemptRecord, about: About) -> dict[str, Value | None]:
    """A session's name is its own only within its run."""
    ticket = record.ticket
    if ticket.session_id is None:
        return {}
    return {
        "gen_ai.conversation.id": f"{about.header.run_id}/{ticket.session_id}",
        "streambench.turn": ticket.turn,
    }


def _verdict(record: AttemptRecord, about: About) -> dict[str, Value | None]:
    found = findings(record, about.thresholds)
    return {
        "streambench.outcome": judge(record),
        "streambench.findings": tuple(one.name for one in found) or None,
        "streambench.findings.facts": tuple(f"{one.name}: {one.fact}" for one in found) or None,
    }


def _stream(record: AttemptRecord, about: About) -> dict[str, Value | None]:
    """How the output came: counts, and the gaps that were observed."""
    line = record.timeline
    first, last = first_arrival_ns(line, GENERATED), last_arrival_ns(line, GENERATED)
    gaps = chunk_gaps(line)
    known = [gap for gap in gaps if gap is not None]
    return {
        "streambench.stamps": record.stamps,
        "streambench.chunk.count": sum(kind in GENERATED for kind in line.kind),
        "streambench.chunk.raw_count": len(line.kind),
        "streambench.chunk.gaps_unknown": gaps.count(None),
        **_gap_summary(known),
        "streambench.chunk.gap.stalls": len(stalls(record, about.thresholds)) if line.kind else None,
        "streambench.generation_s": (last - first) / NS if first is not None and last is not None else None,
        "streambench.done": record.done,
        "streambench.keepalives": record.comments or None,
        "streambench.connection.new": record.connection.new if record.connection else None,
        "streambench.usage.source": record.usage.source if record.usage else None,
    }


def _money(attempts: Sequence[AttemptRecord], about: About) -> dict[str, Value | None]:
    """Of all the attempts together; unknown where one's is."""
    price = price_in(about.header.config, attempts[0].ticket.model)
    priced, stated = [priced_usd(one, price) for one in attempts], [stated_usd(one) for one in attempts]
    return {
        "streambench.cost_usd": None if None in priced else total(priced),
        "streambench.usage.cost_usd": None if None in stated else total(stated),
    }


def _gap_summary(known: Sequence[int]) -> dict[str, Value | None]:
    """In seconds; quantiles are linear (type 7), the deviation is the population's."""
    if not known:
        return {}
    ordered, mean = sorted(known), fsum(known) / len(known)
    told = {"min": ordered[0], "mean": mean, "max": ordered[-1]}
    told |= {f"p{percent}": quantile(ordered, percent / 100) for percent in (50, 90, 95, 99)}
    told["stddev"] = sqrt(fsum((gap - mean) ** 2 for gap in known) / len(known))
    return {f"streambench.chunk.gap.{name}_s": value / NS for name, value in told.items()}


def _usage(record: AttemptRecord) -> dict[str, Value | None]:
    usage = record.usage
    if usage is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.input,
        "gen_ai.usage.output_tokens": usage.output,
        "gen_ai.usage.cache_read.input_tokens": usage.cached,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
    }


def _finish_reasons(record: AttemptRecord) -> tuple[str, ...] | None:
    """As the convention wants it, a generation whose reason never came has `error` in its place."""
    if record.finish_reason is not None:
        return (record.finish_reason,)
    return ("error",) if record.timeline.kind else None


def error_type(record: AttemptRecord) -> str | None:
    """The status of an `http_error`, else the outcome's name; None for one that is ok."""
    outcome = judge(record)
    if outcome == "http_error" and record.status is not None:
        return str(record.status)
    return None if outcome == "ok" else outcome


def _error(record: AttemptRecord) -> str | None:
    outcome = judge(record)
    return None if outcome == "ok" else evidence(record, outcome)[:DESCRIPTION_CHARS]


def _compat(record: AttemptRecord, about: About) -> dict[str, Value | None]:
    told: dict[str, Value | None] = {"session.id": about.header.run_id} if about.compat else {}
    if "langfuse" in about.compat and record.timeline.offset_ns:
        first_ns = about.wall_ns(record) + record.timeline.offset_ns[0]
        told["langfuse.observation.completion_start_time"] = iso_utc(first_ns)
    if "openinference" in about.compat:
        told["openinference.span.kind"] = "LLM"
    return told


def _events(group: Sequence[AttemptRecord], about: About) -> tuple[EventFacts, ...]:
    """Four at most, and OpenInference's, in order of time."""
    last = group[-1]
    start_ns, line = about.wall_ns(last), last.timeline
    events = []
    if line.offset_ns:
        events.append(EventFacts(names.FIRST_CHUNK, start_ns + line.offset_ns[0]))
    token, answer = first_arrival_ns(line, GENERATED), first_arrival_ns(line, ANSWER)
    if token is not None and "openinference" in about.compat:
        events.append(EventFacts("First Token Stream Event", start_ns + token))
    if answer is not None and token is not None and answer > token:
        events.append(EventFacts(names.FIRST_ANSWER, start_ns + answer))
    if found := stalls(last, about.thresholds):
        longest = max(found)
        told: dict[str, Value] = {"streambench.gap_s": longest.gap_ns / NS, "streambench.chunk.index": longest.index}
        events.append(EventFacts(names.LONGEST_STALL, start_ns + longest.end_ns, told))
    if (kind := error_type(last)) is not None:
        told = {"exception.type": kind, "exception.message": evidence(last)[:DESCRIPTION_CHARS]}
        events.append(EventFacts(names.EXCEPTION, start_ns + last.ended_ns, told))
    return tuple(sorted(events, key=lambda event: event.at_ns))


def _links(model: Model, about: About) -> tuple[LinkFacts, ...]:
    return (
        LinkFacts(model.span, {"streambench.link": "model"}),
        LinkFacts(about.run_span, {"streambench.link": "run"}),
    )


# --- the attempt


def _attempt_span(record: AttemptRecord, request: SpanId, model: Model, about: About) -> SpanFacts:
    start_ns = about.wall_ns(record)
    failure, link = record.failure, record.connection
    return SpanFacts(
        name="POST",
        kind="client",
        id=SpanId(record.trace_id, record.span_id, request.sampled),
        parent=request,
        start_ns=start_ns,
        end_ns=start_ns + record.ended_ns,
        attributes=known(
            {
                **about.everywhere,
                "http.request.method": "POST",
                "http.request.resend_count": record.attempt - 1 or None,
                "http.response.status_code": record.status,
                "network.protocol.version": link.http_version if link else None,
                "url.full": model.url,
                "url.path": model.path,
                **{name: value for name, value in model.common.items() if name.startswith("server.")},
                "error.type": error_type(record),
                **_ticket(record, about),
                "streambench.attempt": record.attempt,
                **_verdict(record, about),
                **_scalars(record, 0),
                "streambench.time_to_headers_s": _seconds(record.headers_ns),
                "streambench.connection.new": link.new if link else None,
                "streambench.dns_s": _seconds(link.dns_ns) if link else None,
                "streambench.tcp_s": _seconds(link.connect_ns) if link else None,
                "streambench.tls_s": _seconds(link.tls_ns) if link else None,
                "streambench.retry_wait_s": _seconds(record.retry_wait_ns or None),
                "streambench.retry_after_s": failure.retry_after_s if failure else None,
            }
        ),
        error=_error(record),
    )


# --- helpers


def _scalars(record: AttemptRecord, longer_ns: int) -> dict[str, Value | None]:
    """The metrics of one attempt; those from the start are `longer_ns` longer."""
    told: dict[str, Value | None] = {}
    for metric in METRICS:
        found = metric.of(record) if metric.of else None
        if found is None:
            continue
        if metric.name in FROM_START:
            found += longer_ns
        told[METRIC_ATTRIBUTES[metric.name]] = found / NS if metric.unit == "ms" else float(found)
    return told


def shift_ns(group: Sequence[AttemptRecord]) -> int:
    """From the start of the first attempt to that of the last."""
    return group[-1].start_at_ns - group[0].start_at_ns


def model_of(record: AttemptRecord, about: About) -> Model:
    alias = record.ticket.model
    found = about.models.get(alias)
    if found is not None:
        return found
    span = SpanId(about.trace.trace_id, model_span_id(about.trace, alias), about.trace.sampled)
    return Model(alias, record.model_asked or alias, record.ticket.gateway, span, {}, {}, None, None)


def request_span(record: AttemptRecord) -> str:
    """Of a record from before they were kept: drawn from the attempt's."""
    return record.request_span_id or hashlib.sha256(record.span_id.encode()).hexdigest()[:16]


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / NS
