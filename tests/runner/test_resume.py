"""A run that was stopped, however it was stopped, goes on where it was and ends as if it had never been.

Everything here is real: processes, signals, a full disk, the simulator over a socket. Only loading is shared.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from cli.warm_process import WarmProcess
from home import KEY, MARK, MODELS, PROMPTS, Home, Ran, Started, go_on
from scripted_gateway import ScriptedGateway, Seen, error, streamed

from streambench.analysis.run import Run, load
from streambench.analysis.summary import summarise
from streambench.config.origin import given_again, kept_overrides
from streambench.errors import ConfigError, ResultsError
from streambench.metrics.findings import findings
from streambench.metrics.outcomes import outcome_of
from streambench.records.config_diff import changed_stops, changes
from streambench.records.journal import Journal
from streambench.records.run_folder import END, RECORDS
from streambench.records.schema import AttemptRecord, Failure, Resumption, Ticket, final_attempts, to_line
from streambench.redaction import Secrets
from streambench.runner.plan import ModelLane, Plan, PlanInputs, build_plan
from streambench.runner.resume import left_of
from streambench.simulator.process import SimulatorProcess
from streambench.testing import MS, make_end, make_header, make_record

REQUESTS = 72
"""2 models, 3 prompts, 12 repeats."""
LANES = 4


# --- what is left of a plan

SHAPE = PlanInputs(
    lanes=(ModelLane("alpha", "hub"), ModelLane("beta", "hub")),
    prompt_ids=("p1", "p2"),
    repeats=2,
    warmup_requests=1,
    seed=3,
)
PLAN = build_plan(SHAPE)
CANCELLED = Failure("cancelled", "stopped by the user")


def record_of(ticket: Ticket, attempt: int = 1, **changed: Any) -> AttemptRecord:
    return replace(make_record(attempt=attempt, **changed), ticket=ticket)


def test_a_request_with_a_record_is_not_sent_again() -> None:
    """Failed or fine; the others keep the plan's order."""
    done = [record_of(PLAN.measure[0]), record_of(PLAN.measure[2], failure=Failure("timeout"))]
    left = left_of(PLAN, done)
    assert left.plan.measure == (PLAN.measure[1], *PLAN.measure[3:])


def test_a_request_that_we_broke_off_is_sent_again() -> None:
    """Its old record stays, but was no try: the new one is the first, as in a run that was not broken off."""
    left = left_of(PLAN, [record_of(PLAN.measure[0], failure=CANCELLED)])
    assert left.plan.measure == PLAN.measure
    marked = left.mark(record_of(PLAN.measure[0]), segment=1)
    assert (marked.attempt, marked.segment) == (1, 1)
    assert findings(marked) == ()


def test_a_request_whose_key_was_refused_is_sent_again() -> None:
    """The key is mended by now. Where 401 and 403 are failures like others, it is final."""
    refused = record_of(PLAN.measure[0], status=401, failure=Failure("http_error", status=401))
    left = left_of(PLAN, [refused], is_refused=lambda record: record.status == 401)
    assert left.plan.measure == PLAN.measure
    assert left.mark(record_of(PLAN.measure[0]), segment=1).attempt == 1
    assert left_of(PLAN, [refused]).plan.measure == PLAN.measure[1:]


def test_the_last_attempt_decides() -> None:
    """Whatever the order in the journal: broken off, then fine."""
    done = [record_of(PLAN.measure[0], attempt=2), record_of(PLAN.measure[0], attempt=1, failure=CANCELLED)]
    assert PLAN.measure[0] not in left_of(PLAN, done).plan.measure


def test_a_request_that_waited_for_its_retry_is_sent_again() -> None:
    """Nobody but the retry policy knows."""
    done = [record_of(PLAN.measure[0], failure=Failure("timeout")), record_of(PLAN.measure[1])]
    left = left_of(PLAN, done, lambda record: outcome_of(record) == "timeout")
    assert left.plan.measure == (PLAN.measure[0], *PLAN.measure[2:])
    assert left.tries(PLAN.measure[0]) == 1
    assert left.mark(record_of(PLAN.measure[0]), segment=1).attempt == 2


def test_of_several_parts_the_last_decides() -> None:
    """Failed and to be tried again; broken off; then fine: its attempts are 1, 2 and 2."""
    first = PLAN.measure[0]
    done = [
        record_of(first, failure=Failure("timeout")),
        record_of(first, attempt=2, segment=1, failure=CANCELLED),
        record_of(first, attempt=2, segment=2),
    ]
    for count, missing in ((1, True), (2, True), (3, False)):
        left = left_of(PLAN, done[:count], lambda record: outcome_of(record) == "timeout")
        assert (first in left.plan.measure) is missing
        assert left.tries(first) == min(count, 2) - (count == 2)


def test_the_warm_up_is_done_again_whole() -> None:
    """As further attempts of the same requests, so that their number stays."""
    left = left_of(PLAN, [record_of(PLAN.warmup[0])])
    assert left.plan.warmup == PLAN.warmup
    assert left.tries(PLAN.warmup[0]) == 0
    assert left.mark(record_of(PLAN.warmup[0]), segment=1).attempt == 2


