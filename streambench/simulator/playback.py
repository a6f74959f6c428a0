"""What the pacer runs for a request: a `Stream` that writes its script, or a `Wait` until a point in time.

`Stream.step` is the hot path: 25,000 writes per second go through it.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from typing import Protocol

from streambench.clock import MonotonicClock
from streambench.simulator.faults import COMMENT, End
from streambench.simulator.pacer import NEVER, Pacer
from streambench.simulator.script import Script, http_chunk

COMMENT_PAYLOAD = http_chunk(COMMENT)


class PlaybackWire(Protocol):
    """What a stream needs of its connection."""

    paused: bool
    """True if the client reads too slowly: nothing may be written until `resume` is called."""

    def write(self, payload: bytes) -> None: ...


class Wait:
    """Ends when the pacer calls `step` (`done` is True), or when the client disconnects (`done` is False)."""

    def __init__(self) -> None:
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def step(self, now_ns: int) -> int:  # noqa: ARG002 - a wait only needs to be called
        self._finish(came=True)
        return NEVER

    def stop(self) -> None:
        self._finish(came=False)

    def resume(self) -> None:
        """Does nothing, as a wait does not write."""

    def _finish(self, *, came: bool) -> None:
        if not self.done.done():
            self.done.set_result(came)


class Stream:
    """Writes a script to a connection. Each write has its own due time after `start_ns`, so delays do not add up.

    `done` holds how the stream ended; None if the client disconnected first. `stamps` gets two times per write (before
    and after it, monotonic ns), unless it is None.
    """

    def __init__(
        self, wire: PlaybackWire, pacer: Pacer, start_ns: int, build: Callable[[], Script], stamps: array[int] | None
    ) -> None:
        self.done: asyncio.Future[End | None] = asyncio.get_running_loop().create_future()
        self.stamps = stamps
        self.written = 0
        self._wire = wire
        self._pacer = pacer
        self._start_ns = start_ns
        self._now_ns = MonotonicClock().now_ns
        self._build = build
        self._script: Script | None = None
        self._payloads: list[bytes] = []
        self._due_ns: list[int] = []
        self._stopped = False

    @property
    def script(self) -> Script:
        if self._script is None:
            self.prepare()
        assert self._script is not None  # noqa: S101 - tells the type checker what prepare does
        return self._script

    def prepare(self) -> None:
        """Builds the script, unless it was built before."""
        if self._script is None:
            self._script = self._build()
            self._payloads = self._script.payloads
            # the end also has a due time, so that a cut stream ends when its next write would have been due
            self._due_ns = [self._start_ns + due_ns for due_ns in (*self._script.due_ns, self._script.end_ns)]

    def prepare_early(self) -> None:
        """Builds the script before the first generated chunk is due, and writes the first event (role) if it is due."""
        if self._script is None:
            self.step(self._now_ns())

    def step(self, now_ns: int) -> int:
        """Does the next write if it is due. Returns the next due time (monotonic ns), or NEVER."""
        if self._stopped:
            return NEVER
        if self._script is None:
            self.prepare()
        due_ns = self._due_ns[self.written]
        if due_ns > now_ns:
            return due_ns
        if self.written == len(self._payloads):
            return self._end()
        if self._wire.paused:
            return NEVER
        if self.stamps is None:
            self._wire.write(self._payloads[self.written])
        else:
            self.stamps.append(self._now_ns())
            self._wire.write(self._payloads[self.written])
            self.stamps.append(self._now_ns())
        self.written += 1
        return self._due_ns[self.written]

    def resume(self) -> None:
        if not self._stopped:
            self._pacer.schedule(self, self._now_ns())

    def stop(self) -> None:
        """Ends the stream, as the client has disconnected."""
        self._finish(None)

    def _end(self) -> int:
        script = self.script
        if script.end is End.COMMENTS:
            if not self._wire.paused:
                self._wire.write(COMMENT_PAYLOAD)
            return self._now_ns() + script.comment_ns
        if script.end is not End.SILENCE:
            self._finish(script.end)
        return NEVER

    def _finish(self, end: End | None) -> None:
        self._stopped = True
        if not self.done.done():
            self.done.set_result(end)
