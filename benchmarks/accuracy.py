"""How true is what we report? Judges this client, and plain SDK iteration, by the simulator's own write times.

    python benchmarks/accuracy.py [--streams 1,50,200,500] [--seconds 3] [--only paced|flood|run]

The simulator runs pinned to one core and logs CLOCK_MONOTONIC around every write; each client runs pinned to another,
in a process of its own, one after the other, so that ratios are of one run. Run it alone on the machine.

error      recorded arrival of a chunk minus the instant before its write; TTFT's is that of the first generated chunk
gap error  recorded gap minus the gap between the writes, by absolute value
CPU        user and system time of the client's process from first to last request, per chunk, requests' share included
shared     chunks that came in one read with an earlier one: their gaps are unknown
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streambench.clock import NS, MonotonicClock, process_cpu_ns
from streambench.config.sections import Load
from streambench.records.schema import GENERATED

Row = Mapping[str, Any]
now_ns = MonotonicClock().now_ns

GAP_MS = 20
TTFT_MS = 200
RUN_TTFT_MS = 100
RUN_CHUNKS = 64
FLOOD_STREAMS = 64
FLOOD_CHUNKS = 2_000


def main() -> None:
    options = _options()
    if options.drive:
        _drive(options)
        return
    _banner()
    counts = [int(count) for count in options.streams.split(",")]
    if options.only in (None, "paced"):
        _paced(counts, options.seconds)
    if options.only in (None, "flood"):
        _flood()
    if options.only in (None, "run"):
        _whole_runs([count for count in counts if count > 1] or counts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default="1,50,200,500")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each paced stream lasts")
    parser.add_argument("--only", choices=("paced", "flood", "run"))
    parser.add_argument("--drive", choices=("ours", "sdk"), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _banner() -> None:
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}, Python {sys.version.split()[0]}, {sys.platform}\n")


# --- the three tables


def _paced(counts: Sequence[int], seconds: float) -> None:
    chunks = round(seconds * 1000 / GAP_MS)
    print(f"Paced: {1000 // GAP_MS} chunks/s a stream, {chunks} chunks, starts spread over 1 s.")
    print("Errors in ms: p50 / p99 / max")
    _head("streams", "client", "arrival", "TTFT", "gap", "start to server", "CPU us/chunk", "shared")
    for count in counts:
        model = {"ttft_ms": TTFT_MS, "gap_ms": GAP_MS, "tokens": chunks}
        used = {who: _measured(who, model, count, rate=float(count)) for who in ("ours", "sdk")}
        for who, seen in used.items():
            _line(str(count), who, *seen.cells())
        _ratio(used)
    print()


def _flood() -> None:
    print(
        f"Flat out: {FLOOD_STREAMS} streams of {FLOOD_CHUNKS} chunks, as fast as the server sends. Errors do not apply."
    )
    _head("streams", "client", "CPU us/chunk", "chunks/s", "shared")
    model = {"ttft_ms": TTFT_MS, "gap_ms": 0, "tokens": FLOOD_CHUNKS}
    used = {who: _measured(who, model, FLOOD_STREAMS, rate=1e6) for who in ("ours", "sdk")}
    for who, seen in used.items():
        _line(str(FLOOD_STREAMS), who, f"{seen.cpu_us:.1f}", f"{seen.chunks_s:,.0f}", f"{seen.shared:.1%}")
    _ratio(used)
    print()


def _whole_runs(counts: Sequence[int]) -> None:
    print(f"A whole `streambench run`: closed loop, 4 requests a lane, first burst included, {RUN_CHUNKS} chunks at")
    print(
        f"{GAP_MS} ms after {RUN_TTFT_MS} ms. Errors in ms: p50 / p99 / max; held: mean requests under way over lanes"
    )
    _head("lanes", "client", "TTFT", "arrival", "gap", "start to server", "shared", "held", "first sent s")
    for count in counts:
        seen, held, first_s = _one_run(count)
        arrival, ttft, gap, path, _, shared = seen.cells()
        _line(str(count), "run", ttft, arrival, gap, path, shared, f"{held:.1%}", f"{first_s:.2f}")


def _head(*cells: str) -> None:
    print("  ".join(f"{cell:>24}" if i > 1 else f"{cell:>8}" for i, cell in enumerate(cells)))


def _line(*cells: str) -> None:
    print("  ".join(f"{cell:>24}" if i > 1 else f"{cell:>8}" for i, cell in enumerate(cells)), flush=True)


def _ratio(used: Mapping[str, Seen]) -> None:
    print(f"{'':>8}  {'ratio':>8}  CPU ours / sdk: {used['ours'].cpu_us / used['sdk'].cpu_us:.2f}")


# --- what a client saw, held against the truth


@dataclass(frozen=True, slots=True)
class Stream:
    """One request: instants of the client and of the server on the same clock, chunk by chunk."""

    start_ns: int
    received_ns: int
    arrived_ns: np.ndarray[Any, np.dtype[np.int64]]
    written_ns: np.ndarray[Any, np.dtype[np.int64]]
    generated: np.ndarray[Any, np.dtype[np.bool_]]
    shared: int
    """Chunks that came in one read with an earlier one."""
    same_read: np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Seen:
    streams: Sequence[Stream]
    cpu_us: float
    chunks_s: float

    def cells(self) -> tuple[str, ...]:
        errors = [stream.arrived_ns - stream.written_ns for stream in self.streams]
        ttft = [error[stream.generated][:1] for error, stream in zip(errors, self.streams, strict=True)]
        path = np.array([stream.received_ns - stream.start_ns for stream in self.streams])
        gaps = [_gap_errors(stream) for stream in self.streams]
        return (
            _three(np.concatenate(errors)),
            _three(np.concatenate(ttft)),
            _three(np.concatenate(gaps)),
            _three(path),
            f"{self.cpu_us:.1f}",
            f"{self.shared:.2%}",
        )

    @property
    def shared(self) -> float:
        return sum(stream.shared for stream in self.streams) / sum(len(stream.arrived_ns) for stream in self.streams)


def _gap_errors(stream: Stream) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Of the gaps that the client claims to have seen: those that end in a read of their own."""
    seen, true = np.diff(stream.arrived_ns), np.diff(stream.written_ns)
    errors: np.ndarray[Any, np.dtype[np.int64]] = np.abs(seen - true)[~stream.same_read[1:]]
    return errors


