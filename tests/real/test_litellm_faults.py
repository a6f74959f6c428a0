"""What LiteLLM makes of upstreams that break, and what a run makes of LiteLLM.

The proxy turns most faults into something else: a killed model server into an error inside a stream with status 200, an
answer that ends early into a whole one with made-up token counts. Its time limits are short here, for the tests' sake.
"""

from __future__ import annotations

import json
import secrets
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import Run, run_to_its_end, streambench
from parts import free_port, tail
from scripted_gateway import NO_END, ScriptedGateway, Seen, delta, sse, streamed
from stack import (
    KEY_VARIABLE,
    LIMITED_KEY_VARIABLE,
    ModelServer,
    build_environment,
    model_server,
    proxy,
)

from streambench.metrics.findings import findings as found_in
from streambench.metrics.outcomes import outcome_of
from streambench.records.schema import GENERATED, AttemptRecord

# Long, for the first run on a machine installs the stack (40 s to 2 min), which counts as part of the first test.
pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

KEY = f"sk-faults-{secrets.token_hex(16)}"
LIMITED_KEY = f"sk-limited-{secrets.token_hex(16)}"
PROXY_TIMEOUT_S = 2
"""Of the proxy, for its upstream's next bytes."""
UNDER_WAY = 16
"""Tokens that the model server has generated when it is killed: some have come through by then."""
WORDS = ("The ", "sea ", "is ", "wide")
ODD_WORDS = ("tok0 ", "tok1 ", "tok2 ", "tok3 ", "tok4 ")
"""One token each by their sender's count, two by the proxy's."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """LiteLLM's address, and the model server that a test may kill."""

    url: str
    doomed: ModelServer
    logs: Path


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    build_environment()
    logs = tmp_path_factory.mktemp("stack")
    with ScriptedGateway(answer) as upstream, model_server(logs, "doomed") as doomed:
        scripted = {name: upstream_of(name, upstream.url) for name in ANSWERS}
        models = {
            **scripted,
            "doomed": upstream_of("smollm2-135m", doomed.url, timeout_s=60),
            "down": upstream_of("down", f"http://127.0.0.1:{free_port()}/v1"),
        }
        with proxy(logs, doomed.url, key=KEY, limited_key=LIMITED_KEY, models=models) as url:
            warm_up(url)
            yield Proxied(url, doomed, logs)


@pytest.fixture(autouse=True)
def logs_of_a_failure(request: pytest.FixtureRequest, proxied: Proxied) -> Iterator[None]:
    """Both servers' last lines go into the report of a failed test."""
    failed_before = request.session.testsfailed
    yield
    if request.session.testsfailed > failed_before:
        print("\n".join(tail(log) for log in sorted(proxied.logs.glob("*.log"))))


