"""The view of a run in progress: the event loop updates counts, and a separate thread draws them on stderr.

The thread shares the interpreter lock with the loop that times streams. So drawing is cheap (plain text, twice a
second). The counts need no lock: they have one writer, and the reader may be slightly behind. No error in drawing
reaches the run.
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
from streambench.metrics.definitions import NS_PER_MS, first_arrival_ns
from streambench.metrics.outcomes import outcome_of
from streambench.records.schema import GENERATED, AttemptRecord, Ticket
from streambench.runner.observers import ProgressObserver
from streambench.text import DASH, count, duration, for_terminal, number

DRAW_EVERY_S = 0.5
LINE_EVERY_S = 5.0
KEPT = 1_000
"""TTFTs kept per model for the running median; of more, a uniform random sample."""

_NAME_LIMIT = 28


@dataclass(slots=True)
class ModelProgress:
    """One model's counts so far, of the measured phase; `in_flight` counts warm-up attempts too."""

    model: str
    ok: int = 0
    failed: int = 0
    in_flight: int = 0
    tokens: int = 0
    tokens_known: bool = False
    retries: int = 0
    """Attempts after the first, summed over the ended requests."""
    ttfts_ns: list[int] = field(default_factory=list)
    """Sorted, in ns; at most KEPT."""

    @property
    def done(self) -> int:
        return self.ok + self.failed

    @property
    def ttft_p50_ms(self) -> float | None:
        """The median of the kept TTFTs in ms (of two middle values the higher); None without any."""
        kept = self.ttfts_ns
        return kept[len(kept) // 2] / NS_PER_MS if kept else None


class Progress(ProgressObserver):
    """Counts of a run in progress, updated on the event loop's thread. `done` and `failed` count requests.

    `planned` is the number of measured requests; None if only a time limit ends the run.
    """

    def __init__(self, models: Iterable[str], planned: int | None, clock: Clock) -> None:
        self.planned = planned
        self.phase_name = "starting"
        self.models = {model: ModelProgress(model) for model in models}
        self._clock = clock
        self._started_ns = clock.now_ns()
        self._measure_ns: int | None = None
        self._random = random.Random(0)

    def on_phase(self, name: str) -> None:
        """Sets the phase's name, which is shown unchanged. The time for rates starts at the first `measure`."""
        self.phase_name = name
        if name == "measure" and self._measure_ns is None:
            self._measure_ns = self._clock.now_ns()

    def on_attempt_start(self, ticket: Ticket) -> None:
        self._of(ticket.model).in_flight += 1

    def on_attempt_end(self, ticket: Ticket) -> None:
        """The attempt's response has ended; its record follows later."""
        self._of(ticket.model).in_flight -= 1

    def on_request_end(self, record: AttemptRecord) -> None:
        counts = self._of(record.ticket.model)
        if record.ticket.phase == "warmup":
            return
        self._count_tokens(counts, record)
        counts.retries += record.attempt - 1
        if outcome_of(record) == "ok":
            counts.ok += 1
            self._keep_ttft(counts, record)
        else:
            counts.failed += 1

    def on_turn_dropped(self, ticket: Ticket) -> None:  # noqa: ARG002 - an observer's signature
        """Subtracts the turn from `planned`, as it will not be sent."""
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
        """Seconds since the measured phase began; 0 before it."""
        return 0.0 if self._measure_ns is None else (self._clock.now_ns() - self._measure_ns) / NS

    def eta_s(self) -> float | None:
        """Returns the seconds left at the rate so far.

        None before the first request ended, outside the phase `measure`, or if `planned` is None.
        """
        done = self.done
        if not done or self.planned is None or self.measured_s <= 0 or self.phase_name != "measure":
            return None
        return max(0, self.planned - done) * self.measured_s / done

    def tokens_s(self, counts: ModelProgress) -> float | None:
        """Returns output tokens of ended requests per second of the measured phase; None if no usage was stated."""
        return counts.tokens / self.measured_s if counts.tokens_known and self.measured_s > 0 else None

    def snapshot(self) -> list[ModelProgress]:
        """Returns the models' counts, in the order of the config."""
        return self._all()

    def _all(self) -> list[ModelProgress]:
        return list(self.models.values())

    def _of(self, model: str) -> ModelProgress:
        return self.models.setdefault(model, ModelProgress(model))

    def _count_tokens(self, counts: ModelProgress, record: AttemptRecord) -> None:
        if record.usage is not None and record.usage.output is not None:
            counts.tokens += record.usage.output
            counts.tokens_known = True

    def _keep_ttft(self, counts: ModelProgress, record: AttemptRecord) -> None:
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
    """Draws a view every `every_s` seconds. `close` may be called after a `draw` that raised."""

    every_s: float

    def draw(self) -> None: ...

    def close(self) -> None: ...


class LiveView:
    """Draws a Progress until the `with` block ends: a table on a terminal, else a line every 5 s; nothing if `quiet`.

    `out` is stderr by default.
    """

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
            # A blocked terminal (Ctrl-S) must not delay the summary of a finished run.
            self._thread.join(timeout=2)

    def _run(self, drawer: Drawer) -> None:
        # If the view cannot be drawn (stderr is closed, the terminal is gone), it stops; the run goes on.
        with suppress(Exception):
            while not self._stop.wait(drawer.every_s):
                drawer.draw()
        with suppress(Exception):
            drawer.close()


def _drawer(progress: Progress, out: TextIO) -> Drawer:
    if _is_terminal(out):
        with suppress(Exception):  # if rich cannot use the terminal, plain lines still work
            return _Screen(progress, out)
    return _Lines(progress, out)


class _Lines:
    """Writes a plain line every LINE_EVERY_S seconds, for a pipe or a log."""

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
    """Redraws a block of lines in place with rich. The constructor imports rich: it runs before the measured phase."""

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
    """Returns the whole run in one line: elapsed time, phase, counts, ETA."""
    planned = "" if progress.planned is None else f" of {count(progress.planned)}"
    retries = f"{count(progress.retries)} retries, " if progress.retries else ""
    return (
        f"[{duration(progress.elapsed_s)}] {progress.phase_name}: {count(progress.done)}{planned} done, "
        f"{count(progress.failed)} failed, {retries}{count(progress.in_flight)} in flight, "
        f"ETA {duration(progress.eta_s())}"
    )


def lines(progress: Progress, width: int, height: int) -> list[str]:
    """Returns the headline and a table with a row for each model, at most `width` characters wide.

    At most `height` lines, or three if `height` is less. If not all models fit, the last line counts the others.
    """
    models = progress.snapshot()
    room = max(1, height - 2)
    shown = models if len(models) <= room else models[: room - 1]
    names = max([len("model"), *(len(for_terminal(counts.model, _NAME_LIMIT)) for counts in shown)])
    rows = [_row("model", ("done", "failed", "in flight", "TTFT p50 ms", "tok/s"), names)]
    rows += [_row(for_terminal(counts.model, _NAME_LIMIT), _cells(progress, counts), names) for counts in shown]
    if len(shown) < len(models):
        rows.append(f"... and {len(models) - len(shown)} more models")
    return [line[:width] for line in (headline(progress), *rows)]


def _cells(progress: Progress, counts: ModelProgress) -> Sequence[str]:
    speed = progress.tokens_s(counts)
    return (
        f"{count(counts.done)}",
        f"{count(counts.failed)}",
        f"{count(counts.in_flight)}",
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
