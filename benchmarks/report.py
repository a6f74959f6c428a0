"""What `streambench report` takes: wall time and peak memory, by the number of requests in the run.

    python benchmarks/report.py [--sizes 1000 10000 100000] [--chunks 300] [--models 10] [--cores 2]

Each row is a run made here, by the house's own record types, in a temporary folder (5 kB a request), and `streambench
report` on it in a process of its own, pinned to `--cores` cores. Of the requests 2 % fail, 1 % stall, and one chunk in
twenty shares its read with the one before.

wall s    from the start of the process to its end, Python's own start and all imports included
CPU s     user and system time of it
peak MB   the most memory that it held at once (resident, as the kernel counts it)
page MB   the size of report.html

Goals: 10,000 requests in under 20 s and 1 GB on two cores; 100,000 within 8 GB; the time per request never grows by
more than a fifth from one size to the next; a page under 5 MB. On a machine that does other work too, the times are too
long.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path

from streambench.records.schema import AttemptRecord, Usage

HOUSE = Path(__file__).resolve().parent.parent
MS = 1_000_000
MB = 1_000_000
MOST_PROMPTS = 200
SHAPES = 64
"""Different answers of a model; the journal repeats them, at other times."""
STEP_MS = 5
"""Between two starts."""
FAILED, STALLED, SHARED = 0.02, 0.01, 0.05
"""Shares: of requests, of requests, and of chunks in the read of the one before."""
GOALS = {10_000: (20.0, 1_000.0), 100_000: (None, 8_000.0)}
"""Requests -> (s, MB) at most."""
GROWTH = 1.2
PAGE_MB = 5.0
HEADS = ("requests", "journal MB", "wall s", "CPU s", "peak MB", "page MB")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one report took."""

    requests: int
    journal_mb: float
    wall_s: float
    cpu_s: float
    peak_mb: float
    page_mb: float

    def cells(self) -> tuple[str, ...]:
        numbers = (self.wall_s, self.cpu_s, self.peak_mb, self.page_mb)
        return (f"{self.requests:,}", f"{self.journal_mb:,.0f}", *(f"{number:,.1f}" for number in numbers))


