"""Predicts what a run would take before it sends anything: requests, tokens, cost, time, and cuts by its limits. Pure.

A number that neither the config nor an earlier run can give is unknown (None).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from streambench.clock import NS
from streambench.metrics.cost import Price, total
from streambench.metrics.outcomes import outcome_of
from streambench.records.schema import AttemptRecord, Ticket, Usage
from streambench.runner.cost_bounds import output_limit, params_of
from streambench.text import count
from streambench.workload.suite import Prompt, texts_of

if TYPE_CHECKING:
    from streambench.config.config import Config
    from streambench.config.schema import Model
    from streambench.runner.plan import Plan

CHARACTERS_PER_TOKEN = 4
SECONDS_IN_A_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Range:
    """A predicted number: the least, the expected (from an earlier run or estimated) and the most. None is unknown."""

    low: float | None = None
    expected: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class ModelForecast:
    """One model's part of a forecast. Tokens and cost include the warm-up, which is billed as well."""

    model: str
    gateway: str
    requests: int
    warmup: int
    input_tokens: Range
    output_tokens: Range
    cost_usd: Range
    priced: bool
    measured: int
    """Answers of the earlier run that the numbers are based on; 0 if there are none."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of a run. `cuts` are sentences on what would end it early; `duration_why` says how the duration was
    predicted. `duration_s` covers warm-up and measured phase; in an open loop only the measured phase.
    """

    name: str
    models: tuple[ModelForecast, ...]
    requests: int
    warmup: int
    input_tokens: Range
    output_tokens: Range
    cost_usd: Range
    duration_s: Range
    duration_why: str
    connections: Mapping[str, str]
    cuts: tuple[str, ...] = ()
    turns: bool = False
    """True if there are conversations. Without an earlier run, the input of their later turns is only partly known."""

    def to_plain(self) -> dict[str, Any]:
        """Returns the forecast as nested dicts, for JSON."""
        return asdict(self)


@dataclass(slots=True)
class _PastRequests:
    """The usages and durations of a model's answers in an earlier run, to one prompt or to all prompts."""

    usages: list[Usage] = field(default_factory=list)
    took_ns: list[int] = field(default_factory=list)


Like = Mapping[tuple[str, str | None], _PastRequests]
"""Past requests by (model, prompt id); under (model, None) those of all prompts."""


def forecast(config: Config, plan: Plan, earlier: Iterable[AttemptRecord] = ()) -> Forecast:
    """Returns the forecast of a plan. The measured ok answers in `earlier`, records of another run, are used as
    examples of the answers to come.
    """
    like = _seen(earlier)
    models = tuple(_model(config, model, plan, like) for model in config.models)
    tokens_in, tokens_out = (_sum([getattr(one, part) for one in models]) for part in ("input_tokens", "output_tokens"))
    cost = _sum([one.cost_usd for one in models])
    duration, why = _duration(config, plan, like)
    return Forecast(
        name=config.name,
        models=models,
        requests=len(plan.measure),
        warmup=len(plan.warmup),
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cost_usd=cost,
        duration_s=duration,
        duration_why=why,
        connections=_connections(config),
        turns=any(ticket.turn for ticket in plan.measure),
        cuts=tuple(_cuts(config, plan, _sum([tokens_in, tokens_out]), cost, duration)),
    )


# --- an earlier run


def _seen(records: Iterable[AttemptRecord]) -> Like:
    found: dict[tuple[str, str | None], _PastRequests] = {}
    for record in records:
        if record.ticket.phase != "measure" or outcome_of(record) != "ok":
            continue
        for prompt in (record.ticket.prompt_id, None):
            seen = found.setdefault((record.ticket.model, prompt), _PastRequests())
            seen.took_ns.append(record.ended_ns)
            if record.usage is not None:
                seen.usages.append(record.usage)
    return found


def _of(like: Like, ticket: Ticket) -> _PastRequests:
    """Returns the model's past requests with the same prompt, else those with any prompt."""
    return like.get((ticket.model, ticket.prompt_id)) or like.get((ticket.model, None)) or _PastRequests()


# --- tokens and money


def _model(config: Config, model: Model, plan: Plan, like: Like) -> ModelForecast:
    prompts = {prompt.id: prompt for prompt in config.suite.prompts}
    tickets = [ticket for ticket in (*plan.warmup, *plan.measure) if ticket.model == model.alias]
    price = model.price
    asks = [_ask(config, model, prompts[ticket.prompt_id], _of(like, ticket), price) for ticket in tickets]
    seen = like.get((model.alias, None))
    return ModelForecast(
        model=model.alias,
        gateway=model.gateway,
        requests=sum(ticket.phase == "measure" for ticket in tickets),
        warmup=sum(ticket.phase == "warmup" for ticket in tickets),
        input_tokens=_sum([one for one, _, _ in asks]),
        output_tokens=_sum([one for _, one, _ in asks]),
        cost_usd=_sum([one for _, _, one in asks]),
        priced=price is not None,
        measured=len(seen.took_ns) if seen else 0,
    )


def _ask(
    config: Config, model: Model, prompt: Prompt, seen: _PastRequests, price: Price | None
) -> tuple[Range, Range, Range]:
    """Returns the input tokens, output tokens and cost (USD) of one request."""
    tokens_in = _measured(usage.input for usage in seen.usages)
    if tokens_in.expected is None:
        estimate = math.ceil(sum(map(len, texts_of(prompt))) / CHARACTERS_PER_TOKEN)
        tokens_in = Range(estimate, estimate, estimate)
    limit = output_limit(params_of(config, model, prompt))
    tokens_out = _measured(usage.output for usage in seen.usages)
    if tokens_out.expected is None:
        tokens_out = Range(None if limit is None else 0, None, limit)
    elif limit is not None:
        tokens_out = Range(*(min(end or 0.0, limit) for end in (tokens_out.low, tokens_out.expected, tokens_out.high)))
    return tokens_in, tokens_out, _priced(price, seen, tokens_in, tokens_out)