def test_nothing_left_is_nothing_to_warm_up_for() -> None:
    """All measured requests have their record."""
    left = left_of(PLAN, [record_of(ticket) for ticket in PLAN.measure])
    assert (left.plan.warmup, left.plan.measure) == ((), ())


def test_an_open_loop_goes_on_at_once() -> None:
    """Of arrivals at 0, 1 .. 7 s, five are left: those at 3 .. 7, so 0 .. 4 from now, whichever requests they are."""
    tickets = tuple(replace(ticket, scheduled_ns=at * 1_000 * MS) for at, ticket in enumerate(PLAN.measure))
    plan = Plan(PLAN.warmup, tickets)
    left = left_of(plan, [record_of(tickets[0]), record_of(tickets[2]), record_of(tickets[3])])
    assert [(t.seq, t.scheduled_ns) for t in left.plan.measure] == [
        (tickets[at].seq, instant * 1_000 * MS) for instant, at in enumerate((1, 4, 5, 6, 7))
    ]


def test_records_of_another_plan_are_refused() -> None:
    """The suite's hash does not tell that its prompts changed places."""
    first = PLAN.measure[0]
    other = replace(first, prompt_id="p1" if first.prompt_id == "p2" else "p2")
    with pytest.raises(ResultsError, match=rf"request {first.seq} is of .* with prompt '{other.prompt_id}'"):
        left_of(PLAN, [record_of(other)])


# --- the config


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("seed=8", "seed=8"),
        (" load.rate = 3 ", " load.rate = 3 "),
        ("models=[swift, steady]", "models=[swift, steady]"),
        ("models.swift.params.max_tokens=64", "models.swift.params.max_tokens=64"),
        ("gateways.hub.base_url=https://gateway.example/v1", "gateways.hub.base_url=https://gateway.example/v1"),
        ("gateways.hub.api_key=${HUB_API_KEY}", "gateways.hub.api_key=${HUB_API_KEY}"),
        ("gateways.hub.api_key=none", "gateways.hub.api_key=none"),
        ("prompts=[Hello there]", "prompts=***"),
        ("prompts.0.text=Hello there", "prompts.0.text=***"),
        ("gateways.hub.headers.x-team=blue", "gateways.hub.headers.x-team=***"),
        ("gateways.hub=a: b", "gateways.hub=***"),
        ("gateways={hub: {headers: {a: b}}}", "gateways=***"),
        ("models=[{model: swift, params: {user: me}}]", "models=***"),
        ("models.swift.params.user_token=abc", "models.swift.params.user_token=***"),
        ("gateways.hub.base_url=https://me:word@gateway.example/v1", "gateways.hub.base_url=***"),
        ("gateways.hub.base_url=https://gateway.example/v1?k=abc", "gateways.hub.base_url=***"),
        ("telemetry.endpoint=http://localhost:4318", "telemetry.endpoint=http://localhost:4318"),
        ("telemetry.headers.x-team=blue", "telemetry.headers.x-team=***"),
        ("telemetry={headers: {x-team: blue}}", "telemetry=***"),
        ("name=sk-0123456789abcdef", "name=***"),
        ("name=mine-4711-mine", "name=***"),
        ("models.swift.params.stop=" + "x" * 201, "models.swift.params.stop=***"),
    ],
)
def test_an_override_that_may_be_private_is_not_kept(text: str, kept: str) -> None:
    """Of it only the key; `4711` is a known secret here."""
    assert kept_overrides([text], Secrets(["4711"])) == (kept,)


def test_an_override_that_was_not_kept_is_asked_for() -> None:
    """By its key; given again, all are there."""
    with pytest.raises(ConfigError, match=r"--set: prompts: .*private.*\(accepted: --set prompts=\.\.\. again\)"):
        given_again(("seed=8", "prompts=***"), ())
    assert given_again(("seed=8", "prompts=***"), ("prompts=[Hi]",)) == ("seed=8", "prompts=[Hi]")


def test_an_override_given_now_wins() -> None:
    """It takes the place of the old one."""
    assert given_again(("seed=8", "repeats=2"), ("seed=9",)) == ("repeats=2", "seed=9")


