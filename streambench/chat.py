"""One model, one answer at a time, timed as in a run: the same client, the same record, and nothing on the disk.

On the way: the command asks for lines and prints what comes; here a line becomes a request and its record.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from streambench.client import ArmedRequest, Client, Instruments
from streambench.clock import take_anchor
from streambench.config import Config
from streambench.health import evidence, judge
from streambench.lag import LagSampler
from streambench.metrics import METRICS, NS_PER_MS, known_gaps
from streambench.money import Price, price_in, priced_usd, stated_usd, usd
from streambench.records import AttemptRecord, Ticket
from streambench.suite import Prompt, Suite, hash_of
from streambench.timers import LoopClock
from streambench.transport import Hub

LOOK_S = 0.03
"""How often what has come is shown. Its arrival is stamped by the kernel, whenever we look."""

KEY_LENGTH = 200
_GROWING = re.compile(rf"[!-~]{{6,{KEY_LENGTH}}}\Z")
"""The end of a text that may be a key's beginning: no script but the Latin is held back."""

Message = Mapping[str, str]
_METRICS = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: its record, without text, and the text."""

    record: AttemptRecord
    text: str
    outcome: str
    evidence: str


class Chat:
    """A conversation with one model of a config, by its alias. `history` is what was said so far."""

    def __init__(self, config: Config, model: str, base_urls: Mapping[str, str], system: str | None = None) -> None:
        self.history: list[Message] = [{"role": "system", "content": system}] if system else []
        self.turns = 0
        self._config = config
        self._model = next(one for one in config.models if one.alias == model)
        self._base_urls = base_urls

    @property
    def price(self) -> Price | None:
        return price_in(self._config.masked(), self._model.alias)

    async def ask(self, line: str, show: Callable[[str], None]) -> Said:
        """Sends the history and this line; `show` is given the answer's text as it comes. Ctrl-C breaks it off.

        What was said on both sides is remembered where an answer came, and forgotten where none did.
        """
        asked = [*self.history, {"role": "user", "content": line}]
        record = await self._send(asked, show)
        text, outcome = record.text or "", judge(record)
        self.turns += 1
        if text:
            self.history = [*asked, {"role": "assistant", "content": text}]
        return Said(replace(record, text=None, reasoning_text=None), text, outcome, evidence(record, outcome))

    async def _send(self, messages: Sequence[Message], show: Callable[[str], None]) -> AttemptRecord:
        clock = LoopClock()
        instruments = Instruments(clock, take_anchor(), LagSampler(clock), Hub(clock))
        client = Client(self._of(messages), self._base_urls, instruments)
        instruments.lag.start()
        try:
            await client.warm(1)
            ticket = Ticket(self.turns, self._model.gateway, self._model.alias, "chat", 0, self.turns)
            return await self._fire(await client.arm(ticket), clock, show)
        finally:
            instruments.lag.stop()
            await client.close()
            instruments.hub.close()
            clock.close()

    async def _fire(self, armed: ArmedRequest, clock: LoopClock, show: Callable[[str], None]) -> AttemptRecord:
        shown = _Shown(show, self._config.secrets.mask)
        with _ctrl_c(armed.abort):
            looking = asyncio.create_task(_look(armed, shown))
            try:
                await armed.fire(clock.now_ns(), 0)
            finally:
                looking.cancel()
                with suppress(asyncio.CancelledError):
                    await looking
            record = await armed.record()
        shown.all_of(record.text or "")
        return record

    def _of(self, messages: Sequence[Message]) -> Config:
        """The config with what is sent now for its suite."""
        prompt = Prompt("chat", tuple(messages))
        suite = Suite("chat", (prompt,), hash_of([prompt]))
        return self._config.model_copy(update={"suite": suite, "keep_text": True, "models": (self._model,)})


@dataclass(slots=True)
class _Shown:
    """How much of a growing text has been shown. A word that may still grow waits, as half a key looks like none."""

    show: Callable[[str], None]
    mask: Callable[[str], str]
    shown: str = ""

    def so_far(self, text: str) -> None:
        growing = _GROWING.search(text[-2 * KEY_LENGTH :])
        self.all_of(text[: len(text) - len(growing[0])] if growing else text)

    def all_of(self, text: str) -> None:
        """Where what was shown was masked afterwards, what follows it is not lost."""
        whole = self.mask(text)
        alike = len(self.shown)
        if not whole.startswith(self.shown):
            alike = next((at for at, (a, b) in enumerate(zip(self.shown, whole, strict=False)) if a != b), alike)
        if len(whole) > len(self.shown) or not self.shown.startswith(whole):
            self.show(whole[alike:])
            self.shown = whole


async def _look(armed: ArmedRequest, shown: _Shown) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        shown.so_far(armed.text_so_far())


@contextmanager
def _ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, stop)
    except (NotImplementedError, RuntimeError, ValueError):  # Windows; a loop that is not on the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


# --- in words


def told(said: Said, price: Price | None) -> str:
    """The answer's numbers on one line: TTFT, pace, usage and cost; what is unknown is said to be."""
    record = said.record
    if said.outcome != "ok" and not record.timeline.kind:
        return f"{said.evidence}"
    parts = [_called(record), *_waits(record), _pace(record), _gaps(record), _usage(record), _cost(record, price)]
    failed = "" if said.outcome == "ok" else f" ({said.evidence})"
    return ", ".join(part for part in parts if part) + failed


def _called(record: AttemptRecord) -> str:
    names = [call.name or "a function without a name" for call in record.tool_calls]
    return f"called {', '.join(names)}" if names else ""


def _waits(record: AttemptRecord) -> Iterator[str]:
    ttft, ttfa = (_METRICS[name].value(record) for name in ("ttft", "ttfa"))
    yield "TTFT unknown" if ttft is None else f"TTFT {ttft:.0f} ms"
    if ttft is not None and ttfa is not None and ttfa > ttft:
        yield f"answer after {ttfa:.0f} ms"


def _pace(record: AttemptRecord) -> str:
    speed = _METRICS["output_tok_s"].value(record)
    return "pace unknown" if speed is None else f"{speed:.1f} tok/s"


def _gaps(record: AttemptRecord) -> str:
    """An answer has too few gaps for its 99th percentile, so that the longest stands for it below a hundred."""
    gaps = sorted(gap / NS_PER_MS for gap in known_gaps(record.timeline))
    if not gaps:
        return "gaps unknown"
    middle = gaps[len(gaps) // 2]
    if len(gaps) < 100:
        return f"gaps p50 {middle:.1f} ms, longest {gaps[-1]:.1f} ms"
    return f"gaps p50 {middle:.1f} ms, p99 {gaps[round(0.99 * (len(gaps) - 1))]:.1f} ms"


def _usage(record: AttemptRecord) -> str:
    usage = record.usage
    if usage is None:
        return "tokens unknown"
    told = [f"{count:,} {name}" for count, name in ((usage.input, "in"), (usage.output, "out")) if count is not None]
    told += [f"{count:,} {name}" for count, name in ((usage.cached, "cached"), (usage.reasoning, "thought")) if count]
    return f"tokens {', '.join(told)}"


def _cost(record: AttemptRecord, price: Price | None) -> str:
    priced, stated = priced_usd(record, price), stated_usd(record)
    told = [f"{usd(priced)} USD"] if priced is not None else []
    told += [f"{usd(stated)} USD as stated"] if stated is not None else []
    return " or ".join(told) or "cost unknown"
