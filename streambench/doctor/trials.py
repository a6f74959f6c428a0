"""Tiny requests to each model through the client that a run sends by, one or, with a tool, two; and their verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from streambench.client import Client, Instruments
from streambench.config import Config, Model
from streambench.discovery import instruments_open
from streambench.doctor.check import Check
from streambench.findings import Finding, findings
from streambench.health import evidence, judge
from streambench.metrics import first_arrival_ns
from streambench.records import GENERATED, AttemptRecord, Ticket
from streambench.suite import Prompt, Suite

MAX_TOKENS = 16
MOST_MODELS = 20
"""Of those that are tried: a glob may pick hundreds."""
_AT_ONCE = 4
_LIMIT_S = 60.0
_LATE_NS = 50_000_000
"""How late our own event loop may be before figures suffer."""
_MS = 1e6
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_PLAIN = Prompt("doctor", ({"role": "user", "content": "Count from one to twenty in words."},))
_WITH_TOOL = Prompt(
    "doctor-tool", ({"role": "user", "content": "What is the weather in Oslo?"},), params={"tools": [_TOOL]}
)


@dataclass(frozen=True, slots=True)
class Trials:
    """The config of the tiny requests, and how many there will be; `left_out` models are not tried."""

    config: Config
    prompts: tuple[Prompt, ...]
    left_out: int

    @property
    def requests(self) -> int:
        return len(self.config.models) * len(self.prompts)


def trials_of(config: Config, unreachable: Iterable[str] = (), *, tools: bool) -> Trials:
    """`config` has a name for every model; those of unreachable gateways are not tried."""
    gone = set(unreachable)
    models = [model for model in config.models if model.gateway not in gone]
    prompts = (_PLAIN, _WITH_TOOL) if tools else (_PLAIN,)
    timeouts = config.timeouts.model_copy(update={"total": min(config.timeouts.total, _LIMIT_S)})
    changed = {
        "models": tuple(_tiny(model, "max_tokens") for model in models[:MOST_MODELS]),
        "suite": Suite("doctor", prompts, ""),
        "timeouts": timeouts,
        "keep_text": False,
    }
    return Trials(config.model_copy(update=changed), prompts, len(models[MOST_MODELS:]))


def _tiny(model: Model, default: str) -> Model:
    """With its own parameters but for the limit, which goes by the name that the config has for it."""
    name = next((name for name in _LIMITS if name in model.params), default)
    params = {key: value for key, value in model.params.items() if key not in _LIMITS}
    return model.model_copy(update={"params": {**params, name: MAX_TOKENS}})


async def try_models(trials: Trials, base_urls: Mapping[str, str]) -> list[Check]:
    """Sends them, few at once, and says what each showed; last, how late our own event loop was meanwhile."""
    async with instruments_open() as instruments:
        instruments.lag.start()
        start = instruments.clock.now_ns()
        try:
            records = await _send_all(trials, base_urls, instruments)
            await asyncio.sleep(0.1)  # for a sample or two more
        finally:
            instruments.lag.stop()
        late = instruments.lag.summary(start, instruments.clock.now_ns())["p99"]
        checks = [check for model in trials.config.models for check in _judged(model, records[model.alias])]
        return [*checks, _clock(late, kernel_stamps=instruments.hub.kernel_stamps)]


async def _send_all(
    trials: Trials, base_urls: Mapping[str, str], instruments: Instruments
) -> dict[str, list[AttemptRecord]]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def tried(model: Model) -> list[AttemptRecord]:
        async with gate:
            return await _try(trials, model, base_urls, instruments)

    found = await asyncio.gather(*(tried(model) for model in trials.config.models))
    return {model.alias: records for model, records in zip(trials.config.models, found, strict=True)}


async def _try(
    trials: Trials, model: Model, base_urls: Mapping[str, str], instruments: Instruments
) -> list[AttemptRecord]:
    """Each prompt once; where a gateway knows the limit by its newer name only, the whole again with that."""
    records = await _send(trials, model, base_urls, instruments)
    message = records[0].failure.message if records[0].failure is not None else ""
    if records[0].status == 400 and "max_completion_tokens" in message and "max_tokens" in model.params:
        params = {key: value for key, value in model.params.items() if key != "max_tokens"}
        newer = model.model_copy(update={"params": {**params, "max_completion_tokens": MAX_TOKENS}})
        return await _send(trials, newer, base_urls, instruments)
    return records


async def _send(
    trials: Trials, model: Model, base_urls: Mapping[str, str], instruments: Instruments
) -> list[AttemptRecord]:
    client = Client(trials.config.model_copy(update={"models": (model,)}), base_urls, instruments)
    try:
        return [await _sent(client, model, prompt, seq, instruments) for seq, prompt in enumerate(trials.prompts)]
    finally:
        await client.close()


async def _sent(client: Client, model: Model, prompt: Prompt, seq: int, instruments: Instruments) -> AttemptRecord:
    armed = await client.arm(Ticket(seq, model.gateway, model.alias, prompt.id, 0, 0))
    await armed.fire(instruments.clock.now_ns(), 0)
    return await armed.record()


# --- what they showed


def _judged(model: Model, records: Sequence[AttemptRecord]) -> Iterator[Check]:
    plain, *others = records
    yield _streams(model, plain)
    if _came(plain):
        found = {finding.name: finding for finding in findings(plain)}
        yield _in_time(model, plain, found)
        yield _usage(model, plain)
    for record in others:
        yield _tools(model, record)


def _came(record: AttemptRecord) -> bool:
    return judge(record) == "ok"


def _streams(model: Model, record: AttemptRecord) -> Check:
    what = f"{model.alias} streams"
    outcome = judge(record)
    ttft = first_arrival_ns(record.timeline, GENERATED)
    if outcome == "ok" and ttft is not None:
        return Check("ok", what, f"{len(record.timeline.kind)} chunks, TTFT {ttft / _MS:.0f} ms")
    if outcome == "empty" and record.finish_reason == "length":
        told = f"{MAX_TOKENS} tokens were spent before any text came: a model that thinks unseen"
        return Check("note", what, told, "a `max_tokens` that leaves room for the answer")
    return Check("wrong", what, evidence(record, outcome), _mend(model, record))


def _mend(model: Model, record: AttemptRecord) -> str:
    match judge(record), record.status:
        case "http_error", 401 | 403:
            return f"check the key of gateway {model.gateway}"
        case "http_error", 404:
            return "check the model's name (`streambench models CONFIG`) and the path in base_url"
        case "http_error", 429:
            return "wait, or set `limits:` of the gateway lower"
        case "http_error", _:
            return "check the model's `params` against what the gateway says"
        case "timeout", _:
            return "try again; a model that sleeps may need a higher `timeouts.first_chunk`"
        case "not_a_stream", _:
            return "check base_url: it must lead to an OpenAI-compatible API that streams"
        case _:
            return "docs/health.md says what this outcome means"


def _in_time(model: Model, record: AttemptRecord, found: Mapping[str, Finding]) -> Check:
    what = f"{model.alias} unbuffered"
    held = found.get("buffered") or found.get("coalesced")
    if held is not None:
        mend = "look for a proxy that buffers (nginx: proxy_buffering off); chunk gaps would mean little"
        return Check("note", what, held.fact, mend)
    chunks = [at for at, kind in zip(record.timeline.offset_ns, record.timeline.kind, strict=True) if kind in GENERATED]
    reads = {r for r, kind in zip(record.timeline.read, record.timeline.kind, strict=True) if kind in GENERATED}
    if len(chunks) < 2 or len(reads) < 2:
        return Check("note", what, f"cannot be told from {len(chunks)} chunks in {len(reads)} reads")
    over = (chunks[-1] - chunks[0]) / _MS
    return Check("ok", what, f"{len(chunks)} chunks came in {len(reads)} reads over {over:.0f} ms")


def _usage(model: Model, record: AttemptRecord) -> Check:
    what = f"{model.alias} usage"
    if record.usage_refused:
        return Check("note", what, "the gateway rejects stream_options", "`include_usage: false` for it")
    if record.usage is not None and record.usage.output is not None:
        return Check("ok", what, f"{record.usage.input} tokens in, {record.usage.output} out")
    if not record.usage_asked:
        return Check("note", what, "not asked for, so tokens, TPOT and cost will be unknown", "`include_usage: true`")
    told = "none came though it was asked for: tokens, TPOT and cost will be unknown"
    return Check("note", what, told, "none on our side: ask who runs the gateway for `stream_options.include_usage`")


def _tools(model: Model, record: AttemptRecord) -> Check:
    what = f"{model.alias} tools"
    outcome = judge(record)
    if outcome != "ok" and not (outcome == "empty" and record.finish_reason == "length"):
        return Check("wrong", what, evidence(record, outcome), "no `tools` for this model")
    called = "and called one" if record.tool_calls else f"and called none within {MAX_TOKENS} tokens"
    return Check("ok", what, f"takes them, {called}")


def _clock(late_ns: int | None, *, kernel_stamps: bool) -> Check:
    stamps = "kernel stamps" if kernel_stamps else "stamps in user space (the kernel gives none here)"
    if late_ns is None:
        return Check("ok", "clock", stamps)
    told = f"{stamps}; our own event loop was late by {late_ns / _MS:.1f} ms (p99)"
    if late_ns > _LATE_NS:
        return Check("note", "clock", told, "a less busy machine: every latency would be off by as much")
    return Check("ok", "clock", told)
