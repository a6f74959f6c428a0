"""Runs whose collector is not there, refuses, dies or hangs: nothing of the run changes, and each span is told of."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from home import Ran
from otlp_sink import Behaviour, Sink
from scripted_gateway import ScriptedGateway, Seen

from .running import (
    TracedHome,
    answering,
    ids,
    ids_of_record,
    named,
    scripted,
    spans_line,
    to,
    traced_home,
)

SPANS = 2 + 6 + 1
"""Of a run of two models and three prompts."""
ENDS_WITHIN_S = 25.0
"""Generous; a collector that hangs would hold a program for good."""


def play(
    home: TracedHome, endpoint: Sink | str, *arguments: str, on: Callable[[int], None] | None = None, **keys: Any
) -> tuple[Ran, ScriptedGateway]:
    """Traces alone. `on` is called with each request's number, from 1, before the gateway answers it."""
    answer = answering()

    def told(seen: Seen) -> Iterable[bytes]:
        if on is not None:
            on(len(gateway.seen))
        return answer(seen)

    with ScriptedGateway(told) as gateway:
        keys = {"load": {"mode": "closed", "concurrency": 1}, **keys}
        config = home.config("alpha", "beta", gateway=scripted(gateway.url), **keys)
        return home.run(config, *arguments, env=to(endpoint, OTEL_METRICS_EXPORTER="none")), gateway


# --- no collector


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TracedHome, Ran]]:
    """A run that was to send to a port where nobody listens."""
    with traced_home(tmp_path_factory.mktemp("alone")) as home:
        with Sink() as gone:
            endpoint = gone.endpoint
        yield home, play(home, endpoint)[0]


def test_without_a_collector_the_run_is_as_ever(alone: tuple[TracedHome, Ran]) -> None:
    """Exit 0, the table, every file."""
    _, ran = alone
    assert ran.code == 0
    assert {file.name for file in ran.folder.iterdir()} == {
        *("run.json", "records.jsonl", "report.html", "end.json", "summary.json", "summary.csv")
    }
    rows = [line.split()[:2] for line in ran.out.splitlines() if line.startswith(("alpha  ", "beta  "))]
    assert rows == [["alpha", "3/3"], ["beta", "3/3"]]


def test_one_warning_and_the_honest_line(alone: tuple[TracedHome, Ran]) -> None:
    """What is wrong, once and first; at the end what was lost, and the command that sends it."""
    _, ran = alone
    warning, progress, spans, later = ran.err.splitlines()
    assert warning.startswith("warning: telemetry: http://127.0.0.1:")
    line = spans_line(ran)
    assert (line.ended, line.delivered, sum(line.others.values())) == (SPANS, 0, SPANS)
    assert progress.startswith("[")
    assert spans.startswith("spans: ")
    assert later.strip() == f"send them with: streambench export {ran.folder} --to otlp"


def test_export_sends_what_could_not_go(alone: tuple[TracedHome, Ran]) -> None:
    """All of it, with the ids of the record; a second time too, and then no id is new."""
    home, ran = alone
    with Sink() as sink:
        for times in (1, 2):
            exported = home.export(ran, sink)
            assert (exported.code, spans_line(exported).delivered) == (0, SPANS), exported.err
            assert len(sink.spans) == SPANS * times
            assert ids(sink.spans) == ids_of_record(ran)
    once, again = sink.spans[:SPANS], sink.spans[SPANS:]
    assert [(one.name, one.attributes, one.events) for one in once] == [
        (one.name, one.attributes, one.events) for one in again
    ]
    assert sink.metrics == ()


def test_export_is_what_went_out_live(home: TracedHome) -> None:
    """The same spans in every part, but for the process that sent them."""
    with Sink() as live, Sink() as later:
        ran, _ = play(home, live)
        assert home.export(ran, later).code == 0

    def plain(sink: Sink) -> dict[str, Any]:
        return {
            one.span_id: (one.name, one.kind, one.parent_id, one.start_ns, one.end_ns, one.attributes, one.events)
            for one in sink.spans
        }

    assert plain(live) == plain(later)
    assert len(live.spans) == SPANS


@pytest.mark.parametrize("telemetry", ["off", "auto"])
def test_export_of_a_killed_run(home: TracedHome, hub: dict[str, Any], telemetry: str) -> None:
    """It has its whole tree all the same, whatever had been sent; its run's span says that it is unfinished."""
    with Sink() as sink:
        config = home.config(gateway=hub, repeats=12)
        started = home.start("run", config, "--telemetry", telemetry, env=to(sink))
        killed = started.until(lambda: started.lines() >= 10).signal(signal.SIGKILL).end()
        sent_live = ids(sink.spans)
        exported = home.export(killed, sink)
    assert (killed.code, exported.code) == (-signal.SIGKILL, 0)
    assert killed.run.end is None
    assert ids(sink.spans) == ids_of_record(killed) >= sent_live
    (run,) = named(sink.spans, "streambench.run")
    assert (run.attributes["streambench.run.status"], run.status_code) == ("unfinished", "ERROR")


