"""The command as users start it: a process, its exit code, what it prints, and the folder that it leaves.

Whatever a test runs, `Ran` also looks that no traceback was printed, and that neither the key nor a prompt is in any
byte of what was printed or written.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from home import KEY, MARK, MODELS, PROMPTS, ROOT, Home, Ran, until
from scripted_gateway import NO_END, ScriptedGateway, Seen, delta, error, sized, sse, streamed

from streambench.analysis.run import load
from streambench.config.load import load_config
from streambench.config.sections import Load, LoadMode
from streambench.metrics.definitions import first_arrival_ns
from streambench.metrics.outcomes import outcome_of
from streambench.records.schema import GENERATED, AttemptRecord
from streambench.runner.arrivals import offsets_ns
from streambench.simulator.process import SimulatorProcess
from streambench.testing import MS

# --- a run on the embedded gateway


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Two models, three prompts, two repeats given by `--set`, and a warm-up request for each model."""
    home = Home(tmp_path_factory.mktemp("healthy"))
    return home.run(home.config(name="harbour"), "--set", "repeats=2", "--set", "warmup.requests=1")


def test_a_healthy_run_exits_with_0(healthy: Ran) -> None:
    """All planned requests were answered: 2 models, 3 prompts, 2 repeats."""
    assert healthy.code == 0
    assert [outcome_of(record) for record in healthy.measured] == ["ok"] * 12
    assert healthy.run.end is not None
    assert healthy.run.end.status == "complete"


def test_it_leaves_its_files(healthy: Ran) -> None:
    """In a folder of the run's own, named after it."""
    names = {"run.json", "records.jsonl", "end.json", "summary.json", "summary.csv", "report.html"}
    assert {file.name for file in healthy.folder.iterdir()} == names
    assert healthy.folder.name.startswith("harbour-")
    assert healthy.run.warnings == ()


def test_the_table_is_printed(healthy: Ran) -> None:
    """On stdout: a row a model, and where the files are. What follows an empty line depends on the machine's load."""
    lines = healthy.out.splitlines()
    table = lines[: lines.index("", 1)]
    assert [line.split()[:3] for line in table if line.startswith(("swift", "steady"))] == [
        ["swift", "(simulated)", "6/6"],
        ["steady", "(simulated)", "6/6"],
    ]
    assert f"Files: {healthy.folder}" in lines


def test_simulated_models_are_marked_everywhere(healthy: Ran) -> None:
    """In the header, the summary, its table, and under the printed one."""
    assert healthy.run.header.simulated == ("swift", "steady")
    assert healthy.summary["simulated"] == ["swift", "steady"]
    assert [model["simulated"] for model in healthy.summary["models"].values()] == [True, True]
    rows = list(csv.DictReader(io.StringIO((healthy.folder / "summary.csv").read_text())))
    assert [(row["model"], row["simulated"]) for row in rows] == [("swift", "True"), ("steady", "True")]
    assert "swift, steady" in healthy.out


def test_the_summary_has_at_least_what_is_promised(healthy: Ran) -> None:
    """Its schema 1; a number that the sample cannot carry is null."""
    summary = healthy.summary
    assert summary["schema"] == 1
    assert summary["run_id"] == healthy.folder.name
    assert set(summary["client_lag_ms"]) >= {"p50", "p99", "max"}
    assert list(summary["models"]) == ["swift", "steady"]
    for model in summary["models"].values():
        assert model["requests"] == 6
        assert model["outcomes"] == {"ok": 6}
        for metric in ("ttft_ms", "chunk_gap_ms", "tpot_ms", "e2e_ms", "output_tok_s", "response_time_ms"):
            assert set(model["metrics"][metric]) >= {"n", "mean", "p50", "p90", "p95", "p99"}
        assert model["metrics"]["start_lag_ms"]["n"] == 6
        assert model["metrics"]["ttft_ms"]["p99"] is None
        assert model["usage"]["output"] == 48  # 6 answers of 8 tokens


