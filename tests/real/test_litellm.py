"""The main job on real parts: `streambench run` over SmolLM2 through the LiteLLM proxy, and without it.

The truth to hold our timings against is the model server's log, which states how long each request's prompt and answer
took. One lane, so its order is ours. No absolute speed is asserted: only what must hold on any machine, however loaded.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest
import yaml
from home import ROOT
from stack import KEY_VARIABLE, Stack, running

from streambench.records.schema import GENERATED, AttemptRecord, from_line

# Long, for the first run on a machine installs the stack (40 s to 2 min), which counts as part of the first test.
pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

SUITE = ROOT / "configs" / "suites" / "five.yaml"
PROMPTS: Mapping[str, str] = {p["id"]: p["text"] for p in yaml.safe_load(SUITE.read_text())["prompts"]}
MODELS = ("smollm2-a", "smollm2-b")
PARAMS = {"temperature": 0, "max_tokens": 24}
KEY = f"sk-real-{secrets.token_hex(16)}"
MS = 1_000_000  # nanoseconds

EARLIEST_MS = -1.0  # the server rounds to 0.01 ms, our stamps are mapped between two clocks
TYPICAL_MS = 250.0  # what HTTP, template, tokenizer and a busy scheduler may add: 3 to 5 ms on a quiet machine
LATEST_MS = 5_000.0  # for the one request that a loaded machine forgets


@dataclass(frozen=True, slots=True)
class ServerTiming:
    """What the model server says of one request."""

    prompt_ms: float
    prompt_tokens: int
    answer_ms: float
    """From the first generated token to the last."""
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Run:
    """A finished `streambench run`, with the server's view of the same requests in the same order."""

    exit_code: int
    said: str
    folder: Path
    records: tuple[AttemptRecord, ...]
    truth: tuple[ServerTiming, ...]

    @property
    def measured(self) -> tuple[AttemptRecord, ...]:
        return tuple(record for record in self.records if record.ticket.phase == "measure")

    @property
    def models(self) -> dict[str, Any]:
        models: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())["models"]
        return models


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack"), key=KEY) as up:
        yield up


@pytest.fixture(autouse=True)
def logs_of_a_failure(request: pytest.FixtureRequest, stack: Stack) -> Iterator[None]:
    """Both servers' last lines go into the report of a failed test."""
    failed_before = request.session.testsfailed
    yield
    if request.session.testsfailed > failed_before:
        print(stack.tails())