def test_export_to_nobody(alone: tuple[TracedHome, Ran]) -> None:
    """One line, exit 2."""
    home, ran = alone
    with Sink() as gone:
        gone.stop()
        again = home.export(ran, gone)
    assert again.code == 2
    (line,) = again.err.splitlines()
    assert gone.endpoint in line


# --- required


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [(None, "refuses connections"), (Behaviour(status=401), "401"), (Behaviour(status=404), "404")],
    ids=["dead", "401", "404"],
)
def test_required_and_not_there(home: TracedHome, behaviour: Behaviour | None, says: str) -> None:
    """Exit 2 before anything is paid for: the gateway saw no request, no folder is left."""
    with Sink(behaviour=behaviour or Behaviour()) as sink:
        if behaviour is None:
            sink.stop()
        ran, gateway = play(home, sink, "--telemetry", "required")
    assert (ran.code, gateway.seen) == (2, [])
    (line,) = ran.err.splitlines()
    assert line.startswith("error: telemetry: ")
    assert says in line
    assert not ran.results.exists()


def test_required_by_the_config(home: TracedHome) -> None:
    """`telemetry: {required: true}` is the flag."""
    with Sink(behaviour=Behaviour(status=401)) as sink:
        ran, gateway = play(home, sink, telemetry={"required": True})
    assert (ran.code, gateway.seen) == (2, [])


@pytest.mark.parametrize(("mode", "code"), [("required", 3), ("auto", 0)])
def test_a_collector_that_dies_mid_run(home: TracedHome, mode: str, code: int) -> None:
    """The run goes on to its end; only where it was required the exit code tells."""
    with Sink() as sink:
        ran, gateway = play(
            home, sink, "--telemetry", mode, on=lambda n: sink.stop() if n == 3 else None, telemetry={"deadline": 2}
        )
    assert (ran.code, len(gateway.seen)) == (code, 6)
    line = spans_line(ran)
    assert line.ended == SPANS == line.delivered + sum(line.others.values())
    assert line.delivered == len(ids(sink.spans))
    assert f"streambench export {ran.folder} --to otlp" in ran.err


def test_required_and_delivered(home: TracedHome) -> None:
    """Exit 0."""
    with Sink() as sink:
        ran, _ = play(home, sink, "--telemetry", "required")
    assert (ran.code, spans_line(ran).delivered, sink.span_count) == (0, SPANS, SPANS)


# --- a collector in trouble


@pytest.mark.parametrize(
    ("fault", "whole"),
    [
        ({"status": 503}, True),
        ({"status": 503, "retry_after_s": 1}, True),
        ({"close": True}, None),
        ({"status": 401}, None),
    ],
    ids=["503 for a while", "Retry-After", "closes", "401 for a while"],
)
def test_a_collector_in_trouble(home: TracedHome, fault: dict[str, Any], whole: bool | None) -> None:  # noqa: FBT001
    """From the first request on, for one export: what is retried arrives, all is counted, the exit code stays."""

    def on(number: int) -> None:
        if number == 1:
            sink.behaviour = Behaviour(**fault, first=sink.requests + 1)

    with Sink() as sink:
        ran, gateway = play(home, sink, on=on)
    assert (ran.code, len(gateway.seen)) == (0, 6)
    line = spans_line(ran)
    assert line.ended == SPANS == line.delivered + sum(line.others.values())
    assert line.delivered <= len(ids(sink.spans)) <= SPANS
    if whole:
        assert (line.delivered, line.others) == (SPANS, {})


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_collector_that_hangs(home: TracedHome, protocol: Any) -> None:
    """The command ends all the same, soon after its deadline, and says what was not sent."""

    def on(number: int) -> None:
        if number == 1:
            sink.behaviour = Behaviour(hang=True)

    with Sink(protocol) as sink:
        before = time.monotonic()
        choice = "grpc" if protocol == "grpc" else "http/protobuf"
        ran, _ = play(home, sink, on=on, telemetry={"deadline": 1, "protocol": choice})
        took_s = time.monotonic() - before
    assert ran.code == 0
    line = spans_line(ran)
    assert (line.ended, line.delivered, sum(line.others.values())) == (SPANS, 0, SPANS)
    assert took_s < ENDS_WITHIN_S
