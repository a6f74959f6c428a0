"""Retries, pauses, breakers, budgets and the drain limit in whole runs, against gateways that fail as a test says.

In this process, without the command: a config in, a results folder out. Waits are milliseconds; no test sleeps.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from home import KEY
from scripted_gateway import NO_END, PATIENCE_S, STREAM, ScriptedGateway, Seen, delta, error, sse, streamed

from streambench.analysis.frames import requests_frame
from streambench.analysis.run import Run, load
from streambench.analysis.summary import Summary, exit_code, summarise
from streambench.config.load import load_config
from streambench.metrics.outcomes import outcome_of
from streambench.records.schema import AttemptRecord, Ticket
from streambench.report.live import Progress, headline
from streambench.report.terminal import render
from streambench.runner.job import Job, Measured
from streambench.runner.local import LocalEngine
from streambench.runner.observers import ProgressObserver
from streambench.runner.plan import ModelLane, PlanInputs, build_plan
from streambench.testing import MS, FakeClock

USED = sse(delta("Hel"), delta("lo"), delta(finish_reason="stop", usage={"prompt_tokens": 10, "completion_tokens": 40}))
"""An answer of 50 tokens."""


@dataclass
class Told(ProgressObserver):
    """A watcher that keeps what it was told."""

    notices: list[str] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    began: int = 0
    ended: list[AttemptRecord] = field(default_factory=list)
    on_begin: Callable[[], object] = lambda: None

    def on_phase(self, name: str) -> None:
        self.phases.append(name)

    def on_attempt_start(self, ticket: Ticket) -> None:
        self.began += 1
        self.on_begin()

    def on_request_end(self, record: AttemptRecord) -> None:
        self.ended.append(record)


@dataclass(frozen=True)
class Ended:
    """A run that is over."""

    measured: Measured
    run: Run
    told: Told

    @property
    def summary(self) -> Summary:
        return summarise(self.run.header, self.run.records, self.run.end)

    @property
    def outcomes(self) -> dict[str, dict[str, int]]:
        return {model.model: dict[str, int](model.outcomes.items()) for model in self.summary.models}

    def of(self, seq: int) -> list[AttemptRecord]:
        """A request's attempts."""
        return sorted((record for record in self.run.records if record.ticket.seq == seq), key=lambda one: one.attempt)


Play = Callable[..., Ended]


@pytest.fixture
def play(tmp_path: Path) -> Iterable[Play]:
    """Runs a config against a scripted gateway, `hub`: each model gets `prompts` prompts, one lane, no warm-up."""
    gateways: list[ScriptedGateway] = []

    def play(
        answer: Callable[[Seen], Iterable[bytes]],
        *models: Any,
        prompts: int = 1,
        gateway: dict[str, Any] | None = None,
        told: Told | None = None,
        **keys: Any,
    ) -> Ended:
        gateways.append(ScriptedGateway(answer).__enter__())
        plain = {
            "gateways": {"hub": {"base_url": gateways[-1].url, "api_key": "${HUB_API_KEY}", **(gateway or {})}},
            "models": list(models or ("m",)),
            "prompts": [f"prompt {number}" for number in range(prompts)],
            "load": {"mode": "closed", "concurrency": 1},
            "warmup": {"requests": 0},
            "output": str(tmp_path / "results"),
            **keys,
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(plain))
        return run(path, told or Told())

    yield play
    for each in gateways:
        each.__exit__(None, None, None)


def run(path: Path, told: Told) -> Ended:
    config = load_config(path, env={"HUB_API_KEY": KEY})
    shape = PlanInputs(
        lanes=tuple(ModelLane(model.alias, model.gateway) for model in config.models),
        prompt_ids=tuple(prompt.id for prompt in config.suite.prompts),
        repeats=config.repeats,
        warmup_requests=config.warmup.requests,
        load=config.load,
    )
    urls = {name: gateway.base_url for name, gateway in config.gateways.items()}
    job = Job(config, build_plan(shape), urls, ())

    async def whole() -> Measured:
        async with asyncio.timeout(PATIENCE_S):
            return await LocalEngine(progress=told, notify=told.notices.append).measure(job)

    measured = asyncio.run(whole())
    return Ended(measured, load(measured.folder), told)


