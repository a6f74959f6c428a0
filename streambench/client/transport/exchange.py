"""One request and its response: built early, held, sent at its instant, recorded, only then handed back to the SDK.

The SDK's call runs in a task of its own. It waits inside the transport from `prepared`, when the request's bytes are
ready, until `release`, after the response has ended. So neither building the request nor unpacking the response is on
a timed path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

from streambench.client.transport.socket_hub import LITTLE, READ_SIZE
from streambench.client.transport.tape import Tape
from streambench.clock import Clock
from streambench.config.sections import Bounds, Timeouts
from streambench.records.schema import Failure

DONE_GRACE_S = 0.5
"""Seconds that a body may stay open after its `[DONE]` before the exchange is ended and the connection closed."""

LOOK_BYTES = 16 * 1024
"""Bytes that may come between two checks of the limits; one check costs a microsecond."""
BACKLOG = 512 * 1024
"""Weight of the tape, in bytes, from which it is decoded while the stream runs."""
FULL = 2 * 1024 * 1024
"""Weight of the tape, in bytes, from which nothing more is read until it is decoded."""
FRAMING = 32
"""Bytes that the framing of one piece may take; any more count as headers."""
ERROR_BYTES = 32 * 1024
"""Bytes kept of an error body."""


class Exchange:
    """Made by the client, filled by a transport. `over` resolves when the exchange has ended, whatever the outcome.

    `bounds` limits what the server may send; `line_bytes` also limits how far reads may be ahead of the decoder, so
    that no line passes its limit by much. `connect_s` is the limit for connecting, in seconds.
    """

    def __init__(self, clock: Clock, bounds: Bounds = Bounds(), connect_s: float = Timeouts().connect) -> None:
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.clock = clock
        self.bounds = bounds
        self.connect_s = connect_s
        self.tape = Tape()
        self.prepared: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self.released: asyncio.Future[None] = loop.create_future()
        self.is_done: Callable[[], bool] = _taken_at_its_word
        """Returns True if the stream really sent its end; called only after something that looks like it has come."""
        self.on_backlog: Callable[[], None] | None = None
        """Requests that the tape be decoded and dropped while the stream runs; `decoded` is called when it was."""
        self.resume: Callable[[], None] | None = None
        """Set by a transport that has stopped reading; called when it may read again."""
        self.mark = 0
        """The transport calls `look` when more bytes than this have come."""
        self.full = False
        """True if the transport must not read more until `resume` is called."""
        self.tight = min(bounds.head_bytes, bounds.stream_bytes, bounds.line_bytes) < READ_SIZE - LITTLE
        """True if reads should be small, because a limit is near or decoding is behind."""
        self._full_at = bounds.line_bytes
        self._begin: Callable[[], None] | None = None
        self._cut: Callable[[], None] | None = None
        self._forget: Callable[[], None] | None = None
        self._grace: asyncio.TimerHandle | None = None

    def load(
        self, begin: Callable[[], None], cut: Callable[[], None], forget: Callable[[], None] | None = None
    ) -> None:
        """Called by the transport when the request's bytes are ready, and resolves `prepared`.

        `begin` sends the bytes, `cut` closes the connection, `forget` is called at the end.
        """
        self._begin = begin
        self._cut = cut
        self._forget = forget
        if not self.prepared.done():
            self.prepared.set_result(None)

    def fire(self) -> int:
        """Sends the request and returns the start instant, from which latencies count, connection set-up included.

        Raises RuntimeError if the request was not prepared. An exchange that was aborted before is not sent.
        """
        self.tape.start = self.clock.now_ns()
        if self.tape.ended is None:
            if self._begin is None:
                raise RuntimeError("fire() was called before the request was prepared")
            self._begin()
        return self.tape.start

    def finish(self, failure: Failure | None = None) -> None:
        """Marks the exchange as ended, by `failure` if given. Only the first call has an effect."""
        tape = self.tape
        if tape.ended is not None:
            return
        tape.ended = max(self.clock.now_ns(), tape.last_byte or 0)
        tape.failure = failure
        if self._grace is not None:
            self._grace.cancel()
        if self._forget is not None:
            self._forget()
        # These refer back to the exchange and its tape, and full garbage collection is off during a run.
        self._begin = self._cut = self._forget = self.on_backlog = self.resume = None
        self.is_done = _taken_at_its_word
        if not self.over.done():
            self.over.set_result(None)

    def abort(self, failure: Failure) -> None:
        """Ends the exchange with `failure` and closes its connection. Has no effect if it has ended already."""
        if self.tape.ended is None:
            self._end_and_cut(failure)

    def release(self) -> None:
        """Lets the SDK's call continue with the response."""
        if not self.released.done():
            self.released.set_result(None)

    def look(self, taken: int) -> Failure | None:
        """Checks the limits at `taken` bytes of the response, and sets the next `mark`.

        Returns a `too_large` failure if a limit was passed, else None.
        """
        tape, bounds = self.tape, self.bounds
        left = bounds.stream_bytes - tape.body_bytes
        if left < 0:
            return Failure("too_large", f"the body exceeded {bounds.stream_bytes} bytes", detail="body")
        bare_left = bounds.head_bytes + FRAMING * tape.piece_count - (taken - tape.body_bytes)
        if bare_left < 0:
            return Failure("too_large", _HEADERS.format(bounds.head_bytes), detail="headers")
        left = min(left, bare_left)
        behind = False
        if tape.status is not None and not 200 <= tape.status < 300:
            tape.keep_start(ERROR_BYTES)
        elif self.on_backlog is not None:
            left = min(left, max(0, self._full_at - tape.body_bytes))
            behind = tape.weight > BACKLOG
            self.full = tape.body_bytes > self._full_at or tape.weight > FULL
            if self.full or behind:
                self.on_backlog()
        self.tight = behind or left < READ_SIZE - LITTLE
        self.mark = taken + (min(LOOK_BYTES, left) if tape.headers_at is not None else 0)
        return None

    def decoded(self, room: int) -> None:
        """Called when all that came is decoded and dropped.

        `room` is how many more bytes may come before a line can pass its limit.
        """
        self._full_at = self.tape.body_bytes + room
        self.full = False
        resume, self.resume = self.resume, None
        if resume is not None:
            resume()

    def expect_end(self) -> None:
        """Called when the stream's last event came but the body is open.

        After `DONE_GRACE_S`, ends the exchange without a failure if `is_done` confirms the end.
        """
        if self._grace is None and self.tape.ended is None:
            self._grace = self.loop.call_later(DONE_GRACE_S, self._end_after_done)

    def _end_after_done(self) -> None:
        self._grace = None
        if self.tape.ended is None and self.is_done():
            self._end_and_cut()

    def _end_and_cut(self, failure: Failure | None = None) -> None:
        if self._cut is not None:
            self._cut()
        self.finish(failure)


_HEADERS = "the response's headers, trailers and chunk extensions exceeded {} bytes"


def _taken_at_its_word() -> bool:
    return True


CURRENT: ContextVar[Exchange | None] = ContextVar("streambench_exchange", default=None)
"""The exchange of the current task's SDK call; None for a call that was not made by a `Client`."""
