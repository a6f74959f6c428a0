"""Whole runs and their spans, as a user has them: the command, a gateway, a collector, and what arrives there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from home import KEY, Home, Ran, cold
from otlp_sink import Sink, Span, print_tree
from scripted_gateway import ScriptedGateway, Seen

from streambench.analysis.frames import SCALARS
from streambench.records.trace_ids import model_span_id

from .running import (
    CALLER,
    FORMED,
    QUICK_RETRY,
    TracedHome,
    answering,
    ids,
    ids_of_record,
    in_order,
    named,
    scripted,
    shape,
    spans_line,
    to,
    traced_home,
)

PARENT_TRACE, PARENT_SPAN = "a1" * 16, "b2" * 8
PARENT = f"00-{PARENT_TRACE}-{PARENT_SPAN}-01"


@dataclass(frozen=True)
class Traced:
    """A run, what its gateway saw and what its collector got."""

    ran: Ran
    seen: tuple[Seen, ...]
    sink: Sink

    @property
    def spans(self) -> tuple[Span, ...]:
        return self.sink.spans


def traced(home: Home, *arguments: str, busy: tuple[str, ...] = ("beta",), env: Any = None, **keys: Any) -> Traced:
    """A run of two models, one after another, below TRACEPARENT; of `busy` each model's first request is retried."""
    with Sink() as sink, ScriptedGateway(answering(*busy)) as gateway:
        keys = {"load": {"mode": "closed", "concurrency": 1}, "retry": QUICK_RETRY, **keys}
        config = home.config("alpha", "beta", gateway=scripted(gateway.url), **keys)
        ran = home.run(config, *arguments, env=to(sink, TRACEPARENT=PARENT) | (env or {}))
        return Traced(ran, tuple(gateway.seen), sink)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with traced_home(tmp_path_factory.mktemp("told")) as home:
        yield traced(home)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """One trace a request, and a span for each attempt."""
    with traced_home(tmp_path_factory.mktemp("apart")) as home:
        yield traced(home, "--otel-trace", "request", telemetry={"attempts": "always"})


# --- the tree


def test_the_tree(told: Traced) -> None:
    """As docs/telemetry.md draws it: run, model, request, and attempts where there were several."""
    assert told.ran.code == 0
    run = "streambench.run"
    alpha, beta = (run, "streambench.model alpha"), (run, "streambench.model beta")
    assert shape(told.spans) == {
        PARENT_TRACE: sorted(
            [
                (run,),
                alpha,
                beta,
                *[(*alpha, "chat alpha")] * 3,
                *[(*beta, "chat beta")] * 3,
                *[(*beta, "chat beta", "POST")] * 2,
            ]
        )
    }, print_tree(told.spans)


def test_every_span_arrived_once(told: Traced) -> None:
    """And the last line says so."""
    assert len(ids(told.spans)) == len(told.spans) == 11
    line = spans_line(told.ran)
    assert (line.ended, line.delivered, line.others) == (11, 11, {})


def test_kinds_and_status(told: Traced) -> None:
    """A request that won on its second attempt is no error; the attempt that failed is."""
    seen = Counter((span.name.split()[0], span.kind, span.status_code) for span in told.spans)
    assert seen == {
        ("streambench.run", "INTERNAL", "UNSET"): 1,
        ("streambench.model", "INTERNAL", "UNSET"): 2,
        ("chat", "CLIENT", "UNSET"): 6,
        ("POST", "CLIENT", "ERROR"): 1,
        ("POST", "CLIENT", "UNSET"): 1,
    }
    lost, won = named(told.spans, "POST")
    assert (lost.attributes["http.response.status_code"], lost.attributes["error.type"]) == (503, "503")
    assert (won.attributes["http.response.status_code"], won.attributes["http.request.resend_count"]) == (200, 1)


def test_the_ids_are_those_of_the_folder(told: Traced) -> None:
    """The run's in run.json, each request's and attempt's in records.jsonl."""
    trace = told.ran.run.header.trace
    assert trace is not None
    records = told.ran.run.records
    requests = {record.request_span_id for record in records}
    retried = {record.ticket.seq for record in records if record.attempt > 1}
    attempts = {record.span_id for record in records if record.ticket.seq in retried}
    assert {record.trace_id for record in records} == {trace.trace_id} == {PARENT_TRACE}
    assert {span.span_id for span in named(told.spans, "streambench.run")} == {trace.span_id}
    assert {span.span_id for span in named(told.spans, "chat")} == requests
    assert {span.span_id for span in named(told.spans, "POST")} == attempts
    assert {span.span_id for span in named(told.spans, "streambench.model")} == {
        model_span_id(trace, alias) for alias in ("alpha", "beta")
    }


