"""Builds requests ahead of time and holds them until the scheduler fires them: building one when due takes too long.

The client's `SdkRequest` is the `PreparedRequest` of a run. The scheduler takes the requests in the plan's order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from streambench.records.schema import AttemptRecord, Ticket


class PreparedRequest(Protocol):
    """One attempt, built but not sent. Call `fire` once and then `record` once, or `discard` if it is not needed."""

    @property
    def ticket(self) -> Ticket: ...

    async def fire(self, scheduled_ns: int, queue_ns: int) -> None:
        """Sends the request now and returns when its response has ended."""

    def abort(self) -> None: ...

    async def record(self) -> AttemptRecord: ...

    async def again(self) -> PreparedRequest:
        """Returns the next attempt of the same request. Call it after `record`."""

    async def follow(self, record: AttemptRecord, ticket: Ticket) -> PreparedRequest | None:
        """Returns the next turn of the conversation; None if the conversation ended with `record`, its last attempt."""

    async def discard(self) -> None: ...


Prepare = Callable[[Ticket], Awaitable[PreparedRequest]]


class Prefetcher:
    """Builds requests in the plan's order, one per turn of the event loop, at most `ahead` before they are taken."""

    def __init__(self, prepare: Prepare, tickets: Sequence[Ticket], ahead: int, stopping: asyncio.Event) -> None:
        self.filled = asyncio.Event()
        self._prepare = prepare
        self._tickets = tickets
        self._ahead = min(ahead, len(tickets))
        self._room = asyncio.Semaphore(ahead)
        self._prepared: asyncio.Queue[PreparedRequest | None] = asyncio.Queue()
        self._stopping = stopping
        self._closed = False

    async def fill(self) -> None:
        """Builds the requests until all are built, the run stops or `empty` is called. Raises what `prepare` raises."""
        try:
            for ticket in self._tickets:
                await self._room.acquire()
                if self._closed or self._stopping.is_set():
                    break
                self._prepared.put_nowait(await self._prepare(ticket))
                if self._prepared.qsize() >= self._ahead:
                    self.filled.set()
                await asyncio.sleep(0)
        finally:
            self._prepared.put_nowait(None)
            self.filled.set()

    async def take(self) -> PreparedRequest | None:
        """Returns the next request in order; None if no more will come."""
        prepared = await self._prepared.get()
        if prepared is None:
            self._prepared.put_nowait(None)  # for the next lane that calls `take`
        else:
            self._room.release()
        return prepared

    async def empty(self, filling: asyncio.Task[None]) -> None:
        """Waits for `filling`, the task of `fill`, and discards the requests that were not taken.

        Raises what `prepare` raised.
        """
        self._closed = True
        self._room.release()
        try:
            await filling
        finally:
            while not self._prepared.empty():
                if (prepared := self._prepared.get_nowait()) is not None:
                    await prepared.discard()
