"""Enforces the limits of a gateway or a model: requests per minute and parallel requests. Waiting is queue time.

asyncio-throttle enforces the rate. Its waiters poll and are not served in order, so a lock lets one request at a time
wait there, which keeps the order and the cost of a single poller. Why: docs/design/004-fair-plan.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack

from asyncio_throttle.throttler import Throttler

from streambench.config.sections import RateLimits

MINUTE_S = 60.0


class Limiter:
    """Admits requests in the order of arrival, within one gateway's or model's limits."""

    def __init__(self, caps: RateLimits) -> None:
        self._slots = asyncio.Semaphore(caps.max_concurrency) if caps.max_concurrency else None
        self._throttle = throttler(caps.requests_per_minute) if caps.requests_per_minute else None
        self._turn = asyncio.Lock()

    async def enter(self, turns: AsyncExitStack) -> None:
        """Takes a slot, which `leave` returns, and waits for the throttle.

        The request keeps the throttle's lock until `turns` is closed.
        """
        if self._slots is not None:
            await self._slots.acquire()
        if self._throttle is not None:
            await self._pass_throttle(self._throttle, turns)

    def leave(self) -> None:
        """Returns the slot that `enter` took."""
        if self._slots is not None:
            self._slots.release()

    async def _pass_throttle(self, throttle: Throttler, turns: AsyncExitStack) -> None:
        try:
            await turns.enter_async_context(self._turn)
            await throttle.acquire()  # type: ignore[no-untyped-call]  # the package is partly typed
        except asyncio.CancelledError:
            self.leave()
            raise


class Limiters:
    """The limiters of all gateways and models. A ticket passes its model's limiter first, then its gateway's.

    In this order a request that waits for its model takes no slot that other models need. It keeps the lock of the
    model's throttle until it has passed the gateway's limiter, so that no requests collect between the two and go out
    in a burst. Keys without limits have no limiter.
    """

    def __init__(self, caps: dict[str, RateLimits]) -> None:
        self._limiters = {key: Limiter(cap) for key, cap in caps.items() if cap != RateLimits()}

    async def enter(self, keys: Iterable[str]) -> list[Limiter]:
        """Waits for each limiter of `keys` in turn. Returns those entered, to be passed to `leave`."""
        entered: list[Limiter] = []
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
        """True if none of `keys` has a limit."""
        return not self._of(keys)

    def _of(self, keys: Iterable[str]) -> list[Limiter]:
        return [self._limiters[key] for key in keys if key in self._limiters]


def leave(entered: list[Limiter]) -> None:
    """Leaves the limiters that `Limiters.enter` returned."""
    for gate in reversed(entered):
        gate.leave()


def throttler(requests_per_minute: float) -> Throttler:
    """Returns a throttle with the shortest sliding window that the rate allows.

    With a window of one minute, all of the minute's requests would go out in one burst.
    """
    at_once = max(1, int(requests_per_minute / MINUTE_S))
    return Throttler(rate_limit=at_once, period=at_once * MINUTE_S / requests_per_minute)
