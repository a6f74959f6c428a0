"""Deadlines of an attempt. They count from generated output, so that keep-alives do not extend them.

After a finish reason, any event counts as progress. `Deadlines` is pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from streambench.client.tape_reader import TapeReader
from streambench.client.transport.exchange import Exchange
from streambench.clock import NS
from streambench.config.sections import Timeouts
from streambench.records.schema import Failure


@dataclass(frozen=True, slots=True)
class Deadlines:
    """When an attempt with these timeouts is ended."""

    timeouts: Timeouts

    def of_whole(self) -> Deadlines:
        """Returns the deadlines of a non-streamed response: without `first_chunk`, as the whole body comes at once."""
        return Deadlines(replace(self.timeouts, first_chunk=2 * self.timeouts.total))

    def next(self, start_ns: int, progress_ns: int | None) -> tuple[str, int]:
        """Returns the deadline that is due next and its instant, in monotonic nanoseconds.

        `progress_ns` is when generated output last came; None if none has come.
        """
        if progress_ns is None:
            waiting = ("first_chunk", start_ns + round(self.timeouts.first_chunk * NS))
        else:
            waiting = ("idle", progress_ns + round(self.timeouts.idle * NS))
        return min(waiting, ("total", start_ns + round(self.timeouts.total * NS)), key=lambda due: due[1])

    def next_look(self, now_ns: int, due_ns: int) -> int:
        """Returns when to check again: at the deadline, but no later than `idle` from now.

        A first chunk that comes in the meantime may start an idle wait that ends earlier.
        """
        return min(due_ns, now_ns + round(self.timeouts.idle * NS))

    def message(self, which: str) -> str:
        """Returns the message for a deadline that passed."""
        seconds: float = getattr(self.timeouts, which)
        text = {
            "first_chunk": "no output within",
            "idle": "no further output for",
            "total": "not finished within",
        }
        return f"{text[which]} {seconds:g} s"


class DeadlineWatch:
    """Enforces a request's deadlines with one lazy timer: decodes the stream only if a deadline could have passed."""

    def __init__(self, exchange: Exchange, reader: TapeReader, deadlines: Deadlines) -> None:
        self._exchange = exchange
        self._reader = reader
        self._deadlines = deadlines
        _, due = deadlines.next(exchange.tape.start, None)
        self._wait_for(due, exchange.tape.start)

    def stop(self) -> None:
        self._handle.cancel()

    def _look(self) -> None:
        caught_up = self._reader.catch_up()
        decoder, start = self._reader.decoder, self._exchange.tape.start
        progress = decoder.last_event_ns if decoder.finish_reason else decoder.last_generated_ns
        which, due = self._deadlines.next(start, None if progress is None else start + progress)
        now = self._exchange.clock.now_ns()
        if decoder.too_large is not None:
            self._exchange.abort(decoder.too_large)
        elif due <= now and not caught_up and which != "total":
            self._handle = self._exchange.loop.call_later(0, self._look)
        elif due <= now and decoder.done and self._reader.ask.api == "responses":
            # The last event came, but the body is open. The transport cannot know: Responses sends no `[DONE]`.
            self._exchange.expect_end()
        elif due <= now:
            self._exchange.abort(Failure("timeout", self._deadlines.message(which), detail=which))
        else:
            self._wait_for(due, now)

    def _wait_for(self, due: int, now: int) -> None:
        self._handle = self._exchange.loop.call_at(self._deadlines.next_look(now, due) / NS, self._look)
