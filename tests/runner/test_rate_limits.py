"""Caps: as many at once and a minute as allowed, first come first served, and what was taken is given back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from asyncio_throttle.throttler import Throttler

from streambench.config.sections import RateLimits
from streambench.runner.rate_limits import Limiter, Limiters, leave, throttler

ALPHA = ("model:alpha", "gateway:hub")
BETA = ("model:beta", "gateway:hub")


async def settle() -> None:
    """Lets every task come as far as it can without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


class Crowd:
    """Tasks that enter gates one after the other, and stay until they are told to leave."""

    def __init__(self, limiters: Limiters) -> None:
        self._limiters = limiters
        self._stays: dict[str, asyncio.Task[list[Limiter]]] = {}
        self.entered: list[str] = []

    def come(self, name: str, keys: tuple[str, ...] = ALPHA) -> None:
        self._stays[name] = asyncio.create_task(self._enter(name, keys))

    async def _enter(self, name: str, keys: tuple[str, ...]) -> list[Limiter]:
        limiters = await self._limiters.enter(keys)
        self.entered.append(name)
        return limiters

    def go(self, name: str) -> None:
        leave(self._stays.pop(name).result())

    def give_up(self, name: str) -> None:
        self._stays.pop(name).cancel()

    async def all_in(self) -> None:
        await asyncio.gather(*self._stays.values())


def crowded(caps: dict[str, RateLimits], scene: Callable[[Crowd], Awaitable[None]]) -> list[str]:
    """Plays the scene; returns who came in, in order. Who still waits is sent home."""

    async def play() -> list[str]:
        crowd = Crowd(Limiters(caps))
        await scene(crowd)
        entered = list(crowd.entered)
        for name in tuple(crowd._stays):
            crowd.give_up(name)
        return entered

    return asyncio.run(play())


# --- parallel requests ------------------------------------------------------------------------------------------------


def test_as_many_as_there_are_slots_come_in() -> None:
    """2 of 4."""

    async def scene(crowd: Crowd) -> None:
        for name in "abcd":
            crowd.come(name)
        await settle()

    assert crowded({"gateway:hub": RateLimits(max_concurrency=2)}, scene) == ["a", "b"]


def test_who_leaves_lets_the_first_in_line_in() -> None:
    """c before d, although d came no later than c's turn."""

    async def scene(crowd: Crowd) -> None:
        for name in "abcd":
            crowd.come(name)
        await settle()
        crowd.go("b")
        await settle()

    assert crowded({"gateway:hub": RateLimits(max_concurrency=2)}, scene) == ["a", "b", "c"]


def test_a_late_comer_does_not_slip_in() -> None:
    """When a leaves, c was first; d comes at that very moment."""

    async def scene(crowd: Crowd) -> None:
        for name in "ac":
            crowd.come(name)
        await settle()
        crowd.come("d")
        crowd.go("a")
        await settle()

    assert crowded({"gateway:hub": RateLimits(max_concurrency=1)}, scene) == ["a", "c"]


def test_who_gives_up_in_line_takes_no_slot() -> None:
    """b goes home; a leaves; c comes in."""

    async def scene(crowd: Crowd) -> None:
        for name in "abc":
            crowd.come(name)
        await settle()
        crowd.give_up("b")
        crowd.go("a")
        await settle()

    assert crowded({"gateway:hub": RateLimits(max_concurrency=1)}, scene) == ["a", "c"]


def test_who_gives_up_at_the_gateway_gives_the_models_slot_back() -> None:
    """a has the gateway's only slot and b (of another model) waits for it. b goes home, a leaves: c of b's model comes
    in, which has one slot.
    """

    async def scene(crowd: Crowd) -> None:
        crowd.come("a", ALPHA)
        await settle()
        crowd.come("b", BETA)
        await settle()
        crowd.give_up("b")
        crowd.come("c", BETA)
        await settle()
        crowd.go("a")
        await settle()

    caps = {"gateway:hub": RateLimits(max_concurrency=1), "model:beta": RateLimits(max_concurrency=1)}
    assert crowded(caps, scene) == ["a", "c"]


def test_who_waits_for_a_model_holds_nothing_of_the_gateway() -> None:
    """alpha takes one at a time, the gateway two: while b waits for alpha, c of beta comes in."""

    async def scene(crowd: Crowd) -> None:
        crowd.come("a", ALPHA)
        crowd.come("b", ALPHA)
        crowd.come("c", BETA)
        await settle()

    caps = {"gateway:hub": RateLimits(max_concurrency=2), "model:alpha": RateLimits(max_concurrency=1)}
    assert crowded(caps, scene) == ["a", "c"]


# --- requests a minute ------------------------------------------------------------------------------------------------


class Watched(Throttler):
    """The real throttle; it also notes how many wait in it at once, and when each came through by its own clock."""

    def __init__(self, rate_limit: int, period: float) -> None:
        super().__init__(rate_limit=rate_limit, period=period)
        self.waiting = self.most_waiting = 0
        self.times: list[float] = []

    async def acquire(self) -> None:
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            await super().acquire()  # type: ignore[no-untyped-call]  # the package is partly typed
            self.times.append(self._task_logs[-1])
        finally:
            self.waiting -= 1


