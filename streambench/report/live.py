"""What is seen while a run goes on: counts kept by the event loop, drawn by a thread of its own, on stderr.

The thread shares the interpreter's lock with the loop that times streams. So the counts need no lock of their own (one
writer, and a reader that may be a moment behind), drawing is plain text made twice a second, and nothing here raises.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from bisect import insort
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, TextIO

from streambench.clock import NS, Clock
from streambench.health import judge
from streambench.metrics import NS_PER_MS, first_arrival_ns
from streambench.records import GENERATED, AttemptRecord, Ticket
from streambench.words import DASH, duration, inert, number

DRAW_EVERY_S = 0.5
LINE_EVERY_S = 5.0
KEPT = 1_000
"""TTFTs kept per model for the running median; above that, a fair sample of them."""

_NAME_LIMIT = 28


@dataclass(slots=True)
class Counts:
    """One model's state so far, of the measured phase but for `in_flight`."""

    model: str
    ok: int = 0
    failed: int = 0
    in_flight: int = 0
    tokens: int = 0
    tokens_known: bool = False
    retries: int = 0
    """Attempts beside the first of each ended request."""
    ttfts_ns: list[int] = field(default_factory=list)
    """Sorted."""

    @property
    def done(self) -> int:
        return self.ok + self.failed

    @property
    def ttft_p50_ms(self) -> float | None:
        kept = self.ttfts_ns
        return kept[len(kept) // 2] / NS_PER_MS if kept else None


class Progress:
    """Counts of a run that goes on, from the event loop's thread. `begin` and `landed` come for each attempt, `end` for
    each request with its last attempt: what is done and failed counts requests.

    `planned` is the number of measured requests, None where only time ends the run.
    """

    def __init__(self, models: Iterable[str], planned: int | None, clock: Clock) -> None:
        self.planned = planned
        self.phase_name = "starting"
        self.models = {model: Counts(model) for model in models}
        self._clock = clock
        self._started_ns = clock.now_ns()
        self._measure_ns: int | None = None
        self._random = random.Random(0)

    def phase(self, name: str) -> None:
        """`warmup`, `measure`, `draining`: shown as it is; the clock of rates starts at the first `measure`."""
        self.phase_name = name
        if name == "measure" and self._measure_ns is None:
            self._measure_ns = self._clock.now_ns()

    def begin(self, ticket: Ticket) -> None:
        self._of(ticket.model).in_flight += 1

    def landed(self, ticket: Ticket) -> None:
        """Its wire is quiet; its record is still to come."""
        self._of(ticket.model).in_flight -= 1

    def end(self, record: AttemptRecord) -> None:
        counts = self._of(record.ticket.model)
        if record.ticket.phase == "warmup":
            return
        self._count_tokens(counts, record)
        counts.retries += record.attempt - 1
        if judge(record) == "ok":
            counts.ok += 1
            self._keep_ttft(counts, record)
        else:
            counts.failed += 1

    def unsent(self, _ticket: Ticket) -> None:
        """No longer part of what is planned."""
        if self.planned is not None:
            self.planned -= 1

    @property
    def done(self) -> int:
        return sum(counts.done for counts in self._all())

    @property
    def failed(self) -> int:
        return sum(counts.failed for counts in self._all())

    @property
    def retries(self) -> int:
        return sum(counts.retries for counts in self._all())

    @property
    def in_flight(self) -> int:
        return sum(counts.in_flight for counts in self._all())

    @property
    def elapsed_s(self) -> float:
        return (self._clock.now_ns() - self._started_ns) / NS

    @property
    def measured_s(self) -> float:
        """Since the measured phase began; 0 before."""
        return 0.0 if self._measure_ns is None else (self._clock.now_ns() - self._measure_ns) / NS

    def eta_s(self) -> float | None:
        """Seconds left at the rate so far; None before a request ended, once no more are sent, or without a plan."""
        done = self.done
        if not done or self.planned is None or self.measured_s <= 0 or self.phase_name != "measure":
            return None
        return max(0, self.planned - done) * self.measured_s / done

    def tokens_s(self, counts: Counts) -> float | None:
        """Output tokens of ended attempts per second of the measured phase; None where no usage was stated."""
        return counts.tokens / self.measured_s if counts.tokens_known and self.measured_s > 0 else None

    def snapshot(self) -> list[Counts]:
        """The models' counts, in the order of the config."""
        return self._all()

    def _all(self) -> list[Counts]:
        return list(self.models.values())

    def _of(self, model: str) -> Counts:
        return self.models.setdefault(model, Counts(model))

    def _count_tokens(self, counts: Counts, record: AttemptRecord) -> None:
        if record.usage is not None and record.usage.output is not None:
            counts.tokens += record.usage.output
            counts.tokens_known = True

    def _keep_ttft(self, counts: Counts, record: AttemptRecord) -> None:
        ttft = first_arrival_ns(record.timeline, GENERATED)
        if ttft is None:
            return
        if len(counts.ttfts_ns) >= KEPT:
            # Reservoir sampling: each TTFT seen so far is kept with the same chance.
            if self._random.randrange(counts.ok) >= KEPT:
                return
            del counts.ttfts_ns[self._random.randrange(KEPT)]
        insort(counts.ttfts_ns, ttft)


class Drawer(Protocol):
    """Where a view goes. `close` may follow a `draw` that raised."""

    every_s: float

    def draw(self) -> None: ...

    def close(self) -> None: ...


class LiveView:
    """Draws a Progress until the `with` block ends: a table on a terminal, else a line every 5 s; nothing if quiet."""

    def __init__(self, progress: Progress, out: TextIO | None = None, *, quiet: bool = False) -> None:
        self._progress = progress
        self._out = out or sys.stderr
        self._quiet = quiet
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> LiveView:
        if not self._quiet:
            drawer = _drawer(self._progress, self._out)
            self._thread = threading.Thread(target=self._run, args=(drawer,), name="live-view", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            # A terminal that blocks (Ctrl-S) must not keep a finished run from its summary.
            self._thread.join(timeout=2)

    def _run(self, drawer: Drawer) -> None:
        # A view that cannot be drawn (stderr closed, a terminal gone) must not harm the run, so it only stops.
        with suppress(Exception):
            while not self._stop.wait(drawer.every_s):
                drawer.draw()
        with suppress(Exception):
            drawer.close()


def _drawer(progress: Progress, out: TextIO) -> Drawer:
    if _is_terminal(out):
        with suppress(Exception):  # a terminal that rich cannot drive still takes lines
            return _Screen(progress, out)
    return _Lines(progress, out)


class _Lines:
    """A plain line now and then, for a pipe or a log."""

    every_s = LINE_EVERY_S

    def __init__(self, progress: Progress, out: TextIO) -> None:
        self._progress = progress
        self._out = out

    def draw(self) -> None:
        self._out.write(f"{headline(self._progress)}\n")
        self._out.flush()

    def close(self) -> None:
        self.draw()


class _Screen:
    """A block of lines redrawn in place by rich, which is loaded here: before the measured phase."""

    every_s = DRAW_EVERY_S

    def __init__(self, progress: Progress, out: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        self._progress = progress
        self._text = Text
        self._console = Console(file=out, markup=False, highlight=False, emoji=False)
        self._live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False, transient=True
        )
        self._live.start()

    def draw(self) -> None:
        width, height = self._console.size
        block = "\n".join(lines(self._progress, width, height - 1))
        self._live.update(self._text(block, no_wrap=True, overflow="crop"), refresh=True)

    def close(self) -> None:
        self._live.stop()


def headline(progress: Progress) -> str:
    """The whole run in one line."""
    planned = "" if progress.planned is None else f" of {progress.planned:,}"
    retries = f"{progress.retries:,} retries, " if progress.retries else ""
    return (
        f"[{duration(progress.elapsed_s)}] {progress.phase_name}: {progress.done:,}{planned} done, "
        f"{progress.failed:,} failed, {retries}{progress.in_flight:,} in flight, ETA {duration(progress.eta_s())}"
    )


def lines(progress: Progress, width: int, height: int) -> list[str]:
    """The headline and a row a model, cut to `width` and `height`; models that do not fit are counted."""
    models = progress.snapshot()
    room = max(1, height - 2)
    shown = models if len(models) <= room else models[: room - 1]
    names = max([len("model"), *(len(inert(counts.model, _NAME_LIMIT)) for counts in shown)])
    rows = [_row("model", ("done", "failed", "in flight", "TTFT p50 ms", "tok/s"), names)]
    rows += [_row(inert(counts.model, _NAME_LIMIT), _cells(progress, counts), names) for counts in shown]
    if len(shown) < len(models):
        rows.append(f"... and {len(models) - len(shown)} more models")
    return [line[:width] for line in (headline(progress), *rows)]


def _cells(progress: Progress, counts: Counts) -> Sequence[str]:
    speed = progress.tokens_s(counts)
    return (
        f"{counts.done:,}",
        f"{counts.failed:,}",
        f"{counts.in_flight:,}",
        number(counts.ttft_p50_ms),
        DASH if speed is None else number(speed),
    )


def _row(name: str, cells: Sequence[str], names: int) -> str:
    widths = (7, 7, 10, 12, 9)
    return name.ljust(names) + "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _is_terminal(out: TextIO) -> bool:
    try:
        return out.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
    except ValueError:  # closed
        return False
