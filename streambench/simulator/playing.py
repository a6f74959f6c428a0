"""What goes on for one request while its time passes: a `Stream` that writes its script, or a `Wait` for an instant.

`Stream.step` is the hot path: 25,000 writes a second go through it.
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


class Wire(Protocol):
    """The connection, as a stream sees it."""

    paused: bool
    """The client reads too slowly; write no more until `resume` is called."""

    def write(self, payload: bytes) -> None: ...


class Wait:
    """Ends at an instant, or never; earlier if the client goes. `done` holds whether the instant came."""

    def __init__(self) -> None:
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def step(self, now_ns: int) -> int:  # noqa: ARG002 - the turn itself is the message
        self._finish(came=True)
        return NEVER

    def stop(self) -> None:
        self._finish(came=False)

    def resume(self) -> None:
        """Nothing was being written."""

    def _finish(self, *, came: bool) -> None:
        if not self.done.done():
            self.done.set_result(came)


class Stream:
    """Plays a script on a wire, each write at its own due time after `start_ns`, so that no lateness adds up.

    `done` holds how it ended; None if the client went first. `stamps` has two instants a write, before and after it.
    """

    def __init__(
        self, wire: Wire, pacer: Pacer, start_ns: int, build: Callable[[], Script], stamps: array[int] | None
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
        """Builds the bytes, unless that was done or the client has gone."""
        if self._script is None:
            self._script = self._build()
            self._payloads = self._script.payloads
            # the end has a due time too, so that a stream breaks off when its next write would have come
            self._due_ns = [self._start_ns + due_ns for due_ns in (*self._script.due_ns, self._script.end_ns)]

    def prepare_early(self) -> None:
        """Builds before the first generated chunk is due, and writes what goes ahead of it (the role chunk)."""
        if self._script is None:
            self.step(self._now_ns())

    def step(self, now_ns: int) -> int:
        """Writes what is due; returns when the next write is. A turn before its time does no harm."""
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
        """The client has gone."""
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
