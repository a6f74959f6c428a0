"""Timers on the real clock: never early, each once, in order; how late they are is for the benchmarks to say."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from streambench.clock import LoopClock, LoopTimer, MonotonicClock, Timer, TimerFd, make_timer

MS = 1_000_000
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")
KINDS = [pytest.param(TimerFd, marks=LINUX), LoopTimer]
Make = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], Timer]
T = TypeVar("T")

now_ns = MonotonicClock().now_ns


class Bell:
    """Notes each wake, and lets a test wait for the next. A timer's readiness stays until it is set anew."""

    def __init__(self, make: Make) -> None:
        self.rung: list[int] = []
        self._ringing = asyncio.Event()
        self.timer = make(asyncio.get_running_loop(), self._ring)

    def _ring(self) -> None:
        self.rung.append(now_ns())
        self.timer.disarm()
        self._ringing.set()

    async def next(self) -> int:
        await self._ringing.wait()
        self._ringing.clear()
        return self.rung[-1]


@pytest.mark.parametrize("make", KINDS)
def test_a_timer_wakes_at_its_instant_or_later(make: Make) -> None:
    """A loop's own timer may round down by its resolution, a nanosecond on Linux; a timerfd never."""

    async def wait() -> tuple[int, int]:
        bell = Bell(make)
        due = now_ns() + 3 * MS
        bell.timer.arm(due)
        woken = await bell.next()
        bell.timer.close()
        return due, woken

    due, woken = asyncio.run(wait())
    assert woken >= due - MS // 1_000


@pytest.mark.parametrize("make", KINDS)
def test_an_instant_that_has_passed_wakes_at_once(make: Make) -> None:
    """A timer that is set too late must not be lost."""

    async def wait() -> int:
        bell = Bell(make)
        bell.timer.arm(now_ns() - 5 * MS)
        await bell.next()
        bell.timer.close()
        return len(bell.rung)

    assert asyncio.run(wait()) == 1


@pytest.mark.parametrize("make", KINDS)
def test_arming_anew_replaces_the_instant(make: Make) -> None:
    """Set for in an hour, then for in 2 ms: it wakes once, and the hour is forgotten."""

    async def wait() -> int:
        bell = Bell(make)
        bell.timer.arm(now_ns() + 3_600_000 * MS)
        bell.timer.arm(now_ns() + 2 * MS)
        await bell.next()
        bell.timer.close()
        return len(bell.rung)

    assert asyncio.run(wait()) == 1


@pytest.mark.parametrize("make", KINDS)
def test_a_disarmed_timer_does_not_wake(make: Make) -> None:
    """One set for earlier and disarmed stays silent, when one set for later has rung."""

    async def wait() -> int:
        silent, loud = Bell(make), Bell(make)
        silent.timer.arm(now_ns() + MS)
        silent.timer.disarm()
        loud.timer.arm(now_ns() + 4 * MS)
        await loud.next()
        silent.timer.close()
        loud.timer.close()
        return len(silent.rung)

    assert asyncio.run(wait()) == 0


@pytest.mark.parametrize("make", KINDS)
def test_a_closed_timer_does_not_wake(make: Make) -> None:
    """Its file is gone too, where it had one."""

    async def wait() -> int:
        closed, loud = Bell(make), Bell(make)
        closed.timer.arm(now_ns() + MS)
        closed.timer.close()
        loud.timer.arm(now_ns() + 4 * MS)
        await loud.next()
        loud.timer.close()
        return len(closed.rung)

    assert asyncio.run(wait()) == 0


@LINUX
def test_linux_has_the_fine_timer() -> None:
    """The loop's own rounds to milliseconds."""

    async def made() -> Timer:
        timer = make_timer(asyncio.get_running_loop(), lambda: None)
        timer.close()
        return timer

    assert isinstance(asyncio.run(made()), TimerFd)


@LINUX
def test_where_it_is_refused_the_loops_own_does() -> None:
    """With no file descriptor left for a timerfd, as in a sandbox that knows none, a run goes on without."""

    async def made() -> Timer:
        with no_more_files():
            return make_timer(asyncio.get_running_loop(), lambda: None)

    assert isinstance(asyncio.run(made()), LoopTimer)


@contextmanager
def no_more_files() -> Iterator[None]:
    """The next file descriptor would be one too many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    following = os.dup(0)
    os.close(following)
    resource.setrlimit(resource.RLIMIT_NOFILE, (following, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- the loop's clock -------------------------------------------------------------------------------------------------


def on_clock(work: Callable[[LoopClock], asyncio.Future[T]]) -> T:
    async def run() -> T:
        clock = LoopClock()
        try:
            return await work(clock)
        finally:
            clock.close()

    return asyncio.run(run())


async def slept(clock: LoopClock, when_ns: int) -> tuple[int, int]:
    """The instant asked for, and the one of waking."""
    await clock.sleep_until(when_ns)
    return when_ns, clock.now_ns()


def test_no_sleeper_wakes_early() -> None:
    """Twenty at once, registered in a jumble, over 5 ms."""
    start = now_ns()
    instants = [start + (k * 7 % 20) * MS // 4 for k in range(20)]
    waking = on_clock(lambda clock: asyncio.gather(*(slept(clock, instant) for instant in instants)))
    assert all(woken >= due for due, woken in waking)


class HeldClock(LoopClock):
    """Stands still until it is let go, so that in a stall of this machine no instant passes before it is awaited."""

    def __init__(self) -> None:
        super().__init__()
        self._held_ns: int | None = now_ns()

    def now_ns(self) -> int:
        return super().now_ns() if self._held_ns is None else self._held_ns

    def let_go(self) -> None:
        self._held_ns = None


def test_sleepers_wake_in_the_order_of_their_instants() -> None:
    """Registered last first."""
    order: list[int] = []

    async def sleeper(clock: LoopClock, place: int, start: int) -> None:
        await clock.sleep_until(start + place * MS)
        order.append(place)

    async def run() -> None:
        clock = HeldClock()
        start = clock.now_ns() + MS
        sleepers = [asyncio.create_task(sleeper(clock, place, start)) for place in (4, 3, 2, 1, 0)]
        await asyncio.sleep(0)
        clock.let_go()
        await asyncio.gather(*sleepers)
        clock.close()

    asyncio.run(run())
    assert order == [0, 1, 2, 3, 4]


def test_an_instant_that_has_passed_is_no_wait() -> None:
    """Not even a turn of the loop: a late request must not be made later."""

    async def beside(clock: LoopClock) -> bool:
        turn = asyncio.create_task(asyncio.sleep(0))
        await clock.sleep_until(clock.now_ns())
        early = not turn.done()
        await turn
        return early

    assert on_clock(lambda clock: asyncio.ensure_future(beside(clock)))


def test_a_cancelled_sleeper_holds_up_nobody() -> None:
    """Neither one due before the others nor one due after them."""

    async def cancel_two(clock: LoopClock) -> tuple[int, int]:
        start = clock.now_ns()
        tasks = [asyncio.create_task(slept(clock, start + k * MS)) for k in (2, 3_600_000)]
        kept = asyncio.create_task(slept(clock, start + 3 * MS))
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        return await kept

    due, woken = on_clock(lambda clock: asyncio.ensure_future(cancel_two(clock)))
    assert woken >= due
