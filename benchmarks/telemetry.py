"""What telemetry costs the event loop, what becomes of a run's spans, and when the process is gone.

    python benchmarks/telemetry.py [--only NAME] [--spans 20000] [--pairs 3] [--seconds 12]

First table: whole runs against the embedded simulator at a constant rate, without and with telemetry (traces and
metrics, by http, to a collector in another process), in turns, each in a process of its own.

late      how much later than it was due a timer of our event loop ran; one is due each 5 ms of the measured phase
CPU       user and system time of the run's process, from the loop's start to the run's end, per request

Second table: what is delivered, by http and by gRPC. Each row is a process of its own that emits its spans as fast as
it can and closes with the default deadline; the collector is a real server in another process, and counts what it
holds. Holding back is what a run does: no new span while the pressure is over 0.75.

arrived   different spans that the collector holds at the end: a check on what the sender believes
pressure  the worst seen while emitting: the share of the queue, or of the deadline that sending it would take
emit s    until the last span was handed over
exit s    from there until the process is gone (goal: the deadline, plus what an interpreter takes to end)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench.config.sections import Load

HOUSE = Path(__file__).resolve().parent.parent
SINK = HOUSE / "tests" / "telemetry" / "small_sink.py"
DEADLINE_S = 10.0
SLACK_S = 1.5
HOLD_BACK = 0.75
LOOP = "loop"
RATE = 100.0
CHUNKS = 50
LOOK_NS = 5_000_000
LATER = 1.5
PROTOCOLS = ("http", "grpc")


@dataclass(frozen=True, slots=True)
class Case:
    """A collector, as arguments of the sink; None where nothing listens. `all_arrive`: a lost span is a goal missed."""

    name: str
    sink: Sequence[str] | None
    all_arrive: bool
    hold_back: bool = False


CASES = (
    Case("good, a burst", (), all_arrive=True),
    Case("half a second an answer, holding back", ("--delay", "0.5"), all_arrive=True, hold_back=True),
    Case("refuses connections", None, all_arrive=False),
    Case("hangs", ("--hang",), all_arrive=False),
    Case("answers 401", ("--status", "401"), all_arrive=False),
)


# --- the sender, in a process of its own


def _drive(url: str, protocol: str, spans: int, *, hold_back: bool) -> None:
    from streambench.telemetry.pipeline import open_pipeline
    from streambench.telemetry.settings import Endpoint, TelemetrySettings

    http = protocol == "http"
    to = Endpoint(url + "/v1/traces" if http else url, "http/protobuf" if http else "grpc", "benchmark", insecure=True)
    pipeline = open_pipeline(TelemetrySettings("otlp", traces_to=to), run_id="benchmark", version="0")
    began = time.monotonic()
    worst = 0.0
    for number in range(spans):
        while hold_back and pipeline.pressure > HOLD_BACK:
            time.sleep(0.01)
        pipeline.emit(_request(number))
        worst = max(worst, pipeline.pressure)
    emitted = time.monotonic()
    found = pipeline.close(DEADLINE_S)
    row = {name: getattr(found, name) for name in ("ended", "delivered", "failed", "lost", "last_error")}
    times = {"emit_s": emitted - began, "close_s": time.monotonic() - emitted, "emitted": emitted}
    print(json.dumps({**row, **times, "pressure": worst}), flush=True)


def _request(number: int) -> Any:
    """A request's span as a run makes it: some 45 attributes and two events."""
    from streambench.telemetry.span_model import EventFacts, SpanFacts, SpanId

    start_ns = 1_790_000_000_000_000_000 + number * 10_000_000
    texts = {f"streambench.text.{each}": f"a value of {each} and {number}" for each in range(20)}
    numbers = {f"streambench.chunk.gap.{each}_s": number / (each + 3) for each in range(25)}
    events = tuple(EventFacts(f"streambench.event.{each}", start_ns + each, {"index": each}) for each in range(2))
    return SpanFacts(
        "chat some-model",
        "client",
        SpanId(f"{number + 1:032x}", f"{number + 1:016x}"),
        None,
        start_ns,
        start_ns + 1_000_000_000,
        {**texts, **numbers},
        events,
    )


# --- the event loop: a run, in a process of its own


