"""Chat with one model, one answer at a time, timed as in a run: same client, same record, nothing written to disk.

`Chat` turns a line into a request and its record; the `chat` command reads lines and prints the answers.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from streambench.client.client import Client, SdkRequest
from streambench.client.instruments import Instruments
from streambench.client.loop_lag import LagSampler
from streambench.client.transport.socket_hub import SocketHub
from streambench.clock import LoopClock, take_anchor
from streambench.config.config import Config
from streambench.metrics.cost import Price, price_in, priced_usd, stated_usd, usd
from streambench.metrics.definitions import METRICS, NS_PER_MS, known_gaps
from streambench.metrics.outcomes import evidence, outcome_of
from streambench.records.schema import AttemptRecord, Ticket
from streambench.text import count
from streambench.workload.suite import Prompt, Suite, hash_of

LOOK_S = 0.03
"""Seconds between two updates of the shown text. Timestamps do not depend on it: the transport takes them."""

KEY_LENGTH = 200
_GROWING = re.compile(rf"[!-~]{{6,{KEY_LENGTH}}}\Z")
"""Matches the end of a text that may be the start of an API key: printable ASCII only, so other scripts are shown."""

ChatMessage = Mapping[str, str]
_METRICS = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class ChatReply:
    """One answer: its record (without text), its text, its outcome and the evidence for the outcome."""

    record: AttemptRecord
    text: str
    outcome: str
    evidence: str


class Chat:
    """A conversation with one model of a config, named by its alias. `history` holds the messages so far."""

    def __init__(self, config: Config, model: str, base_urls: Mapping[str, str], system: str | None = None) -> None:
        self.history: list[ChatMessage] = [{"role": "system", "content": system}] if system else []
        self.turns = 0
        self._config = config
        self._model = next(one for one in config.models if one.alias == model)
        self._base_urls = base_urls

    @property
    def price(self) -> Price | None:
        return price_in(self._config.masked(), self._model.alias)

    async def ask(self, line: str, show: Callable[[str], None]) -> ChatReply:
        """Sends the history and `line`, and returns the answer. Ctrl-C cancels the attempt.

        `show` is called with each new part of the answer's text. The line and the answer are added to the history if
        any text came, else neither is.
        """
        asked = [*self.history, {"role": "user", "content": line}]
        record = await self._send(asked, show)
        text, outcome = record.text or "", outcome_of(record)
        self.turns += 1
        if text:
            self.history = [*asked, {"role": "assistant", "content": text}]
        return ChatReply(replace(record, text=None, reasoning_text=None), text, outcome, evidence(record, outcome))

    async def _send(self, messages: Sequence[ChatMessage], show: Callable[[str], None]) -> AttemptRecord:
        clock = LoopClock()
        instruments = Instruments(clock, take_anchor(), LagSampler(clock), SocketHub(clock))
        client = Client(self._of(messages), self._base_urls, instruments)
        instruments.lag.start()
        try:
            await client.warm(1)
            ticket = Ticket(self.turns, self._model.gateway, self._model.alias, "chat", 0, self.turns)
            return await self._fire(await client.prepare(ticket), clock, show)
        finally:
            instruments.lag.stop()
            await client.close()
            instruments.hub.close()
            clock.close()

    async def _fire(self, prepared: SdkRequest, clock: LoopClock, show: Callable[[str], None]) -> AttemptRecord:
        shown = _Shown(show, self._config.secrets.mask)
        with _ctrl_c(prepared.abort):
            looking = asyncio.create_task(_look(prepared, shown))
            try:
                await prepared.fire(clock.now_ns(), 0)
            finally:
                looking.cancel()
                with suppress(asyncio.CancelledError):
                    await looking
            record = await prepared.record()
        shown.all_of(record.text or "")
        return record

    def _of(self, messages: Sequence[ChatMessage]) -> Config:
        """Returns the config with these messages as its only prompt and this model as its only model."""
        prompt = Prompt("chat", tuple(messages))
        suite = Suite("chat", (prompt,), hash_of([prompt]))
        return self._config.model_copy(update={"suite": suite, "keep_text": True, "models": (self._model,)})


@dataclass(slots=True)
class _Shown:
    """Shows a growing text with its secrets masked.

    A last word that may still grow is held back, because half an API key would not be recognised and masked.
    """

    show: Callable[[str], None]
    mask: Callable[[str], str]
    shown: str = ""

    def so_far(self, text: str) -> None:
        growing = _GROWING.search(text[-2 * KEY_LENGTH :])
        self.all_of(text[: len(text) - len(growing[0])] if growing else text)

    def all_of(self, text: str) -> None:
        """Shows the new part of the masked text.

        If masking changed a part that was shown before, shows the text again from the first difference.
        """
        whole = self.mask(text)
        alike = len(self.shown)
        if not whole.startswith(self.shown):
            alike = next((at for at, (a, b) in enumerate(zip(self.shown, whole, strict=False)) if a != b), alike)
        if len(whole) > len(self.shown) or not self.shown.startswith(whole):
            self.show(whole[alike:])
            self.shown = whole


async def _look(prepared: SdkRequest, shown: _Shown) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        shown.so_far(prepared.text_so_far())


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


# --- The line of numbers after an answer


def reply_text(reply: ChatReply, price: Price | None) -> str:
    """Returns one line: TTFT, output tokens per second, gaps, token usage and cost, each "unknown" if not known.

    Returns only the evidence if the request failed before any chunk came.
    """
    record = reply.record
    if reply.outcome != "ok" and not record.timeline.kind:
        return f"{reply.evidence}"
    parts = [_called(record), *_waits(record), _pace(record), _gaps(record), _usage(record), _cost(record, price)]
    failed = "" if reply.outcome == "ok" else f" ({reply.evidence})"
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
    return "output speed unknown" if speed is None else f"{speed:.1f} tok/s"


def _gaps(record: AttemptRecord) -> str:
    """Returns the median and 99th percentile of the gaps; the longest gap replaces the latter below 100 gaps."""
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
    parts = [
        f"{count(tokens)} {name}" for tokens, name in ((usage.input, "in"), (usage.output, "out")) if tokens is not None
    ]
    parts += [
        f"{count(tokens)} {name}"
        for tokens, name in ((usage.cached, "cached"), (usage.reasoning, "reasoning"))
        if tokens
    ]
    return f"tokens {', '.join(parts)}"


def _cost(record: AttemptRecord, price: Price | None) -> str:
    priced, stated = priced_usd(record, price), stated_usd(record)
    parts = [f"{usd(priced)} USD"] if priced is not None else []
    parts += [f"{usd(stated)} USD stated by the gateway"] if stated is not None else []
    return " or ".join(parts) or "cost unknown"
