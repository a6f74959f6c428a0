"""An outside judge: llmock breaks each request as it is told, then says how its client took it.

It groups the attempts of a call by their body, and knows when each was sent. A FAIL is for a Retry-After that was not
waited for, an error retried that cannot heal, a storm of retries, or half a stream taken for a whole one.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import Run, run_to_its_end
from stack import build_environment, llmock

from streambench.metrics.findings import findings
from streambench.metrics.outcomes import Outcome
from streambench.records.schema import GENERATED, AttemptRecord

# Long, for the first run on a machine installs the stack (40 s to 2 min), which counts as part of the first test.
pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

SLOW_MS = 400
IDLE_S = 1.0
FIRST_CHUNK_S = 5.0
STALL_S = 20.0
"""Far beyond our limits: a client without any would sit it out."""

RETRY: Mapping[str, Any] = {
    "attempts": 3,
    "on": ["connect_error", "http_error", "stream_error", "timeout", "disconnected", "malformed", "truncated"],
}
"""The default policy, and the two outcomes more that this judge wants to see retried."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What llmock does to the requests for a model, once unless it says otherwise, and what each attempt comes to."""

    behavior: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    params: Mapping[str, Any] | None = None


def fails(status: int, **more: Any) -> Mapping[str, Any]:
    return {"type": "fail", "status": status, **more}


def breaks(kind: str, **more: Any) -> Mapping[str, Any]:
    """The stream, after three events: the role and two words."""
    return {"type": "stream_fault", "kind": kind, "after_chunks": 3, **more}


FAULTS: Mapping[str, Fault] = {
    "sound": Fault({"type": "delay", "seconds": 0.05}, ("ok",)),
    "limited": Fault(fails(429, retry_after=1), ("http_error", "ok")),
    "limited-twice": Fault(fails(429, retry_after=1, times=2), ("http_error", "http_error", "ok")),
    "broken": Fault(fails(500), ("http_error", "ok")),
    "overloaded": Fault(fails(503, retry_after=0.5), ("http_error", "ok")),
    "down-for-good": Fault(fails(503, times=None), ("http_error", "http_error", "http_error")),
    "refused": Fault(fails(400, times=None), ("http_error",)),
    "unknown": Fault(fails(404, times=None), ("http_error",)),
    "unprocessable": Fault(fails(422, times=None), ("http_error",)),
    "slow": Fault({"type": "slow_first_token", "seconds": SLOW_MS / 1000}, ("ok",)),
    "dropped": Fault(breaks("disconnect"), ("disconnected", "ok")),
    "cut-short": Fault(breaks("truncate"), ("truncated", "ok")),
    "garbled": Fault(breaks("malformed"), ("malformed", "ok")),
    "hung": Fault(breaks("stall", stall_seconds=STALL_S), ("timeout", "ok")),
    "bad-arguments": Fault({"type": "tool_fault", "kind": "malformed_arguments"}, ("ok",), {"tools": [WEATHER]}),
    "bad-tool": Fault({"type": "tool_fault", "kind": "unknown_tool"}, ("ok",), {"tools": [WEATHER]}),
}

READS_ON = "malformed_chunk_ignored"
"""Its only complaint: we read on after a bad frame, to see how the stream ends, and judge the attempt when it is over.

So llmock sees a whole answer and takes our second attempt for another call.
"""


@pytest.fixture(scope="module")
def judge_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    build_environment()
    with llmock(tmp_path_factory.mktemp("llmock")) as address:
        yield address


@pytest.fixture(scope="module")
def retrying(judge_address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Mapping[str, Any]]:
    """A run over every fault with the retry policy on, and llmock's verdict on it."""
    return judged(judge_address, tmp_path_factory.mktemp("retrying"), FAULTS, RETRY)


def test_no_fail(retrying: tuple[Run, Mapping[str, Any]]) -> None:
    """Every fault was met; what the judge found wrong is nothing."""
    run, verdict = retrying
    met = sum(outcome != "ok" for fault in FAULTS.values() for outcome in fault.outcomes)
    assert verdict["faults_injected"] == met  # it does not count delays and tool faults, whose streams are whole
    assert [found for found in verdict["findings"] if found["severity"] == "error"] == [], run.said
    assert verdict["passed"]


def test_no_warning_but_one(retrying: tuple[Run, Mapping[str, Any]]) -> None:
    """We back off, give up only after retries, and time out where a stream hangs."""
    warned = {found["code"] for found in retrying[1]["findings"] if found["severity"] == "warning"}
    assert warned <= {READS_ON}


@pytest.mark.parametrize("model", FAULTS)
def test_each_attempt_has_its_outcome(retrying: tuple[Run, Mapping[str, Any]], model: str) -> None:
    """What is retried, and what is not, is in the journal attempt by attempt."""
    assert retrying[0].outcomes(model) == FAULTS[model].outcomes