def _drive_run(url: str | None, seconds: float) -> None:
    """Runs once, with telemetry where there is a URL to send it to, and prints how late the loop was."""
    from streambench.analysis.run import load
    from streambench.clock import MonotonicClock, process_cpu_ns
    from streambench.config.load import load_config
    from streambench.records.trace_ids import new_run_trace
    from streambench.report.live import Progress
    from streambench.runner.job import Job
    from streambench.runner.local import LocalEngine
    from streambench.runner.observers import RunTelemetry
    from streambench.runner.plan import ModelLane, PlanInputs, build_plan
    from streambench.simulator.process import SimulatorProcess

    count = round(RATE * seconds)
    trace = new_run_trace(None, "request", "auto")
    session = None if url is None else _session(url, trace)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as started:
        config = load_config(_config(Path(folder), count))
        models = config.gateways["sim"].models
        assert models is not None
        simulator = started.enter_context(SimulatorProcess(models, seed=config.seed))
        prompts = tuple(prompt.id for prompt in config.suite.prompts)
        shape = PlanInputs((ModelLane("bench", "sim"),), prompts, count, 2, Load("constant", rate=RATE))
        job = Job(
            config=config,
            plan=build_plan(shape),
            base_urls={"sim": simulator.base_url()},
            simulated=("bench",),
            trace=trace,
        )
        engine = LocalEngine(
            progress=Progress(["bench"], count, MonotonicClock()),
            telemetry=RunTelemetry() if session is None else session.live,
        )
        before = process_cpu_ns()
        measured, sampler = asyncio.run(_sampled(engine.measure(job)))
        used = process_cpu_ns() - before
        run = load(measured.folder)
        outcome = None if session is None else session.close(run.records, run.end)
    assert run.end is not None
    began, ended = (
        run.header.monotonic_ns + (at or 0) for at in (run.end.measure_started_at_ns, run.end.measure_ended_at_ns)
    )
    row = {
        "late_ns": list(sampler.between(began, ended)),
        "own": run.end.client_lag_ns,
        "ok": sum(record.finish_reason is not None for record in run.records),
        "cpu_us": used / 1000 / (count + 2),
        "ended": outcome.delivery.ended if outcome else 0,
        "delivered": outcome.delivery.delivered if outcome else 0,
        "trouble": outcome and (outcome.fault or outcome.metrics_error or outcome.delivery.last_error),
    }
    print(json.dumps(row), flush=True)


async def _sampled(run: Coroutine[Any, Any, Any]) -> tuple[Any, Any]:
    """The run's result, and a sampler like the run's own that looked more often."""
    from streambench.client.loop_lag import LagSampler
    from streambench.clock import LoopClock

    sampler = LagSampler(LoopClock(), LOOK_NS)
    sampler.start()
    try:
        return await run, sampler
    finally:
        sampler.stop()


def _session(url: str, trace: Any) -> Any:
    from streambench.telemetry.child_process import open_session
    from streambench.telemetry.settings import Endpoint, TelemetrySettings

    to = {signal: Endpoint(f"{url}/v1/{signal}", "http/protobuf", "benchmark") for signal in ("traces", "metrics")}
    return open_session(TelemetrySettings("otlp", "otlp", to["traces"], to["metrics"]), trace, "0")


def _config(folder: Path, requests: int) -> Path:
    path, models = folder / "config.yaml", folder / "models.yaml"
    models.write_text(json.dumps({"models": {"bench": {"ttft_ms": 100, "gap_ms": 21.3, "tokens": CHUNKS}}}))
    config = {
        "name": "telemetry",
        "gateways": {"sim": {"base_url": "embedded", "models": str(models)}},
        "models": ["bench"],
        "prompts": ["Tell me of the sea."],
        "load": {"mode": "constant", "rate": RATE},
        "repeats": requests,
        "warmup": {"requests": 2},
        "output": str(folder / "results"),
    }
    path.write_text(json.dumps(config))
    return path


def _lateness(pairs: int, seconds: float) -> int:
    """Prints it; returns 1 where the goal was missed."""
    print(f"{RATE:g} requests/s of {CHUNKS} chunks, {seconds:g} s a run; the loop's lateness in ms")
    _row_of_run("telemetry", "p50", "p99", "p99.9", "max", "own p99", "CPU us", "spans", "load")
    late: dict[str, list[int]] = {"off": [], "on": []}
    for _ in range(pairs):
        for which in late:
            row = _one_run(which, seconds)
            late[which] += row["late_ns"]
            own, spans = row["own"]["p99"] / 1e6, f"{row['delivered']:,}/{row['ended']:,}"
            cells = (*_quantiles(row["late_ns"]), f"{own:.3f}", f"{row['cpu_us']:,.0f}", spans)
            _row_of_run(which, *cells, f"{os.getloadavg()[0]:.1f}")
            if row["trouble"]:
                print(f"  {row['trouble']}")
    for which, values in late.items():
        _row_of_run(f"all {which}", *_quantiles(values), "", "", "", "")
    ratio = _rank(late["on"], 0.99) / _rank(late["off"], 0.99)
    print(f"p99 on / off: {ratio:.2f}, {'ok' if ratio <= LATER else 'MISSED'} (goal: {LATER:g} at most)\n", flush=True)
    return int(ratio > LATER)