def _three(errors_ns: np.ndarray[Any, np.dtype[np.int64]]) -> str:
    if not len(errors_ns):
        return "-"
    p50, p99, worst = (np.percentile(errors_ns, share) / 1e6 for share in (50, 99, 100))
    return f"{p50:.3f} / {p99:.3f} / {worst:.3f}"


def _true_chunks(truth: Row) -> list[int]:
    """The instant before the write of each chunk, `[DONE]` left out."""
    instants = [before for before, _, chunks in truth["writes"] for _ in range(chunks)]
    return [instant for instant, kind in zip(instants, truth["kinds"], strict=False) if kind != "d"]


def _joined(rows: Sequence[Row], truths: Mapping[str, Row]) -> Iterator[Stream]:
    for row in rows:
        truth = truths[row["request_id"]]
        written = _true_chunks(truth)
        arrived = row["arrived_ns"]
        if len(written) != len(arrived):
            raise SystemExit(f"{row['request_id']}: {len(arrived)} chunks seen, {len(written)} written")
        reads = row["reads"]
        same = [i > 0 and reads[i] == reads[i - 1] for i in range(len(reads))]
        yield Stream(
            start_ns=row["start_ns"],
            received_ns=truth["received_ns"],
            arrived_ns=np.array(arrived, dtype=np.int64),
            written_ns=np.array(written, dtype=np.int64),
            generated=np.array([kind in GENERATED for kind in truth["kinds"] if kind != "d"]),
            shared=sum(same),
            same_read=np.array(same),
        )


# --- running it


def _measured(who: str, model: Row, count: int, rate: float) -> Seen:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seen.json"
        with _Simulator(Path(folder), model) as simulator:
            command = [sys.executable, __file__, "--drive", who, "--url", simulator.url, "--count", str(count)]
            subprocess.run([*_pinned(1), *command, "--rate", str(rate), "--out", str(out)], check=True)
        seen = json.loads(out.read_text())
        return _held_against(seen, simulator.truths())


def _held_against(seen: Row, truths: Mapping[str, Row]) -> Seen:
    streams = list(_joined(seen["rows"], truths))
    chunks = sum(len(stream.arrived_ns) for stream in streams)
    first = min(int(stream.arrived_ns[0]) for stream in streams)
    last = max(int(stream.arrived_ns[-1]) for stream in streams)
    return Seen(streams, seen["cpu_ns"] / chunks / 1000, chunks / ((last - first) / NS))


def _one_run(lanes: int) -> tuple[Seen, float, float]:
    model = {"ttft_ms": RUN_TTFT_MS, "gap_ms": GAP_MS, "tokens": RUN_CHUNKS}
    with tempfile.TemporaryDirectory() as folder:
        load = {"mode": "closed", "concurrency": lanes}
        with _Simulator(Path(folder), model) as simulator:
            config = _config(Path(folder), simulator.url, 4 * lanes, load)
            command = [sys.executable, "-m", "streambench", "run", str(config), "--quiet"]
            began = now_ns()
            subprocess.run([*_pinned(1), *command], check=True, stdout=subprocess.DEVNULL)
        rows = _rows_of(next((Path(folder) / "results").iterdir()))
        truths = simulator.truths()
        first = min(truth["received_ns"] for truth in truths.values())
        measured = [row for row in rows if row["phase"] == "measure"]
        return _held_against({"rows": measured, "cpu_ns": 0}, truths), _held(measured, lanes), (first - began) / NS


