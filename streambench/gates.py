"""Caps that a gateway or a model sets: requests a minute and parallel requests. Waiting here is queue time.

The rate cap is asyncio-throttle, with one waiter at a time in front of it: its waiters poll, and are not served in
order, so a queue of our own keeps the order and the cost of one. docs/design/004-fair-plan.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from asyncio_throttle.throttler import Throttler

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Caps:
    """None is no cap."""

    requests_per_minute: float | None = None
    max_concurrency: int | None = None


class Gate:
    """Lets requests through in the order they came, as many at once and a minute as its caps allow."""

    def __init__(self, caps: Caps) -> None:
        self._slots = asyncio.Semaphore(caps.max_concurrency) if caps.max_concurrency else None
        self._throttle = throttler(caps.requests_per_minute) if caps.requests_per_minute else None
        self._turn = asyncio.Lock()

    async def enter(self, turns: AsyncExitStack) -> None:
        """Takes a slot, to be given back by `leave`, and passes the throttle; its turn there ends with `turns`."""
        if self._slots is not None:
            await self._slots.acquire()
        if self._throttle is not None:
            await self._pass_throttle(self._throttle, turns)

    def leave(self) -> None:
        if self._slots is not None:
            self._slots.release()

    async def _pass_throttle(self, throttle: Throttler, turns: AsyncExitStack) -> None:
        try:
            await turns.enter_async_context(self._turn)
            await throttle.acquire()  # type: ignore[no-untyped-call]  # the package is partly typed
        except asyncio.CancelledError:
            self.leave()
            raise


class Gates:
    """The gates a ticket has to pass, narrow ones first: its model's, then its gateway's. Uncapped keys cost nothing.

    So who waits at a model's gate holds nothing that other models need, and keeps its turn at the model's throttle
    until it is past the gateway's: no allowance gathers between the two, to go out in a burst.
    """

    def __init__(self, caps: dict[str, Caps]) -> None:
        self._gates = {key: Gate(cap) for key, cap in caps.items() if cap != Caps()}

    async def enter(self, keys: Iterable[str]) -> list[Gate]:
        """Returns the gates to leave again, in the order they were entered."""
        entered: list[Gate] = []
        try:
            async with AsyncExitStack() as turns:
                for gate in self._of(keys):
                    await gate.enter(turns)
                    entered.append(gate)
        except asyncio.CancelledError:
            leave(entered)
            raise
        return entered

    def free(self, keys: Iterable[str]) -> bool:
        """Whether nothing on the way has a cap."""
        return not self._of(keys)

    def _of(self, keys: Iterable[str]) -> list[Gate]:
        return [self._gates[key] for key in keys if key in self._gates]


def leave(entered: list[Gate]) -> None:
    for gate in reversed(entered):
        gate.leave()


def throttler(requests_per_minute: float) -> Throttler:
    """A sliding window as short as the rate allows: a whole minute's allowance would go out in one burst."""
    at_once = max(1, int(requests_per_minute / MINUTE_S))
    return Throttler(rate_limit=at_once, period=at_once * MINUTE_S / requests_per_minute)