def _one_run(which: str, seconds: float) -> Mapping[str, Any]:
    with ExitStack() as started:
        command = [sys.executable, __file__, "--drive-run", "--seconds", str(seconds)]
        if which == "on":
            url, _ = started.enter_context(_collector(Case("good", (), all_arrive=True), "http"))
            command += ["--drive", url]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600, cwd=HOUSE)
    return dict(json.loads(ran.stdout))


def _quantiles(late_ns: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{_rank(late_ns, share) / 1e6:.3f}" for share in (0.5, 0.99, 0.999, 1.0))


def _rank(values: Sequence[int], share: float) -> int:
    """Nearest rank: the smallest that at least this share does not exceed."""
    return sorted(values)[math.ceil(len(values) * share) - 1]


def _row_of_run(*cells: str) -> None:
    print(" ".join(cell.ljust(10) if at == 0 else cell.rjust(11) for at, cell in enumerate(cells)).rstrip(), flush=True)


# --- the table


def main() -> None:
    options = _options()
    if options.drive_run:
        _drive_run(options.drive, options.seconds)
        return
    if options.drive:
        _drive(options.drive, options.protocol, options.spans, hold_back=options.hold_back)
        return
    cases = [case for case in CASES if options.only is None or options.only in case.name]
    _banner()
    missed = _lateness(options.pairs, options.seconds) if options.only in (None, LOOP) else 0
    sys.exit(missed + (_delivery(cases, options.spans) if cases else 0))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"`{LOOP}`, or collectors whose name holds this text")
    parser.add_argument("--spans", type=int, default=20_000)
    parser.add_argument("--pairs", type=int, default=3, help="runs without and with telemetry")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long each of them sends requests")
    parser.add_argument("--drive-run", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="http", help=argparse.SUPPRESS)
    parser.add_argument("--hold-back", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _banner() -> None:
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}, Python {sys.version.split()[0]}, {sys.platform}\n", flush=True)


def _delivery(cases: Sequence[Case], spans: int) -> int:
    """Prints it; returns how many rows missed a goal."""
    print(f"{spans:,} spans a row, deadline {DEADLINE_S:g} s\n")
    _line("collector", "", "ended", "delivered", "failed", "lost", "arrived", "pressure", "emit s", "exit s", "", "")
    missed = 0
    for case in cases:
        for protocol in PROTOCOLS:
            row = _row(case, protocol, spans)
            missed += not row["good"]
            _line(
                case.name,
                protocol,
                *(f"{row[name]:,}" for name in ("ended", "delivered", "failed", "lost", "arrived")),
                f"{row['pressure']:.0%}",
                f"{row['emit_s']:.1f}",
                f"{row['exit_s']:.1f}",
                "ok" if row["good"] else "MISSED",
                row["last_error"] or "",
            )
    return missed


def _line(*cells: str) -> None:
    widths = (38, 5, 8, 10, 8, 6, 8, 8, 7, 7, 7, 0)
    texts = [cell.ljust(width) if at in (0, 1, 10, 11) else cell.rjust(width) for at, (cell, width) in
             enumerate(zip(cells, widths, strict=True))]  # fmt: skip
    print(" ".join(texts).rstrip(), flush=True)


def _row(case: Case, protocol: str, spans: int) -> Mapping[str, Any]:
    with _collector(case, protocol) as (url, arrived):
        command = [sys.executable, __file__, "--drive", url, "--protocol", protocol, "--spans", str(spans)]
        command += ["--hold-back"] if case.hold_back else []
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600, cwd=HOUSE)
        ended = time.monotonic()
        row = json.loads(ran.stdout)
        row["arrived"] = arrived()
    row["exit_s"] = ended - row["emitted"]
    row["good"] = row["exit_s"] < DEADLINE_S + SLACK_S and row["arrived"] >= row["delivered"]
    if case.all_arrive:
        row["good"] = row["good"] and row["arrived"] == row["delivered"] == row["ended"] == spans
    return dict(row)


@contextmanager
def _collector(case: Case, protocol: str) -> Iterator[tuple[str, Any]]:
    """Its URL, and a function that asks it how many spans it holds."""
    if case.sink is None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        yield (f"http://127.0.0.1:{port}" if protocol == "http" else f"127.0.0.1:{port}"), lambda: 0
        return
    command = [sys.executable, str(SINK), protocol, *case.sink]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as sink:
        assert sink.stdin is not None
        assert sink.stdout is not None
        asked, said = sink.stdin, sink.stdout

        def arrived() -> int:
            asked.write("\n")
            asked.flush()
            return int(said.readline())

        try:
            yield said.readline().strip(), arrived
        finally:
            sink.kill()


if __name__ == "__main__":
    main()
