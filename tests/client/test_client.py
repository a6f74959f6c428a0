"""One attempt from a real config to its record: against the simulator as a process, or a gateway scripted by hand."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from home import KEY
from scripted_gateway import (
    NO_END,
    PATIENCE_S,
    STREAM,
    Answer,
    ScriptedGateway,
    Seen,
    delta,
    error,
    sse,
    streamed,
)

from streambench.client.client import Client, SdkRequest
from streambench.client.instruments import Instruments
from streambench.client.loop_lag import LagSampler
from streambench.client.transport.socket_hub import SocketHub
from streambench.clock import LoopClock, take_anchor
from streambench.config.config import Config
from streambench.config.load import load_config
from streambench.errors import ConfigError
from streambench.metrics.outcomes import outcome_of
from streambench.records.schema import AttemptRecord, Ticket
from streambench.simulator.process import SimulatorProcess

MODELS = """
models:
  plain: {ttft_ms: 20, gap_ms: 2, tokens: 8}
  thinker: {ttft_ms: 10, gap_ms: 2, tokens: 4, reasoning: {tokens: 3}}
  strict: {ttft_ms: 10, gap_ms: 2, tokens: 4, accepts_stream_options: false}
  usageless: {ttft_ms: 10, gap_ms: 2, tokens: 4, usage: false}
  long: {ttft_ms: 10, gap_ms: 20, tokens: 5000}
  hang: {fault: hang}
  chatty: {ttft_ms: 20, gap_ms: 2, tokens: 4, keepalive_ms: 20, fault: keepalive_forever}
  stalled: {ttft_ms: 20, gap_ms: 2, tokens: 8, fault: stall_forever}
  http_429: {fault: http_429}
  http_500: {fault: http_500}
"""
PROMPT = "Tell me of the harbour in the morning."


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its base URL."""
    models = tmp_path_factory.mktemp("simulator") / "models.yaml"
    models.write_text(MODELS)
    with SimulatorProcess(models, seed=7) as process:
        yield process.base_url()


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    """Makes a config of one gateway, `hub`, and the prompt `p`, unless `keys` say otherwise."""

    def make(base_url: str, *models: Any, gateway: Mapping[str, Any] | None = None, **keys: Any) -> Config:
        hub = {"base_url": base_url, "api_key": "none", **(gateway or {})}
        plain = {"gateways": {"hub": hub}, "models": list(models), "prompts": [{"id": "p", "text": PROMPT}], **keys}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(plain))
        return load_config(path, env={"HUB_API_KEY": KEY})

    return make


Make = Callable[..., Config]


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Client]:
    """A client with instruments of its own; closed at the end, and nothing of it left open."""
    clock = LoopClock()
    hub = SocketHub(clock)
    client = Client(
        config,
        {name: gateway.base_url for name, gateway in config.gateways.items()},
        Instruments(clock, take_anchor(), LagSampler(clock), hub),
    )
    try:
        yield client
    finally:
        await client.close()
        hub.close()
        clock.close()


def ticket(config: Config, alias: str, seq: int = 0) -> Ticket:
    prompt = config.suite.prompts[0].id
    return Ticket(seq=seq, gateway="hub", model=alias, prompt_id=prompt, repeat=seq, block=seq)


async def attempt(client: Client, of: Ticket) -> AttemptRecord:
    prepared = await client.prepare(of)
    async with asyncio.timeout(PATIENCE_S):
        await prepared.fire(take_anchor().monotonic_ns, 0)
        return await prepared.record()


def attempts(config: Config, count: int = 1) -> list[AttemptRecord]:
    """The records of so many attempts of each model, one after the other over one client."""

    async def run() -> list[AttemptRecord]:
        async with opened(config) as client:
            return [
                await attempt(client, ticket(config, model.alias, seq))
                for seq in range(count)
                for model in config.models
            ]

    return asyncio.run(run())


def always(*pieces: bytes) -> Answer:
    return lambda _: pieces


