"""What looks at an attempt while it runs: at its deadlines, and at bytes that are best decoded before the end."""

from __future__ import annotations

from streambench.capture import SLICE, TapeReader
from streambench.clock import NS
from streambench.deadlines import Deadlines
from streambench.records import Failure
from streambench.transport import Exchange


class Behind:
    """Decodes long streams while they run, so that their bytes need not be held: one slice a turn of the event loop."""

    def __init__(self) -> None:
        self._waiting: dict[Exchange, TapeReader] = {}

    def ask(self, exchange: Exchange, reader: TapeReader) -> None:
        """Has all that came of this exchange decoded and dropped, as soon as it is its turn."""
        if not self._waiting:
            exchange.loop.call_soon(self._turn)
        self._waiting.setdefault(exchange, reader)

    def _turn(self) -> None:
        exchange = next(iter(self._waiting))
        reader = self._waiting.pop(exchange)
        if exchange.tape.ended is None and not self._caught_up(exchange, reader):
            self._waiting[exchange] = reader  # behind the others
        if self._waiting:
            exchange.loop.call_soon(self._turn)

    @staticmethod
    def _caught_up(exchange: Exchange, reader: TapeReader) -> bool:
        caught_up = reader.catch_up(SLICE)
        reader.drop()
        if reader.decoder.too_large is not None:
            exchange.abort(reader.decoder.too_large)
        elif caught_up:
            exchange.decoded(reader.decoder.room)
        return caught_up


class Watch:
    """One lazy timer a request: it looks how far the stream has come only when a deadline could have passed."""

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
            self._exchange.expect_end()  # its last event came, which no bytes of the wire tell, and the body is open
        elif due <= now:
            self._exchange.abort(Failure("timeout", self._deadlines.told(which), detail=which))
        else:
            self._wait_for(due, now)

    def _wait_for(self, due: int, now: int) -> None:
        self._handle = self._exchange.loop.call_at(self._deadlines.next_look(now, due) / NS, self._look)
