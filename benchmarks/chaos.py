"""What does kill -9 cost? Runs are killed at random moments, resumed, perhaps killed again; then everything is counted.

    python benchmarks/chaos.py [--runs 20] [--requests 200] [--seed 0]

The simulator is a process of its own that outlives the runs and writes down every request it got: the judge.

sent        requests that the gateway got, the warm-up's included
recorded    lines of the journal at the end
lost        planned requests without a final record at the end: must be 0
twice       measured requests that the gateway got twice: they were in flight at a kill, so had no record yet
open, done  all that was in flight at a kill, the warm-up's included: those whose answer was still being sent, and those
            whose answer had gone out (how long before the kill, at most) but waited for its record
stray       requests that the gateway got and that were neither recorded nor in flight at a kill: must be 0
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench.analysis.run import Run, load
from streambench.clock import NS, MonotonicClock
from streambench.records.schema import AttemptRecord, final_attempts
from streambench.simulator.process import SimulatorProcess

MODELS = {"swift": (15, 2, 12), "steady": (40, 3, 12)}
"""Name to milliseconds to the first token, milliseconds between tokens, tokens."""
LANES = 8
KILLS = 3
"""At most, for each run."""
AGAIN = 0.5
"""How likely each resumption is killed too."""
LIMIT_S = 120.0
IN_HAND_NS = 250_000_000
"""An answer that went out so long before a kill, at most, may be without its record."""
SLACK_NS = 50_000_000
"""A request that was on its way at a kill may reach the gateway so long after it."""

Row = Mapping[str, Any]

now_ns = MonotonicClock().now_ns


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        span_s = _unbroken(Path(folder) / "unbroken", options.requests)
        print(f"{options.runs} runs of {options.requests} requests, {LANES} at a time: {span_s:.1f} s if unbroken.")
        print(f"Killed with -9 up to {KILLS} times each, at moments drawn with seed {options.seed}.\n")
        _row("run", "killed at, s (records)", "sent", "recorded", "lost", "twice", "open", "done", "stray", "time, s")
        counts = []
        for number in range(options.runs):
            draw = random.Random(f"{options.seed}:{number}")
            counts.append(_chaotic(Path(folder) / str(number), options.requests, draw, span_s))
            _row(str(number + 1), *counts[-1].cells())
    return _totals(counts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--requests", type=int, default=200, help="of each run, warm-up apart; even")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    return parser.parse_args()


# --- one run


@dataclass(frozen=True)
class Kill:
    at_ns: int
    after_s: float
    """Since the part had its first file."""
    records: int
    """In the journal by then."""


@dataclass(frozen=True)
class Counts:
    """What became of one run."""

    kills: Sequence[Kill]
    sent: int
    recorded: int
    lost: int
    twice: int
    """Measured requests in flight at a kill; those of the warm-up, which is done again anyway, are in the next two."""
    open: int
    done_before_ns: Sequence[int]
    """Of each answer that had gone out without a record: how long before the kill."""
    stray: int
    whole: bool
    """Ended as complete, every line a record, no attempt twice."""
    took_s: float

    def cells(self) -> tuple[str, ...]:
        kills = ", ".join(f"{kill.after_s:.2f} ({kill.records})" for kill in self.kills) or "-"
        numbers = (self.sent, self.recorded, self.lost, self.twice, self.open)
        return (kills, *map(str, numbers), _aged(self.done_before_ns), str(self.stray), f"{self.took_s:.1f}")


def _unbroken(folder: Path, requests: int) -> float:
    """How long a run sends, from its folder's making on."""
    with _Gateway(folder, requests) as gateway:
        _wait(gateway.start("run", str(gateway.config), "--output", str(gateway.results)))
        end = load(gateway.folder).end
        if end is None:
            raise SystemExit("the unbroken run has no end")
        return end.ended_at_ns / NS


def _chaotic(folder: Path, requests: int, draw: random.Random, span_s: float) -> Counts:
    began = now_ns()
    with _Gateway(folder, requests) as gateway:
        kills: list[Kill] = []
        command = ["run", str(gateway.config), "--output", str(gateway.results)]
        while True:
            child = gateway.start(*command)
            again = len(kills) < KILLS and (not kills or draw.random() < AGAIN)
            moment_s = draw.random() * span_s * (1 - (kills[-1].records / requests if kills else 0))
            kill = _killed(gateway, child, moment_s, len(kills)) if again else None
            if kill is None:
                _wait(child)
                break
            kills.append(kill)
            command = ["resume", str(gateway.folder)]
        return _count(gateway, kills, requests, (now_ns() - began) / NS)


def _killed(gateway: _Gateway, child: subprocess.Popen[bytes], after_s: float, part: int) -> Kill | None:
    """None where it had ended before."""
    began = gateway.await_file(f"resume-{part}.json" if part else "run.json", child)
    left_s = after_s - (now_ns() - began) / NS
    try:
        child.wait(max(0.0, left_s))
    except subprocess.TimeoutExpired:
        at_ns = now_ns()
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        return Kill(at_ns, (at_ns - began) / NS, len(load(gateway.folder).records))
    return None