def one_by_one(*answers: Iterable[bytes]) -> Callable[[Seen], Iterable[bytes]]:
    """The first request gets the first, and so on; the last one for all that follow."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def by_model(**answers: Iterable[bytes]) -> Callable[[Seen], Iterable[bytes]]:
    return lambda seen: answers[seen.json["model"]]


def cut(seen: Seen) -> Iterable[bytes]:
    """A stream that ends with its connection, amid the answer."""
    yield NO_END + sse(delta("Bro"), delta("ken"))
    seen.sock.shutdown(socket.SHUT_RDWR)


QUICK = {"attempts": 3, "backoff": "20ms", "jitter": 0}
OK = [streamed()]
BUSY = [error("503 Busy", "try later")]


# --- retries


def test_a_request_that_fails_is_tried_until_it_is_fine(play: Play) -> None:
    """Two refusals and an answer: three records, one request, and it is ok."""
    ended = play(one_by_one(BUSY, BUSY, OK), retry=QUICK)
    assert [(record.attempt, outcome_of(record)) for record in ended.of(0)] == [
        (1, "http_error"),
        (2, "http_error"),
        (3, "ok"),
    ]
    assert ended.outcomes == {"m": {"ok": 1}}
    assert (ended.summary.models[0].requests, ended.summary.models[0].attempts) == (1, 3)
    assert (ended.measured.status, exit_code(ended.summary)) == ("complete", 0)


def test_attempts_share_a_trace_and_have_spans_of_their_own(play: Play) -> None:
    """So that a trace shows the request as one."""
    attempts = play(one_by_one(BUSY, BUSY, OK), retry=QUICK).of(0)
    assert len({record.trace_id for record in attempts}) == 1
    assert len({record.span_id for record in attempts}) == 3


def test_waits_are_between_the_attempts(play: Play) -> None:
    """20 ms, then 40, in neither; with the queue they fill the time between one's end and the next one's start."""
    attempts = play(one_by_one(BUSY, BUSY, OK), retry=QUICK).of(0)
    assert attempts[0].retry_wait_ns == 0
    assert 20 * MS <= attempts[1].retry_wait_ns < 2_000 * MS
    assert attempts[2].retry_wait_ns >= 40 * MS
    for before, after in pairwise(attempts):
        gap = after.start_at_ns - (before.start_at_ns + before.ended_ns)
        assert after.retry_wait_ns + after.queue_ns == gap
    assert len({record.scheduled_at_ns for record in attempts}) == 1


def test_ttft_is_known_with_and_without_retries(play: Play) -> None:
    """Of the last attempt alone it is small; with what went before, at least the 20 + 40 ms of waiting longer."""
    ended = play(one_by_one(BUSY, BUSY, OK), retry=QUICK)
    row = requests_frame(ended.run.records, ended.run.header).iloc[0]
    first, *_, last = ended.of(0)
    assert row["attempts"] == 3
    before_ms = (last.start_at_ns - first.start_at_ns) / MS
    assert before_ms >= 60
    assert row["ttft_with_retries_ms"] == pytest.approx(row["ttft_ms"] + before_ms)


def test_text_of_a_broken_attempt_is_not_glued_to_the_next(play: Play) -> None:
    """`Broken`, cut; then `Hello`."""
    retry = {**QUICK, "on": ["truncated", "disconnected"]}
    answers: Iterator[Callable[[Seen], Any]] = iter([cut, lambda _: OK])
    ended = play(lambda seen: next(answers)(seen), retry=retry, keep_text=True)
    assert [record.text for record in ended.of(0)] == ["Broken", "Hello"]
    assert [len(record.timeline.kind) for record in ended.of(0)] == [2, 3]


def test_a_retry_after_is_waited(play: Play) -> None:
    """150 ms by `retry-after-ms`, though the back-off is 20."""
    limited = [error("429 Slow down", "too fast", "retry-after-ms: 150")]
    attempts = play(one_by_one(limited, OK), retry=QUICK).of(0)
    assert len(attempts) == 2
    assert attempts[1].retry_wait_ns >= 150 * MS


def test_a_retry_after_over_the_cap_is_told(play: Play) -> None:
    """An hour: not waited, and said once."""
    limited = [error("429 Slow down", "too fast", "retry-after: 3600")]
    ended = play(one_by_one(limited), prompts=3, retry=QUICK)
    assert [record.attempt for record in ended.run.records] == [1, 1, 1]
    told = [notice for notice in ended.told.notices if notice.startswith("m: not retried: ")]
    assert len(told) == 1
    assert "retry.max_retry_after (120 s)" in told[0]


def test_by_default_nothing_is_tried_again(play: Play) -> None:
    """A failure is what is measured."""
    ended = play(one_by_one(BUSY), prompts=2)
    assert [record.attempt for record in ended.run.records] == [1, 1]
    assert ended.outcomes == {"m": {"ok": 0, "http_error": 2}}


def test_only_the_warm_up_may_be_retried(play: Play) -> None:
    """`phases: [warmup]`: it comes through at the second try, the measured request has one."""
    retry = {**QUICK, "phases": ["warmup"]}
    ended = play(one_by_one(BUSY, OK, BUSY), retry=retry, warmup={"requests": 1})
    assert [(record.ticket.phase, record.attempt) for record in ended.run.records] == [
        ("warmup", 1),
        ("warmup", 2),
        ("measure", 1),
    ]


def test_in_an_open_loop_retries_keep_the_schedule(play: Play) -> None:
    """One that waits 200 ms holds up none of those that are due every 20 ms."""
    retry = {**QUICK, "backoff": "200ms"}
    ended = play(one_by_one(BUSY, OK), prompts=5, retry=retry, load={"mode": "constant", "rate": 50})
    assert ended.outcomes == {"m": {"ok": 5}}
    again = ended.of(0)[1]
    assert max(record.start_at_ns for record in ended.run.records if record.attempt == 1) < again.start_at_ns


def test_progress_counts_requests_not_attempts(play: Play) -> None:
    """Three attempts, one request; the retries are told beside it."""
    ended = play(one_by_one(BUSY, BUSY, OK), retry=QUICK)
    assert ended.told.began == 3
    assert [record.attempt for record in ended.told.ended] == [3]
    progress = Progress(["m"], 1, FakeClock())
    for record in ended.told.ended:
        progress.on_request_end(record)
    assert (progress.done, progress.failed, progress.retries) == (1, 0, 2)
    assert "1 of 1 done, 0 failed, 2 retries, 0 in flight" in headline(progress)


# --- rate limits

PAUSING = {"on_rate_limit": "pause"}


def limited_once(wait_ms: int) -> Callable[[Seen], Iterable[bytes]]:
    return one_by_one([error("429 Slow down", "too fast", f"retry-after-ms: {wait_ms}")], OK)


def test_a_rate_limit_pauses_the_model(play: Play) -> None:
    """The first is refused for 200 ms: the second waits for that long in the queue, and none but the first fails."""
    ended = play(limited_once(200), prompts=3, gateway=PAUSING)
    first, second, third = (ended.of(seq)[0] for seq in range(3))
    assert second.start_at_ns - (first.start_at_ns + first.ended_ns) >= 200 * MS
    assert second.queue_ns >= 100 * MS
    assert third.queue_ns == 0
    assert ended.outcomes == {"m": {"ok": 2, "http_error": 1}}


def test_a_pause_is_seen_and_told(play: Play) -> None:
    """In the live view's phase while it lasts, and in a line at the end."""
    ended = play(limited_once(200), prompts=3, gateway=PAUSING)
    assert ended.told.phases == ["measure", "measure, m paused 0.2 s for its rate limit", "measure"]
    assert ended.told.notices == ["m was paused once for its rate limit (429), 0.2 s in total"]


