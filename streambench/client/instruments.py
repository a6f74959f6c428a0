"""What times a run: its clock, the anchor of its timestamps, the event loop's lag, and the sockets' epoll set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from streambench.client.loop_lag import LagSampler
from streambench.client.transport.socket_hub import SocketHub
from streambench.clock import Anchor, Clock, LoopClock, take_anchor


@dataclass(frozen=True, slots=True)
class Instruments:
    """One clock, one anchor, one lag sampler and one socket hub, shared by a whole run."""

    clock: Clock
    anchor: Anchor
    lag: LagSampler
    hub: SocketHub


@asynccontextmanager
async def instruments_open() -> AsyncIterator[Instruments]:
    """Yields instruments for requests outside of a run, and closes them. The lag sampler is not started."""
    clock = LoopClock()
    instruments = Instruments(clock, take_anchor(), LagSampler(clock), SocketHub(clock))
    try:
        yield instruments
    finally:
        instruments.hub.close()
        clock.close()