def main() -> int:
    options = _options()
    if options.make:
        _make(options.make, options.sizes[0], options.models, options.chunks)
        return 0
    _pin(options.cores)
    _line(HEADS)
    costs = []
    for size in sorted(options.sizes):
        with tempfile.TemporaryDirectory(prefix="streambench-report-") as home:
            folder = _made(Path(home), size, options)
            costs.append(_reported(folder, size))
        _line(costs[-1].cells())
    missed = [goal for goal in _goals(costs) if not goal[1]]
    for text, met in _goals(costs):
        print(f"{'met   ' if met else 'MISSED'}  {text}")
    return int(bool(missed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="requests of each run")
    parser.add_argument("--chunks", type=int, default=300, help="chunks of an answer")
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--cores", type=int, default=2, help="cores that `report` may use")
    parser.add_argument("--make", type=Path, metavar="DIR", help="only make a run of the first of --sizes, below DIR")
    return parser.parse_args()


def _pin(cores: int) -> None:
    """This process and those that it starts."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def _line(cells: Sequence[str]) -> None:
    print("  ".join(cell.rjust(10) for cell in cells), flush=True)


def _goals(costs: Sequence[Cost]) -> Iterator[tuple[str, bool]]:
    """(goal with what was found, whether it was met)."""
    for cost in costs:
        most_s, most_mb = GOALS.get(cost.requests, (None, None))
        if most_s is not None:
            yield f"{cost.requests:,} requests in {cost.wall_s:.1f} s, under {most_s:g}", cost.wall_s < most_s
        if most_mb is not None:
            yield f"{cost.requests:,} requests in {cost.peak_mb:,.0f} MB, under {most_mb:,.0f}", cost.peak_mb < most_mb
        yield (
            f"{cost.requests:,} requests make a page of {cost.page_mb:.1f} MB, under {PAGE_MB:g}",
            cost.page_mb < PAGE_MB,
        )
    for less, more in pairwise(costs):
        grown = (more.wall_s / more.requests) / (less.wall_s / less.requests)
        yield (
            f"from {less.requests:,} to {more.requests:,} the time per request is {grown:.2f} times as long",
            grown < GROWTH,
        )


# --- a report, in a process of its own


def _reported(folder: Path, requests: int) -> Cost:
    command = [sys.executable, "-m", "streambench", "report", str(folder)]
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=HOUSE)
    _, status, used = os.wait4(child.pid, 0)
    wall_s = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"streambench report ended with {child.returncode}")
    journal, page = (folder / name for name in ("records.jsonl", "report.html"))
    return Cost(
        requests=requests,
        journal_mb=journal.stat().st_size / MB,
        wall_s=wall_s,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_mb=used.ru_maxrss * 1024 / MB,
        page_mb=page.stat().st_size / MB,
    )


# --- a run to report on


def _made(home: Path, size: int, options: argparse.Namespace) -> Path:
    """Made by another process: what it held would count as the peak of the next one that is started here."""
    shape = ("--chunks", str(options.chunks), "--models", str(options.models))
    subprocess.run([sys.executable, __file__, "--make", str(home), "--sizes", str(size), *shape], cwd=HOUSE, check=True)
    (folder,) = home.iterdir()
    return folder


def _make(home: Path, requests: int, models: int, chunks: int) -> None:
    from streambench.records.journal import Journal
    from streambench.testing import make_end, make_header

    names = [f"model-{number:02}" for number in range(models)]
    prompts = max(1, min(MOST_PROMPTS, requests // models))
    header = make_header(*names, requests_planned=requests, suite=_suite(prompts))
    draw = random.Random(5)
    shapes = {name: _shapes(name, place, chunks, draw) for place, name in enumerate(names)}
    end_ns = 1_000 * MS + requests * STEP_MS * MS
    end = make_end(measure_started_at_ns=1_000 * MS, measure_ended_at_ns=end_ns, ended_at_ns=end_ns)
    with Journal.create(home, header) as journal:
        for seq in range(requests):
            block, place = divmod(seq, models)
            later_ns = draw.randrange(40 * MS)
            journal.append(_record(seq, block, prompts, draw.choice(shapes[names[place]]), later_ns))
        journal.close(end)


def _suite(prompts: int) -> dict[str, object]:
    catalogue = {f"p{number}": {"tags": [f"kind-{number % 4}"], "chars": 40 + 13 * number} for number in range(prompts)}
    return {"hash": "0" * 16, "catalogue": catalogue}


def _record(seq: int, block: int, prompts: int, shape: AttemptRecord, later_ns: int) -> AttemptRecord:
    """The shape's answer, given to another request at another time, and all of it later by something."""
    at_ns = 1_000 * MS + seq * STEP_MS * MS
    ticket = replace(shape.ticket, seq=seq, block=block, prompt_id=f"p{block % prompts}", repeat=block // prompts)
    timeline = replace(shape.timeline, offset_ns=tuple(offset + later_ns for offset in shape.timeline.offset_ns))
    return replace(
        shape,
        ticket=ticket,
        trace_id=f"{seq + 1:032x}",
        span_id=f"{seq + 1:016x}",
        response_id=f"answer-{seq}",
        scheduled_at_ns=at_ns - MS // 3,
        start_at_ns=at_ns,
        ended_ns=shape.ended_ns + later_ns,
        timeline=timeline,
    )


def _shapes(model: str, place: int, chunks: int, draw: random.Random) -> list[AttemptRecord]:
    return [_shape(number, model, place, chunks, draw) for number in range(SHAPES)]


def _shape(number: int, model: str, place: int, chunks: int, draw: random.Random) -> AttemptRecord:
    from streambench.records.schema import Failure
    from streambench.testing import make_record, make_timeline

    if draw.random() < FAILED:
        failure = Failure("http_error", "too many requests", status=429, code="rate_limit_exceeded")
        return make_record(
            seq=number, model=model, kinds="", at_ms=(), status=429, failure=failure, done=False, usage=None
        )
    kinds = "r" + "c" * (chunks - 2) + "u"
    gaps = [0.1, *(max(0.2, draw.gauss(12 + place, 3)) for _ in kinds[1:])]
    if draw.random() < STALLED:
        gaps[draw.randrange(1, chunks)] += 700
    reads = list(accumulate(draw.random() >= SHARED for _ in kinds))
    at_ms = list(accumulate([80 + 15 * place + draw.lognormvariate(3, 0.6), *gaps[1:]]))
    last_of = dict(zip(reads, at_ms, strict=True))
    timeline = make_timeline(kinds, [last_of[read] for read in reads], reads)
    usage = Usage(input=60, output=chunks - 2, total=58 + chunks, source="gateway")
    record = make_record(seq=number, model=model, timeline=timeline, usage=usage)
    last_ns = timeline.offset_ns[-1]
    return replace(record, first_byte_ns=timeline.offset_ns[0], last_byte_ns=last_ns + MS, ended_ns=last_ns + 2 * MS)


if __name__ == "__main__":
    sys.exit(main())
