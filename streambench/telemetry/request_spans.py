"""Converts records to spans: run -> model -> request -> attempt. Pure, so a finished run gives the same spans as live.

Times on a request's span count from the start of its first attempt, as the user waits; times on an attempt's span count
from its own start. A metric of the METRICS table has the same attribute on both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from math import fsum, sqrt

from streambench.clock import NS, iso_utc
from streambench.metrics.cost import price_in, priced_usd, stated_usd, total
from streambench.metrics.definitions import METRICS, chunk_gaps, first_arrival_ns, last_arrival_ns
from streambench.metrics.findings import findings, stalls
from streambench.metrics.outcomes import evidence, outcome_of
from streambench.metrics.quantiles import quantile
from streambench.records.schema import ANSWER, GENERATED, AttemptRecord
from streambench.records.trace_ids import model_span_id
from streambench.telemetry import semconv
from streambench.telemetry.run_context import ModelContext, RunContext
from streambench.telemetry.span_model import Attributes, EventFacts, LinkFacts, SpanFacts, SpanId, Value, known

_ATTRIBUTES = {metric.name: metric.attribute for metric in METRICS if metric.attribute is not None}

DESCRIPTION_CHARS = 500

_API_TYPES: Mapping[str, str] = {"chat": "chat_completions", "responses": "responses"}
"""`openai.api.type` by API; the convention has no value for legacy Completions."""


def requests_of(records: Iterable[AttemptRecord]) -> list[list[AttemptRecord]]:
    """Returns the attempts of each request in order; the requests in the order of their first records.

    A request that a resumed run sent again is a separate request, because it had another span.
    """
    found: dict[tuple[str, int, str], list[AttemptRecord]] = {}
    for record in records:
        key = (record.ticket.phase, record.ticket.seq, record.request_span_id or str(record.segment))
        found.setdefault(key, []).append(record)
    return [sorted(group, key=lambda record: record.attempt) for group in found.values()]


def request_spans(
    group: Sequence[AttemptRecord], about: RunContext, content: Attributes | None = None
) -> list[SpanFacts]:
    """Returns the spans of one request: its attempts' spans, if they have any, then its own. `group` is not empty."""
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


def _request_attributes(group: Sequence[AttemptRecord], model: ModelContext, about: RunContext) -> dict[str, Value]:
    first, last = group[0], group[-1]
    scalars = _scalars(last, shift_ns(group))
    scalars |= {_ATTRIBUTES[name]: value for name, value in _of_the_wait(group).items()}
    first_chunk = scalars.pop(_ATTRIBUTES["ttfc"], None)
    return known(
        {
            **about.everywhere,
            **model.common,
            **model.request,
            **about.prompt_params.get(first.ticket.prompt_id, {}),
            "gen_ai.request.stream": True if last.streamed else None,  # the convention omits it if not streamed
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
            **_outcome_attributes(last, about),
            **_stream(last, about),
            **_money(group, about),
            **scalars,
            **_compat(last, about),
        }
    )


def _of_the_wait(group: Sequence[AttemptRecord]) -> dict[str, float | None]:
    """Returns metrics over all attempts: start lag and queue wait of the first, and the largest client lag."""
    lags = [record.client_lag_ns for record in group if record.client_lag_ns is not None]
    first = group[0]
    return {
        "start_lag": (first.start_at_ns - first.scheduled_at_ns) / NS,
        "queue_wait": first.queue_ns / NS,
        "client_lag": max(lags) / NS if lags else None,
    }


def _ticket(record: AttemptRecord, about: RunContext) -> dict[str, Value | None]:
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


def _turn(record: AttemptRecord, about: RunContext) -> dict[str, Value | None]:
    """Adds the run id to the session id, which is unique only within its run."""
    ticket = record.ticket
    if ticket.session_id is None:
        return {}
    return {
        "gen_ai.conversation.id": f"{about.header.run_id}/{ticket.session_id}",
        "streambench.turn": ticket.turn,
    }


def _outcome_attributes(record: AttemptRecord, about: RunContext) -> dict[str, Value | None]:
    found = findings(record, about.thresholds)
    return {
        "streambench.outcome": outcome_of(record),
        "streambench.findings": tuple(one.name for one in found) or None,
        "streambench.findings.facts": tuple(f"{one.name}: {one.fact}" for one in found) or None,
    }


def _stream(record: AttemptRecord, about: RunContext) -> dict[str, Value | None]:
    """Returns counts of chunks, statistics of the observed gaps, and facts about the connection."""
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


def _money(attempts: Sequence[AttemptRecord], about: RunContext) -> dict[str, Value | None]:
    """Returns the cost of all attempts together; None if that of one is unknown."""
    price = price_in(about.header.config, attempts[0].ticket.model)
    priced, stated = [priced_usd(one, price) for one in attempts], [stated_usd(one) for one in attempts]
    return {
        "streambench.cost_usd": None if None in priced else total(priced),
        "streambench.usage.cost_usd": None if None in stated else total(stated),
    }


