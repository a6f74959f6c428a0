"""Responses, legacy Completions and whole answers over real sockets: as the SDK reads them, and when they break."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from home import ROOT
from openai import OpenAI
from scripted_gateway import NO_END, ScriptedGateway, Seen, error, sized, sse, streamed

from client.decode.test_api_adapters import HELLO
from client.test_client import attempts
from streambench.analysis.run import load
from streambench.config.config import Config
from streambench.config.load import load_config
from streambench.errors import InputError
from streambench.metrics.findings import findings
from streambench.metrics.outcomes import evidence, outcome_of
from streambench.records.schema import AttemptRecord, to_line
from streambench.simulator.process import SimulatorProcess

PROMPT = "Tell me of the harbour in the morning."
MODELS = """
models:
  plain: {ttft_ms: 20, gap_ms: 2, tokens: 8}
  thinker: {ttft_ms: 10, gap_ms: 2, tokens: 4, reasoning: {tokens: 3}}
  caller: {ttft_ms: 10, gap_ms: 2, tokens: 4, tools: true}
  parallel: {ttft_ms: 10, gap_ms: 2, tokens: 4, tools: true, parallel_calls: 2}
  usageless: {ttft_ms: 10, gap_ms: 2, tokens: 4, usage: false}
  hang: {fault: hang}
"""
BROKEN: tuple[tuple[str, str, set[str]], ...] = (
    ("error_frame", "stream_error", set()),
    ("cut", "disconnected", set()),
    ("reset", "disconnected", set()),
    ("clean_eof", "truncated", {"no_done"}),
    ("length", "ok", {"length_limited"}),
    ("content_filter", "ok", {"content_filtered"}),
    ("empty", "empty", set()),
    ("http_429", "http_error", set()),
    ("buffered", "ok", {"buffered"}),
)
"""Faults, each with the outcome and the findings of its record."""
CHAT_ONLY = {"no_done"}
"""Findings that a record of Responses cannot have."""
MODELS += "".join(f"  {name}: {{ttft_ms: 10, gap_ms: 2, tokens: 12, fault: {name}}}\n" for name, *_ in BROKEN)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "look", "description": "d", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Two alike: what one answers to our client, the other answers to the SDK."""
    models = tmp_path_factory.mktemp("simulators") / "models.yaml"
    models.write_text(MODELS)
    with SimulatorProcess(models, seed=7) as ours, SimulatorProcess(models, seed=7) as theirs:
        yield ours.base_url(), theirs.base_url()


def made(folder: Path, base_url: str, *models: Any, **keys: Any) -> Config:
    hub = {"base_url": base_url, "api_key": "none"}
    plain = {"gateways": {"hub": hub}, "models": list(models), "prompts": [{"id": "p", "text": PROMPT}], **keys}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(plain))
    return load_config(path, env={})


def found(record: AttemptRecord) -> set[str]:
    return {one.name for one in findings(record)}


# --- as the SDK reads them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("api", "model", "params"),
    [
        ("chat", "thinker", {}),
        ("chat", "caller", {"tools": TOOLS}),
        ("completions", "plain", {"max_tokens": 5}),
        ("responses", "plain", {"max_tokens": 5}),
        ("responses", "thinker", {}),
        ("responses", "caller", {"tools": TOOLS}),
    ],
)
def test_the_sdk_reads_the_same(
    simulators: tuple[str, str], tmp_path: Path, api: str, model: str, params: Mapping[str, Any], *, streamed: bool
) -> None:
    """Text, usage and finish; of a call its arguments, which the schema allows."""
    entry = {"model": model, "api": api, "stream": streamed, "params": dict(params)}
    (record,) = attempts(made(tmp_path, simulators[0], entry, keep_text=True))
    with OpenAI(base_url=simulators[1], api_key="none", max_retries=0) as client:
        text, usage, finish = ORACLES[api, streamed](client, model, params)
    assert outcome_of(record) == "ok", evidence(record)
    assert (record.api, record.streamed, record.text, record.finish_reason) == (api, streamed, text, finish)
    assert record.usage is not None
    assert (record.usage.input, record.usage.output) == usage
    if "tools" in params:
        assert [(call.name, call.arguments_valid) for call in record.tool_calls] == [("look", True)]


