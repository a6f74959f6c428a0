"""Sends a tiny request to each model (two with --tools) through the client of a run, and checks the responses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from streambench.client.client import Client
from streambench.client.instruments import Instruments, instruments_open
from streambench.config.config import Config
from streambench.config.schema import Model
from streambench.doctor.check import Check
from streambench.metrics.definitions import first_arrival_ns
from streambench.metrics.findings import Finding, findings
from streambench.metrics.outcomes import evidence, outcome_of
from streambench.records.schema import GENERATED, AttemptRecord, Ticket
from streambench.workload.suite import Prompt, Suite

MAX_TOKENS = 16
MOST_MODELS = 20
"""Maximum number of models that are tried, as a glob may select hundreds."""
_AT_ONCE = 4
_LIMIT_S = 60.0
_LATE_NS = 50_000_000
"""Maximum client lag (p99 delay of the event loop) before a run's numbers become inaccurate."""
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
    """The config and prompts of the trial requests. `left_out` is the number of models that are not tried."""

    config: Config
    prompts: tuple[Prompt, ...]
    left_out: int

    @property
    def requests(self) -> int:
        return len(self.config.models) * len(self.prompts)


def trials_of(config: Config, unreachable: Iterable[str] = (), *, tools: bool) -> Trials:
    """Returns the trial requests. `config` must have no globs left; models of unreachable gateways are skipped."""
    gone = set(unreachable)
    models = [model for model in config.models if model.gateway not in gone]
    prompts = (_PLAIN, _WITH_TOOL) if tools else (_PLAIN,)
    timeouts = replace(config.timeouts, total=min(config.timeouts.total, _LIMIT_S))
    changed = {
        "models": tuple(_tiny(model, "max_tokens") for model in models[:MOST_MODELS]),
        "suite": Suite("doctor", prompts, ""),
        "timeouts": timeouts,
        "keep_text": False,
    }
    return Trials(config.model_copy(update=changed), prompts, len(models[MOST_MODELS:]))


def _tiny(model: Model, default: str) -> Model:
    """Returns the model with its token limit set to MAX_TOKENS, under the name in its params, or `default` if none."""
    name = next((name for name in _LIMITS if name in model.params), default)
    params = {key: value for key, value in model.params.items() if key not in _LIMITS}
    return model.model_copy(update={"params": {**params, name: MAX_TOKENS}})


async def try_models(trials: Trials, base_urls: Mapping[str, str]) -> list[Check]:
    """Sends the requests, to at most four models at once, and returns the checks. The last one is of the client lag."""
    async with instruments_open() as instruments:
        instruments.lag.start()
        start = instruments.clock.now_ns()
        try:
            records = await _send_all(trials, base_urls, instruments)
            await asyncio.sleep(0.1)  # gives time for a few more samples of the lag
        finally:
            instruments.lag.stop()
        late = instruments.lag.summary(start, instruments.clock.now_ns())["p99"]
        checks = [check for model in trials.config.models for check in _checks_of(model, records[model.alias])]
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
    """Sends each prompt once. If the gateway only accepts `max_completion_tokens`, sends all again with that name."""
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
    prepared = await client.prepare(Ticket(seq, model.gateway, model.alias, prompt.id, 0, 0))
    await prepared.fire(instruments.clock.now_ns(), 0)
    return await prepared.record()


# --- checks of the responses


def _checks_of(model: Model, records: Sequence[AttemptRecord]) -> Iterator[Check]:
    plain, *others = records
    yield _streams(model, plain)
    if _came(plain):
        found = {finding.name: finding for finding in findings(plain)}
        yield _in_time(model, plain, found)
        yield _usage(model, plain)
    for record in others:
        yield _tools(model, record)


def _came(record: AttemptRecord) -> bool:
    return outcome_of(record) == "ok"