@pytest.fixture
def scripted() -> Iterator[Callable[[Answer], ScriptedGateway]]:
    running: list[ScriptedGateway] = []

    def start(answer: Answer) -> ScriptedGateway:
        running.append(ScriptedGateway(answer).__enter__())
        return running[-1]

    yield start
    for gateway in running:
        gateway.__exit__(None, None, None)


Script = Callable[[Answer], ScriptedGateway]


# --- a healthy stream


@pytest.fixture(scope="module")
def healthy(simulator: str, tmp_path_factory: pytest.TempPathFactory) -> list[AttemptRecord]:
    """Two attempts, one after the other."""
    path = tmp_path_factory.mktemp("healthy") / "config.yaml"
    hub = {"base_url": simulator, "api_key": "none"}
    path.write_text(yaml.safe_dump({"gateways": {"hub": hub}, "models": ["plain"], "prompts": [PROMPT]}))
    return attempts(load_config(path), count=2)


def test_a_healthy_stream_is_ok(healthy: list[AttemptRecord]) -> None:
    """A role chunk, 8 tokens, the finish, the usage, [DONE]."""
    record = healthy[0]
    assert outcome_of(record) == "ok"
    assert record.timeline.kind == "r" + 8 * "c" + "ou"
    assert (record.finish_reason, record.done, record.status) == ("stop", True, 200)
    assert (record.content_type or "").startswith("text/event-stream")
    assert (record.failure, record.error_frame, record.malformed) == (None, None, 0)


def test_times_come_in_order(healthy: list[AttemptRecord]) -> None:
    """From due to ended; the first chunk is the role's, so it comes in the body's first read."""
    for record in healthy:
        at = record.timeline.offset_ns
        assert record.scheduled_at_ns <= record.start_at_ns
        steps = (0, record.sent_ns, record.headers_ns, record.first_byte_ns, at[0], at[-1], record.last_byte_ns)
        known = [step for step in (*steps, record.ended_ns) if step is not None]
        assert len(known) == 8
        assert known == sorted(known)
        assert list(at) == sorted(at)


def test_ttft_is_the_models(healthy: list[AttemptRecord]) -> None:
    """20 ms and what loopback takes; bounds are generous, as this is no test of accuracy."""
    for record in healthy:
        assert 20e6 <= record.timeline.offset_ns[1] < 500e6


def test_the_first_connection_is_new_and_then_reused(healthy: list[AttemptRecord]) -> None:
    """Only a new one has a set-up."""
    first, second = (record.connection for record in healthy)
    assert first is not None
    assert second is not None
    assert (first.new, second.new) == (True, False)
    assert first.connect_ns is not None
    assert first.connect_ns > 0
    assert (second.connect_ns, second.dns_ns, second.tls_ns) == (None, None, None)


def test_the_stream_says_who_answered(healthy: list[AttemptRecord]) -> None:
    """Model, response id, and the request id of the headers."""
    record = healthy[0]
    assert record.model_served == "plain"
    assert (record.response_id or "").startswith("chatcmpl-")
    assert record.headers["x-request-id"]