def _chat(client: OpenAI, model: str, params: Mapping[str, Any]) -> tuple[str, tuple[int, int], str]:
    chunks = list(
        client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": PROMPT}],
            stream=True,
            stream_options={"include_usage": True},
            extra_body=params,
        )
    )
    usage = chunks[-1].usage
    assert usage is not None
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    (finish,) = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    return text, (usage.prompt_tokens, usage.completion_tokens), finish


def _whole_chat(client: OpenAI, model: str, params: Mapping[str, Any]) -> tuple[str, tuple[int, int], str]:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": PROMPT}], extra_body=params
    )
    usage, choice = answer.usage, answer.choices[0]
    assert usage is not None
    return choice.message.content or "", (usage.prompt_tokens, usage.completion_tokens), choice.finish_reason


def _completion(client: OpenAI, model: str, params: Mapping[str, Any]) -> tuple[str, tuple[int, int], str]:
    options = {"include_usage": True}
    chunks = list(
        client.completions.create(model=model, prompt=PROMPT, stream=True, stream_options=options, extra_body=params)  # type: ignore[call-overload]
    )
    usage = chunks[-1].usage
    text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    return text, (usage.prompt_tokens, usage.completion_tokens), chunks[-2].choices[0].finish_reason


def _whole_completion(client: OpenAI, model: str, params: Mapping[str, Any]) -> tuple[str, tuple[int, int], str]:
    answer = client.completions.create(model=model, prompt=PROMPT, extra_body=params)
    usage = answer.usage
    assert usage is not None
    return answer.choices[0].text, (usage.prompt_tokens, usage.completion_tokens), answer.choices[0].finish_reason


