"""What becomes of a run's spans, and when the process is gone, for collectors good and bad, by http and by gRPC.

    python benchmarks/telemetry.py [--only NAME] [--spans 20000]

Each row is a process of its own that emits its spans as fast as it can and closes with the default deadline; the
collector is a real server in another process, and counts what it holds. Holding back is what a run does: no new span
while the pressure is over 0.75.

arrived   different spans that the collector holds at the end: a check on what the sender believes
pressure  the worst seen while emitting: the share of the queue, or of the deadline that sending it would take
emit s    until the last span was handed over
exit s    from there until the process is gone (goal: the deadline, plus what an interpreter takes to end)
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parent.parent
SINK = HOUSE / "tests" / "telemetry" / "small_sink.py"
DEADLINE_S = 10.0
SLACK_S = 1.5
HOLD_BACK = 0.75
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
    from streambench.telemetry.settings import Endpoint, Settings

    http = protocol == "http"
    to = Endpoint(url + "/v1/traces" if http else url, "http/protobuf" if http else "grpc", "benchmark", insecure=True)
    pipeline = open_pipeline(Settings("otlp", traces_to=to), run_id="benchmark", version="0")
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
    from streambench.telemetry.facts import EventFacts, SpanFacts, SpanId

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


# --- the event loop: its lateness with telemetry off and on, in one run, belongs here, as a second table


# --- the table


def main() -> None:
    options = _options()
    if options.drive:
        _drive(options.drive, options.protocol, options.spans, hold_back=options.hold_back)
        return
    cases = [case for case in CASES if options.only is None or options.only in case.name]
    sys.exit(_delivery(cases, options.spans))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="collectors whose name holds this text")
    parser.add_argument("--spans", type=int, default=20_000)
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="http", help=argparse.SUPPRESS)
    parser.add_argument("--hold-back", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _delivery(cases: Sequence[Case], spans: int) -> int:
    """Prints it; returns how many rows missed a goal."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}, Python {sys.version.split()[0]}, {sys.platform}")
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
    row["good"] = row["exit_s"] < DEADLINE_S + SLACK_S and row["arrived"] >= row["delivered"] and row["lost"] == 0
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