def test_the_numbers_are_the_models(healthy: Ran) -> None:
    """TTFT 10 and 30 ms, gaps 2 and 3 ms; the bounds are generous, as this is no test of accuracy."""
    metrics = {name: model["metrics"] for name, model in healthy.summary["models"].items()}
    assert 10 <= metrics["swift"]["ttft_ms"]["p50"] < 20
    assert 30 <= metrics["steady"]["ttft_ms"]["p50"] < 45
    assert 1 < metrics["swift"]["chunk_gap_ms"]["p50"] < 3 < metrics["steady"]["e2e_ms"]["p50"]


def test_assertions_are_tried_at_the_end(home: Home) -> None:
    """Three answers of three prompts: `no: failed` holds, a median in 1 ms cannot be decided by so few; that is 4."""
    ran = home.run(home.config(**{"assert": {"no": ["failed"], "ttft_p50": "< 1ms"}}))
    assert ran.code == 4
    assert re.search(r"\b2 undecided \(swift, steady\), 2 held$", ran.out, re.MULTILINE)
    told = {(each["assertion"], each["model"]): each["decision"] for each in ran.summary["assertions"]}
    assert told["no: failed", "swift"] == "held"
    assert told["ttft_p50: < 1ms", "steady"] == "undecided"


def test_a_failed_assertion_is_1_and_names_its_model(home: Home) -> None:
    """Ten prompts carry an interval; quietly, only its line is on stderr."""
    prompts = [{"id": f"p{at}", "text": f"Tell me of {MARK}, part {at}."} for at in range(10)]
    ran = home.run(home.config(prompts=prompts, **{"assert": {"ttft_p50": "< 20ms"}}), "--quiet")
    assert ran.code == 1
    assert re.search(r"^error: .*\b1 failed \(steady\)", ran.err, re.MULTILINE)
    assert ran.out == f"{ran.folder}\n"


def test_warm_up_is_recorded_and_left_out(healthy: Ran) -> None:
    """One for each model, before all others."""
    warm = [record for record in healthy.run.records if record.ticket.phase == "warmup"]
    assert sorted(record.ticket.model for record in warm) == ["steady", "swift"]
    assert max(record.start_at_ns for record in warm) < min(record.start_at_ns for record in healthy.measured)
    assert [model["warmup"] for model in healthy.summary["models"].values()] == [1, 1]


def test_the_header_holds_what_the_run_was(healthy: Ran) -> None:
    """With the overrides, and no prompt."""
    header = healthy.run.header
    assert (header.name, header.seed, header.requests_planned) == ("harbour", 7, 12)
    assert header.config["repeats"] == 2
    assert header.suite["prompts"] == 3
    assert header.versions["streambench"]


def test_every_model_gets_every_prompt_equally_often(healthy: Ran) -> None:
    """Each (model, prompt, repeat) exactly once."""
    got = Counter((r.ticket.model, r.ticket.prompt_id, r.ticket.repeat) for r in healthy.measured)
    assert set(got.values()) == {1}
    assert len(got) == 2 * 3 * 2


def test_models_are_interleaved_in_time(healthy: Ran) -> None:
    """Requests start in the plan's order, block by block, and a block is one (prompt, repeat) for every model."""
    tickets = [record.ticket for record in healthy.measured]
    assert [ticket.seq for ticket in tickets] == sorted(ticket.seq for ticket in tickets)
    assert [ticket.block for ticket in tickets] == [block for block in range(6) for _ in range(2)]
    for first, second in zip(tickets[::2], tickets[1::2], strict=True):
        assert (first.prompt_id, first.repeat) == (second.prompt_id, second.repeat)
        assert {first.model, second.model} == {"swift", "steady"}