def _priced(price: Price | None, seen: _PastRequests, tokens_in: Range, tokens_out: Range) -> Range:
    """Returns the cost in USD: from the usage of each past answer, with its cached and reasoning tokens, if there are
    any; else from the token counts.
    """
    if price is None:
        return Range()
    if tokens_out.expected is not None and tokens_in.expected is not None:
        return _measured(price.of(usage) for usage in seen.usages)
    if tokens_out.high is None:
        return Range()
    return Range(price.at_least(tokens_in.low or 0), None, price.at_most(tokens_in.high or 0, tokens_out.high))


def _measured(values: Iterable[float | None]) -> Range:
    known = [value for value in values if value is not None]
    return Range(min(known), sum(known) / len(known), max(known)) if known else Range()


def _sum(parts: Sequence[Range]) -> Range:
    """Adds ranges. An end is unknown if it is unknown in any part: a partial sum would look like a small total."""
    ends = ([getattr(part, end) for part in parts] for end in ("low", "expected", "high"))
    return Range(*(None if None in values else total(values) for values in ends))


# --- time


def _duration(config: Config, plan: Plan, like: Like) -> tuple[Range, str]:
    tickets = (*plan.warmup, *plan.measure)
    slowest_s = max(_cap_s(config, tickets), default=0.0)
    took = [_measured(float(ns) / NS for ns in _of(like, ticket).took_ns) for ticket in tickets]
    if not config.load.closed:
        last_s = max((ticket.scheduled_ns or 0 for ticket in plan.measure), default=0) / NS
        last_answer = took[-1].expected if took else None
        expected = None if last_answer is None else max(last_s + last_answer, slowest_s)
        return Range(max(last_s, slowest_s), expected, None), "from the schedule of load.rate, without the warm-up"
    whole = _sum(took)
    if whole.low is None or whole.expected is None or whole.high is None:
        capped = f"; the limits on requests per minute alone require {slowest_s:.0f} s" if slowest_s else ""
        return Range(slowest_s or None), f"response times are unknown: pass a run that has them with --like{capped}"
    lanes = config.load.concurrency
    ends = (max(end / lanes, slowest_s) for end in (whole.low, whole.expected, whole.high))
    return Range(*ends), f"from the response times of the earlier run, {lanes} at a time"


def _cap_s(config: Config, tickets: Sequence[Ticket]) -> Iterator[float]:
    """Yields the least duration in seconds that each limit of requests per minute imposes."""
    models, gateways = (Counter(getattr(ticket, part) for ticket in tickets) for part in ("model", "gateway"))
    caps = [(model.limits, models[model.alias]) for model in config.models]
    caps += [(gateway.limits, gateways[name]) for name, gateway in config.gateways.items()]
    for limits, requests in caps:
        if limits.requests_per_minute is not None and requests:
            yield (requests - 1) * SECONDS_IN_A_MINUTE / limits.requests_per_minute


# --- connections, and what is cut


def _connections(config: Config) -> dict[str, str]:
    used = {model.gateway for model in config.models}
    return {name: _connections_text(config, name) for name in config.gateways if name in used}


def _connections_text(config: Config, name: str) -> str:
    gateway, load = config.gateways[name], config.load
    if gateway.connections == "new":
        return "a new one for each request"
    cap = gateway.limits.max_concurrency
    if not load.closed:
        return "one for each overlapping request" + (f", at most {cap}" if cap else "")
    most = min(load.concurrency, cap or load.concurrency)
    return f"at most {most}, opened {'in advance' if gateway.connections == 'warm' else 'as needed'}"


def _cuts(config: Config, plan: Plan, tokens: Range, cost: Range, duration: Range) -> Iterator[str]:
    """Yields a sentence for each limit or budget that would end the run early.

    Budgets count the warm-up. Retries are not predicted and would come on top.
    """
    planned, budget, limits = len(plan.warmup) + len(plan.measure), config.budget, config.limits
    if plan.cut:
        yield f"limits.requests leaves out {count(plan.cut)} of {count(plan.cut + len(plan.measure))} requests."
    if budget.requests is not None and planned > budget.requests:
        yield f"budget.requests stops the run after {count(budget.requests)} of {count(planned)} requests."
    yield from _stopped("budget.tokens", budget.tokens, tokens, "tokens")
    yield from _stopped("budget.usd", budget.usd, cost, "USD")
    yield from _stopped("budget.duration", budget.duration_s, duration, "s")
    yield from _stopped("limits.duration", limits.duration_s, duration, "s")


def _stopped(key: str, limit: float | None, takes: Range, unit: str) -> Iterator[str]:
    if limit is None:
        return
    least = takes.low if takes.expected is None else takes.expected
    if least is not None and least > limit:
        kind = "at least" if takes.expected is None else "about"
        yield f"{key} stops the run at {limit:g} {unit}: it would take {kind} {least:.3g}."
    elif takes.high is not None and takes.high <= limit:
        return
    elif takes.high is None:
        yield f"{key} may stop the run at {limit:g} {unit}: its maximum is unknown."
    else:
        yield f"{key} may stop the run at {limit:g} {unit}: it could take up to {takes.high:.3g}."