def _gap_summary(known: Sequence[int]) -> dict[str, Value | None]:
    """Returns statistics in seconds. Quantiles are linear (type 7); the deviation is that of the population."""
    if not known:
        return {}
    ordered, mean = sorted(known), fsum(known) / len(known)
    summary = {"min": ordered[0], "mean": mean, "max": ordered[-1]}
    summary |= {f"p{percent}": quantile(ordered, percent / 100) for percent in (50, 90, 95, 99)}
    summary["stddev"] = sqrt(fsum((gap - mean) ** 2 for gap in known) / len(known))
    return {f"streambench.chunk.gap.{name}_s": value / NS for name, value in summary.items()}


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
    """Returns `error` if chunks came but no finish reason, as the convention requires; None if no chunk came."""
    if record.finish_reason is not None:
        return (record.finish_reason,)
    return ("error",) if record.timeline.kind else None


def error_type(record: AttemptRecord) -> str | None:
    """Returns the status of an `http_error`, else the outcome's name; None if the outcome is ok."""
    outcome = outcome_of(record)
    if outcome == "http_error" and record.status is not None:
        return str(record.status)
    return None if outcome == "ok" else outcome


def _error(record: AttemptRecord) -> str | None:
    outcome = outcome_of(record)
    return None if outcome == "ok" else evidence(record, outcome)[:DESCRIPTION_CHARS]


def _compat(record: AttemptRecord, about: RunContext) -> dict[str, Value | None]:
    attributes: dict[str, Value | None] = {"session.id": about.header.run_id} if about.compat else {}
    if "langfuse" in about.compat and record.timeline.offset_ns:
        first_ns = about.wall_ns(record) + record.timeline.offset_ns[0]
        attributes["langfuse.observation.completion_start_time"] = iso_utc(first_ns)
    if "openinference" in about.compat:
        attributes["openinference.span.kind"] = "LLM"
    return attributes


def _events(group: Sequence[AttemptRecord], about: RunContext) -> tuple[EventFacts, ...]:
    """Returns at most four events, and one for OpenInference, in order of time."""
    last = group[-1]
    start_ns, line = about.wall_ns(last), last.timeline
    events = []
    if line.offset_ns:
        events.append(EventFacts(semconv.FIRST_CHUNK, start_ns + line.offset_ns[0]))
    token, answer = first_arrival_ns(line, GENERATED), first_arrival_ns(line, ANSWER)
    if token is not None and "openinference" in about.compat:
        events.append(EventFacts("First Token Stream Event", start_ns + token))
    if answer is not None and token is not None and answer > token:
        events.append(EventFacts(semconv.FIRST_ANSWER, start_ns + answer))
    if found := stalls(last, about.thresholds):
        longest = max(found)
        attributes: dict[str, Value] = {
            "streambench.gap_s": longest.gap_ns / NS,
            "streambench.chunk.index": longest.index,
        }
        events.append(EventFacts(semconv.LONGEST_STALL, start_ns + longest.end_ns, attributes))
    if (kind := error_type(last)) is not None:
        attributes = {"exception.type": kind, "exception.message": evidence(last)[:DESCRIPTION_CHARS]}
        events.append(EventFacts(semconv.EXCEPTION, start_ns + last.ended_ns, attributes))
    return tuple(sorted(events, key=lambda event: event.at_ns))


def _links(model: ModelContext, about: RunContext) -> tuple[LinkFacts, ...]:
    return (
        LinkFacts(model.span, {"streambench.link": "model"}),
        LinkFacts(about.run_span, {"streambench.link": "run"}),
    )


# --- the attempt


def _attempt_span(record: AttemptRecord, request: SpanId, model: ModelContext, about: RunContext) -> SpanFacts:
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
                **_outcome_attributes(record, about),
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
    """Returns the metrics of one attempt; `longer_ns` is added to those that count from the start."""
    values: dict[str, Value | None] = {}
    for metric in METRICS:
        found = metric.of(record) if metric.of else None
        if found is None or metric.attribute is None:
            continue
        if metric.from_start:
            found += longer_ns
        values[metric.attribute] = found / NS if metric.unit == "ms" else float(found)
    return values


def shift_ns(group: Sequence[AttemptRecord]) -> int:
    """Returns the time from the start of the first attempt to that of the last, in ns."""
    return group[-1].start_at_ns - group[0].start_at_ns


def model_of(record: AttemptRecord, about: RunContext) -> ModelContext:
    alias = record.ticket.model
    found = about.models.get(alias)
    if found is not None:
        return found
    span = SpanId(about.trace.trace_id, model_span_id(about.trace, alias), about.trace.sampled)
    return ModelContext(alias, record.model_asked or alias, record.ticket.gateway, span, {}, {}, None, None)


def request_span(record: AttemptRecord) -> str:
    """Returns the span id of a request; derived from the attempt's for old records that do not hold it."""
    return record.request_span_id or hashlib.sha256(record.span_id.encode()).hexdigest()[:16]


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / NS
