"""The clock that tests use: nothing waits, and nobody is woken early, late or out of order."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from streambench.clock import Clock
from streambench.testing import SETTLED_TURNS, FakeClock


async def woken(clock: FakeClock, when_ns: int) -> int:
    await clock.sleep_until(when_ns)
    return clock.now_ns()


@given(instants=st.lists(st.integers(0, 10**18), max_size=10))
def test_each_sleeper_wakes_at_its_instant(instants: list[int]) -> None:
    """However far: each finds the clock at the very nanosecond it asked for, or where it was if that has passed."""

    async def all_of_them() -> list[int]:
        clock = FakeClock(10**9)
        return await asyncio.gather(*(woken(clock, instant) for instant in instants))

    assert asyncio.run(all_of_them()) == [max(10**9, instant) for instant in instants]


def test_sleepers_of_one_instant_wake_in_the_order_they_came() -> None:
    """Three at 5."""
    order: list[int] = []

    async def sleeper(clock: Clock, name: int) -> None:
        await clock.sleep_until(5)
        order.append(name)

    async def all_of_them() -> None:
        clock = FakeClock()
        await asyncio.gather(*(sleeper(clock, name) for name in range(3)))

    asyncio.run(all_of_them())
    assert order == [0, 1, 2]


def test_it_does_not_jump_while_others_work() -> None:
    """Ten times the turns of a settled loop, and the sleeper of 5 still sleeps; then it wakes at 5."""

    async def work_beside() -> tuple[int, int]:
        clock = FakeClock()
        sleeper = asyncio.create_task(woken(clock, 5))
        for _ in range(10 * SETTLED_TURNS):
            await asyncio.sleep(0)
        return clock.now_ns(), await sleeper

    assert asyncio.run(work_beside()) == (0, 5)


def test_a_cancelled_sleeper_is_not_jumped_to() -> None:
    """Of 5 (cancelled) and 9 the clock goes to 9, and on to 12 from there."""

    async def cancel_one() -> list[int]:
        clock = FakeClock()
        gone = asyncio.create_task(woken(clock, 5))
        kept = asyncio.create_task(woken(clock, 9))
        await asyncio.sleep(0)
        gone.cancel()
        return [await kept, await woken(clock, 12)]

    assert asyncio.run(cancel_one()) == [9, 12]


def test_it_outlives_its_event_loop() -> None:
    """Even one that was left with a sleeper."""
    clock = FakeClock()

    async def leave_one_asleep() -> None:
        sleeper = asyncio.create_task(woken(clock, 5))
        await asyncio.sleep(0)
        assert not sleeper.done()

    asyncio.run(leave_one_asleep())
    assert asyncio.run(woken(clock, 9)) == 9


def test_by_hand_it_moves_only_when_told() -> None:
    """To 4 nobody wakes; to 6 the sleeper of 5 finds it at 6; never back."""

    async def by_hand() -> tuple[bool, int, int]:
        clock = FakeClock(autojump=False)
        sleeper = asyncio.create_task(woken(clock, 5))
        await asyncio.sleep(0)
        clock.jump_to(4)
        for _ in range(3 * SETTLED_TURNS):
            await asyncio.sleep(0)
        slept = not sleeper.done()
        clock.jump_to(6)
        clock.jump_to(1)
        return slept, await sleeper, clock.now_ns()

    assert asyncio.run(by_hand()) == (True, 6, 6)