def test_the_run_is_below_traceparent(told: Traced) -> None:
    """So a CI job's trace holds its benchmark."""
    (run,) = named(told.spans, "streambench.run")
    assert (run.trace_id, run.parent_id) == (PARENT_TRACE, PARENT_SPAN)


def test_every_span_says_whose_it_is(told: Traced) -> None:
    """Run, suite, and below the run its model."""
    header = told.ran.run.header
    for span in told.spans:
        assert span.attributes["streambench.run.id"] == span.resource["streambench.run.id"] == header.run_id
        assert span.attributes["streambench.suite.hash"] == header.suite["hash"]
        assert ("streambench.model" in span.attributes) is (span.name != "streambench.run")
        assert (span.scope.name, span.resource["service.name"]) == ("streambench", "streambench")


def test_one_trace_a_request(apart: Traced) -> None:
    """`--otel-trace request`: each starts a trace, linked to its model's and the run's span."""
    run, *_ = named(apart.spans, "streambench.run")
    models = {span.attributes["streambench.model"]: span for span in named(apart.spans, "streambench.model")}
    chats = named(apart.spans, "chat")
    assert len({span.trace_id for span in chats} - {run.trace_id}) == len(chats) == 6
    for chat in chats:
        assert chat.parent_id is None
        assert {link.attributes["streambench.link"]: (link.trace_id, link.span_id) for link in chat.links} == {
            "model": (run.trace_id, models[chat.attributes["streambench.model"]].span_id),
            "run": (run.trace_id, run.span_id),
        }
    assert (run.trace_id, run.parent_id) == (PARENT_TRACE, PARENT_SPAN)
    assert apart.ran.run.header.trace is not None
    assert apart.ran.run.header.trace.shape == "request"


def test_attempts_always(apart: Traced) -> None:
    """One below each request, two below the one that was retried."""
    below = Counter(span.parent_id for span in named(apart.spans, "POST"))
    assert below.keys() == {span.span_id for span in named(apart.spans, "chat")}
    assert sorted(below.values()) == [1, 1, 1, 1, 1, 2]


@pytest.mark.parametrize(("repeats", "chosen"), [(1000, "run"), (1001, "request")])
def test_auto_goes_by_the_number_of_requests(home: TracedHome, repeats: int, chosen: str) -> None:
    """1,000 planned requests are one trace, 1,001 are as many; this run stops after its first."""
    with Sink() as sink, ScriptedGateway(answering()) as gateway:
        config = home.config(
            "alpha",
            gateway=scripted(gateway.url),
            prompts=["Hi"],
            repeats=repeats,
            load={"mode": "closed", "concurrency": 1},
            budget={"requests": 1},
        )
        ran = home.run(config, env=to(sink))
    trace = ran.run.header.trace
    assert trace is not None
    assert (trace.shape, ran.run.header.requests_planned, len(gateway.seen)) == (chosen, repeats, 1)
    (chat,) = named(sink.spans, "chat")
    assert (chat.parent_id is None) is (chosen == "request")


# --- what the gateway is told


def carried(told: Traced) -> list[tuple[str, str, str]]:
    """Trace, span and flags of each traceparent that the gateway received, in order."""
    found = []
    for seen in told.seen:
        version, trace, span, flags = (seen.header("traceparent") or "").split("-")
        assert version == "00"
        found.append((trace, span, flags))
    return found


def test_traceparent_names_the_request_then_the_attempt(told: Traced) -> None:
    """The narrowest span that is sure to exist: the request's for a first attempt, after it the attempt's own."""
    assert carried(told) == [
        (record.trace_id, record.request_span_id if record.attempt == 1 else record.span_id, "01")
        for record in in_order(told.ran.run.records)
    ]
    assert {(trace, span) for trace, span, _ in carried(told)} <= ids(told.spans)


def test_traceparent_names_the_attempt_where_each_has_a_span(apart: Traced) -> None:
    """With `attempts: always`, also the first."""
    assert carried(apart) == [(record.trace_id, record.span_id, "01") for record in in_order(apart.ran.run.records)]
    assert {(trace, span) for trace, span, _ in carried(apart)} <= ids(named(apart.spans, "POST"))