THEN: Mapping[str, Any] = {
    "name": "a",
    "gateways": {"hub": {"models": "there/models.yaml", "limits": {"max_concurrency": None}}},
    "models": [{"alias": "swift"}],
    "suite": {"name": "s", "path": "s.yaml", "hash": "0"},
    "limits": {"duration_s": 3.0, "requests": None},
    "seed": 1,
}


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ({}, []),
        ({"seed": 2}, [("seed", 1, 2)]),
        ({"name": "b", "output": "elsewhere", "limits": {"duration_s": None, "requests": None}}, []),
        ({"limits": {"duration_s": 3.0, "requests": 4}}, [("limits.requests", None, 4)]),
        ({"suite": {"name": "t", "path": "t.yaml", "hash": "0"}}, []),
        ({"suite": {"name": "s", "path": "s.yaml", "hash": "1"}}, [("suite.hash", "0", "1")]),
        ({"models": [{"alias": "swift"}, {"alias": "b"}]}, [("models.1.alias", None, "b")]),
        ({"models": []}, [("models.0.alias", "swift", None), ("models", None, [])]),
        ({"gateways": {"hub": {"models": "here/models.yaml", "limits": {"max_concurrency": None}}}}, []),
        (
            {"gateways": {"hub": {"models": "here/other.yaml", "limits": {"max_concurrency": None}}}},
            [("gateways.hub.models", "there/models.yaml", "here/other.yaml")],
        ),
        ({"budget": {"usd": 3.0}, "breakers": {"key_refused": False}}, []),
        (
            {"gateways": {"hub": {**THEN["gateways"]["hub"], "models_hash": "1"}}},
            [("gateways.hub.models_hash", None, "1")],
        ),
        ({"telemetry": {"endpoint": "http://localhost:4318", "headers": {"x-a": "***"}}}, []),
    ],
)
def test_what_decides_the_measurement_must_be_as_it_was(now: Mapping[str, Any], found: list[Any]) -> None:
    """Where things lie and when to stop may differ; a file goes by its name."""
    assert changes(THEN, {**THEN, **now}) == found


def test_changed_limits_are_stated() -> None:
    """Budgets, breakers and times, as they are now; not where things lie."""
    now = {**THEN, "name": "b", "budget": {"usd": 3.0}, "limits": {"duration_s": None, "requests": None}}
    assert changed_stops(THEN, now) == {"limits.duration_s": None, "budget.usd": 3.0}
    assert changed_stops(THEN, THEN) == {}


# --- the journal


def resumption(segment: int = 1, **changed: Any) -> Resumption:
    """A day and a second after the first part's anchor."""
    wall_ns = make_header("alpha").wall_ns + 86_401 * 1_000 * MS
    return replace(Resumption(segment, wall_ns, 0, 1, "kernel", {}, {}), **changed)


def stopped_run(parent: Path, count: int = 3) -> Path:
    with Journal.create(parent, make_header("alpha")) as journal:
        for seq in range(count):
            journal.append(make_record(seq=seq, model="αβ\n"))
    return journal.folder


def test_a_journal_torn_anywhere_is_whole_after_a_resumption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut at each byte of the last line: what is left of it goes, and the next record is a line of its own."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # 2,000 of them would be the disk's time, not ours
    folder = stopped_run(tmp_path)
    whole = (folder / RECORDS).read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(whole) + 1):
        (folder / RECORDS).write_bytes(whole[:cut])
        (folder / "resume-1.json").unlink(missing_ok=True)
        with Journal.reopen(folder) as journal:
            gone = journal.begin(resumption(), kept=2)
            journal.append(make_record(seq=9, segment=1))
        complete = cut >= len(whole) - 1
        assert gone == (0 if complete else cut - start), cut
        run = load(folder)
        assert run.warnings == (), cut
        assert [record.ticket.seq for record in run.records] == [0, 1, *([2] if complete else []), 9], cut


def test_a_torn_line_may_be_long(tmp_path: Path) -> None:
    """Longer than what is read at once, and the only one."""
    folder = stopped_run(tmp_path, count=0)
    line = to_line(make_record(text="x" * 300_000))
    (folder / RECORDS).write_text(line[:-5])
    with Journal.reopen(folder) as journal:
        assert journal.begin(resumption(), kept=0) == len(line) - 5
    assert (folder / RECORDS).read_bytes() == b""


def test_looking_changes_nothing(tmp_path: Path) -> None:
    """Until the next part begins, which a changed config prevents."""
    folder = stopped_run(tmp_path)
    (folder / RECORDS).write_bytes((folder / RECORDS).read_bytes()[:-9])
    before = contents(folder)
    Journal.reopen(folder).close()
    assert contents(folder) == before


def test_a_run_that_goes_on_is_locked(tmp_path: Path) -> None:
    """One writer at a time, and the next as soon as it is gone."""
    with Journal.create(tmp_path, make_header("alpha")) as journal, pytest.raises(ResultsError) as caught:
        Journal.reopen(journal.folder)
    assert str(caught.value).startswith(f"{journal.folder}: this run is still in progress")
    with Journal.reopen(journal.folder), pytest.raises(ResultsError):
        Journal.reopen(journal.folder)


def test_what_a_killed_writer_left_is_swept_up(tmp_path: Path) -> None:
    """A draft of a file that was to be written whole, perhaps by a process of our own number."""
    folder = stopped_run(tmp_path)
    for name in (f".resume-1.json.{os.getpid()}", ".end.json.1"):
        (folder / name).write_text("{")
    with Journal.reopen(folder) as journal:
        journal.begin(resumption(), kept=3)
    assert [file.name for file in folder.iterdir() if file.name.startswith(".")] == []