def _streams(model: Model, record: AttemptRecord) -> Check:
    what = f"{model.alias} streams"
    outcome = outcome_of(record)
    ttft = first_arrival_ns(record.timeline, GENERATED)
    if outcome == "ok" and ttft is not None:
        return Check("ok", what, f"{len(record.timeline.kind)} chunks, TTFT {ttft / _MS:.0f} ms")
    if outcome == "empty" and record.finish_reason == "length":
        found = f"no text within {MAX_TOKENS} tokens: the model probably reasons without showing it"
        return Check("note", what, found, "set a `max_tokens` that is large enough for reasoning and answer")
    return Check("wrong", what, evidence(record, outcome), _advice(model, record))


def _advice(model: Model, record: AttemptRecord) -> str:
    match outcome_of(record), record.status:
        case "http_error", 401 | 403:
            return f"check the key of gateway {model.gateway}"
        case "http_error", 404:
            return "check the model's name (`streambench models CONFIG`) and the path in base_url"
        case "http_error", 429:
            return "wait, or lower the `limits:` of the gateway"
        case "http_error", _:
            return "check the model's `params` against the gateway's message"
        case "timeout", _:
            return "try again; a model with a slow cold start may need a higher `timeouts.first_chunk`"
        case "not_a_stream", _:
            return "check base_url: it must point to an OpenAI-compatible API that streams"
        case _:
            return "docs/health.md explains this outcome"


def _in_time(model: Model, record: AttemptRecord, found: Mapping[str, Finding]) -> Check:
    what = f"{model.alias} unbuffered"
    held = found.get("buffered") or found.get("coalesced")
    if held is not None:
        fix = "look for a proxy that buffers (nginx: proxy_buffering off); buffering makes chunk gaps meaningless"
        return Check("note", what, held.fact, fix)
    chunks = [at for at, kind in zip(record.timeline.offset_ns, record.timeline.kind, strict=True) if kind in GENERATED]
    reads = {r for r, kind in zip(record.timeline.read, record.timeline.kind, strict=True) if kind in GENERATED}
    if len(chunks) < 2 or len(reads) < 2:
        return Check("note", what, f"unknown: {len(chunks)} chunks in {len(reads)} reads are too few")
    over = (chunks[-1] - chunks[0]) / _MS
    return Check("ok", what, f"{len(chunks)} chunks came in {len(reads)} reads over {over:.0f} ms")


def _usage(model: Model, record: AttemptRecord) -> Check:
    what = f"{model.alias} usage"
    if record.usage_refused:
        return Check("note", what, "the gateway rejects stream_options", "set `include_usage: false` for this model")
    if record.usage is not None and record.usage.output is not None:
        return Check("ok", what, f"{record.usage.input} tokens in, {record.usage.output} out")
    if not record.usage_asked:
        return Check(
            "note", what, "not requested, so tokens, TPOT and cost will be unknown", "set `include_usage: true`"
        )
    found = "requested but not sent, so tokens, TPOT and cost will be unknown"
    return Check("note", what, found, "ask the operator of the gateway to support `stream_options.include_usage`")


def _tools(model: Model, record: AttemptRecord) -> Check:
    what = f"{model.alias} tools"
    outcome = outcome_of(record)
    if outcome != "ok" and not (outcome == "empty" and record.finish_reason == "length"):
        return Check("wrong", what, evidence(record, outcome), "remove `tools` from this model")
    called = (
        "and the model called one" if record.tool_calls else f"but the model called none within {MAX_TOKENS} tokens"
    )
    return Check("ok", what, f"accepted, {called}")


def _clock(late_ns: int | None, *, kernel_stamps: bool) -> Check:
    stamps = "kernel timestamps" if kernel_stamps else "user-space timestamps (the kernel provides none here)"
    if late_ns is None:
        return Check("ok", "clock", stamps)
    found = f"{stamps}; the client's event loop was late by {late_ns / _MS:.1f} ms (p99)"
    if late_ns > _LATE_NS:
        return Check("note", "clock", found, "use a less busy machine: latencies would be wrong by as much")
    return Check("ok", "clock", found)