def _held(rows: Sequence[Row], lanes: int) -> float:
    """Mean number under way until the first lane found nothing left to do, over the lanes."""
    starts = sorted(row["start_ns"] for row in rows)
    ends = sorted(row["end_ns"] for row in rows)
    until = ends[len(rows) - lanes]
    busy = sum(min(row["end_ns"], until) - row["start_ns"] for row in rows if row["start_ns"] < until)
    return float(busy / ((until - starts[0]) * lanes))


class _Simulator:
    """The simulator on a core of its own, with a truth log."""

    def __init__(self, folder: Path, model: Row) -> None:
        self._truth = folder / "truth.jsonl"
        self._models = folder / "models.yaml"
        self._models.write_text(json.dumps({"models": {"bench": model}}))
        self.url = ""

    def __enter__(self) -> _Simulator:
        command = [sys.executable, "-m", "streambench.simulator", "--models", str(self._models), "--parent-pipe"]
        command += ["--truth", str(self._truth)]
        self._child = subprocess.Popen(
            [*_pinned(0), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        line = self._child.stdout.readline() if self._child.stdout else ""
        self.url = line.removeprefix("READY ").strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._child.terminate()
        self._child.wait()

    def truths(self) -> dict[str, Row]:
        rows = [json.loads(line) for line in self._truth.read_text().splitlines()]
        return {row["request_id"]: row for row in rows}


def _pinned(core: int) -> list[str]:
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    return ["taskset", "-c", str(cores[core])] if len(cores) > core else []


def _config(folder: Path, url: str, requests: int, load: Row) -> Path:
    path = folder / "config.yaml"
    config = {
        "name": "accuracy",
        "gateways": {"sim": {"base_url": url, "api_key": "none"}},
        "models": ["bench"],
        "prompts": ["Tell me of the sea."],
        "load": load,
        "repeats": requests,
        "warmup": {"requests": 2},
        "output": str(folder / "results"),
    }
    path.write_text(json.dumps(config))
    return path


def _rows_of(folder: Path) -> list[Row]:
    from streambench.analysis.run import load

    run = load(folder)
    anchor = run.header.monotonic_ns
    return [
        {
            "request_id": record.headers["x-request-id"],
            "phase": record.ticket.phase,
            "start_ns": anchor + record.start_at_ns,
            "end_ns": anchor + record.start_at_ns + record.ended_ns,
            "arrived_ns": [anchor + record.start_at_ns + offset for offset in record.timeline.offset_ns],
            "reads": record.timeline.read,
        }
        for record in run.records
    ]


# --- the two clients, each in a process of its own


def _drive(options: argparse.Namespace) -> None:
    drive = _drive_ours if options.drive == "ours" else _drive_sdk
    options.out.write_text(json.dumps(drive(options.url, options.count, options.rate)))


def _drive_ours(url: str, count: int, rate: float) -> Row:
    from streambench.config.load import load_config
    from streambench.report.live import Progress
    from streambench.runner.job import Job
    from streambench.runner.local import LocalEngine
    from streambench.runner.plan import ModelLane, PlanInputs, build_plan

    class _Stopwatch(Progress):
        """Reads the CPU clock where the measured phase begins: set-up and warm-up are not counted, nor the SDK's."""

        cpu_ns = 0

        def on_phase(self, name: str) -> None:
            super().on_phase(name)
            self.cpu_ns = process_cpu_ns()

    with tempfile.TemporaryDirectory() as folder:
        config = load_config(_config(Path(folder), url, count, {"mode": "constant", "rate": rate}))
        lanes = (ModelLane("bench", "sim"),)
        shape = PlanInputs(
            lanes, tuple(prompt.id for prompt in config.suite.prompts), count, 2, Load("constant", rate=rate)
        )
        progress = _Stopwatch(["bench"], count, MonotonicClock())
        measured = asyncio.run(LocalEngine(progress=progress).measure(Job(config, build_plan(shape), {"sim": url}, ())))
        used = process_cpu_ns() - progress.cpu_ns
        rows = [row for row in _rows_of(measured.folder) if row["phase"] == "measure"]
    return {"rows": rows, "cpu_ns": used}


def _drive_sdk(url: str, count: int, rate: float) -> Row:
    from openai import AsyncOpenAI

    async def one(client: AsyncOpenAI, due_s: float) -> Row:
        await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
        start = now_ns()
        stream = await client.chat.completions.create(
            model="bench",
            messages=[{"role": "user", "content": "Tell me of the sea."}],
            stream=True,
            stream_options={"include_usage": True},
        )
        arrived = [now_ns() async for _ in stream]
        # It never says which chunks shared a read: each counts as one of its own.
        request_id = stream.response.headers["x-request-id"]
        return {"request_id": request_id, "start_ns": start, "arrived_ns": arrived, "reads": list(range(len(arrived)))}

    async def all_of_them() -> Row:
        client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=600)
        await one(client, 0.0)
        first = asyncio.get_running_loop().time() + 0.1
        before = process_cpu_ns()
        rows = await asyncio.gather(*(one(client, first + number / rate) for number in range(count)))
        return {"rows": rows, "cpu_ns": process_cpu_ns() - before}

    return asyncio.run(all_of_them())


if __name__ == "__main__":
    main()