def test_the_other_models_of_a_gateway_go_on(play: Play) -> None:
    """a waits 300 ms in its lane, b's requests go by the other."""
    limited = [error("429 Slow down", "too fast", "retry-after-ms: 300")]
    answers = {"a": one_by_one(limited, OK), "b": one_by_one(OK)}
    load_of_two = {"mode": "closed", "concurrency": 2}
    ended = play(lambda seen: answers[seen.json["model"]](seen), "a", "b", prompts=3, gateway=PAUSING, load=load_of_two)
    waited = {record.ticket.model for record in ended.run.records if record.queue_ns}
    assert waited == {"a"}
    assert ended.outcomes == {"a": {"ok": 2, "http_error": 1}, "b": {"ok": 3}}


def test_where_all_models_are_refused_the_gateway_pauses(play: Play) -> None:
    """Both models are refused: it is the key's limit, and told as the gateway's."""
    limited = [error("429 Slow down", "too fast", "retry-after-ms: 100")]
    answers = {"a": one_by_one(limited, OK), "b": one_by_one(limited, OK)}
    ended = play(lambda seen: answers[seen.json["model"]](seen), "a", "b", prompts=3, gateway=PAUSING)
    assert [notice for notice in ended.told.notices if "gateway hub" in notice and "0.1 s" in notice]


def test_by_default_a_rate_limit_is_a_failure(play: Play) -> None:
    """Nothing waits: what the gateway refuses is what is measured."""
    limited = [error("429 Slow down", "too fast", "retry-after: 1000")]
    ended = play(one_by_one(limited), prompts=3)
    assert ended.outcomes == {"m": {"ok": 0, "http_error": 3}}
    assert {record.queue_ns for record in ended.run.records} == {0}