@pytest.fixture(scope="module")
def through_gateway(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Run:
    gateway = {"base_url": stack.gateway_url, "api_key": f"${{{KEY_VARIABLE}}}"}
    return run(stack, tmp_path_factory.mktemp("gateway"), gateway, MODELS)


@pytest.fixture(scope="module")
def direct(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Run:
    gateway = {"base_url": stack.model_url, "api_key": "none"}
    return run(stack, tmp_path_factory.mktemp("direct"), gateway, ("smollm2-135m",))


def test_the_run_ends_well(through_gateway: Run) -> None:
    """Exit code 0, and every measured request of both models is counted as ok."""
    assert through_gateway.exit_code == 0, through_gateway.said
    counted = {alias: (told["requests"], given(told["outcomes"])) for alias, told in through_gateway.models.items()}
    assert counted == dict.fromkeys(MODELS, (5, {"ok": 5}))


def test_each_model_gets_each_prompt_once(through_gateway: Run) -> None:
    """5 prompts x 2 models x 1 repeat measured, and one warm-up request a model."""
    sent = sorted((r.ticket.model, r.ticket.prompt_id) for r in through_gateway.measured)
    assert sent == sorted((model, prompt) for model in MODELS for prompt in PROMPTS)
    warmups = sorted(r.ticket.model for r in through_gateway.records if r.ticket.phase == "warmup")
    assert warmups == sorted(MODELS)


def test_answers_are_whole(through_gateway: Run) -> None:
    """Every stream has a finish_reason and a [DONE], and nothing in it was beyond us."""
    ends = {(r.finish_reason in {"stop", "length"}, r.done, r.malformed, r.failure) for r in through_gateway.records}
    assert ends == {(True, True, 0, None)}


def test_token_counts_are_the_gateways(through_gateway: Run) -> None:
    """LiteLLM's usage reaches the record, says where it is from, and is what the model server counted."""
    for record, truth in pairs(through_gateway):
        assert record.usage is not None
        stated = (record.usage.source, record.usage.input, record.usage.output)
        assert stated == ("gateway", truth.prompt_tokens, truth.answer_tokens)


def test_summary_agrees_with_the_journal(through_gateway: Run) -> None:
    """The mean TTFT in summary.json is the mean over the journal's measured attempts, warm-up left out."""
    for alias in MODELS:
        told = through_gateway.models[alias]["metrics"]["ttft_ms"]
        seen = [ttft_ms(r) for r in through_gateway.measured if r.ticket.model == alias]
        assert told["n"] == 5
        assert told["mean"] == pytest.approx(fmean(seen), abs=0.01)


def test_no_first_token_before_it_was_computed(through_gateway: Run) -> None:
    """Through the proxy, TTFT holds at least the time that the server took for that very prompt."""
    early = [ttft_ms(record) - truth.prompt_ms for record, truth in pairs(through_gateway)]
    assert min(early) >= EARLIEST_MS


def test_ttft_agrees_with_the_server(direct: Run) -> None:
    """Without the proxy, TTFT is the server's prompt time and little else."""
    assert direct.exit_code == 0, direct.said
    over = [ttft_ms(record) - truth.prompt_ms for record, truth in pairs(direct)]
    assert min(over) >= EARLIEST_MS
    assert median(over) <= TYPICAL_MS
    assert max(over) <= LATEST_MS


def test_streaming_time_agrees_with_the_server(direct: Run) -> None:
    """From first to last chunk takes as long as the server generated: a TTFT that came late would make it shorter.

    An answer that ends by itself streams one token less than was generated: its end is not shown.
    """
    apart = [streaming_ms(record) - truth.answer_ms for record, truth in pairs(direct)]
    assert abs(median(apart)) <= TYPICAL_MS


def test_results_hold_no_key_and_no_text(through_gateway: Run) -> None:
    """Neither the key nor a prompt is in any file of the results folder, nor was the key printed."""
    files = {path: path.read_bytes() for path in through_gateway.folder.rglob("*") if path.is_file()}
    assert {"run.json", "records.jsonl", "summary.json"} <= {path.name for path in files}
    hidden = (KEY, *PROMPTS.values())
    assert [(path.name, text) for path, held in files.items() for text in hidden if text.encode() in held] == []
    assert KEY not in through_gateway.said


def test_what_the_proxy_adds_is_told(stack: Stack, tmp_path: Path) -> None:
    """The same model directly and through LiteLLM, twelve prompts both ways: a comparison, with the same tokens and so
    the same cost. A proxy between never makes it quicker."""
    price = {"input": 1, "output": 10}
    plain = {
        "gateways": {
            "direct": {"base_url": stack.model_url, "api_key": "none"},
            "hub": {"base_url": stack.gateway_url, "api_key": f"${{{KEY_VARIABLE}}}"},
        },
        "models": [
            {"model": "smollm2-135m", "gateway": "direct", "compare_as": "smollm2", "params": PARAMS, "price": price},
            {"model": "smollm2-a", "gateway": "hub", "compare_as": "smollm2", "params": PARAMS, "price": price},
        ],
        "prompts": [f"Name a thing that is number {number}." for number in range(12)],
        "load": {"mode": "closed", "concurrency": 1},
        "warmup": {"requests": 2},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(plain))
    command = [sys.executable, "-m", "streambench", "run", str(config), "--output", str(tmp_path / "out")]
    env = {**os.environ, KEY_VARIABLE: KEY}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = " ".join(done.stdout.split())
    answer = told.partition("Gateways, smollm2: through hub against direct: ")[2]
    assert "95 % interval" in answer
    assert "earlier than direct" not in answer
    assert "No request failed either way." in answer
    (folder,) = (tmp_path / "out").iterdir()
    models = json.loads((folder / "summary.json").read_text())["models"]
    costs = [models[alias]["cost_usd"]["priced"] for alias in ("smollm2-135m", "smollm2-a")]
    assert costs[0] == pytest.approx(costs[1], rel=0.05)
    assert [models[alias]["cost_usd"]["stated"] for alias in models] == [None, None]  # LiteLLM states parts of 0 here


def test_a_wrong_key_is_told_as_401(stack: Stack, tmp_path: Path) -> None:
    """The first attempt, a recorded 401, stops the run (3) and names the variable; the key is kept nowhere either."""
    wrong = f"sk-wrong-{secrets.token_hex(16)}"
    gateway = {"base_url": stack.gateway_url, "api_key": f"${{{KEY_VARIABLE}}}"}
    refused = run(stack, tmp_path, gateway, MODELS, key=wrong, reaches_model=False)
    assert refused.exit_code == 3, refused.said
    assert [(r.failure.kind, r.failure.status) for r in refused.records if r.failure] == [("http_error", 401)]
    assert f"rejected the key in {KEY_VARIABLE} (401)" in refused.said
    assert all(wrong.encode() not in path.read_bytes() for path in refused.folder.rglob("*") if path.is_file())


def test_a_conversation_reaches_the_model_whole(stack: Stack, tmp_path: Path) -> None:
    """Three turns: the server itself counts a prompt that has all that was said before, and the new turn beside."""
    prompts = [{"turns": ["Name a colour of the sea.", {"user": "And another?", "think": "50ms"}, "Which is rarer?"]}]
    gateway = {"base_url": stack.gateway_url, "api_key": f"${{{KEY_VARIABLE}}}"}
    done = run(stack, tmp_path, gateway, MODELS[:1], suite={"prompts": prompts})
    assert done.exit_code == 0, done.said
    assert [record.ticket.turn for record in done.measured] == [0, 1, 2]
    turns = [truth for record, truth in pairs(done) if record.ticket.phase == "measure"]
    for before, after in pairwise(turns):
        assert after.prompt_tokens > before.prompt_tokens + before.answer_tokens
    assert [record.usage.input for record in done.measured if record.usage] == [turn.prompt_tokens for turn in turns]


def run(
    stack: Stack,
    folder: Path,
    gateway: Mapping[str, str],
    models: tuple[str, ...],
    *,
    key: str = KEY,
    reaches_model: bool = True,
    suite: Mapping[str, Any] | None = None,
) -> Run:
    """Write a config into `folder` and run it to its end, as a user would."""
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({**settings(gateway, models), **(suite or {"suite": str(SUITE)})}))
    logged_before = len(stack.model_log.read_bytes())
    command = [sys.executable, "-m", "streambench", "run", str(config), "--output", str(folder / "out"), "--quiet"]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, KEY_VARIABLE: key}, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    kept = [path.parent for path in (folder / "out").rglob("records.jsonl")]
    assert len(kept) == 1, f"expected one run's results, found {kept}; exit code {done.returncode}\n{said}"
    lines = (kept[0] / "records.jsonl").read_text().splitlines()
    records = tuple(sorted(map(from_line, lines), key=lambda record: record.start_at_ns))
    truth = server_timings(stack.model_log, logged_before, len(records)) if reaches_model else ()
    return Run(done.returncode, said, kept[0], records, truth)