def test_usage_is_asked_for_and_taken(healthy: list[AttemptRecord]) -> None:
    """Eight tokens out; in: 1 + 38 characters at four a token."""
    usage = healthy[0].usage
    assert usage is not None
    assert (usage.output, usage.input, usage.source) == (8, 1 + len(PROMPT) // 4, "gateway")
    assert not healthy[0].usage_refused


def test_each_attempt_has_ids_of_its_own(healthy: list[AttemptRecord]) -> None:
    """As W3C trace context has them; all are in the run's trace."""
    first, second = healthy
    assert (len(first.trace_id), len(first.span_id), len(first.request_span_id)) == (32, 16, 16)
    assert first.trace_id == second.trace_id
    assert len({first.span_id, second.span_id, first.request_span_id, second.request_span_id}) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps what it receives")
def test_stamps_are_the_kernels(simulator: str, config: Make) -> None:
    """And the client says so for the header, if this machine's kernel stamps at all."""

    async def run(made: Config) -> tuple[bool, str, AttemptRecord]:
        async with opened(made) as client:
            kernel = client._instruments.hub.kernel_stamps
            return kernel, client.stamps, await attempt(client, ticket(made, "plain"))

    kernel, told, record = asyncio.run(run(config(simulator, "plain")))
    assert told == record.stamps == ("kernel" if kernel else "read")


def test_text_is_kept_by_option_only(simulator: str, config: Make) -> None:
    """The answer and the thoughts before it."""
    (kept,) = attempts(config(simulator, "thinker", keep_text=True))
    assert kept.text
    assert kept.reasoning_text
    assert len(kept.text) + len(kept.reasoning_text) == sum(kept.timeline.chars)
    (plain,) = attempts(config(simulator, "thinker"))
    assert (plain.text, plain.reasoning_text) == (None, None)


def test_a_gateway_without_usage_has_none(simulator: str, config: Make) -> None:
    """Unknown, not zero."""
    (record,) = attempts(config(simulator, "usageless"))
    assert outcome_of(record) == "ok"
    assert record.usage is None


def test_new_connections_by_option(simulator: str, config: Make) -> None:
    """`connections: new` opens one for each request."""
    records = attempts(config(simulator, "plain", gateway={"connections": "new"}), count=2)
    assert [record.connection is not None and record.connection.new for record in records] == [True, True]


def test_warm_connections_are_not_set_up_in_an_attempt(simulator: str, config: Make) -> None:
    """They stand before."""

    async def run(made: Config) -> AttemptRecord:
        async with opened(made) as client:
            await client.warm(1)
            return await attempt(client, ticket(made, "plain"))

    record = asyncio.run(run(config(simulator, "plain")))
    assert record.connection is not None
    assert (record.connection.new, record.connection.ahead) == (False, True)


# --- what is sent


def sent(config: Make, scripted: Script, *models: Any, **keys: Any) -> list[Seen]:
    gateway = scripted(always(streamed()))
    records = attempts(config(gateway.url, *(models or ("m",)), **keys))
    assert [outcome_of(record) for record in records] == ["ok"] * len(records)
    return gateway.seen


def test_the_request_line_and_the_body(config: Make, scripted: Script) -> None:
    """Exactly these fields."""
    (seen,) = sent(config, scripted)
    assert seen.line == "POST /v1/chat/completions HTTP/1.1"
    assert seen.json == {
        "model": "m",
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert seen.header("content-type") == "application/json"


def test_the_key_is_sent(config: Make, scripted: Script) -> None:
    """As a bearer."""
    (seen,) = sent(config, scripted, gateway={"api_key": "${HUB_API_KEY}"})
    assert seen.header("authorization") == f"Bearer {KEY}"


def test_a_server_without_a_key_gets_none(config: Make, scripted: Script) -> None:
    """Not even a placeholder."""
    (seen,) = sent(config, scripted)
    assert seen.header("authorization") is None


def test_a_header_may_carry_another_kind_of_key(config: Make, scripted: Script) -> None:
    """`api_key: none` is about the SDK's, not about what the config says itself."""
    (seen,) = sent(config, scripted, gateway={"headers": {"authorization": "Basic ${HUB_API_KEY}"}})
    assert seen.header("authorization") == f"Basic {KEY}"


def test_custom_headers_are_sent(config: Make, scripted: Script) -> None:
    """With the SDK's."""
    (seen,) = sent(config, scripted, gateway={"headers": {"x-team": "search", "x-key": "${HUB_API_KEY}"}})
    assert (seen.header("x-team"), seen.header("x-key")) == ("search", KEY)


@pytest.mark.parametrize("headers", [{}, {"accept-encoding": "gzip"}])
def test_no_compression_is_asked_for(config: Make, scripted: Script, headers: dict[str, str]) -> None:
    """A compressed stream arrives in blocks."""
    (seen,) = sent(config, scripted, gateway={"headers": headers})
    assert seen.header("accept-encoding") == "identity"


def test_messages_are_sent_verbatim(config: Make, scripted: Script) -> None:
    """Roles, parts, tool calls, fields that the SDK does not know, any script."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "日本語 and 🙂", "cache_control": {"type": "ephemeral"}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {}}]},
        {"role": "tool", "tool_call_id": "c", "content": "12"},
    ]
    (seen,) = sent(config, scripted, prompts=[{"id": "talk", "messages": messages}])
    assert seen.json["messages"] == messages


def test_a_query_stays_behind_the_path(config: Make, scripted: Script) -> None:
    """Some gateways want a version or a key there."""
    gateway = scripted(always(streamed()))
    attempts(config(f"{gateway.url}?api-version=2024-10-21&note=a%20b", "m"))
    assert gateway.seen[0].line == "POST /v1/chat/completions?api-version=2024-10-21&note=a+b HTTP/1.1"


def test_a_prompts_params_win_over_its_models(config: Make, scripted: Script) -> None:
    """Those of both are sent."""
    (seen,) = sent(
        config,
        scripted,
        {"model": "m", "params": {"temperature": 0, "max_tokens": 64, "own": {"deep": [1]}}},
        prompts=[{"id": "p", "text": PROMPT, "params": {"max_tokens": 5, "top_k": 3}}],
    )
    params = {key: seen.json[key] for key in ("temperature", "max_tokens", "own", "top_k")}
    assert params == {"temperature": 0, "max_tokens": 5, "own": {"deep": [1]}, "top_k": 3}


def test_extra_fields_of_gateway_model_and_prompt(config: Make, scripted: Script) -> None:
    """The narrower wins; what only one of them says is sent as well."""
    prompt = {"text": "Hi", "params": {"c": 3}}
    model = {"model": "m", "params": {"b": 2, "c": 2}}
    (seen,) = sent(config, scripted, model, gateway={"params": {"a": 1, "b": 1, "c": 1}}, prompts=[prompt])
    assert {key: seen.json[key] for key in "abc"} == {"a": 1, "b": 2, "c": 3}


def test_headers_of_gateway_model_and_prompt(config: Make, scripted: Script) -> None:
    """The narrower wins however it is spelled, and each is sent once; so with those that the SDK has of its own."""
    prompt = {"text": "Hi", "headers": {"X-C": "p", "user-agent": "p"}}
    model = {"model": "m", "headers": {"x-b": "${HUB_API_KEY}", "x-c": "m"}}
    (seen,) = sent(config, scripted, model, gateway={"headers": {"X-A": "g", "X-B": "g", "x-c": "g"}}, prompts=[prompt])
    told = {name: seen.header(name) for name in ("x-a", "x-b", "x-c", "user-agent")}
    assert told == {"x-a": "g", "x-b": KEY, "x-c": "p", "user-agent": "p"}


def test_an_alias_stays_at_home(config: Make, scripted: Script) -> None:
    """The gateway is asked for the model."""
    (seen,) = sent(config, scripted, {"model": "m", "alias": "ours"})
    assert seen.json["model"] == "m"


@pytest.mark.parametrize(
    ("of_gateway", "of_model", "wanted"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_usage_is_asked_for_where_wanted(
    config: Make, scripted: Script, *, of_gateway: bool, of_model: bool | None, wanted: bool
) -> None:
    """A model's word counts before its gateway's."""
    model = {"model": "m"} if of_model is None else {"model": "m", "include_usage": of_model}
    (seen,) = sent(config, scripted, model, gateway={"include_usage": of_gateway})
    assert ("stream_options" in seen.json) == wanted


def test_the_sdks_environment_is_not_sent(config: Make, scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run sends stands in its config alone; the variables are there again afterwards."""
    held = {
        "OPENAI_ORG_ID": "org-from-env",
        "OPENAI_PROJECT_ID": "project-from-env",
        "OPENAI_API_KEY": "sk-from-env",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/from-env",
        "OPENAI_CUSTOM_HEADERS": "x-from-env: 1",
    }
    for name, value in held.items():
        monkeypatch.setenv(name, value)
    (seen,) = sent(config, scripted)
    assert "from-env" not in repr((seen.line, seen.headers, seen.body))
    assert seen.header("openai-organization") is None
    assert {name: os.environ.get(name) for name in held} == held


def test_an_armed_request_is_not_on_the_wire(config: Make, scripted: Script) -> None:
    """Only `fire` sends; what is discarded is never sent, and leaves nothing open."""
    gateway = scripted(always(streamed()))

    async def run(made: Config) -> tuple[list[asyncio.Task[Any]], AttemptRecord]:
        async with opened(made) as client:
            before = asyncio.all_tasks()
            await (await client.prepare(ticket(made, "m"))).discard()
            left = [task for task in asyncio.all_tasks() if task not in before]
            return left, await attempt(client, ticket(made, "m", 1))

    left, record = asyncio.run(run(config(gateway.url, "m")))
    assert left == []
    assert len(gateway.seen) == 1
    assert outcome_of(record) == "ok"


def test_nothing_is_left_open(simulator: str, config: Make) -> None:
    """After a client with kept connections, a cancelled attempt and a discarded one."""

    async def run(made: Config) -> None:
        async with opened(made) as client:
            await attempt(client, ticket(made, "plain"))
            await (await client.prepare(ticket(made, "plain"))).discard()
            await broken_off(await client.prepare(ticket(made, "hang")))

    asyncio.run(run(config(simulator, "plain", "hang")))  # opens what Python itself keeps open
    before = descriptors()
    asyncio.run(run(config(simulator, "plain", "hang")))
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


# --- error answers


@pytest.mark.parametrize("status", [429, 500])
def test_nothing_is_tried_again(config: Make, scripted: Script, status: int) -> None:
    """One request, one record, though the SDK would retry these."""
    gateway = scripted(always(error(f"{status} No", "not now", "retry-after: 0", code="busy")))
    (record,) = attempts(config(gateway.url, "m"))
    assert len(gateway.seen) == 1
    assert outcome_of(record) == "http_error"
    assert record.failure is not None
    assert (record.failure.status, record.failure.code, record.failure.message) == (status, "busy", "not now")
    assert record.failure.retry_after_s == 0


def test_a_redirect_is_not_followed(config: Make, scripted: Script) -> None:
    """It would hide in the latency, and take the key elsewhere."""
    gateway = scripted(lambda seen: [error("307 Temporary Redirect", "", "location: /v2/chat/completions")])
    (record,) = attempts(config(gateway.url, "m"))
    assert len(gateway.seen) == 1
    assert record.failure is not None
    assert "/v2/chat/completions" in record.failure.message


def test_a_rejected_stream_options_is_not_sent_again(simulator: str, config: Make) -> None:
    """The first answer names it; later requests go without, and say so."""
    made = config(simulator, "strict")

    async def run() -> tuple[list[AttemptRecord], frozenset[str], frozenset[str]]:
        async with opened(made) as client:
            before = client.refuses_usage
            records = [await attempt(client, ticket(made, "strict", seq)) for seq in range(2)]
            return records, before, client.refuses_usage

    records, before, after = asyncio.run(run())
    assert [outcome_of(record) for record in records] == ["http_error", "ok"]
    assert [record.usage_refused for record in records] == [False, True]
    assert (sorted(before), sorted(after)) == ([], ["strict"])


def test_a_request_built_before_the_rejection_is_built_anew(simulator: str, config: Make) -> None:
    """Both were prepared with stream_options; by the time the second is fired, the first has been told."""
    made = config(simulator, "strict")

    async def run() -> list[AttemptRecord]:
        async with opened(made) as client:
            prepared = [await client.prepare(ticket(made, "strict", seq)) for seq in range(2)]
            records = []
            for one in prepared:
                await one.fire(take_anchor().monotonic_ns, 0)
                records.append(await one.record())
            return records

    records = asyncio.run(run())
    assert [outcome_of(record) for record in records] == ["http_error", "ok"]
    assert [record.usage_refused for record in records] == [False, True]


def test_a_rejection_holds_for_its_model_only(config: Make, scripted: Script) -> None:
    """Another model may stand behind another server."""

    def answer(seen: Seen) -> Iterable[bytes]:
        strict = seen.json["model"] == "strict" and "stream_options" in seen.json
        yield error("400 Bad Request", "unknown field include_usage") if strict else streamed()

    gateway = scripted(answer)
    records = attempts(config(gateway.url, "strict", "free"), count=2)
    assert [outcome_of(record) for record in records] == ["http_error", "ok", "ok", "ok"]
    assert ["stream_options" in seen.json for seen in gateway.seen] == [True, True, False, True]


def test_a_prompt_that_is_echoed_is_no_rejection(config: Make, scripted: Script) -> None:
    """A prompt may well speak of stream_options."""
    prompt = "What does stream_options mean in this API, and why?"
    gateway = scripted(lambda seen: [error("400 Bad Request", f"too long: {prompt}")])
    records = attempts(config(gateway.url, "m", prompts=[prompt]), count=2)
    assert [record.failure and record.failure.message for record in records] == ["too long: [prompt]"] * 2
    assert ["stream_options" in seen.json for seen in gateway.seen] == [True, True]


def test_an_echoed_image_is_not_kept(config: Make, scripted: Script, tmp_path: Path) -> None:
    """Neither a large one's bytes, nor a short one's, nor an address."""
    large = b"\x89PNG\r\n\x1a\n" + os.urandom(30_000)
    (tmp_path / "large.png").write_bytes(large)
    (tmp_path / "small.gif").write_bytes(b"GIF89a, the quiet harbour")
    url = "https://pictures.example/harbour.png"

    def echo(seen: Seen) -> Iterable[bytes]:
        sent_urls = [part["image_url"]["url"] for part in seen.json["messages"][0]["content"][1:]]
        yield error("400 Bad Request", "; ".join(sent_url[:80] for sent_url in sent_urls))

    gateway = scripted(echo)
    (record,) = attempts(config(gateway.url, "m", prompts=[{"text": "Hi", "images": ["large.png", "small.gif", url]}]))
    assert base64.b64encode(large).decode() in gateway.seen[0].body.decode()
    assert record.failure is not None
    assert record.failure.message == "[prompt]; [prompt]; [prompt]"


def test_an_echoed_key_is_masked(config: Make, scripted: Script) -> None:
    """In the message, in a header, in the stream."""
    body = sse(delta("x", model=KEY), {"error": {"message": f"bad key {KEY}"}})
    gateway = scripted(always(streamed(body, f"x-request-id: {KEY}")))
    (record,) = attempts(config(gateway.url, "m", gateway={"api_key": "${HUB_API_KEY}"}))
    assert outcome_of(record) == "stream_error"
    assert KEY not in repr(record)
    assert "***" in repr(record)


# --- deadlines


TIMEOUTS = {"connect": 0.25, "first_chunk": 0.3, "idle": 0.3, "total": 5}


def timed_out(record: AttemptRecord, which: str) -> None:
    assert outcome_of(record) == "timeout"
    assert record.failure is not None
    assert record.failure.detail == which
    limit_s = TIMEOUTS[which]
    assert f"{limit_s:g} s" in record.failure.message
    assert limit_s * 1e9 <= record.ended_ns < 4e9


def test_no_first_chunk(simulator: str, config: Make) -> None:
    """The request is taken and never answered."""
    (record,) = attempts(config(simulator, "hang", timeouts=TIMEOUTS))
    timed_out(record, "first_chunk")
    assert record.sent_ns is not None
    assert record.headers_ns is None


def test_keepalives_and_a_role_buy_no_time_for_the_first_chunk(simulator: str, config: Make) -> None:
    """Comments come for ever, and a role-only chunk came: nothing of that is generated."""
    (record,) = attempts(config(simulator, "chatty", timeouts=TIMEOUTS))
    timed_out(record, "first_chunk")
    assert record.timeline.kind == "r"
    assert record.comments > 2


def test_no_further_chunk(simulator: str, config: Make) -> None:
    """Silence mid-stream: what came is kept."""
    (record,) = attempts(config(simulator, "stalled", timeouts=TIMEOUTS))
    timed_out(record, "idle")
    assert record.timeline.kind == "rcccc"  # half of 8 tokens


def test_an_idle_limit_shorter_than_the_first_chunks_is_kept(simulator: str, config: Make) -> None:
    """The first chunk may take 60 s; a stall after it still ends within its 0.3 s, not within those."""
    (record,) = attempts(config(simulator, "stalled", timeouts={**TIMEOUTS, "first_chunk": 60, "total": 600}))
    timed_out(record, "idle")


def test_keepalives_and_empty_chunks_buy_no_time_between_chunks(config: Make, scripted: Script) -> None:
    """A comment and a chunk without content each 20 ms, after one with content."""

    def answer(seen: Seen) -> Iterable[bytes]:
        yield NO_END + sse(delta("Hel"))
        while not seen.gone(0.02):
            yield b": still here\n\n" + sse(delta(""), delta())

    (record,) = attempts(config(scripted(answer).url, "m", timeouts=TIMEOUTS))
    timed_out(record, "idle")
    assert record.timeline.kind.startswith("co")
    assert record.comments > 2


def test_after_the_finish_what_follows_counts(config: Make, scripted: Script) -> None:
    """Usage comes late, but it comes: 300 ms after the last content the stream is not idle, only at its end."""

    def answer(seen: Seen) -> Iterable[bytes]:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        first, second, last = sse(delta("Hel")), sse(delta(finish_reason="stop")), sse("[DONE]")
        yield head % len(first + second + last) + first
        for piece in (second, last):
            assert not seen.gone(0.2)
            yield piece

    (record,) = attempts(config(scripted(answer).url, "m", timeouts=TIMEOUTS))
    assert outcome_of(record) == "ok"
    assert record.ended_ns > 0.4e9


def test_an_endless_stream(simulator: str, config: Make) -> None:
    """5,000 tokens at 20 ms do not fit into half a second; those that came are kept."""
    (record,) = attempts(config(simulator, "long", timeouts={**TIMEOUTS, "total": 0.5}))
    assert outcome_of(record) == "timeout"
    assert record.failure is not None
    assert (record.failure.detail, record.failure.message) == ("total", "not finished within 0.5 s")
    assert record.timeline.kind.startswith("rcccc")
    assert 0.5e9 <= record.ended_ns < 4e9


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a server whose queue of connections is full: it answers no SYN."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = []
        for _ in range(8):
            sock = socket.socket()
            sock.settimeout(0)
            sock.connect_ex(listening.getsockname())
            waiting.append(sock)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        for sock in waiting:
            sock.close()


@pytest.mark.skipif(sys.platform != "linux", reason="others let a full queue be connected to")
def test_no_connection(deaf: str, config: Make) -> None:
    """Within its own limit, before that of the first chunk."""
    (record,) = attempts(config(deaf, "m", timeouts=TIMEOUTS))
    timed_out(record, "connect")
    assert (record.sent_ns, record.status, record.timeline.kind) == (None, None, "")


def test_a_closed_port(config: Make) -> None:
    """Refused at once, and told with its address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    (record,) = attempts(config(f"http://127.0.0.1:{port}/v1", "m"))
    assert outcome_of(record) == "connect_error"
    assert record.failure is not None
    assert (record.failure.detail, record.failure.message) == ("refused", f"127.0.0.1:{port}: connection refused")


# --- breaking off, and what cannot be sent


async def broken_off(prepared: SdkRequest, chunks: int = 0) -> AttemptRecord:
    """Aborts the request as soon as so many chunks have come, and takes its record."""
    async with asyncio.timeout(PATIENCE_S):
        firing = asyncio.create_task(prepared.fire(take_anchor().monotonic_ns, 0))
        while len(prepared.tape.pieces) < chunks or not prepared.tape.start:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0)
        prepared.abort()
        await firing
        return await prepared.record()


def test_an_aborted_attempt_keeps_what_came(simulator: str, config: Make) -> None:
    """It is cancelled, with its partial timeline; the client goes on."""
    made = config(simulator, "long", "plain")

    async def run() -> tuple[AttemptRecord, AttemptRecord]:
        async with opened(made) as client:
            record = await broken_off(await client.prepare(ticket(made, "long")), chunks=4)
            return record, await attempt(client, ticket(made, "plain"))

    record, after = asyncio.run(run())
    assert outcome_of(record) == "cancelled"
    assert record.timeline.kind.startswith("rccc")
    assert record.finish_reason is None
    assert outcome_of(after) == "ok"


def test_what_the_sdk_refuses_is_our_own_failure(config: Make, scripted: Script) -> None:
    """No YAML leads here: the file's reader takes plain values only. Recorded, nothing sent, nothing raised."""
    gateway = scripted(always(streamed()))
    made = config(gateway.url, {"model": "m", "params": {"blob": ""}}, "healthy")
    made.models[0].params["blob"] = b"no JSON"
    refused, healthy = attempts(made)
    assert outcome_of(refused) == "client_error"
    assert refused.failure is not None
    assert refused.failure.message.startswith("TypeError: ")
    assert (refused.sent_ns, refused.ended_ns, refused.connection) == (None, 0, None)
    assert outcome_of(healthy) == "ok"
    assert [seen.json["model"] for seen in gateway.seen] == ["healthy"]


@pytest.mark.parametrize(
    ("gateway", "told"),
    [
        ({"proxy": "http://127.0.0.1:9", "tls": {"ca_bundle": "config.yaml"}}, "gateways.hub.tls: cannot be used"),
    ],
)
def test_what_only_the_wire_can_judge_is_bad_input(config: Make, gateway: dict[str, Any], told: str) -> None:
    """One problem that names the key, before anything is sent."""
    made = config("https://gateway.example/v1", "m", gateway=gateway)

    async def run() -> None:
        async with opened(made):
            raise AssertionError("a client was made of it")

    with pytest.raises(ConfigError, match=told):
        asyncio.run(run())


def test_a_proxy_of_the_environment_needs_no_scheme(config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for curl: `proxy.example:3128` is an HTTP proxy."""
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    made = config("https://gateway.example/v1", "m")

    async def run() -> tuple[str, AttemptRecord]:
        async with opened(made) as client:
            return client.stamps, await attempt(client, ticket(made, "m"))

    stamps, record = asyncio.run(run())
    assert stamps == "sdk"
    assert outcome_of(record) == "connect_error"


def test_no_proxy_is_asked_for_this_machine(config: Make, scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's proxy can reach it."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    (seen,) = sent(config, scripted)
    assert seen.body


def test_what_is_not_http_is_a_broken_connection(config: Make, scripted: Script) -> None:
    """It is told as it is."""

    def answer(seen: Seen) -> Iterable[bytes]:
        yield b"SSH-2.0-OpenSSH_9.6\r\n"
        seen.gone()

    (record,) = attempts(config(scripted(answer).url, "m"))
    assert outcome_of(record) == "disconnected"


def test_a_stream_that_stays_open_after_done_is_complete(config: Make, scripted: Script) -> None:
    """Some servers never close: what counts is [DONE]."""

    def answer(seen: Seen) -> Iterable[bytes]:
        yield NO_END + STREAM
        seen.gone()

    (record,) = attempts(config(scripted(answer).url, "m"))
    assert outcome_of(record) == "ok"
    assert record.done