# --- breakers


def stopped(ended: Ended, status: str, *named: str) -> str:
    """The reason, which names these: it, the status and the exit code are in the run's end, its summary and the table.

    What was sent is kept.
    """
    assert ended.run.end is not None
    reason = ended.run.end.reason
    assert reason is not None
    assert ended.run.end.status == status
    assert [each for each in named if each not in reason] == [], reason
    assert (ended.measured.status, ended.measured.reason) == (status, reason)
    plain = ended.summary.to_plain()
    assert (plain["status"], plain["reason"]) == (status, reason)
    assert exit_code(ended.summary) == 3
    assert reason in " ".join(render(ended.summary, width=400).split())
    assert len(ended.run.records) == ended.told.began > 0
    return reason


def test_a_refused_key_stops_at_once(play: Play) -> None:
    """One lane: one request of ten, and the variable is named. With it fall all gateways."""
    ended = play(one_by_one([error("401 Unauthorized", "wrong key")]), "a", "b", prompts=5)
    reason = stopped(ended, "key_refused", "gateway hub", "HUB_API_KEY", "401")
    assert len(ended.run.records) == 1
    assert ended.told.notices == [f"stopping: {reason}"]


def test_a_run_whose_last_request_was_refused_is_not_complete(play: Play) -> None:
    """Nothing else is left to be sent, but that one must be sent again."""
    ended = play(one_by_one(OK, [error("401 Unauthorized", "wrong key")]), prompts=2)
    stopped(ended, "key_refused", "gateway hub", "HUB_API_KEY", "401")


def test_a_missing_key_is_told(play: Play) -> None:
    """`api_key: none` for a gateway that wants one; in the warm-up already."""
    ended = play(one_by_one([error("401 No", "who?")]), gateway={"api_key": "none"}, warmup={"requests": 2})
    stopped(ended, "key_refused", "gateway hub", "401", "api_key")


def test_a_model_that_keeps_failing_is_set_aside(play: Play) -> None:
    """a fails at its first two, and is asked no more; b gets its five."""
    ended = play(by_model(a=BUSY, b=OK), "a", "b", prompts=5, breakers={"failures_in_a_row": 2})
    reason = stopped(ended, "set_aside", "2", "http_error 503: try later")
    assert ended.outcomes == {"a": {"ok": 0, "http_error": 2}, "b": {"ok": 5}}
    assert ended.told.notices == [reason]


def test_retries_make_one_failure(play: Play) -> None:
    """A row is counted in requests: three attempts each, and two requests until it is set aside."""
    ended = play(one_by_one(BUSY), prompts=5, retry=QUICK, breakers={"failures_in_a_row": 2})
    assert Counter(record.ticket.seq for record in ended.run.records) == {0: 3, 1: 3}


def test_too_large_a_share_of_failures_stops_the_run(play: Play) -> None:
    """Every second fails; at the fourth it is half, which a third does not allow. One lane: at most one more is out."""
    answers = one_by_one(*[OK, BUSY] * 5)
    ended = play(answers, prompts=10, breakers={"failure_share": {"limit": 0.33, "after": 4}})
    stopped(ended, "failure_share", "2 of 4 ", "breakers.failure_share", "33 %")
    assert len(ended.run.records) in (4, 5)


# --- budgets


def test_a_budget_of_requests_is_kept_to_the_request(play: Play) -> None:
    """Warm-up and retries count: 1 + 2 attempts, then 2 of the rest."""
    ended = play(
        one_by_one(OK, BUSY, OK),
        prompts=9,
        retry=QUICK,
        warmup={"requests": 1},
        load={"mode": "closed", "concurrency": 3},
        budget={"requests": 5},
    )
    stopped(ended, "budget", "5 requests")
    assert len(ended.run.records) == 5


def test_a_budget_of_tokens_counts_what_is_in_flight(play: Play) -> None:
    """50 tokens each. One lane, 200: four, and never a fifth, as each is counted from the moment it is sent."""
    ended = play(one_by_one([streamed(USED)]), prompts=1, repeats=9, budget={"tokens": 200})
    stopped(ended, "budget", "200 tokens")
    assert len(ended.run.records) == 4