def test_attempts_are_numbered(retrying: tuple[Run, Mapping[str, Any]]) -> None:
    """Each record says which try it was, from 1."""
    for model, fault in FAULTS.items():
        numbers = [record.attempt for record in retrying[0].of(model)]
        assert numbers == list(range(1, len(fault.outcomes) + 1)), model


def test_retry_after_is_recorded(retrying: tuple[Run, Mapping[str, Any]]) -> None:
    """The wait that the 429 asked for: one second."""
    failure = retrying[0].of("limited")[0].failure
    assert failure is not None
    assert (failure.status, failure.retry_after_s) == (429, 1.0)


def test_a_slow_first_token_is_in_the_time_to_it(retrying: tuple[Run, Mapping[str, Any]]) -> None:
    """It came no sooner than llmock let it."""
    line = retrying[0].of("slow")[0].timeline
    first_ns = next(at for at, kind in zip(line.offset_ns, line.kind, strict=True) if kind in GENERATED)
    assert first_ns >= SLOW_MS * 1_000_000


def test_a_hung_stream_is_told_as_idle(retrying: tuple[Run, Mapping[str, Any]]) -> None:
    """Two words came, then nothing, on a connection that was alive."""
    failure = retrying[0].of("hung")[0].failure
    assert failure is not None
    assert (failure.kind, failure.detail) == ("timeout", "idle")


def test_a_hung_stream_ends_by_the_idle_limit(retrying: tuple[Run, Mapping[str, Any]]) -> None:
    """One second after its last word, long before the limit for a first one has any say."""
    assert retrying[0].of("hung")[0].ended_ns < FIRST_CHUNK_S * 1_000_000_000


def test_broken_arguments_are_found(retrying: tuple[Run, Mapping[str, Any]]) -> None:
    """The stream was whole and is ok; the call in it is of no use."""
    assert "tool_arguments_invalid" in names_of(retrying[0].of("bad-arguments")[0])
    assert "tool_arguments_invalid" not in names_of(retrying[0].of("sound")[0])


def test_further_attempts_are_found(retrying: tuple[Run, Mapping[str, Any]]) -> None:
    """Each but the first says so itself."""
    found = ["retried" in names_of(record) for record in retrying[0].of("limited-twice")]
    assert found == [False, True, True]


def test_broken_attempts_keep_their_own_text(retrying: tuple[Run, Mapping[str, Any]]) -> None:
    """Two words each, of an answer that the next attempt tells whole: nothing is glued together."""
    for model in ("dropped", "cut-short", "hung"):
        broken, whole = retrying[0].of(model)
        assert broken.timeline.kind == "rcc", model
        assert len(whole.timeline.kind) > len(broken.timeline.kind), model


def test_without_retries_the_judge_complains(judge_address: str, tmp_path: Path) -> None:
    """It is no yes-man: who does not retry a cut stream has, for all it can see, accepted it."""
    _, verdict = judged(judge_address, tmp_path, {"cut-short": FAULTS["cut-short"]}, {"attempts": 1})
    assert [found["code"] for found in verdict["findings"]] == ["truncated_stream_accepted"]
    assert not verdict["passed"]


def judged(
    address: str, folder: Path, faults: Mapping[str, Fault], retry: Mapping[str, Any]
) -> tuple[Run, Mapping[str, Any]]:
    """Orders the faults, runs each model once to its end, and asks for the verdict."""
    asked(f"{address}/_llmock/reset", {})
    behaviors = [ordered(model, fault.behavior) for model, fault in faults.items()]
    asked(f"{address}/_llmock/scenario", {"behaviors": behaviors})
    run = run_to_its_end(folder, settings(address, faults, retry))
    assert run.records, run.said
    return run, asked(f"{address}/_llmock/verdict")


def ordered(model: str, behavior: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**behavior, "match": {"model": model}}


def settings(address: str, faults: Mapping[str, Fault], retry: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "name": "judged",
        "gateways": {"llmock": {"base_url": f"{address}/v1", "api_key": "none"}},
        "models": [{"model": model, "params": fault.params or {}} for model, fault in faults.items()],
        "prompts": [{"id": "sea", "text": "What is the weather by the sea?"}],
        "load": {"mode": "closed", "concurrency": len(faults)},
        "warmup": {"requests": 0},
        "timeouts": {"idle": IDLE_S, "first_chunk": FIRST_CHUNK_S, "total": 60},
        "retry": dict(retry),
    }


def names_of(record: AttemptRecord) -> set[str]:
    return {found.name for found in findings(record)}


def asked(url: str, body: object = None) -> Mapping[str, Any]:
    """What llmock answers to a POST of this body; to a GET, where there is none."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
        answer: Mapping[str, Any] = json.load(response)
    return answer