@pytest.fixture(scope="module")
def as_json(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The same plan once more."""
    home = Home(tmp_path_factory.mktemp("json"))
    return home.run(home.config(name="harbour", repeats=2, warmup={"requests": 1}), "--json")


def test_the_same_seed_is_the_same_plan(healthy: Ran, as_json: Ran) -> None:
    """Ticket by ticket."""
    assert [record.ticket for record in as_json.measured] == [record.ticket for record in healthy.measured]


def test_json_prints_the_summary(as_json: Ran) -> None:
    """And nothing else on stdout."""
    assert as_json.code == 0
    assert json.loads(as_json.out) == as_json.summary


def test_quiet_prints_the_folder(home: Home) -> None:
    """And nothing else anywhere; several `--set` and an `--output` hold."""
    ran = home.run(home.config(), "--quiet", "--set", "models=[swift]", "--set", "prompts=[Hello there]")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{ran.folder}\n"
    assert len(ran.measured) == 1


def test_another_seed_is_another_order(healthy: Ran, home: Home) -> None:
    """With the same requests."""
    ran = home.run(home.config(repeats=2), "--set", "seed=8", "--quiet")
    plans = [[(r.ticket.model, r.ticket.prompt_id, r.ticket.repeat) for r in one.measured] for one in (healthy, ran)]
    assert plans[0] != plans[1]
    assert sorted(plans[0]) == sorted(plans[1])


# --- bad input


def told_once(ran: Ran, *parts: str) -> None:
    """Exit code 2, one line, nothing else, no folder."""
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line
    assert not ran.results.exists()


REAL = {"base_url": "https://gateway.example/v1", "api_key": "${HUB_API_KEY}"}


def test_a_missing_variable(home: Home) -> None:
    """Its name, and how to set it."""
    told_once(home.run(home.config(gateway=REAL)), "config.yaml:3", "gateways.hub.api_key", "export HUB_API_KEY=")


def test_a_mistyped_key(home: Home) -> None:
    """The nearest right one."""
    told_once(home.run(home.config(repeat=2)), "config.yaml:", "repeat: ", "`repeats`")


def test_all_that_is_wrong_at_once(home: Home) -> None:
    """A line each."""
    ran = home.run(home.config(gateway=REAL, repeat=2, seed=-1), "--set", "load.mode=fast")
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 4


def test_an_empty_suite(home: Home) -> None:
    """No prompts, no run."""
    (home.folder / "empty.yaml").write_text("prompts: []\n")
    told_once(home.run(home.config(prompts=None, suite="empty.yaml")), "empty.yaml", "prompts")


BAD_SCHEMA = {"type": "object", "properties": {"city": {"type": "strng"}}}


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": BAD_SCHEMA}}]}, "function.parameters"),
        ({"functions": [{"name": "f", "parameters": BAD_SCHEMA}]}, "functions.0.parameters"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": BAD_SCHEMA}}},
            "response_format.json_schema.schema",
        ),
    ],
)
def test_a_schema_that_is_none(home: Home, params: dict[str, Any], where: str) -> None:
    """Of a prompt and of a model: its place, what stood there, and what may."""
    told = (f"{where}.properties.city.type", "`string`", "'strng'", "boolean")
    prompts = [{"text": "Hi", "params": params}]
    told_once(home.run(home.config(prompts=prompts)), "config.yaml:", "prompts.0.params.", *told)
    model = {"model": "swift", "params": params}
    told_once(home.run(home.config(model)), "config.yaml:", "models.0.params.", *told)


def test_a_missing_file(home: Home) -> None:
    """Named."""
    told_once(home.run("nowhere.yaml"), "nowhere.yaml")


def test_a_bad_models_file(home: Home) -> None:
    """What the embedded gateway says of it."""
    home.models.write_text("models: {swift: {ttft: 3}}")
    told_once(home.run(home.config("swift"), "--quiet"), "models.yaml:1", "models.swift.ttft", "ttft_ms")


def test_fewer_requests_than_models(home: Home) -> None:
    """Nothing could be compared."""
    told_once(home.run(home.config(limits={"requests": 1})), "limits.requests", "found 1", "2")


def test_an_output_that_cannot_be_written(home: Home) -> None:
    """A file is in the way."""
    (home.folder / "taken").write_text("")
    told_once(home.run(home.config(), "--quiet", "--output", "taken/results"), "taken/results", "--output")


def test_a_bad_option(home: Home) -> None:
    """What there is instead."""
    ran = home.run(home.config(), "--sett", "seed=1")
    assert ran.code == 2
    assert "--set" in ran.err


# --- gateways that fail


def test_a_dead_host(home: Home) -> None:
    """Every request is recorded as refused: 1."""
    ran = home.run(home.config(gateway={"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}))
    assert ran.code == 1
    assert [outcome_of(record) for record in ran.measured] == ["connect_error"] * 6
    assert re.search(r"3 of 3 +connect_error +refused: 127\.0\.0\.1:9", ran.out)
    assert ran.summary["simulated"] == []


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A gateway that asks for `KEY`."""
    models = tmp_path_factory.mktemp("locked") / "models.yaml"
    models.write_text(f"api_key: {KEY}\n{MODELS}")
    with SimulatorProcess(models) as process:
        yield {"base_url": process.base_url(), "api_key": "${HUB_API_KEY}"}


def test_a_wrong_key(home: Home, locked: dict[str, Any]) -> None:
    """One 401 a lane, and no more is sent: 3, and the variable is named; the key that was tried is nowhere either."""
    ran = home.run(home.config(gateway=locked), env={"HUB_API_KEY": "guess-4711-guess"})
    incomplete(ran, "key_refused")
    assert [record.status for record in ran.measured] == [401] * 2
    assert re.search(r"http_error +401 invalid_api_key: ", ran.out)
    reason = ran.summary["reason"]
    assert "HUB_API_KEY (401)" in reason
    assert reason in ran.err
    assert reason in ran.out
    left = b"".join(file.read_bytes() for file in ran.folder.iterdir())
    assert "guess-4711" not in ran.out + ran.err + left.decode()


def test_a_wrong_key_that_is_to_be_measured(home: Home, locked: dict[str, Any]) -> None:
    """With the breaker off it is a failure as any other: 401 for every request, 1."""
    config = home.config(gateway=locked, breakers={"key_refused": False})
    ran = home.run(config, env={"HUB_API_KEY": "guess-4711-guess"})
    assert ran.code == 1
    assert [record.status for record in ran.measured] == [401] * 6


def test_an_unknown_model(home: Home, locked: dict[str, Any]) -> None:
    """Its failure is its own: the others are measured, and the exit code is 1."""
    ran = home.run(home.config("swift", "sweft", gateway=locked), env={"HUB_API_KEY": KEY})
    assert ran.code == 1
    outcomes = {name: model["outcomes"] for name, model in ran.summary["models"].items()}
    assert outcomes == {"swift": {"ok": 3}, "sweft": {"ok": 0, "http_error": 3}}
    assert re.search(r"sweft +3 of 3 +http_error +404 model_not_found: ", ran.out)
    assert ran.summary["simulated"] == []


def test_a_model_that_fails_now_and_then_is_no_failure(home: Home) -> None:
    """Exit code 0: some of its answers were good."""
    with ScriptedGateway(_every_other()) as gateway:
        ran = home.run(home.config("m", gateway={"base_url": gateway.url, "api_key": "none"}), "--set", "repeats=2")
    assert ran.code == 0
    assert ran.summary["models"]["m"]["outcomes"] == {"ok": 3, "http_error": 3}


def _every_other() -> Callable[[Seen], Iterable[bytes]]:
    answers = iter([streamed(), error("500 No", "not now")] * 3)
    return lambda _: [next(answers)]


def test_echoes_are_hidden(home: Home) -> None:
    """A gateway that repeats the request, key and all, wherever it can: `Ran.check` looks for it everywhere."""

    def echo(seen: Seen) -> Iterable[bytes]:
        said = f"{seen.header('authorization')} sent {seen.body.decode()}"
        key = f"x-request-id: {KEY}"
        text = seen.json["messages"][0]["content"]
        answers = {
            "json": error("400 Bad Request", said, key, code=KEY),
            "nested": error("400 Bad Request", json.dumps({"error": said})),
            "text": sized("500 No", said.encode(), key, content_type=f"text/{KEY}"),
            "html": sized("200 OK", f"<title>{said}</title>".encode(), content_type="text/html"),
            "whole": sized("200 OK", json.dumps({"error": said}).encode()),
            "answer": sized("200 OK", json.dumps({"choices": [{"message": {"content": text}}]}).encode()),
            "frame": streamed(sse(delta(text), {"error": {"message": said, "type": KEY}}), key),
            "torn": streamed(sse(delta(text), said, '{"id": "' + said)),
            "talk": streamed(sse(delta(text, model=KEY, id=KEY), delta(finish_reason="stop"), "[DONE]")),
            "moved": sized("307 Temporary Redirect", b"", f"location: /x?key={KEY}"),
        }
        yield answers[seen.json["model"]]

    models = ("json", "nested", "text", "html", "whole", "answer", "frame", "torn", "talk", "moved")
    with ScriptedGateway(echo) as gateway:
        hub = {"base_url": gateway.url, "api_key": "${HUB_API_KEY}"}
        ran = home.run(home.config(*models, gateway=hub), env={"HUB_API_KEY": KEY})
    assert KEY.encode() in b"".join(str(seen.headers).encode() for seen in gateway.seen)
    outcomes = {record.ticket.model: outcome_of(record) for record in ran.measured}
    assert outcomes == {
        **dict.fromkeys(("json", "nested", "text", "moved"), "http_error"),
        **dict.fromkeys(("html", "whole", "answer"), "not_a_stream"),
        "frame": "stream_error",
        "torn": "malformed",
        "talk": "ok",
    }
    assert "[prompt]" in ran.out
    assert "***" in ran.out


def test_a_gateway_that_rejects_stream_options(home: Home) -> None:
    """The warm-up finds out; the run goes on without, and the user is told what to set."""
    home.models.write_text("models: {strict: {ttft_ms: 10, gap_ms: 2, tokens: 8, accepts_stream_options: false}}")
    ran = home.run(home.config("strict", warmup={"requests": 1}))
    assert ran.code == 0
    assert [(outcome_of(record), record.usage_refused) for record in ran.measured] == [("ok", True)] * 3
    assert "strict" in ran.err
    assert "include_usage: false" in ran.err


# --- ends before the end


def incomplete(ran: Ran, status: str) -> None:
    """Exit code 3, the table, and every request that was sent is recorded."""
    assert ran.code == 3
    assert ran.run.end is not None
    assert ran.run.end.status == ran.summary["status"] == status
    records = ran.measured
    assert f"{len(records)} of {ran.run.header.requests_planned} requests" in ran.out
    assert [record.ticket.seq for record in records] == list(range(len(records)))
    assert 0 < len(records) < ran.run.header.requests_planned


def simulators(models: Path) -> list[int]:
    """The ids of the simulator processes of a models file."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended while we looked
            continue
        if str(models).encode() in words and b"streambench.simulator" in words:
            found.append(int(process.name))
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_interrupt_drains(home: Home, number: signal.Signals) -> None:
    """What is under way is waited for and kept; nothing more is sent."""
    started = home.start("run", home.config("steady", repeats=1000))
    ran = started.until(lambda: started.lines() > 3).signal(number).end()
    incomplete(ran, "interrupted")
    assert {outcome_of(record) for record in ran.measured} == {"ok"}
    assert re.search(r"^stopping: ", ran.err, re.MULTILINE)
    assert f"streambench resume {ran.folder}" in ran.out


def test_a_second_interrupt_breaks_off(home: Home) -> None:
    """Two streams that never end are cancelled, and keep what had come of them."""
    begun = []

    def answer(seen: Seen) -> Iterable[bytes]:
        yield NO_END + sse(delta("Hel"), delta("lo"))
        begun.append(seen)
        seen.gone()

    with ScriptedGateway(answer) as gateway:
        hub = {"base_url": gateway.url, "api_key": "none"}
        started = home.start("run", home.config("m", gateway=hub)).until(lambda: len(begun) == 2)
        started.signal(signal.SIGINT).until(lambda: "2 requests in flight" in started.err)
        ran = started.signal(signal.SIGINT).end()
    incomplete(ran, "interrupted")
    assert [outcome_of(record) for record in ran.measured] == ["cancelled"] * 2
    assert [record.timeline.kind for record in ran.measured] == ["cc", "cc"]


@linux
def test_an_interrupt_while_it_starts(home: Home) -> None:
    """One word, exit code 3, no folder, and no simulator left behind."""
    started = home.start("run", home.config())
    ran = started.until(lambda: bool(simulators(home.models))).signal(signal.SIGINT).end()
    assert (ran.code, ran.out, ran.err.strip()) == (3, "", "interrupted")
    assert not ran.results.exists()
    until(lambda: not simulators(home.models))  # one that was still being started ends when it finds its parent gone


@linux
def test_a_kill_loses_nothing_that_was_written(home: Home) -> None:
    """Every line can be read, the end is unknown, and the simulator goes with its parent."""
    started = home.start("run", home.config("steady", repeats=1000))
    started.until(lambda: started.lines() > 3).signal(signal.SIGKILL).process.wait()
    run = load(next(started.results.iterdir()))
    assert len(run.records) > 3
    assert run.warnings == ()
    assert run.end is None
    until(lambda: not simulators(home.models))


def test_the_time_limit(home: Home) -> None:
    """No request starts after it; those under way are waited for."""
    ran = home.run(home.config("steady", repeats=1000, limits={"duration": "300ms"}))
    incomplete(ran, "duration_limit")
    run = ran.run
    assert run.end is not None
    assert run.end.measure_started_at_ns is not None
    last = ran.measured[-1].start_at_ns - run.end.measure_started_at_ns
    assert last <= 310 * MS
    assert {outcome_of(record) for record in ran.measured} == {"ok"}


def test_the_request_limit(home: Home) -> None:
    """5 of 6 allowed, two models: two whole blocks; said on stderr; the plan is complete as it was cut: 0."""
    ran = home.run(home.config(limits={"requests": 5}))
    assert ran.code == 0
    assert Counter(record.ticket.block for record in ran.measured) == {0: 2, 1: 2}
    assert re.search(r"limits\.requests .*\b2 of 6\b", ran.err)


def test_a_full_disk(home: Home) -> None:
    """No file may pass 16 kB: one line, exit code 3, and what was written before can be read."""
    ran = home.run(home.config(repeats=1000), file_limit=16_384)
    assert ran.code == 3
    (line,) = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert "records.jsonl" in line
    assert os.strerror(errno.EFBIG) in line
    run = ran.run
    assert f"its {len(run.records)} records" in line
    assert len(run.records) > 5
    assert run.warnings == ()
    assert f"{len(run.records)} of {run.header.requests_planned}" in ran.out


# --- open loops and caps


def due_ns(ran: Ran) -> list[int]:
    """When each request was due, from the start of the measured phase."""
    end = ran.run.end
    assert end is not None
    assert end.measure_started_at_ns is not None
    started = end.measure_started_at_ns
    return sorted(record.scheduled_at_ns - started for record in ran.measured)


@pytest.mark.parametrize("mode", ["constant", "poisson"])
def test_an_open_loop_keeps_its_schedule(home: Home, mode: LoadMode) -> None:
    """20 requests at 50 a second, though each takes 300 ms: due as planned, sent within a few ms of it."""
    ran = home.run(home.config("slow", prompts=PROMPTS[:1], repeats=20, load={"mode": mode, "rate": 50}))
    assert ran.code == 0
    assert due_ns(ran) == list(offsets_ns(Load(mode, rate=50), 20, 7) or ())
    lags_ms = [(record.start_at_ns - record.scheduled_at_ns) / MS for record in ran.measured]
    assert min(lags_ms) >= 0
    assert fmean(lags_ms) < 20
    assert ran.summary["models"]["slow"]["metrics"]["start_lag_ms"]["mean"] == pytest.approx(fmean(lags_ms))
    assert most_at_once(ran.measured) > 5


def most_at_once(records: Sequence[AttemptRecord]) -> int:
    """Requests under way together, at most."""
    starts = [(record.start_at_ns, 1) for record in records]
    ends = [(record.start_at_ns + record.ended_ns, -1) for record in records]
    under_way = most = 0
    for _, change in sorted([*starts, *ends]):
        under_way += change
        most = max(most, under_way)
    return most


def ttfts_ms(records: Iterable[AttemptRecord]) -> list[float]:
    return [(first_arrival_ns(record.timeline, GENERATED) or 0) / MS for record in records]


def test_requests_a_minute_are_capped(home: Home) -> None:
    """300 a minute are 5 a second: 12 take two seconds, most of it in the queue and none of it in the TTFT."""
    hub = {"base_url": "embedded", "models": "models.yaml", "limits": {"requests_per_minute": 300}}
    ran = home.run(home.config(gateway=hub, repeats=2))
    starts = [record.start_at_ns for record in ran.measured]
    assert len(starts) == 12
    assert all(later - earlier > 950 * MS for earlier, later in zip(starts, starts[5:], strict=False))
    queued_ms = [record.queue_ns / MS for record in ran.measured]
    assert max(queued_ms) > 500
    assert sum(queued_ms) > 1_500
    assert max(ttfts_ms(ran.measured)) < 300


def test_parallel_requests_are_capped(home: Home) -> None:
    """Six lanes, two allowed by the model: the others wait in the queue, none of it in the TTFT."""
    model = {"model": "steady", "limits": {"max_concurrency": 2}}
    ran = home.run(home.config(model, repeats=4, load={"mode": "closed", "concurrency": 6}))
    assert len(ran.measured) == 12
    assert most_at_once(ran.measured) == 2
    assert sum(record.queue_ns > 40 * MS for record in ran.measured) >= 8  # an answer takes 30 + 8 * 3 ms
    assert max(ttfts_ms(ran.measured)) < 54 + 30


def test_lanes_are_kept_full(home: Home) -> None:
    """Three lanes: three under way at any time, the next starts when one ends."""
    ran = home.run(home.config(repeats=6, load={"mode": "closed", "concurrency": 3}))
    assert most_at_once(ran.measured) == 3
    assert [record.queue_ns for record in ran.measured] == [0] * 36


# --- the configs that come with it


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_our_configs_load(path: Path) -> None:
    """With the variables set that they name."""
    env = {"HUB_API_KEY": KEY, "STREAMBENCH_TEST_KEY": KEY, "STREAMBENCH_TEST_URL": "http://127.0.0.1:4000/v1"}
    assert load_config(path, env=env).models


def test_the_quick_start_runs(home: Home) -> None:
    """As the README has it; four models, 36 requests each, all well, with the delays of the models file."""
    ran = home.run(str(ROOT / "configs" / "quickstart.yaml"))
    assert ran.code == 0
    models = ran.summary["models"]
    assert list(models) == ["sim-swift", "sim-steady", "sim-thinker", "sim-bursty"]
    assert [model["outcomes"] for model in models.values()] == [{"ok": 36}] * 4
    steady = models["sim-steady"]["metrics"]
    assert 170 < steady["ttft_ms"]["p50"] < 200  # normal, mean 180, sd 15
    assert 19 < steady["chunk_gap_ms"]["p50"] < 22  # constant 20