def _response(client: OpenAI, model: str, params: Mapping[str, Any]) -> tuple[str, tuple[int, int], str]:
    events = list(client.responses.create(model=model, input=PROMPT, stream=True, extra_body=_flat(params)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    assert last.response.output_text == text
    return text, *_of_response(last.response)


def _whole_response(client: OpenAI, model: str, params: Mapping[str, Any]) -> tuple[str, tuple[int, int], str]:
    answer = client.responses.create(model=model, input=PROMPT, extra_body=_flat(params))
    return answer.output_text, *_of_response(answer)


def _of_response(answer: Any) -> tuple[tuple[int, int], str]:
    called = any(item.type == "function_call" for item in answer.output)
    finish = "length" if answer.status == "incomplete" else "tool_calls" if called else "stop"
    return (answer.usage.input_tokens, answer.usage.output_tokens), finish


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """As one who uses Responses writes them."""
    flat: dict[str, Any] = {"tools": [{"type": "function", **FUNCTION}]} if "tools" in params else {}
    return {**flat, "max_output_tokens": params["max_tokens"]} if "max_tokens" in params else flat


ORACLES = {
    ("chat", True): _chat,
    ("chat", False): _whole_chat,
    ("completions", True): _completion,
    ("completions", False): _whole_completion,
    ("responses", True): _response,
    ("responses", False): _whole_response,
}


# --- what a record says of them ---------------------------------------------------------------------------------------


def test_a_whole_answer_has_one_instant(simulators: tuple[str, str], tmp_path: Path) -> None:
    """The time to its text is the time to all of it, 20 ms and eight gaps of 2; of gaps nothing is known."""
    (record,) = attempts(made(tmp_path, simulators[0], {"model": "plain", "stream": False}))
    assert record.timeline.kind == "cu"
    assert len(set(record.timeline.offset_ns)) == 1
    assert record.timeline.offset_ns[0] == record.last_byte_ns
    assert 36e6 <= record.timeline.offset_ns[0] < 1e9
    assert (record.done, found(record)) == (False, set())


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("streamed", [True, False])
def test_two_calls_and_json_come_by_either_api(
    simulators: tuple[str, str], tmp_path: Path, api: str, *, streamed: bool
) -> None:
    """What a suite asks for in a chat's words: two functions called, and JSON of a schema."""
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    both = [*TOOLS, {"type": "function", "function": {**FUNCTION, "name": "listen"}}]
    way = {"api": api, "stream": streamed}
    entries = [
        {"model": "parallel", **way, "params": {"tools": both}},
        {"model": "plain", **way, "params": {"response_format": form}},
    ]
    calls, answer = attempts(made(tmp_path, simulators[0], *entries))
    assert [(call.name, call.arguments_valid) for call in calls.tool_calls] == [("look", True), ("listen", True)]
    assert answer.json_answer is not None
    assert answer.json_answer.valid is True


def test_usage_comes_unasked_or_is_missed(simulators: tuple[str, str], tmp_path: Path) -> None:
    """Of a whole answer, and of any response."""
    entries = [{"model": "usageless", "alias": "a", "stream": False}, {"model": "usageless", "api": "responses"}]
    for record in attempts(made(tmp_path, simulators[0], *entries)):
        assert (outcome_of(record), record.usage, found(record)) == ("ok", None, {"no_usage"})


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(("fault", "outcome", "finds"), BROKEN, ids=[name for name, *_ in BROKEN])
def test_a_broken_response(
    simulators: tuple[str, str], tmp_path: Path, fault: str, outcome: str, finds: set[str], api: str
) -> None:
    """Has its outcome and its findings."""
    (record,) = attempts(made(tmp_path, simulators[0], {"model": fault, "api": api}))
    expected = finds - CHAT_ONLY if api == "responses" else finds
    assert (outcome_of(record), found(record)) == (outcome, expected), evidence(record)
    if fault == "error_frame":
        assert record.error_frame is not None
        assert record.error_frame.code == "engine_dead"


@pytest.mark.parametrize(
    ("api", "path", "words"),
    [
        ("chat", "POST /v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}]}),
        ("responses", "POST /v1/responses", {"input": [{"role": "user", "content": PROMPT}]}),
        ("completions", "POST /v1/completions", {"prompt": PROMPT}),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_what_is_sent(tmp_path: Path, api: str, path: str, words: dict[str, Any], *, streamed: bool) -> None:
    """To its path, in its words, and nothing besides."""
    with ScriptedGateway(lambda _: [error("500 Oops", "no")]) as gateway:
        attempts(made(tmp_path, gateway.url, {"model": "m", "api": api, "stream": streamed}))
        (seen,) = gateway.seen
    usage = {"stream_options": {"include_usage": True}} if streamed and api != "responses" else {}
    assert seen.line.startswith(path)
    assert seen.json == {"model": "m", "stream": streamed, **words, **usage}


ANSWER = json.dumps(
    {"id": "r", "choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]}
).encode()


@pytest.mark.parametrize(
    ("answer", "outcome", "told"),
    [
        (sized("200 OK", ANSWER), "ok", ""),
        (sized("200 OK", ANSWER[:40]), "malformed", "1 frame"),
        (sized("200 OK", b"{}"), "malformed", "`choices`"),
        (sized("200 OK", ANSWER.replace(b'"stop"', b"null")), "truncated", "without a finish_reason"),
        (sized("200 OK", ANSWER.replace(b"Hello", b"")), "empty", "without generated output"),
        (sized("200 OK", b'{"error": {"message": "It broke", "code": "x"}}'), "stream_error", "x: It broke"),
        (sized("200 OK", b"<title>Sign in</title>", content_type="text/html"), "not_a_stream", "Sign in"),
        (streamed(), "not_a_stream", "received text/event-stream"),
        (sized("200 OK", b""), "truncated", "0 chunks"),
        (error("503 Busy", "later"), "http_error", "503: later"),
        (sized("200 OK", ANSWER)[:-10], "disconnected", "cut"),
    ],
)
def test_a_whole_answer_that_is_none(tmp_path: Path, answer: bytes, outcome: str, told: str) -> None:
    """Each way to break has its verdict, and a line that says what came."""

    def say(seen: Seen) -> Iterable[bytes]:
        yield answer
        if outcome == "disconnected":
            seen.sock.shutdown(socket.SHUT_RDWR)

    with ScriptedGateway(say) as gateway:
        (record,) = attempts(made(tmp_path, gateway.url, {"model": "m", "stream": False}))
    assert outcome_of(record) == outcome, evidence(record)
    assert outcome == "ok" or told in evidence(record)
    assert "Hello" not in evidence(record)


def test_a_whole_answer_may_take_longer_than_a_first_chunk(tmp_path: Path) -> None:
    """It comes after 0.5 s, where a stream's first chunk would have been waited for 0.1 s."""

    def say(_: Seen) -> Iterable[bytes]:
        time.sleep(0.5)
        yield sized("200 OK", ANSWER)

    timeouts = {"first_chunk": "100ms", "idle": "100ms", "total": 20}
    with ScriptedGateway(say) as gateway:
        (record,) = attempts(made(tmp_path, gateway.url, {"model": "m", "stream": False}, timeouts=timeouts))
    assert outcome_of(record) == "ok", evidence(record)


@pytest.mark.parametrize(("sent", "which"), [(0, "total"), (len(ANSWER) - 10, "idle")])
def test_a_whole_answer_that_does_not_come(tmp_path: Path, sent: int, which: str) -> None:
    """Nothing until the total runs out; or a part of it and then no more bytes."""

    def say(seen: Seen) -> Iterable[bytes]:
        head = sized("200 OK", ANSWER)
        yield head[: len(head) - len(ANSWER) + sent]
        seen.gone()

    timeouts = {"first_chunk": "100ms", "idle": "200ms", "total": "800ms" if which == "total" else 20}
    with ScriptedGateway(say) as gateway:
        (record,) = attempts(made(tmp_path, gateway.url, {"model": "m", "stream": False}, timeouts=timeouts))
    assert record.failure is not None
    assert (outcome_of(record), record.failure.detail, record.malformed) == ("timeout", which, 0)


def test_white_space_is_no_answer_yet(tmp_path: Path) -> None:
    """Some gateways send it while the model works: what then ends it is the time, not a body of another kind."""

    def say(seen: Seen) -> Iterable[bytes]:
        yield sized("200 OK", b"\n" * 40)[:-20]
        seen.gone()

    with ScriptedGateway(say) as gateway:
        (record,) = attempts(made(tmp_path, gateway.url, {"model": "m", "stream": False}, timeouts={"total": "500ms"}))
    assert evidence(record).startswith("timeout total")


@pytest.mark.parametrize("field", ["id", "model", "finish_reason", "code"])
def test_a_prompt_that_is_echoed_as_a_name_is_not_kept(tmp_path: Path, field: str) -> None:
    """Ids, models, reasons and codes are the gateway's words, and they go into files and spans."""
    choice = {"delta": {"content": "Hi"}, "finish_reason": PROMPT if field == "finish_reason" else "stop"}
    chunk = {"choices": [choice], **({field: PROMPT} if field in ("id", "model") else {})}
    error_of = [{"error": {"message": "no", "code": PROMPT}}] if field == "code" else []
    with ScriptedGateway(lambda _: [streamed(sse(chunk, *error_of, "[DONE]"))]) as gateway:
        (record,) = attempts(made(tmp_path, gateway.url, {"model": "m"}))
    assert "harbour" not in to_line(record)
    assert "[prompt]" in to_line(record)


def test_a_response_that_ended_is_ok_though_its_body_stays_open(tmp_path: Path) -> None:
    """Its last event came; what is missing is the end of the body alone."""

    def say(seen: Seen) -> Iterable[bytes]:
        yield NO_END + b"".join(HELLO)
        seen.gone()

    with ScriptedGateway(say) as gateway:
        entry = {"model": "gpt-4.1", "api": "responses"}
        (record,) = attempts(made(tmp_path, gateway.url, entry, timeouts={"idle": "200ms"}))
    assert (outcome_of(record), record.done, found(record)) == ("ok", True, set()), evidence(record)


# --- in a config ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"stream": "maybe"}, "stream: must be true, false, or a list with each at most once (found 'maybe'"),
        ({"stream": []}, "stream: must be true, false, or a list"),
        ({"stream": [True, True]}, "stream: must be true, false, or a list"),
        ({"models": [{"model": "m", "stream": 1}]}, "models.0.stream: must be true, false, or a list"),
        ({"models": [{"model": "m", "api": "embeddings"}]},
         "models.0.api: is not supported: streambench times token streams, and embeddings are not streamed "
         "(found 'embeddings'; "
         "accepted: chat, responses, completions)"),
        ({"models": [{"model": "m", "api": "respones"}]},
         "models.0.api: is not one of the choices; did you mean `responses`?"),
        ({"models": [{"model": "m", "api": "completions", "params": {"tools": TOOLS}}]},
         "models.0.api: `completions` does not support `tools`, which requests for prompt 'p' contain"),
        ({"models": [{"model": "m", "stream": [True, False]}, "m (whole)"]},
         "models.1.alias: clashes with the alias of"),
        ({"models": [{"model": "m", "params": {"prompt": "x"}}]},
         "models.0.params.prompt: may not be set: the messages come from the suite"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path: Path, keys: dict[str, Any], line: str) -> None:
    """File, key, what was found, what to write."""
    with pytest.raises(InputError) as caught:
        made(tmp_path, "http://127.0.0.1:9/v1", *keys.pop("models", ["m"]), **keys)
    (told,) = str(caught.value).splitlines()
    assert line in told


def test_a_gateway_and_a_run_say_it_for_their_models(tmp_path: Path) -> None:
    """A model's own word wins; both ways make two models of one."""
    entries = ["m", {"model": "n", "api": "chat", "stream": True}]
    path = tmp_path / "config.yaml"
    gateway = {"base_url": "http://127.0.0.1:9/v1", "api_key": "none", "api": "responses"}
    plain = {"gateways": {"hub": gateway}, "models": entries, "prompts": ["Hi"], "stream": [True, False]}
    path.write_text(yaml.safe_dump(plain))
    config = load_config(path, env={})
    assert [(model.alias, model.ask.api, model.ask.streamed) for model in config.models] == [
        ("m", "responses", True),
        ("m (whole)", "responses", False),
        ("n", "chat", True),
    ]
    assert [entry.get("stream", True) for entry in config.masked()["models"]] == [True, False, True]


# --- whole runs -------------------------------------------------------------------------------------------------------


def ran(results: Path, config: str, *more: str) -> str:
    """What a run of a shipped config printed; it ended well."""
    command = [sys.executable, "-m", "streambench", "run", f"configs/{config}", "--output", str(results), *more]
    env = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def test_the_config_of_apis(tmp_path: Path) -> None:
    """One model by three APIs: the same answers, token for token."""
    ran(tmp_path, "apis.yaml", "--set", "repeats=1", "--set", "warmup.requests=0", "--no-report", "--quiet")
    (folder,) = tmp_path.iterdir()
    frame = load(folder).requests
    assert list(frame.groupby("api", observed=True).size()) == [4, 4, 4]
    assert set(frame["outcome"]) == {"ok"}
    tokens = frame.pivot_table(index="prompt_id", columns="model", values="output_tokens", observed=True)
    assert (tokens["chat"] == tokens["responses"]).all()


def test_the_config_of_streaming_against_not(tmp_path: Path) -> None:
    """The summary answers what streaming buys, with intervals, and that tokens and cost are the same."""
    told = ran(tmp_path, "streaming-vs-not.yaml", "--set", "load.concurrency=24", "--set", "warmup.requests=0")
    assert "Effect of streaming, sim-swift: The first text of a stream comes" in told
    assert len(re.findall(r"Output tokens: [^.]*\b12 pairs\b[^.]*\. Cost: [^.]*\b12 pairs\b", told)) == 2
    (folder,) = tmp_path.iterdir()
    run = load(folder)
    whole = run.requests[~run.requests["streamed"]]
    assert len(whole) == len(run.requests) / 2
    assert whole["tpot_ms"].isna().all()
    assert whole["longest_gap_ms"].isna().all()
    assert (whole["ttft_ms"] == whole["e2e_ms"]).all()


def test_each_block_has_both_ways(tmp_path: Path, simulators: tuple[str, str]) -> None:
    """Paired and interleaved, as any two models are."""
    config = made(tmp_path, simulators[0], {"model": "plain", "stream": [True, False]})
    records = attempts(config, count=2)
    assert {record.ticket.model for record in records} == {"plain", "plain (whole)"}
    assert [record.streamed for record in records] == [True, False, True, False]