def _count(gateway: _Gateway, kills: Sequence[Kill], requests: int, took_s: float) -> Counts:
    run = load(gateway.folder)
    recorded = {record.headers.get("x-request-id") for record in run.records}
    final = {record.ticket.seq for record in final_attempts(run.records) if record.ticket.phase == "measure"}
    got = list(gateway.truth())
    unrecorded = [_InFlight.of(row, kills) for row in got if row["request_id"] not in recorded]
    found = [each for each in unrecorded if each is not None]
    attempts = {(record.ticket.seq, record.attempt) for record in run.records}
    return Counts(
        kills=kills,
        sent=len(got),
        recorded=len(run.records),
        lost=requests - len(final),
        twice=sum(each.part in _warmed(run.records) for each in found),
        open=sum(each.done_before_ns is None for each in found),
        done_before_ns=[each.done_before_ns for each in found if each.done_before_ns is not None],
        stray=unrecorded.count(None),
        whole=_is_complete(run) and len(attempts) == len(run.records),
        took_s=took_s,
    )


@dataclass(frozen=True)
class _InFlight:
    """A request without a record; `part` is that which was killed, `done_before_ns` None if its answer still came."""

    part: int
    done_before_ns: int | None

    @classmethod
    def of(cls, row: Row, kills: Sequence[Kill]) -> _InFlight | None:
        """None where no kill explains it."""
        for part, kill in enumerate(kills):
            if row["received_ns"] > kill.at_ns + SLACK_NS:
                continue
            before = kill.at_ns - row["ended_ns"]
            return cls(part, before if before > 0 else None) if before < IN_HAND_NS else None
        return None


def _warmed(records: Sequence[AttemptRecord]) -> set[int]:
    """The parts whose warm-up was over: only then are measured requests sent."""
    seen = Counter(record.segment for record in records if record.ticket.phase == "warmup")
    return {part for part, count in seen.items() if count == len(MODELS)}


def _is_complete(run: Run) -> bool:
    return run.end is not None and run.end.status == "complete" and not run.warnings


class _Gateway:
    """A simulator with its truth log, and the config of a run against it."""

    def __init__(self, folder: Path, requests: int) -> None:
        folder.mkdir()
        self.results = folder / "results"
        self.config = folder / "config.json"
        self._truth = folder / "truth.jsonl"
        self._requests = requests
        models = {name: {"ttft_ms": t, "gap_ms": g, "tokens": n} for name, (t, g, n) in MODELS.items()}
        (folder / "models.yaml").write_text(json.dumps({"models": models}))
        self._process = SimulatorProcess(folder / "models.yaml", truth=self._truth)

    def __enter__(self) -> _Gateway:
        self._process.start()
        plain = {
            "gateways": {"hub": {"base_url": self._process.base_url(), "api_key": "none"}},
            "models": list(MODELS),
            "prompts": ["Say one.", "Say two.", "Say three.", "Say four."],
            "repeats": self._requests,
            "limits": {"requests": self._requests},
            "load": {"mode": "closed", "concurrency": LANES},
        }
        self.config.write_text(json.dumps(plain))
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    @property
    def folder(self) -> Path:
        (folder,) = self.results.iterdir()
        return folder

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "streambench", *arguments, "--quiet"], stdout=subprocess.DEVNULL)

    def await_file(self, name: str, child: subprocess.Popen[bytes]) -> int:
        """The moment at which it is there, or the child has ended."""
        limit = now_ns() + int(LIMIT_S * NS)
        while not any(self.results.glob(f"*/{name}")) and child.poll() is None:
            if now_ns() > limit:
                raise SystemExit(f"{name} did not come")
            with suppress(subprocess.TimeoutExpired):
                child.wait(0.005)
        return now_ns()

    def truth(self) -> Iterator[Row]:
        with self._truth.open("rb") as lines:
            yield from map(json.loads, lines)


def _wait(child: subprocess.Popen[bytes]) -> None:
    try:
        code = child.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        raise SystemExit(f"a run took more than {LIMIT_S:.0f} s") from None
    if code != 0:
        raise SystemExit(f"a run ended with exit code {code}")


# --- the table


def _totals(counts: Sequence[Counts]) -> int:
    """Exit code 1 where anything was lost, or is there that nobody can explain."""
    sums = [sum(getattr(each, name) for each in counts) for name in ("sent", "recorded", "lost", "twice", "open")]
    done = [age for each in counts for age in each.done_before_ns]
    stray = sum(each.stray for each in counts)
    kills = f"{sum(len(each.kills) for each in counts)} kills"
    _row("all", kills, *map(str, sums), _aged(done), str(stray), f"{sum(each.took_s for each in counts):.1f}")
    whole = sum(each.whole for each in counts)
    print(f"\n{whole} of {len(counts)} runs ended whole: complete, every line a record, no attempt twice.")
    return int(sums[2] > 0 or stray > 0 or whole < len(counts))


def _aged(done_before_ns: Sequence[int]) -> str:
    if not done_before_ns:
        return "0"
    return f"{len(done_before_ns)} ({max(done_before_ns) / 1e6:.1f} ms)"


def _row(*cells: str) -> None:
    widths = (4, 44, 6, 9, 5, 6, 5, 12, 6, 8)
    print(
        *(cell.ljust(w) if at == 1 else cell.rjust(w) for at, (cell, w) in enumerate(zip(cells, widths, strict=True)))
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