def test_a_budget_in_dollars_goes_by_price(play: Play) -> None:
    """10 in at 1 and 40 out at 10 per million: 0.00041 each; a second like it would pass 0.0008."""
    model = {"model": "m", "price": {"input": 1, "output": 10}}
    ended = play(one_by_one([streamed(USED)]), model, prompts=1, repeats=9, budget={"usd": 0.0008})
    reason = stopped(ended, "budget", "max_tokens")
    assert re.findall(r"[\d.]+\d", reason) == ["0.0008", "0.00041", "0.00041"]
    assert len(ended.run.records) == 1


def test_a_budget_is_never_passed_by_what_is_in_flight(play: Play) -> None:
    """Eight lanes, and each answer takes all its max_tokens: 10 + 40 = 50 tokens. 420 is enough for eight of them, and
    a request of which no answer is known is held for at its bytes, so some lanes wait for others to land."""
    model = {"model": "m", "params": {"max_tokens": 40}, "price": {"input": 1, "output": 10}}
    load = {"mode": "closed", "concurrency": 8}
    ended = play(one_by_one([streamed(USED)]), model, prompts=20, load=load, budget={"tokens": 420})
    taken = [record.usage.input + record.usage.output for record in ended.run.records if record.usage]  # type: ignore[operator]
    assert sum(taken) <= 420
    assert len(ended.run.records) == len(taken)
    assert len(taken) >= 5  # 7 as soon as one lane waits for the others
    assert ended.run.end is not None
    assert ended.run.end.status == "budget"


def test_a_retry_that_the_budget_denies_leaves_the_run_incomplete(play: Play) -> None:
    """The last request failed and was to be tried again."""
    ended = play(one_by_one(OK, BUSY), prompts=2, retry=QUICK, budget={"requests": 2})
    stopped(ended, "budget", "2 requests")


def test_a_budget_of_time_ends_a_long_wait(play: Play) -> None:
    """The second is due in 100 s; after 4 s the run ends without it."""
    ended = play(one_by_one(OK), prompts=2, load={"mode": "constant", "rate": 0.01}, budget={"duration": "4s"})
    stopped(ended, "budget", "4 s")
    assert len(ended.run.records) == 1


# --- the drain limit


def test_an_interrupt_drains_within_its_limit(play: Play) -> None:
    """One Ctrl-C and a stream that never ends: after 200 ms it is broken off, and kept as far as it came."""

    def endless(seen: Seen) -> Iterable[bytes]:
        yield NO_END + sse(delta("Hel"), delta("lo"))
        os.kill(os.getpid(), signal.SIGINT)
        seen.gone()

    ended = play(endless, prompts=5, limits={"drain": "200ms"})
    assert [(outcome_of(record), record.timeline.kind) for record in ended.run.records] == [("cancelled", "cc")]
    assert ended.measured.status == "interrupted"
    assert ended.told.notices == [
        "stopping: waiting up to 0.2 s for 1 request in flight; Ctrl-C again to cancel",
        "cancelling 1 request still in flight after 0.2 s",
    ]


def test_what_was_broken_off_after_the_limit_leaves_the_run_incomplete(play: Play) -> None:
    """The time limit passes while the only request is under way; then Ctrl-C, and the drain limit."""

    def endless(seen: Seen) -> Iterable[bytes]:
        yield NO_END + sse(delta("Hel"))
        seen.gone(0.2)
        os.kill(os.getpid(), signal.SIGINT)
        seen.gone()

    ended = play(endless, limits={"drain": "50ms", "duration": "20ms"})
    assert [outcome_of(record) for record in ended.run.records] == ["cancelled"]
    assert ended.measured.status == "duration_limit"


def test_an_interrupt_waits_for_what_ends_in_time(play: Play) -> None:
    """It is whole, and nothing is broken off."""

    def interrupted(_: Seen) -> Iterable[bytes]:
        os.kill(os.getpid(), signal.SIGINT)
        yield streamed(STREAM)

    ended = play(interrupted, prompts=5)
    assert {outcome_of(record) for record in ended.run.records} == {"ok"}
    assert len(ended.run.records) < 5
    assert len(ended.told.notices) == 1  # on what is waited for, and none on what is broken off


def test_an_interrupt_ends_a_pause(play: Play) -> None:
    """The model is held for a minute; nobody waits for it."""
    limited = [error("429 Slow down", "too fast", "retry-after: 60")]

    class Impatient(Told):
        def on_phase(self, name: str) -> None:
            super().on_phase(name)
            if "paused" in name:
                os.kill(os.getpid(), signal.SIGINT)

    ended = play(one_by_one(limited), prompts=3, gateway=PAUSING, told=Impatient())
    assert ended.measured.status == "interrupted"
    assert len(ended.run.records) == 1
