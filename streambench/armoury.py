"""Requests built ahead of their turn and held until the runner fires them: building takes too long to do it then.

On the way: the client builds what is `Armed`; the runner takes it from here, in the plan's order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from streambench.records import AttemptRecord, Ticket


class Armed(Protocol):
    """One attempt, built and held. `fire` and then `record` are called, once each; `discard` where no more is."""

    @property
    def ticket(self) -> Ticket: ...

    async def fire(self, scheduled_ns: int, queue_ns: int) -> None:
        """Sends now; returns when the wire is quiet."""

    def abort(self) -> None: ...

    async def record(self) -> AttemptRecord: ...

    async def again(self) -> Armed:
        """The next attempt of the same request, after the record of this one."""

    async def follow(self, record: AttemptRecord, ticket: Ticket) -> Armed | None:
        """The next turn of its conversation, after this record of its last attempt; None where it cannot go on."""

    async def discard(self) -> None: ...


Arm = Callable[[Ticket], Awaitable[Armed]]


class Armoury:
    """Builds requests in the plan's order, one a turn of the loop, a fixed number ahead of their use."""

    def __init__(self, arm: Arm, tickets: Sequence[Ticket], ahead: int, stopping: asyncio.Event) -> None:
        self.filled = asyncio.Event()
        self._arm = arm
        self._tickets = tickets
        self._ahead = min(ahead, len(tickets))
        self._room = asyncio.Semaphore(ahead)
        self._armed: asyncio.Queue[Armed | None] = asyncio.Queue()
        self._stopping = stopping
        self._closed = False

    async def fill(self) -> None:
        try:
            for ticket in self._tickets:
                await self._room.acquire()
                if self._closed or self._stopping.is_set():
                    break
                self._armed.put_nowait(await self._arm(ticket))
                if self._armed.qsize() >= self._ahead:
                    self.filled.set()
                await asyncio.sleep(0)
        finally:
            self._armed.put_nowait(None)
            self.filled.set()

    async def take(self) -> Armed | None:
        """The next request in order, or None when there is none to send any more."""
        armed = await self._armed.get()
        if armed is None:
            self._armed.put_nowait(None)  # for the next lane that asks
        else:
            self._room.release()
        return armed

    async def empty(self, filling: asyncio.Task[None]) -> None:
        """Waits for the filling to end and drops what was not sent. Raises what `arm` raised."""
        self._closed = True
        self._room.release()
        try:
            await filling
        finally:
            while not self._armed.empty():
                if (armed := self._armed.get_nowait()) is not None:
                    await armed.discard()
