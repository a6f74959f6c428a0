"""One request on its way: built early, held, fired at its instant, taped, and only then handed back to the SDK.

The SDK's call runs in a task of its own and stops inside the transport, twice: `armed` when its bytes are ready, and
until `release` when they have been answered; so neither its building nor its unpacking stands on a timed path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from streambench.clock import Clock
from streambench.records import Failure
from streambench.transport.hub import LITTLE, READ_SIZE
from streambench.transport.tape import Tape

DONE_GRACE_S = 0.5
"""How long a body may stay open after its `[DONE]` before we call it over and drop the connection."""

LOOK_BYTES = 16 * 1024
"""How much may come between two looks at the limits; a look costs a microsecond."""
BACKLOG = 512 * 1024
"""Weight of the tape at which it begins to be decoded while the stream runs."""
FULL = 2 * 1024 * 1024
"""Weight at which nothing more is read before some is decoded."""
FRAMING = 32
"""Bytes that the framing of one piece may take; what is over counts with the headers."""
ERROR_BYTES = 32 * 1024
"""Kept of an error's body."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a peer may send before we stop listening, in bytes; and how long a connection may take, in seconds.

    `head_bytes`: headers, trailers and chunk extensions together. `line_bytes`: read so far ahead of the decoder, no
    line can pass its limit by much.
    """

    connect_s: float = 10.0
    head_bytes: int = 256 * 1024
    body_bytes: int = 64 * 1024 * 1024
    line_bytes: int = 1024 * 1024


class Exchange:
    """Made by the client, filled by a transport. `over` resolves when the wire is quiet, however that came."""

    def __init__(self, clock: Clock, bounds: Bounds) -> None:
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.clock = clock
        self.bounds = bounds
        self.tape = Tape()
        self.armed: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self.released: asyncio.Future[None] = loop.create_future()
        self.is_done: Callable[[], bool] = _taken_at_its_word
        """Whether the stream has really said `[DONE]`; asked only when a piece ended like it."""
        self.on_backlog: Callable[[], None] | None = None
        """Asks for the tape to be decoded and dropped while the stream runs; `decoded` tells that it was."""
        self.resume: Callable[[], None] | None = None
        """Set by a transport that has stopped reading until there is room."""
        self.mark = 0
        """The transport looks at the limits when more bytes than this have come."""
        self.full = False
        """Whether it should read no more until `resume` is called."""
        self.tight = min(bounds.head_bytes, bounds.body_bytes, bounds.line_bytes) < READ_SIZE - LITTLE
        """Whether reads should be little: a limit is near, or decoding is behind."""
        self._full_at = bounds.line_bytes
        self._begin: Callable[[], None] | None = None
        self._cut: Callable[[], None] | None = None
        self._forget: Callable[[], None] | None = None
        self._grace: asyncio.TimerHandle | None = None

    def load(
        self, begin: Callable[[], None], cut: Callable[[], None], forget: Callable[[], None] | None = None
    ) -> None:
        """The bytes are ready: `begin` sends them, `cut` drops the wire, `forget` hears of the end."""
        self._begin = begin
        self._cut = cut
        self._forget = forget
        if not self.armed.done():
            self.armed.set_result(None)

    def fire(self) -> int:
        """Sends now; returns the start's instant. The latency clock starts here, connection set-up included.

        Raises RuntimeError if it was not armed. What was aborted before its instant is not sent.
        """
        self.tape.start = self.clock.now_ns()
        if self.tape.ended is None:
            if self._begin is None:
                raise RuntimeError("fired before it was armed")
            self._begin()
        return self.tape.start

    def finish(self, failure: Failure | None = None) -> None:
        """The wire is quiet. The first word counts: what comes after an end is no new end."""
        tape = self.tape
        if tape.ended is not None:
            return
        tape.ended = max(self.clock.now_ns(), tape.last_byte or 0)
        tape.failure = failure
        if self._grace is not None:
            self._grace.cancel()
        if self._forget is not None:
            self._forget()
        # These hold the exchange, and with it the tape; nobody collects cycles while a run lasts.
        self._begin = self._cut = self._forget = self.on_backlog = self.resume = None
        self.is_done = _taken_at_its_word
        if not self.over.done():
            self.over.set_result(None)

    def abort(self, failure: Failure) -> None:
        """Ends the exchange from our side and drops its wire."""
        if self.tape.ended is None:
            self._end_and_cut(failure)

    def release(self) -> None:
        """Lets the SDK's call go on with the answer."""
        if not self.released.done():
            self.released.set_result(None)

    def look(self, taken: int) -> Failure | None:
        """At `taken` bytes of the answer: what is over its limit, if anything is; sets the next mark."""
        tape, bounds = self.tape, self.bounds
        left = bounds.body_bytes - tape.body_bytes
        if left < 0:
            return Failure("too_large", f"the body passed {bounds.body_bytes} bytes", detail="body")
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
        """All that came is decoded and dropped; so many more bytes may come before a line can pass its limit."""
        self._full_at = self.tape.body_bytes + room
        self.full = False
        resume, self.resume = self.resume, None
        if resume is not None:
            resume()

    def expect_end(self) -> None:
        """`[DONE]` came but the body is still open: gives it a moment, then ends it without blame."""
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


_HEADERS = "the response's headers, trailers and chunk extensions passed {} bytes"


def _taken_at_its_word() -> bool:
    return True


CURRENT: ContextVar[Exchange | None] = ContextVar("streambench_exchange", default=None)
"""The exchange that the SDK call of this task belongs to."""
