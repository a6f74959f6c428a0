"""A job is plain data: it can be sent to another process, and any engine can carry it out."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path

import pytest
from scripted_gateway import ScriptedGateway, delta, sse

from streambench.config.load import load_config
from streambench.records.schema import AttemptRecord, Ticket
from streambench.runner.job import Engine, Job
from streambench.runner.local import LocalEngine
from streambench.runner.observers import RunObserver
from streambench.runner.plan import ModelLane, PlanInputs, build_plan

ANSWER = sse(delta("Hel"), delta("lo"), delta(finish_reason="stop"))


def job_for(url: str, folder: Path) -> Job:
    """Two prompts to one model, one after the other."""
    file = folder / "c.yaml"
    file.write_text(
        f"gateways: {{hub: {{base_url: {url}, api_key: '${{HUB_API_KEY}}'}}}}\n"
        "models: [m]\nprompts: [one, two]\nload: {mode: closed, concurrency: 1}\n"
    )
    config = load_config(file, output=str(folder / "results"), env={"HUB_API_KEY": "key-0123456789abcdef"})
    prompts = tuple(prompt.id for prompt in config.suite.prompts)
    return Job(config, build_plan(PlanInputs((ModelLane("m", "hub"),), prompts, 1, 0)), {"hub": url}, ())


class Seen(RunObserver):
    """Keeps the names of the events, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def on_attempt_start(self, ticket: Ticket) -> None:
        self.events.append(f"start {ticket.seq}")

    def on_attempt_end(self, ticket: Ticket) -> None:
        self.events.append(f"end {ticket.seq}")

    def on_record(self, record: AttemptRecord) -> None:
        self.events.append(f"record {record.ticket.seq}")

    def on_request_end(self, record: AttemptRecord) -> None:
        self.events.append(f"request {record.ticket.seq}")


def test_a_job_survives_pickling_and_runs(tmp_path: Path) -> None:
    """As a worker of another process would get it; the key goes with it, and only to the gateway."""
    with ScriptedGateway(lambda _: [ANSWER]) as gateway:
        job = pickle.loads(pickle.dumps(job_for(gateway.url, tmp_path)))
        engine: Engine = LocalEngine()
        measured = asyncio.run(engine.measure(job))
    assert measured.status == "complete"
    assert {dict(seen.headers)["authorization"] for seen in gateway.seen} == {"Bearer key-0123456789abcdef"}


def test_an_observer_is_told_of_each_event(tmp_path: Path) -> None:
    """Of each request: start, end, record, request."""
    seen = Seen()
    with ScriptedGateway(lambda _: [ANSWER]) as gateway:
        asyncio.run(LocalEngine().measure(job_for(gateway.url, tmp_path), [seen]))
    for seq in (0, 1):
        mine = [event for event in seen.events if event.endswith(str(seq))]
        assert mine == [f"start {seq}", f"end {seq}", f"record {seq}", f"request {seq}"]


def test_an_observer_that_raises_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    """The journal comes before it: the record is on disk."""

    class Broken(RunObserver):
        def on_record(self, record: AttemptRecord) -> None:
            raise ZeroDivisionError(record.ticket.seq)

    with ScriptedGateway(lambda _: [ANSWER]) as gateway, pytest.raises(ZeroDivisionError):
        asyncio.run(LocalEngine().measure(job_for(gateway.url, tmp_path), [Broken()]))
    (lines,) = [path.read_text("utf-8").splitlines() for path in (tmp_path / "results").glob("*/records.jsonl")]
    assert len(lines) == 1