def resumed_run(parent: Path) -> Run:
    """Killed after 5 s of measuring; resumed a day later for 10 s, interrupted; resumed once more for 2 s."""
    with Journal.create(parent, make_header("alpha")) as journal:
        journal.append(make_record(seq=0, phase="warmup", start_at_ns=0))
        journal.append(make_record(seq=1, start_at_ns=1_000 * MS))
        journal.append(make_record(seq=2, start_at_ns=5_000 * MS, ended_ns=1_000 * MS))
    lag = {"n": 10, "p50": 3 * MS, "p99": None}
    with Journal.reopen(journal.folder) as journal:
        journal.begin(resumption(), kept=3)
        journal.append(make_record(seq=3, segment=1, failure=CANCELLED))
        journal.close(make_end(status="interrupted", client_lag_ns=lag, clock_steps=1, clock_error_ns=70))
    with Journal.reopen(journal.folder) as journal:
        journal.begin(resumption(2), kept=4)
        journal.append(make_record(seq=3, segment=2, start_at_ns=2_000 * MS))
        end = make_end(measure_ended_at_ns=3_000 * MS, client_lag_ns={"n": 7, "p50": 2 * MS, "p99": MS})
        journal.close(end)
    return load(journal.folder)


def test_a_part_has_an_anchor_of_its_own(tmp_path: Path) -> None:
    """1.8e9 s after 1970, and a day and a second later; starts are 1 s, 1 s and 2 s after them."""
    started = resumed_run(tmp_path).attempts.set_index("segment")["started"]
    assert started[0].tolist()[1] == pd.Timestamp("2027-01-15 08:00:01", tz="UTC")
    assert started[1] == pd.Timestamp("2027-01-16 08:00:02", tz="UTC")
    assert started[2] == pd.Timestamp("2027-01-16 08:00:03", tz="UTC")


def test_the_end_of_a_resumed_run_is_that_of_all_its_parts(tmp_path: Path) -> None:
    """The last one's status; 5 s + 10 s + 2 s; lag samples add up, percentiles are those of the worst part."""
    run = resumed_run(tmp_path)
    assert run.end is not None
    assert run.end.status == "complete"
    assert (run.end.clock_steps, run.end.clock_error_ns) == (1, 70)
    assert run.end.client_lag_ns == {"n": 17, "p50": 3 * MS, "p99": MS}
    summary = summarise(run.header, run.records, run.end)
    assert (summary.measured_s, summary.resumed, summary.status) == (17, 2, "complete")
    assert summary.models[0].outcomes == {"ok": 3}


def test_the_time_of_all_parts_adds_up(tmp_path: Path) -> None:
    """Killed, its last record ended at 6 s; then 12 s and 12 s by their ends. The days between are nobody's."""
    assert resumed_run(tmp_path).took_ns == (6 + 12 + 12) * 1_000 * MS


def test_the_time_between_two_parts_is_no_gateways(tmp_path: Path) -> None:
    """A request broken off in one part and sent in the next waited for us: its TTFT is that of the last try."""
    row = resumed_run(tmp_path).requests.set_index("seq").loc[3]
    assert (row["attempts"], row["ttft_with_retries_ms"]) == (2, 100)


def test_a_part_that_was_killed_leaves_the_run_unfinished(tmp_path: Path) -> None:
    """Whatever the parts before it said."""
    folder = stopped_run(tmp_path)
    with Journal.reopen(folder) as journal:
        journal.begin(resumption(), kept=3)
        journal.close(make_end())
    with Journal.reopen(folder) as journal:
        journal.begin(resumption(2), kept=3)
    assert load(folder).end is None