def throttled(caps: dict[str, RateLimits], **throttles: Throttler) -> Limiters:
    """Gates whose throttles are these: the windows of a real cap are half a second at least."""
    limiters = Limiters(caps)
    for name, throttle in throttles.items():
        limiters._limiters[name.replace("_", ":")]._throttle = throttle
    return limiters


HUB = {"gateway:hub": RateLimits(requests_per_minute=60)}


def pass_through(limiters: Limiters, count: int) -> list[int]:
    """Who came through, in order: this many, who all come at once."""
    passed: list[int] = []

    async def one(name: int) -> None:
        leave(await limiters.enter(ALPHA))
        passed.append(name)

    async def all_of_them() -> None:
        await asyncio.gather(*(one(name) for name in range(count)))

    asyncio.run(all_of_them())
    return passed


def test_no_window_holds_more_than_its_share() -> None:
    """23 at 5 in 50 ms: however the windows are laid, none holds 6."""
    throttle = Watched(rate_limit=5, period=0.05)
    pass_through(throttled(HUB, gateway_hub=throttle), 23)
    assert len(throttle.times) == 23
    assert max(sum(first <= other < first + 0.05 for other in throttle.times) for first in throttle.times) <= 5


def test_a_cap_of_few_a_minute_spaces_them() -> None:
    """100 a minute are one in 600 ms: two take more than half a second."""
    before = time.monotonic()
    pass_through(Limiters({"gateway:hub": RateLimits(requests_per_minute=100)}), 2)
    assert time.monotonic() - before > 0.5


def test_the_throttle_is_first_come_first_served() -> None:
    """By itself it is not: its waiters poll."""
    assert pass_through(throttled(HUB, gateway_hub=Throttler(rate_limit=5, period=0.02)), 40) == list(range(40))


def test_only_one_waits_in_the_throttle() -> None:
    """Each waiter polls every 10 ms; 40 of them would cost 40 times that."""
    throttle = Watched(rate_limit=5, period=0.02)
    pass_through(throttled(HUB, gateway_hub=throttle), 40)
    assert (throttle.most_waiting, len(throttle.times)) == (1, 40)


def test_who_gives_up_at_the_throttle_gives_its_slot_back() -> None:
    """One in a thousand seconds, two slots: a is in, b waits at the throttle and goes home."""
    limiters = throttled(
        {"gateway:hub": RateLimits(requests_per_minute=60, max_concurrency=2)},
        gateway_hub=Throttler(rate_limit=1, period=1_000),
    )

    async def play() -> tuple[bool, bool]:
        crowd = Crowd(limiters)
        crowd.come("a")
        crowd.come("b")
        await settle()
        full = slots_of(limiters).locked()
        crowd.give_up("b")
        await settle()
        return full, slots_of(limiters).locked()

    assert asyncio.run(play()) == (True, False)


def slots_of(limiters: Limiters) -> asyncio.Semaphore:
    slots = limiters._limiters["gateway:hub"]._slots
    assert slots is not None
    return slots


def test_no_allowance_gathers_between_two_gates() -> None:
    """The model may send 10, the gateway's one slot is taken: one of the model's five has used its allowance, the
    others keep theirs, or they would all go out in one burst when the slot is free.
    """
    throttle = Watched(rate_limit=10, period=1_000)
    caps = {"gateway:hub": RateLimits(max_concurrency=1), "model:alpha": RateLimits(requests_per_minute=60)}

    async def scene() -> None:
        crowd = Crowd(throttled(caps, model_alpha=throttle))
        crowd.come("in", BETA)
        await settle()
        for name in "abcde":
            crowd.come(name, ALPHA)
        await settle()
        for name in "abcde":
            crowd.give_up(name)

    asyncio.run(scene())
    assert len(throttle.times) == 1


@pytest.mark.parametrize(
    ("per_minute", "at_once", "period_s"),
    [
        (600, 10, 1.0),
        (60, 1, 1.0),
        (90, 1, 60 / 90),
        (150, 2, 0.8),
        (30, 1, 2.0),
        (0.5, 1, 120.0),
        (6_000, 100, 1.0),
    ],
)
def test_the_window_is_as_short_as_the_rate_allows(per_minute: float, at_once: int, period_s: float) -> None:
    """A minute's allowance in one burst is what gateways dislike; at_once x 60 / period is the rate."""
    made = throttler(per_minute)
    assert (made.rate_limit, made.period) == (at_once, pytest.approx(period_s))
    assert at_once * 60 / period_s == pytest.approx(per_minute)


def test_without_caps_nothing_is_in_the_way() -> None:
    """Keys that nobody capped cost no gate."""
    limiters = Limiters({"gateway:hub": RateLimits(), "model:alpha": RateLimits(max_concurrency=1)})
    assert limiters.free(BETA)
    assert not limiters.free(ALPHA)