def test_baggage_is_never_sent(told: Traced) -> None:
    """Nor a tracestate: there is nothing to carry."""
    names = {name.lower() for seen in told.seen for name, _ in seen.headers}
    assert names & {"baggage", "tracestate", "b3"} == set()


@pytest.mark.parametrize(
    ("arguments", "env", "telemetry"),
    [
        ((), {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {}),
        (("--telemetry", "off"), {}, {}),
        ((), {"OTEL_SDK_DISABLED": "true"}, {}),
        ((), {}, {"propagate": False}),
        ((), {"OTEL_TRACES_EXPORTER": "none"}, {}),
    ],
    ids=["nothing asked", "off", "disabled", "propagate: false", "no traces"],
)
def test_no_header_where_no_trace_goes_out(
    home: TracedHome, arguments: tuple[str, ...], env: dict[str, str], telemetry: dict[str, Any]
) -> None:
    """Or where it is switched off; even below a TRACEPARENT."""
    told = traced(home, *arguments, env=env, telemetry=telemetry)
    assert told.ran.code == 0
    assert [seen.header("traceparent") for seen in told.seen] == [None] * 7


def test_an_unsampled_parent_is_passed_on(home: TracedHome) -> None:
    """A TRACEPARENT that ends in -00: no span goes out, and the gateway is told so."""
    told = traced(home, env={"TRACEPARENT": PARENT[:-1] + "0"})
    assert told.spans == ()
    assert {flags for _, _, flags in carried(told)} == {"00"}
    assert spans_line(told.ran).others == {"not sampled": 11}


def test_a_propagator_without_its_package(tmp_path: Path) -> None:
    """One line that says what is wrong, exit 2, and no request."""
    home = Home(tmp_path, cold)
    with Sink() as sink, ScriptedGateway(answering()) as gateway:
        config = home.config("alpha", gateway=scripted(gateway.url))
        ran = home.run(config, env=to(sink, OTEL_PROPAGATORS="b3"))
    assert (ran.code, gateway.seen) == (2, [])
    (line,) = ran.err.splitlines()
    assert line.startswith("error: OTEL_PROPAGATORS: ")
    assert "b3" in line


# --- the same numbers as everywhere


def test_the_spans_frame_is_the_journals(home: TracedHome, hub: dict[str, Any]) -> None:
    """Built from what arrived at the sink, to the nanosecond: every metric that both carry, of every attempt."""
    with Sink() as sink:
        config = home.config(
            *("swift", "thinker", "flaky", "clumped", "cut"),
            CALLER,
            FORMED,
            gateway=hub,
            repeats=3,
            retry={"attempts": 2, "backoff": "20ms", "on": ["http_error"]},
            warmup={"requests": 1},
            telemetry={"attempts": "always"},
        )
        ran = home.run(config, env=to(sink))
    journal = ran.run.attempts.set_index("span_id").sort_index()
    posts = named(sink.spans, "POST")
    spans = pd.DataFrame(
        [{metric.column: span.attributes.get(str(metric.attribute)) for metric in SCALARS} for span in posts],
        index=pd.Index([span.span_id for span in posts], name="span_id"),
        dtype="float64",
    ).sort_index()
    assert len(posts) == len(journal) > 5 * 9 + 5
    assert list(spans.index) == list(journal.index)
    for metric in SCALARS:
        in_seconds, in_unit = spans[metric.column], journal[metric.column]
        if metric.unit == "ms":
            in_seconds, in_unit = in_seconds * 1e9, in_unit * 1e6
        # A mean (TPOT) ends in a half as well as in a whole nanosecond: what is left are the bits of two products.
        pd.testing.assert_series_equal(
            in_seconds, in_unit, rtol=1e-12, atol=1e-3, check_index_type=False, obj=metric.name
        )
        assert in_unit.notna().any() or metric.name == "response_time", metric.name
    starts = pd.Series({span.span_id: span.start_ns for span in posts}).sort_index()
    assert starts.tolist() == journal["started"].astype("int64").tolist()


# --- nothing asked for

ASKED_FOR_NOTHING = """
import sys
from streambench.cli.main import commands
code = commands(sys.argv[1:], standalone_mode=False)
print(code, [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""


def test_nothing_is_loaded_where_nothing_is_asked_for(tmp_path: Path) -> None:
    """A whole run, and the SDK is not even imported."""
    home = TracedHome(tmp_path)
    with ScriptedGateway(answering()) as gateway:
        config = home.config("alpha", gateway=scripted(gateway.url))
        arguments = ["run", config, "--quiet", "--output", str(tmp_path / "results")]
        done = in_process(ASKED_FOR_NOTHING, *arguments)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
    assert {name for seen in gateway.seen for name, _ in seen.headers if name.lower().startswith("trace")} == set()


def test_the_report_is_the_same(told: Traced, home: TracedHome) -> None:
    """Same table and files with and without; only numbers differ. Without, nothing is said of spans."""
    without = traced(home, "--telemetry", "off")
    assert without.sink.requests == 0
    assert "spans" not in without.ran.err
    assert table(without.ran) == table(told.ran)
    files = [{file.name for file in ran.folder.iterdir()} for ran in (without.ran, told.ran)]
    assert files[0] == files[1]


def table(ran: Ran) -> list[str]:
    """The table's lines without numbers and widths."""
    lines = ran.out.splitlines()
    return [" ".join(re.sub(r"[\d.,]+|[─━]+", "#", line).split()) for line in lines[: lines.index("", 1)]]


# --- a provider that is there already

INSTALLED = """
import json, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from streambench.cli.main import commands
kept, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
code = commands(sys.argv[1:], standalone_mode=False)
spans = [(s.name, f"{s.context.trace_id:032x}", f"{s.context.span_id:016x}") for s in kept.get_finished_spans()]
print(json.dumps([code, spans]))
"""


def test_an_installed_provider_is_used(tmp_path: Path) -> None:
    """It gets the spans, with the record's ids; the endpoint in the environment is its own affair."""
    home = TracedHome(tmp_path)
    with Sink() as sink, ScriptedGateway(answering("alpha")) as gateway:
        config = home.config("alpha", gateway=scripted(gateway.url), retry=QUICK_RETRY)
        arguments = ["run", config, "--output", str(tmp_path / "results")]
        done = in_process(INSTALLED, *arguments, OTEL_METRICS_EXPORTER="none", **to(sink))
    code, spans = json.loads(done.stdout.splitlines()[-1])
    ran = Ran(code, done.stdout, done.stderr, tmp_path / "results").check()
    assert code == 0
    assert {(trace, span) for _, trace, span in spans} == ids_of_record(ran)
    assert Counter(name for name, _, _ in spans) == {
        "streambench.run": 1,
        "streambench.model alpha": 1,
        "chat alpha": 3,
        "POST": 2,
    }
    assert "spans: 7 ended, passed to the installed tracer provider" in ran.err
    assert sink.span_count == 0
    assert all(seen.header("traceparent") for seen in gateway.seen)


def in_process(script: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command called from a program."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**clean, "HUB_API_KEY": KEY, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- a run in parts


def test_a_resumed_run_is_one_trace(home: TracedHome, hub: dict[str, Any]) -> None:
    """The second part's spans join the first's; the run's span is sent again, with the same id and the whole story."""
    with Sink() as sink:
        config = home.config(gateway=hub, repeats=12)
        started = home.start("run", config, env=to(sink))
        first = started.until(lambda: started.lines() >= 10).signal(signal.SIGINT).end()
        before = sink.spans
        again = home.start("resume", str(first.folder), env=to(sink))
        again.results = first.results
        second = again.end()
    assert (first.code, second.code) == (3, 0), second.err
    assert len({span.trace_id for span in sink.spans}) == 1
    early, late = named(before, "streambench.run"), named(sink.spans[len(before) :], "streambench.run")
    assert [span.span_id for span in early] == [span.span_id for span in late]
    assert early[0].attributes["streambench.run.status"] == "interrupted"
    assert (late[0].attributes["streambench.run.status"], late[0].attributes["streambench.resumed"]) == ("complete", 1)
    assert late[0].attributes["streambench.requests.ok"] == 72
    assert ids(sink.spans) == ids_of_record(second)
    chats = Counter(span.span_id for span in named(sink.spans, "chat"))
    assert set(chats.values()) == {1}
    segments = {span.attributes.get("streambench.segment") for span in named(sink.spans[len(before) :], "chat")}
    assert segments == {1}
