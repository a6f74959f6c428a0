"""What a run would take, before anything is sent: requests, tokens, money, time, and what its limits would cut. Pure.

Nothing is invented: what neither the config nor an earlier run can say is unknown (None).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from streambench.clock import NS
from streambench.health import judge
from streambench.money import Price, price_of, total
from streambench.records import AttemptRecord, Ticket, Usage
from streambench.reserve import output_limit, params_of
from streambench.suite import Prompt, texts_of

if TYPE_CHECKING:
    from streambench.config import Config, Model
    from streambench.plan import Plan

CHARACTERS_PER_TOKEN = 4
SECONDS_IN_A_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Range:
    """`expected` is what an earlier run shows, or the estimate; the ends are the least and the most."""

    low: float | None = None
    expected: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class ModelForecast:
    """One model's part; tokens and cost are of its warm-up too, which is paid for."""

    model: str
    gateway: str
    requests: int
    warmup: int
    input_tokens: Range
    output_tokens: Range
    cost_usd: Range
    priced: bool
    measured: int
    """Answers of the earlier run that its figures come from; 0 is none."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """A run's. `duration_s` is of warm-up and measured phase; `cuts` are sentences on what would end it early."""

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
    """Whether there are conversations: without an earlier run their later turns are known by half."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class _Seen:
    """The answers of an earlier run to one prompt by one model, or to all of its prompts."""

    usages: list[Usage] = field(default_factory=list)
    took_ns: list[int] = field(default_factory=list)


Like = Mapping[tuple[str, str | None], _Seen]
"""By model and prompt; under None all of a model's."""


def forecast(config: Config, plan: Plan, earlier: Iterable[AttemptRecord] = ()) -> Forecast:
    """`earlier` are the records of a run whose measured answers stand in for those to come."""
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
    found: dict[tuple[str, str | None], _Seen] = {}
    for record in records:
        if record.ticket.phase != "measure" or judge(record) != "ok":
            continue
        for prompt in (record.ticket.prompt_id, None):
            seen = found.setdefault((record.ticket.model, prompt), _Seen())
            seen.took_ns.append(record.ended_ns)
            if record.usage is not None:
                seen.usages.append(record.usage)
    return found


def _of(like: Like, ticket: Ticket) -> _Seen:
    """Of the same model: the same prompt's answers, else those of all its prompts."""
    return like.get((ticket.model, ticket.prompt_id)) or like.get((ticket.model, None)) or _Seen()


# --- tokens and money


def _model(config: Config, model: Model, plan: Plan, like: Like) -> ModelForecast:
    prompts = {prompt.id: prompt for prompt in config.suite.prompts}
    tickets = [ticket for ticket in (*plan.warmup, *plan.measure) if ticket.model == model.alias]
    price = price_of(model.price.model_dump()) if model.price else None
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


def _ask(config: Config, model: Model, prompt: Prompt, seen: _Seen, price: Price | None) -> tuple[Range, Range, Range]:
    """Input, output and cost of one request."""
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


def _priced(price: Price | None, seen: _Seen, tokens_in: Range, tokens_out: Range) -> Range:
    """By each answer's own usage, with its cached and reasoning tokens, where there is one; else by the counts."""
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
    """Unknown where one part is: half a sum would look like a small one."""
    ends = ([getattr(part, end) for part in parts] for end in ("low", "expected", "high"))
    return Range(*(None if None in values else total(values) for values in ends))


# --- time


def _duration(config: Config, plan: Plan, like: Like) -> tuple[Range, str]:
    tickets = (*plan.warmup, *plan.measure)
    slowest_s = max(_cap_s(config, tickets), default=0.0)
    took = [_measured(float(ns) / NS for ns in _of(like, ticket).took_ns) for ticket in tickets]
    if config.load.mode != "closed":
        last_s = max((ticket.scheduled_ns or 0 for ticket in plan.measure), default=0) / NS
        last_answer = took[-1].expected if took else None
        expected = None if last_answer is None else max(last_s + last_answer, slowest_s)
        return Range(max(last_s, slowest_s), expected, None), "by the schedule of load.rate, without the warm-up"
    whole = _sum(took)
    if whole.low is None or whole.expected is None or whole.high is None:
        capped = f"; the caps on requests per minute alone take {slowest_s:.0f} s" if slowest_s else ""
        return Range(slowest_s or None), f"nothing tells how long an answer takes: give --like a run that does{capped}"
    lanes = config.load.concurrency
    ends = (max(end / lanes, slowest_s) for end in (whole.low, whole.expected, whole.high))
    return Range(*ends), f"by the answers of the earlier run, {lanes} at a time"


def _cap_s(config: Config, tickets: Sequence[Ticket]) -> Iterator[float]:
    """How long each cap on requests per minute alone takes."""
    models, gateways = (Counter(getattr(ticket, part) for ticket in tickets) for part in ("model", "gateway"))
    caps = [(model.limits, models[model.alias]) for model in config.models]
    caps += [(gateway.limits, gateways[name]) for name, gateway in config.gateways.items()]
    for limits, count in caps:
        if limits.requests_per_minute is not None and count:
            yield (count - 1) * SECONDS_IN_A_MINUTE / limits.requests_per_minute


# --- connections, and what is cut


def _connections(config: Config) -> dict[str, str]:
    used = {model.gateway for model in config.models}
    return {name: _told_connections(config, name) for name in config.gateways if name in used}


def _told_connections(config: Config, name: str) -> str:
    gateway, load = config.gateways[name], config.load
    if gateway.connections == "new":
        return "a new one for each request"
    cap = gateway.limits.max_concurrency
    if load.mode != "closed":
        return "as many as requests overlap" + (f", {cap} at most" if cap else "")
    most = min(load.concurrency, cap or load.concurrency)
    return f"{most} at most, {'opened beforehand' if gateway.connections == 'warm' else 'opened as they are needed'}"


def _cuts(config: Config, plan: Plan, tokens: Range, cost: Range, duration: Range) -> Iterator[str]:
    """Budgets count the warm-up; retries would come on top of all of this."""
    planned, budget, limits = len(plan.warmup) + len(plan.measure), config.budget, config.limits
    if plan.cut:
        yield f"limits.requests leaves out {plan.cut:,} of {plan.cut + len(plan.measure):,} requests."
    if budget.requests is not None and planned > budget.requests:
        yield f"budget.requests stops it after {budget.requests:,} of {planned:,} requests."
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
        yield f"{key} stops it at {limit:g} {unit}: it would take {kind} {least:.3g}."
    elif takes.high is not None and takes.high <= limit:
        return
    elif takes.high is None:
        yield f"{key} may stop it at {limit:g} {unit}: how much it takes at most is unknown."
    else:
        yield f"{key} may stop it at {limit:g} {unit}: it could take up to {takes.high:.3g}."