def test_a_record_without_its_parts_anchor_is_refused(tmp_path: Path) -> None:
    """Its instants would be dated wrongly."""
    folder = resumed_run(tmp_path).path
    (folder / "resume-2.json").unlink()
    with pytest.raises(ResultsError, match=r"resume-2\.json"):
        load(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# --- whole runs


@pytest.fixture
def make_home() -> Callable[[Path], Home]:
    return lambda folder: Home(folder, WarmProcess)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A simulator that outlives the runs."""
    models = tmp_path_factory.mktemp("hub") / "models.yaml"
    models.write_text(MODELS)
    with SimulatorProcess(models) as process:
        yield {"base_url": process.base_url(), "api_key": "none"}


def long_config(home: Home, hub: Mapping[str, Any], **keys: Any) -> str:
    """About a second: 72 requests in 4 lanes, and a warm-up for each model."""
    load_ = {"mode": "closed", "concurrency": LANES}
    return home.config(gateway=hub, **{"repeats": 12, "warmup": {"requests": 1}, "load": load_, **keys})


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, hub: dict[str, Any]) -> Ran:
    home = Home(tmp_path_factory.mktemp("unbroken"), WarmProcess)
    ran = home.run(long_config(home, hub), "--quiet")
    assert ran.code == 0
    return ran


def killed(started: Started) -> Started:
    started.signal(signal.SIGKILL).process.wait()
    return started


def work_of(run: Run) -> set[tuple[str, int, str, str, int, str]]:
    """What was done and what came of it, without its times."""
    found: set[tuple[str, int, str, str, int, str]] = set()
    for record in final_attempts(run.records):
        ticket = record.ticket
        found.add((ticket.phase, ticket.seq, ticket.model, ticket.prompt_id, ticket.repeat, outcome_of(record)))
    return found


def counts_of(ran: Ran) -> dict[str, Any]:
    return {
        name: (
            model["requests"],
            model["outcomes"],
            model["left_out"],
            model["warmup"],
            model["metrics"]["ttft_ms"]["n"],
        )
        for name, model in ran.summary["models"].items()
    }


def same_but_for_times(ran: Ran, unbroken: Ran) -> None:
    """Exit code 0, every request once, and the same numbers of everything; no attempt is recorded twice."""
    assert ran.code == 0, ran.err
    assert ran.summary["status"] == "complete"
    assert ran.run.warnings == ()
    assert work_of(ran.run) == work_of(unbroken.run)
    assert counts_of(ran) == counts_of(unbroken)
    keys = Counter((r.ticket.phase, r.ticket.seq, r.attempt, r.segment) for r in ran.run.records)
    assert set(keys.values()) == {1}


def kept(ran: Ran, before: Iterable[AttemptRecord]) -> None:
    """What was on the disk is still there, line by line, at the front."""
    before = list(before)
    assert list(ran.run.records)[: len(before)] == before


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_a_random_moment(home: Home, hub: dict[str, Any], unbroken: Ran, seed: int) -> None:
    """kill -9 while so many records are there; what was in flight is sent again."""
    lines = random.Random(seed).randrange(REQUESTS)
    started = home.start("run", long_config(home, hub))
    killed(started.until(lambda: started.lines() > lines))
    before = load(next(started.results.iterdir())).records
    ran = go_on(home, started.results).end()
    same_but_for_times(ran, unbroken)
    kept(ran, before)
    missing = REQUESTS - sum(record.ticket.phase == "measure" for record in before)
    assert f"resuming: {REQUESTS - missing} of {REQUESTS} requests are recorded, {missing} are missing" in ran.err
    assert ran.resumed == (REQUESTS - missing, REQUESTS, missing)
    assert "This run was resumed once" in ran.out


def test_killed_before_the_first_record(home: Home, hub: dict[str, Any], unbroken: Ran) -> None:
    """Even before there was a journal: the header is enough."""
    started = home.start("run", long_config(home, hub))
    started.until(lambda: any(started.results.rglob("run.json")))
    killed(started)
    for journal in started.results.rglob(RECORDS):
        journal.unlink()
    same_but_for_times(go_on(home, started.results).end(), unbroken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_once(home: Home, hub: dict[str, Any], unbroken: Ran, number: signal.Signals) -> None:
    """All that was sent is recorded, so nothing is sent twice but the warm-up."""
    started = home.start("run", long_config(home, hub))
    first = started.until(lambda: started.lines() > 30).signal(number).end()
    assert first.code == 3
    before = first.run.records
    ran = go_on(home, started.results).end()
    same_but_for_times(ran, unbroken)
    kept(ran, before)
    assert len(ran.run.records) == REQUESTS + 4


def test_interrupted_twice(home: Home, hub: dict[str, Any]) -> None:
    """What was broken off is sent again, and is no retry; the record of the first stays."""
    started = home.start("run", long_config(home, hub, models=["slow"], repeats=4))
    started.until(lambda: started.lines() > LANES).signal(signal.SIGINT)
    started.drains().signal(signal.SIGINT)
    first = started.end()
    assert first.code == 3
    broken_off = {record.ticket.seq for record in first.measured if outcome_of(record) == "cancelled"}
    assert broken_off
    ran = go_on(home, started.results).end()
    assert ran.code == 0
    kept(ran, first.run.records)
    assert {seq for seq, count in Counter(r.ticket.seq for r in ran.measured).items() if count == 2} == broken_off
    assert "retried" not in ran.summary["models"]["slow"]["findings"]
    assert counts_of(ran)["slow"] == (12, {"ok": 12}, 0, 1, 12)


def test_a_full_disk_twice(home: Home, hub: dict[str, Any], unbroken: Ran) -> None:
    """Once in the run and once in the resumption; when there is room, the third part ends it."""
    started = home.start("run", long_config(home, hub), file_limit=20_000)
    first = started.end()
    assert first.code == 3
    second = go_on(home, started.results, file_limit=45_000).end()
    assert second.code == 3
    (line,) = [line for line in second.err.splitlines() if line.startswith("error: ")]
    assert f"its {len(second.run.records)} records" in line
    kept(second, first.run.records)
    ran = go_on(home, started.results).end()
    same_but_for_times(ran, unbroken)
    kept(ran, second.run.records)


def test_a_torn_line_is_told_of(home: Home, hub: dict[str, Any], unbroken: Ran) -> None:
    """In one line; its request is sent again."""
    started = home.start("run", long_config(home, hub))
    killed(started.until(lambda: started.lines() > 40))
    (journal,) = started.results.rglob(RECORDS)
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-100])
    torn = len(whole) - 100 - whole.rindex(b"\n", 0, -1) - 1
    ran = go_on(home, started.results).end()
    same_but_for_times(ran, unbroken)
    assert f"last line of {torn} bytes" in ran.err


def test_killed_while_resumed(home: Home, hub: dict[str, Any], unbroken: Ran) -> None:
    """And resumed again: three parts, each with an anchor of its own."""
    started = home.start("run", long_config(home, hub))
    killed(started.until(lambda: started.lines() > 20))
    again = go_on(home, started.results)
    killed(again.until(lambda: again.lines() > 45))
    ran = go_on(home, started.results).end()
    same_but_for_times(ran, unbroken)
    assert {record.segment for record in ran.run.records} == {0, 1, 2}
    assert ran.summary["resumed"] == 2


def test_two_runs_at_once_into_one_parent(home: Home, hub: dict[str, Any], unbroken: Ran) -> None:
    """Each has its folder, and all of its records."""
    config = long_config(home, hub)
    both = [home.start("run", config, "--quiet", "--output", "shared") for _ in range(2)]
    assert [started.process.wait(60) for started in both] == [0, 0]
    folders = list((home.folder / "shared").iterdir())
    assert len(folders) == 2
    assert [work_of(load(folder)) for folder in folders] == [work_of(unbroken.run)] * 2


# --- what is refused


def test_a_complete_run_lacks_nothing(home: Home, hub: dict[str, Any]) -> None:
    """Exit code 0, and not a byte of it changes."""
    first = home.run(home.config(gateway=hub), "--quiet")
    before = contents(first.folder)
    ran = go_on(home, first.results, "--quiet").end()
    assert (ran.code, ran.err, ran.out) == (0, "", f"{first.folder}\n")
    told = go_on(home, first.results).end()
    assert told.err.strip() == "nothing is missing: all 6 requests are recorded"
    assert contents(first.folder) == before


def test_a_run_stopped_after_its_last_record_becomes_complete(home: Home, hub: dict[str, Any]) -> None:
    """Killed between the last record and the end: nothing is sent."""
    first = home.run(home.config(gateway=hub), "--quiet")
    for name in (END, "summary.json", "summary.csv"):
        (first.folder / name).unlink()
    ran = go_on(home, first.results).end()
    assert ran.code == 0
    assert ran.summary["status"] == "complete"
    assert len(ran.run.records) == 6


def test_a_changed_config_is_refused(home: Home, hub: dict[str, Any]) -> None:
    """A line for each key that differs, with what it was; nothing is written."""
    first = home.run(home.config(gateway=hub, limits={"duration": "1ms"}), "--quiet")
    before = contents(first.folder)
    home.config("swift", "slow", gateway=hub, seed=8, prompts=[*PROMPTS[:2], "Something else"])
    ran = go_on(home, first.results, "--set", "load.concurrency=3").end()
    assert (ran.code, ran.out) == (2, "")
    keys = [line.split(": ")[2] for line in ran.err.splitlines()]
    assert keys == ["models.1.model", "models.1.alias", "suite.hash", "load.concurrency", "seed"]
    assert "seed: is not the value that the run was started with (found 8; accepted: 7)" in ran.err
    assert contents(first.folder) == before


def test_a_config_that_only_stops_otherwise_is_accepted(home: Home, hub: dict[str, Any]) -> None:
    """A run that met its time limit goes on without one."""
    first = home.run(home.config(gateway=hub, repeats=10, limits={"duration": "300ms"}), "--quiet")
    assert first.code == 3
    assert first.summary["status"] == "duration_limit"
    ran = go_on(home, first.results, "--set", "limits.duration=1h").end()
    assert ran.code == 0
    assert len(ran.measured) == 60


def test_a_changed_file_of_simulated_models_is_refused(home: Home) -> None:
    """By its hash: at the same place, and with the same names, it says something else. A comment is nothing."""
    first = home.run(home.config("swift", repeats=20), "--quiet", "--set", "limits.duration=50ms")
    assert first.code == 3
    home.models.write_text(MODELS.replace("ttft_ms: 10", "ttft_ms: 11"))
    ran = go_on(home, first.results).end()
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert ": gateways.hub.models_hash: " in line
    home.models.write_text(f"# the same\n{MODELS}")
    assert go_on(home, first.results, "--set", "limits.duration=1h").end().code == 0


def test_files_are_found_from_another_folder(home: Home, hub: dict[str, Any], tmp_path: Path) -> None:
    """The suite lay where the run was begun, not beside the config; where it is gone, one line says so."""
    config = Path(home.config(gateway=hub, repeats=20, prompts=None, suite="suite.yaml"))
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"prompts": PROMPTS}))
    (tmp_path / "configs").mkdir()
    config.rename(tmp_path / "configs" / "config.yaml")
    first = home.run("configs/config.yaml", "--quiet", "--set", "limits.duration=100ms")
    assert first.code == 3, first.err
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Home(tmp_path / "elsewhere", WarmProcess)
    assert go_on(elsewhere, first.results, "--set", "limits.duration=1h").end().code == 0
    (tmp_path / "suite.yaml").rename(tmp_path / "elsewhere" / "other.yaml")
    ran = go_on(elsewhere, first.results).end()
    (line,) = ran.err.splitlines()
    assert ran.code == 2
    assert "configs/config.yaml:" in line
    assert ": suite: " in line
    assert "'suite.yaml'" in line


def test_a_config_that_was_moved(home: Home, hub: dict[str, Any], tmp_path: Path) -> None:
    """Is asked for in one line, and given on the command line; the next time it is known."""
    first = home.run(home.config(gateway=hub, repeats=10), "--quiet", "--set", "limits.duration=300ms")
    (tmp_path / "config.yaml").rename(tmp_path / "moved.yaml")
    ran = go_on(home, first.results).end()
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert "config.yaml: the config no longer exists" in line
    assert "streambench resume RESULTS CONFIG" in line
    again = go_on(home, first.results, "moved.yaml", "--set", "limits.duration=300ms").end()
    assert again.code == 3
    assert go_on(home, first.results, "--set", "limits.duration=1h").end().code == 0


def test_a_prompt_given_by_set_is_not_kept(home: Home, hub: dict[str, Any]) -> None:
    """So it must be given again; `Ran.check` looks that it is in no file."""
    prompt = f"prompts=[Tell me of {MARK}]"
    first = home.run(home.config(gateway=hub, repeats=20, limits={"duration": "200ms"}), "--quiet", "--set", prompt)
    ran = go_on(home, first.results).end()
    assert ran.code == 2
    assert "--set prompts=... again" in ran.err
    ran = go_on(home, first.results, "--set", prompt, "--set", "limits.duration=1h").end()
    assert ran.code == 0
    assert len(ran.measured) == 40


def test_a_run_that_still_goes_on_is_refused(home: Home, hub: dict[str, Any], unbroken: Ran) -> None:
    """In one line; and the run is none the worse for it."""
    started = home.start("run", long_config(home, hub))
    started.until(lambda: started.lines() > 5)
    ran = go_on(home, started.results)
    assert ran.process.wait(30) == 2
    assert [line.partition(":")[0] for line in ran.err.splitlines()] == ["error"]
    same_but_for_times(started.end(), unbroken)


def test_two_resumptions_at_once(home: Home, hub: dict[str, Any], unbroken: Ran) -> None:
    """The second is refused."""
    started = home.start("run", long_config(home, hub))
    killed(started.until(lambda: started.lines() > 5))
    first = go_on(home, started.results)
    first.until(lambda: any(started.results.rglob("resume-1.json")))
    second = go_on(home, started.results)
    assert second.process.wait(30) == 2
    same_but_for_times(first.end(), unbroken)


def test_a_folder_that_is_no_run(home: Home) -> None:
    """One line; nothing is made in it."""
    (home.folder / "empty").mkdir()
    started = home.start("resume", "empty")
    assert started.process.wait(30) == 2
    assert started.err.startswith("error: empty")
    assert list((home.folder / "empty").iterdir()) == []


# --- budgets and keys


def test_a_spent_budget_stays_spent(home: Home, hub: dict[str, Any]) -> None:
    """Five requests of ten. Resumed as it was, it says at once what to raise, sends nothing and changes no file."""
    config = home.config("swift", gateway=hub, repeats=4, budget={"requests": 5})
    first = home.run(config, "--quiet")
    assert (first.code, first.summary["status"], len(first.measured)) == (3, "budget", 5)
    before = contents(first.folder)
    for flags in ([], ["--quiet"]):
        ran = go_on(home, first.results, *flags).end()
        assert ran.code == 3
        assert re.search(r"^error: .* 5 requests .*--set budget\.requests=\.\.\.$", ran.err.splitlines()[-1])
        assert contents(first.folder) == before


def test_a_raised_budget_is_of_the_whole_run(home: Home, hub: dict[str, Any]) -> None:
    """5 were sent, so 7 are 2 more. What was raised is in the part's header, and holds for the next."""
    first = home.run(home.config("swift", gateway=hub, repeats=4, budget={"requests": 5}), "--quiet")
    second = go_on(home, first.results, "--set", "budget.requests=7").end()
    assert (second.code, second.summary["status"], len(second.measured)) == (3, "budget", 7)
    assert " 7 requests " in go_on(home, first.results).end().err
    third = go_on(home, first.results, "--set", "budget.requests=12").end()
    assert (third.code, len(third.measured)) == (0, 12)
    assert [part.changed for part in third.run.header.resumed] == [{"budget.requests": 7}, {"budget.requests": 12}]


def test_a_killed_run_that_spent_its_budget_is_ended_by_it(home: Home, hub: dict[str, Any]) -> None:
    """Its folder did not say so; now it does."""
    first = home.run(home.config("swift", gateway=hub, repeats=4, budget={"tokens": 30}), "--quiet")
    (first.folder / END).unlink()
    ran = go_on(home, first.results).end()
    assert ran.code == 3
    assert "raise it: --set budget.tokens=..." in ran.err
    assert ran.run.records == first.run.records
    assert ran.summary["status"] == "budget"
    assert " 30 tokens " in ran.summary["reason"]


def test_a_budget_of_time_is_of_all_parts(home: Home, hub: dict[str, Any]) -> None:
    """A request a second: 0.3 s are spent in the first part, so of 0.8 s the second has 0.5 at most."""
    config = home.config(gateway=hub, repeats=10, load={"mode": "constant", "rate": 1}, budget={"duration": "300ms"})
    first = home.run(config, "--quiet")
    assert " 0.3 s " in first.summary["reason"]
    assert "raise it: --set budget.duration=..." in go_on(home, first.results, "--quiet").end().err
    second = go_on(home, first.results, "--quiet", "--set", "budget.duration=800ms").end()
    assert " 0.8 s " in second.summary["reason"]
    assert second.run.end is not None
    assert second.run.end.ended_at_ns < 790 * MS
    assert second.run.took_ns >= 800 * MS


def test_a_model_that_was_set_aside_is_asked_again(home: Home) -> None:
    """Two failures in a row in the first part and one in the second: no row of three, and the failed stay failed."""
    answers = iter([*[error("500 No", "not now")] * 2, streamed(), error("500 No", "not now")])
    with ScriptedGateway(lambda _: [next(answers, streamed())]) as gateway:
        hub = {"base_url": gateway.url, "api_key": "none"}
        lane = {"mode": "closed", "concurrency": 1}
        config = home.config("m", gateway=hub, repeats=2, load=lane, breakers={"failures_in_a_row": 2})
        first = home.run(config, "--quiet")
        assert (first.code, first.summary["status"]) == (3, "set_aside")
        ran = go_on(home, first.results).end()
    assert (ran.code, ran.summary["status"]) == (0, "complete")
    assert ran.summary["models"]["m"]["outcomes"] == {"ok": 3, "http_error": 3}


def test_a_run_whose_key_was_refused_goes_on_with_a_new_one(home: Home) -> None:
    """Its requests are sent again, and are no retries."""

    def answer(seen: Seen) -> Iterable[bytes]:
        good = seen.header("authorization") == f"Bearer {KEY}"
        return [streamed() if good else error("401 Unauthorized", "wrong key")]

    with ScriptedGateway(answer) as gateway:
        config = home.config("m", gateway={"base_url": gateway.url, "api_key": "${HUB_API_KEY}"})
        first = home.run(config, "--quiet", env={"HUB_API_KEY": "key-that-is-old"})
        assert (first.code, first.summary["status"]) == (3, "key_refused")
        refused = len(first.measured)
        ran = go_on(home, first.results, env={"HUB_API_KEY": KEY}).end()
    assert ran.code == 0
    assert ran.resumed == (0, 3, 3)
    model = ran.summary["models"]["m"]
    assert (model["outcomes"], model["findings"].get("retried"), model["attempts"]) == ({"ok": 3}, None, 3 + refused)


# --- loads and policies


def test_an_open_loop_is_resumed_at_its_rate(home: Home, hub: dict[str, Any]) -> None:
    """60 requests at 50 a second, killed after a third: the rest comes at the same pace, from its own start."""
    config = home.config(gateway=hub, repeats=10, load={"mode": "constant", "rate": 50})
    started = home.start("run", config)
    killed(started.until(lambda: started.lines() > 20))
    ran = go_on(home, started.results).end()
    assert ran.code == 0
    later = sorted(record.scheduled_at_ns for record in ran.run.records if record.segment == 1)
    assert {round((after - before) / MS) for before, after in pairwise(later)} == {20}
    assert len({(r.ticket.model, r.ticket.prompt_id, r.ticket.repeat) for r in ran.measured}) == 60


def test_a_request_that_waited_for_its_retry_is_resumed(home: Home) -> None:
    """Killed in the back-off after a 503; the second attempt follows in the next part, and is the last there is."""
    answers = iter([error("503 No", "not now")] * 2)

    def answer(_: Seen) -> Iterable[bytes]:
        yield next(answers, streamed())

    with ScriptedGateway(answer) as gateway:
        hub = {"base_url": gateway.url, "api_key": "${HUB_API_KEY}"}
        retry = {"attempts": 2, "backoff": 60, "max_backoff": 60}
        env = {"HUB_API_KEY": KEY}
        config = home.config("m", gateway=hub, retry=retry, load={"mode": "closed", "concurrency": 1})
        started = home.start("run", config, env=env)
        killed(started.until(lambda: started.lines() == 1))
        ran = go_on(home, started.results, env=env).end()
    assert ran.code == 0, ran.err
    assert [(r.ticket.seq, r.segment, r.attempt, outcome_of(r)) for r in ran.run.records] == [
        (0, 0, 1, "http_error"),
        (0, 1, 2, "http_error"),
        (1, 1, 1, "ok"),
        (2, 1, 1, "ok"),
    ]
    assert ran.summary["models"]["m"]["outcomes"] == {"ok": 2, "http_error": 1}