def settings(gateway: Mapping[str, str], models: tuple[str, ...]) -> dict[str, Any]:
    return {
        "name": "real",
        "gateways": {"hub": dict(gateway)},
        "models": [{"model": model, "params": PARAMS} for model in models],
        "load": {"mode": "closed", "concurrency": 1},
        "repeats": 1,
        "warmup": {"requests": 1},
        "seed": 7,
    }


def server_timings(log: Path, start: int, count: int) -> tuple[ServerTiming, ...]:
    """The first `count` timings after byte `start` of the server's log, which is written a moment after the answer."""
    deadline = time.monotonic() + 10
    while True:
        found = parse_timings(log.read_bytes()[start:].decode(errors="replace"))
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def parse_timings(log: str) -> tuple[ServerTiming, ...]:
    r"""Of pairs of lines such as `| prompt eval time =   223.36 ms /    34 tokens` and `|       eval time = ...`."""
    amounts = r" time = +([\d.]+) ms / +(\d+) tokens"
    prompts = re.findall(r"\| +prompt eval" + amounts, log)
    answers = re.findall(r"\| +eval" + amounts, log)
    return tuple(
        ServerTiming(float(prompt_ms), int(prompt_tokens), float(answer_ms), int(answer_tokens))
        for (prompt_ms, prompt_tokens), (answer_ms, answer_tokens) in zip(prompts, answers, strict=False)
    )


def pairs(done: Run) -> list[tuple[AttemptRecord, ServerTiming]]:
    """Each attempt, warm-up too, with the server's word on it. As many on both sides, else nothing is proven."""
    return list(zip(done.records, done.truth, strict=True))


def generated_ns(record: AttemptRecord) -> list[int]:
    line = record.timeline
    return [offset for offset, kind in zip(line.offset_ns, line.kind, strict=True) if kind in GENERATED]


def ttft_ms(record: AttemptRecord) -> float:
    return generated_ns(record)[0] / MS


def streaming_ms(record: AttemptRecord) -> float:
    arrivals = generated_ns(record)
    return (arrivals[-1] - arrivals[0]) / MS


def given(outcomes: Mapping[str, int]) -> dict[str, int]:
    return {outcome: count for outcome, count in outcomes.items() if count}


def test_doctor_and_globs_through_both(stack: Stack, tmp_path: Path) -> None:
    """What the proxy offers under two names and the model server under one: listed, picked, and tried by doctor."""
    gateways = {
        "proxy": {"base_url": stack.gateway_url, "api_key": f"${{{KEY_VARIABLE}}}"},
        "server": {"base_url": stack.model_url, "api_key": "none"},
    }
    models = ["smollm2-*", {"model": "smollm2-135*", "gateway": "server"}]
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"gateways": gateways, "models": models, "prompts": ["Hi"]}))
    environment = {**os.environ, KEY_VARIABLE: KEY}
    command = [sys.executable, "-m", "streambench", "doctor", str(config)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr
    for alias in (*MODELS, "smollm2-135m"):
        assert re.search(rf"^ok +{alias} streams: \d+ chunks, TTFT \d+ ms$", done.stdout, re.MULTILINE), done.stdout
        assert re.search(rf"^ok +{alias} usage: \d+ tokens in, \d+ out$", done.stdout, re.MULTILINE), done.stdout