@pytest.fixture(scope="module")
def faulty(proxied: Proxied, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One request to each model whose fault needs no help."""
    models = ("sound", "down", "stalls", "ends-early", "ends-early-odd", "no-such-model")
    return run_to_its_end(tmp_path_factory.mktemp("faulty"), settings(proxied, *models), {KEY_VARIABLE: KEY})


def test_a_sound_answer_is_ok(faulty: Run) -> None:
    """The same scripted upstream, with no fault: what the others show is not the scaffold's doing."""
    assert faulty.outcomes("sound") == ("ok",)
    assert findings(only(faulty.of("sound"))) & {"usage_invented", "no_usage", "no_done"} == set()


def test_a_killed_model_server_is_a_stream_error(proxied: Proxied, tmp_path: Path) -> None:
    """kill -9 in the middle of an answer: status 200, text, then an error inside the stream, and no [DONE]."""
    long = settings(proxied, "doomed", max_tokens=1_500, temperature=0)
    with streambench(tmp_path, long, {KEY_VARIABLE: KEY}) as run:
        wait_until_under_way(proxied.doomed)
        proxied.doomed.kill()
    record = only(run.of("doomed"))
    assert outcome_of(record) == "stream_error"
    assert (record.status, record.failure, record.done, record.finish_reason) == (200, None, False, None)
    assert not GENERATED.isdisjoint(record.timeline.kind)
    assert record.error_frame is not None
    assert (record.error_frame.code, record.error_frame.status) == ("500", 500)


def test_an_upstream_that_is_down_is_an_http_error(faulty: Run) -> None:
    """500, not 502 or 503, and the words tell why."""
    record = only(faulty.of("down"))
    assert (outcome_of(record), record.status) == ("http_error", 500)
    assert record.failure is not None
    assert "Connection error" in record.failure.message


def test_an_upstream_that_stalls_is_a_stream_error(faulty: Run) -> None:
    """The proxy gives up after its own limit, and says so inside the stream. What came before is kept."""
    record = only(faulty.of("stalls"))
    assert (outcome_of(record), record.status) == ("stream_error", 200)
    assert record.error_frame is not None
    assert "Timeout" in record.error_frame.message
    assert record.timeline.kind.count("c") == len(WORDS)
    assert record.ended_ns >= PROXY_TIMEOUT_S * 1_000_000_000


@pytest.mark.parametrize("model", ["ends-early", "ends-early-odd"])
def test_an_early_end_is_hidden_by_the_proxy(faulty: Run, model: str) -> None:
    """It adds a finish_reason, [DONE] and a usage that the upstream never sent: by its facts the stream is whole."""
    record = only(faulty.of(model))
    assert (outcome_of(record), record.finish_reason, record.done) == ("ok", "stop", True)
    assert record.usage is not None


def test_a_made_up_usage_that_contradicts_the_stream_is_found(faulty: Run) -> None:
    """The proxy counts the text that came with a tokenizer of its own: here ten tokens and more for five chunks."""
    record = only(faulty.of("ends-early-odd"))
    assert record.usage is not None
    assert (record.usage.output or 0) >= 2 * len(ODD_WORDS)
    assert "usage_invented" in findings(record)


def test_a_made_up_usage_that_fits_leaves_no_trace(faulty: Run) -> None:
    """The limit of what can be known behind this proxy: plain words are counted as their model would have."""
    record = only(faulty.of("ends-early"))
    assert record.usage is not None
    assert record.usage.output == len(WORDS)
    assert "usage_invented" not in findings(record)


def test_an_unknown_model_is_an_http_error(faulty: Run) -> None:
    """400 where one expects 404, with a code that is text."""
    record = only(faulty.of("no-such-model"))
    assert (outcome_of(record), record.status) == ("http_error", 400)
    assert record.failure is not None
    assert record.failure.code == "400"
    assert "Invalid model name" in record.failure.message


def test_a_key_over_its_limit_is_an_http_error(proxied: Proxied, tmp_path: Path) -> None:
    """One request a minute: those after it get 429, and how long to wait."""
    limited = settings(proxied, "sound", variable=LIMITED_KEY_VARIABLE, repeats=3)
    run = run_to_its_end(tmp_path, limited, {LIMITED_KEY_VARIABLE: LIMITED_KEY})
    assert set(run.outcomes("sound")) == {"ok", "http_error"}
    refused = [record.failure for record in run.of("sound") if record.failure]
    assert {(failure.status, failure.code) for failure in refused} == {(429, "429")}
    assert all(0 < (failure.retry_after_s or 0) <= 60 for failure in refused)


def test_a_wrong_key_is_an_http_error(proxied: Proxied, tmp_path: Path) -> None:
    """401, and neither key in what is kept or said."""
    wrong = f"sk-wrong-{secrets.token_hex(16)}"
    run = run_to_its_end(tmp_path, settings(proxied, "sound"), {KEY_VARIABLE: wrong})
    assert run.exit_code != 0
    assert {(outcome_of(record), record.status) for record in run.records} == {("http_error", 401)}
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert [key for key in (wrong, KEY) if key in run.said or key.encode() in kept] == []


# --- upstreams --------------------------------------------------------------------------------------------------------


def said(words: tuple[str, ...] = WORDS) -> tuple[dict[str, Any], ...]:
    return tuple(delta(word, **TOLD) for word in words)


def sound(_: Seen) -> Iterator[bytes]:
    usage = {"prompt_tokens": 9, "completion_tokens": len(WORDS), "total_tokens": 9 + len(WORDS)}
    yield streamed(sse(*said(), delta(finish_reason="stop", usage=usage, **TOLD), "[DONE]"))


def stalls(seen: Seen) -> Iterator[bytes]:
    yield NO_END + sse(*said())
    seen.gone()


def ends_early(_: Seen) -> Iterator[bytes]:
    """Cleanly: its length is as announced."""
    yield streamed(sse(*said()))


def ends_early_odd(_: Seen) -> Iterator[bytes]:
    yield streamed(sse(*said(ODD_WORDS)))


TOLD: Mapping[str, Any] = {"object": "chat.completion.chunk", "created": 1, "model": "scripted"}
ANSWERS = {"sound": sound, "stalls": stalls, "ends-early": ends_early, "ends-early-odd": ends_early_odd}


def answer(seen: Seen) -> Iterator[bytes]:
    yield from ANSWERS[seen.json["model"]](seen)


def upstream_of(name: str, url: str, timeout_s: int = PROXY_TIMEOUT_S) -> dict[str, Any]:
    """A model's `litellm_params`."""
    limits = {"timeout": timeout_s, "stream_timeout": timeout_s, "max_retries": 0}
    return {"model": f"openai/{name}", "api_base": url, "api_key": "none", **limits}


# --- driving ----------------------------------------------------------------------------------------------------------


def settings(
    proxied: Proxied, *models: str, variable: str = KEY_VARIABLE, repeats: int = 1, **params: Any
) -> dict[str, Any]:
    return {
        "name": "faults",
        "gateways": {"hub": {"base_url": proxied.url, "api_key": f"${{{variable}}}"}},
        "models": [{"model": model, "params": params} for model in models],
        "prompts": [{"id": "sea", "text": "Tell a very long story of the sea, with many ships, storms and islands."}],
        "load": {"mode": "closed", "concurrency": 1},
        "repeats": repeats,
        "warmup": {"requests": 0},
    }


def warm_up(url: str) -> None:
    """The first stream after the proxy's start takes a second longer, and one that breaks early is a plain 500 then."""
    asked(
        f"{url}/chat/completions", {"model": "sound", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    )


def wait_until_under_way(server: ModelServer) -> None:
    """Until it has generated some tokens of an answer."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        slots = json.loads(asked(f"{server.url.removesuffix('/v1')}/slots"))
        if any(generated(slot) >= UNDER_WAY for slot in slots if slot["is_processing"]):
            return
    raise AssertionError("the model server generated nothing for a minute")


def generated(slot: Mapping[str, Any]) -> int:
    """Tokens so far; llama.cpp tells them for the slot, or for each of its next tokens."""
    told = slot.get("next_token", slot)
    told = told[0] if isinstance(told, list) and told else told
    return int(told.get("n_decoded", 0)) if isinstance(told, dict) else 0


def asked(url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(url, data, headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        read: bytes = response.read()
    return read


def findings(record: AttemptRecord) -> set[str]:
    return {found.name for found in found_in(record)}


def only(records: tuple[AttemptRecord, ...]) -> AttemptRecord:
    assert len(records) == 1, records
    return records[0]
