"""One attempt: a ticket in, an AttemptRecord out. The SDK builds and judges; the transport owns the wire and the clock.

`arm` has the SDK build the request and stop before the wire; `fire` sends it at that very instant; `record` lets the
SDK unpack the answer and decodes the tape. Next on the way: `runner`, which decides when.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_address
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from urllib.request import getproxies, proxy_bypass

from openai import AsyncOpenAI, Omit, OpenAIError

from streambench.apis import Ask, in_words_of
from streambench.asked import asked_of, json_form, prepare_schemas
from streambench.capture import SLICE, Circumstances, TapeReader, record_of
from streambench.chunks import StreamLimits
from streambench.clock import Anchor, Clock
from streambench.config import Config, Gateway, Model
from streambench.conversation import Answer, Conversation, begin
from streambench.deadlines import Deadlines
from streambench.errors import ConfigError, Problem
from streambench.headers import laid_over
from streambench.health import judge
from streambench.images import attached, strings_in
from streambench.lag import LagSampler
from streambench.prompt_mask import PromptMask
from streambench.records import Asked, AttemptRecord, Failure, RunTrace, Stamps, Ticket
from streambench.suite import Prompt, texts_of
from streambench.tool_calls import declared_schemas
from streambench.trace_ids import new_run_trace, new_span_id, new_trace_id
from streambench.transport import (
    CURRENT,
    Bounds,
    DirectTransport,
    Exchange,
    Hub,
    StandardTransport,
    Tape,
    TlsSettings,
    http_client,
)
from streambench.watch import Behind, Watch


@dataclass(frozen=True, slots=True)
class Instruments:
    """What measures: one clock, one anchor, one lag sampler, one hub of sockets for the whole run."""

    clock: Clock
    anchor: Anchor
    lag: LagSampler
    hub: Hub


Carrier = Callable[[str, str], Mapping[str, str]]
"""The headers that make a gateway's spans children of ours: of a trace id and a span id."""


@dataclass(frozen=True, slots=True)
class Traced:
    """How a run's requests are traced: their ids are theirs before they are sent."""

    run: RunTrace
    carrier: Carrier = lambda _trace_id, _span_id: {}
    wants_text: bool = False
    """Whether records are to have the text, even where the journal does not keep it."""

    def first_try(self) -> Try:
        """Of a new request, in the run's trace or in one of its own."""
        trace_id = self.run.trace_id if self.run.shape == "run" else new_trace_id()
        return Try(1, trace_id, new_span_id(), new_span_id())

    def headers(self, of: Try) -> Mapping[str, str]:
        """They name the narrowest span that is sure to be sent: a first attempt has none of its own, unless asked."""
        alone = of.attempt == 1 and self.run.attempts == "auto"
        return self.carrier(of.trace_id, of.request_span_id if alone else of.span_id)


class Client:
    """All gateways of a run. `base_urls` gives the address of each gateway by name: the embedded one has moved in."""

    def __init__(
        self, config: Config, base_urls: Mapping[str, str], instruments: Instruments, traced: Traced | None = None
    ) -> None:
        self._config = config
        self._instruments = instruments
        self._traced = traced or Traced(new_run_trace())
        self._models = {model.alias: model for model in config.models}
        self._prompts = {prompt.id: prompt for prompt in config.suite.prompts}
        self._doors = {
            name: _Door(gateway, base_urls[name], _transport(name, config, base_urls[name], instruments), config)
            for name, gateway in config.gateways.items()
            if any(model.gateway == name for model in config.models)
        }
        self._bounds = Bounds(
            connect_s=config.timeouts.connect,
            head_bytes=config.bounds.head_bytes,
            body_bytes=config.bounds.stream_bytes,
            line_bytes=config.bounds.line_bytes,
        )
        self._limits = StreamLimits(
            line_bytes=config.bounds.line_bytes,
            stream_bytes=config.bounds.stream_bytes,
            chunks=config.bounds.chunks,
            text_chars=config.bounds.text_chars,
        )
        self._behind = Behind()
        self._deadlines = Deadlines(config.timeouts.first_chunk, config.timeouts.idle, config.timeouts.total)
        self._masks: dict[str, PromptMask] = {}
        self._refuses_usage: set[str] = set()
        everything: tuple[Iterable[Gateway | Model | Prompt], ...] = (
            config.gateways.values(),
            config.models,
            config.suite.prompts,
        )
        for said in chain.from_iterable(everything):
            prepare_schemas(said.params)

    @property
    def stamps(self) -> Stamps:
        """Whose clock the arrivals are on; the coarsest, where gateways differ."""
        if any(isinstance(door.transport, StandardTransport) for door in self._doors.values()):
            return "sdk"
        return "kernel" if self._instruments.hub.kernel_stamps else "read"

    @property
    def refuses_usage(self) -> frozenset[str]:
        """Aliases of the models whose gateway rejected `stream_options`; they are asked without it from then on."""
        return frozenset(self._refuses_usage)

    async def arm(self, ticket: Ticket) -> ArmedRequest:
        """Has the SDK build the ticket's request; it is then held, ready to be fired. Never raises for a request."""
        return await self.armed(ticket, begin(self._prompts[ticket.prompt_id]))

    async def armed(self, ticket: Ticket, conversation: Conversation, of: Try | None = None) -> ArmedRequest:
        """One attempt of the request, which may not be its first."""
        of = of or self._traced.first_try()
        held = await self._build(ticket, conversation, of)
        return ArmedRequest(ticket, self, conversation, held, self._deadlines, of)

    async def _build(self, ticket: Ticket, conversation: Conversation, of: Try) -> _Held:
        model = self._models[ticket.model]
        exchange = Exchange(self._instruments.clock, self._bounds)
        asks_usage = self._asks_usage(model)
        door = self._doors[model.gateway]
        body = self._body(door.gateway, model, conversation, asks_usage=asks_usage)
        own = laid_over(model.headers, conversation.prompt.headers)
        call = door.call(model.model, model.ask, body, own, self._traced.headers(of))
        task = _in_context_of(exchange, call)
        await asyncio.wait((task, exchange.armed), return_when=asyncio.FIRST_COMPLETED)
        schemas = declared_schemas(body["extra_body"])
        reader = TapeReader(
            exchange.tape,
            keep_text=self._keeps_text or conversation.goes_on,
            schemas=schemas,
            limits=self._limits,
            ask=model.ask,
            json_form=json_form(body["extra_body"]),
        )
        exchange.on_backlog = partial(self._behind.ask, exchange, reader)
        return _Held(exchange, reader, task, asks_usage=asks_usage, asked=asked_of(body["extra_body"]))

    async def renewed(self, armed: ArmedRequest, held: _Held) -> _Held:
        """What is held, or a request built anew where the gateway has refused one like it by now."""
        if not held.asks_usage or armed.ticket.model not in self._refuses_usage:
            return held
        await held.discard()
        return await self._build(armed.ticket, armed.conversation, armed.of)

    async def warm(self, count: int, spare: int = 0) -> None:
        """Opens up to `count` connections to each gateway that keeps them, so that no latency holds their set-up.

        From then on `spare` are kept in hand: an open loop may need a new one at any instant.
        """
        doors = [door for door in self._doors.values() if door.gateway.connections == "warm"]
        await asyncio.gather(*(door.warm(count, self._bounds.connect_s, spare) for door in doors))

    async def close(self) -> None:
        await asyncio.gather(*(door.close() for door in self._doors.values()))

    def _asks_usage(self, model: Model) -> bool:
        wanted = model.include_usage
        if wanted is None:
            wanted = self._doors[model.gateway].gateway.include_usage
        return wanted and model.ask.names_usage and model.alias not in self._refuses_usage

    @staticmethod
    def _body(gateway: Gateway, model: Model, conversation: Conversation, *, asks_usage: bool) -> dict[str, Any]:
        """The request's fields besides model and stream. A prompt's win over its model's, those over the gateway's."""
        usage = {"stream_options": {"include_usage": True}} if asks_usage else {}
        extra = {**gateway.params, **model.params, **conversation.prompt.params}
        return {"messages": conversation.messages, **usage, "extra_body": extra}

    def sum_up(self, armed: ArmedRequest, held: _Held, refused: Failure | None) -> AttemptRecord:
        """The record of an attempt that is over."""
        tape = held.reader.tape
        instruments = self._instruments
        lags = [instruments.lag.worst(tape.start, tape.ended or tape.start), tape.read_lag or None]
        about = Circumstances(
            ticket=armed.ticket,
            attempt=armed.of.attempt,
            trace_id=armed.of.trace_id,
            span_id=armed.of.span_id,
            request_span_id=armed.of.request_span_id,
            scheduled_ns=armed.scheduled_ns,
            queue_ns=armed.queue_ns,
            anchor=instruments.anchor,
            usage_refused=armed.ticket.model in self._refuses_usage and not held.asks_usage,
            lag_ns=max((lag for lag in lags if lag is not None), default=None),
            secrets=self._config.secrets,
            prompt_mask=partial(self._mask_of, armed.conversation),
            answered=armed.conversation.answered,
            model_asked=self._models[armed.ticket.model].model,
            usage_asked=held.asks_usage or not held.reader.ask.names_usage,
            asked=held.asked,
        )
        record = self._with_usage_refusal(record_of(held.reader, about, refused))
        if not self._keeps_text and record.text is not None:
            record = replace(record, text=None, reasoning_text=None)
        return replace(record, retry_wait_ns=armed.retry_wait_ns) if armed.retry_wait_ns else record

    @property
    def _keeps_text(self) -> bool:
        return self._config.keep_text or self._traced.wants_text

    def _mask_of(self, conversation: Conversation) -> PromptMask:
        """Made when it is first needed: once a prompt; for each turn of a conversation, whose history is its own."""
        prompt = conversation.prompt
        if prompt.turns:
            return PromptMask((*texts_of(prompt), *conversation.texts), _beside(prompt, conversation.messages))
        if prompt.id not in self._masks:
            self._masks[prompt.id] = PromptMask(texts_of(prompt), _beside(prompt, prompt.messages))
        return self._masks[prompt.id]

    def _with_usage_refusal(self, record: AttemptRecord) -> AttemptRecord:
        """A gateway that rejects `stream_options` by name is asked without it from the next request on."""
        failure = record.failure
        if failure is None or failure.status not in (400, 422):
            return record
        if "stream_options" in failure.message or "include_usage" in failure.message:
            self._refuses_usage.add(record.ticket.model)
        return record


def _beside(prompt: Prompt, messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What is the prompt's own beside its texts: images, descriptions of tools and forms, values of headers."""
    yield from attached(messages)
    yield from strings_in(prompt.params)
    yield from prompt.headers.values()


@dataclass(frozen=True, slots=True)
class Try:
    """Which attempt of its request it is, from 1, and when the one before it had ended. All are under one span."""

    attempt: int
    trace_id: str
    request_span_id: str
    span_id: str
    after_ns: int | None = None

    def next(self, after_ns: int) -> Try:
        return replace(self, attempt=self.attempt + 1, span_id=new_span_id(), after_ns=after_ns)


@dataclass(frozen=True, slots=True)
class _Held:
    """A request as the SDK built it, stopped before the wire; its task is the SDK's call."""

    exchange: Exchange
    reader: TapeReader
    task: asyncio.Task[None]
    asks_usage: bool
    asked: Asked | None = None

    async def discard(self) -> None:
        self.task.cancel()
        await asyncio.wait((self.task,))


class ArmedRequest:
    """One attempt, built and held. Fire it once, then take its record once."""

    def __init__(
        self, ticket: Ticket, client: Client, conversation: Conversation, held: _Held, deadlines: Deadlines, of: Try
    ) -> None:
        self.ticket = ticket
        self.conversation = conversation
        self.of = of
        self.scheduled_ns = 0
        self.queue_ns = 0
        self._broken_off = False
        self._client = client
        self._held = held
        self._deadlines = deadlines

    @property
    def tape(self) -> Tape:
        """What has come so far."""
        return self._held.exchange.tape

    @property
    def retry_wait_ns(self) -> int:
        """From the end of the attempt before it to its own start, but for the queue; 0 for a first attempt."""
        if self.of.after_ns is None or not self.tape.start:
            return 0
        return max(0, self.tape.start - self.of.after_ns - self.queue_ns)

    async def again(self) -> ArmedRequest:
        """The next attempt of the same request. Nothing of what came in this one goes into it."""
        ended = self.tape.ended or self.tape.start or self._held.exchange.clock.now_ns()
        return await self._client.armed(self.ticket, self.conversation, self.of.next(ended))

    async def follow(self, record: AttemptRecord, ticket: Ticket) -> ArmedRequest | None:
        """The next turn of the conversation; None where it ends with this one."""
        decoder = self._held.reader.decoder
        if judge(record) != "ok":
            return None
        conversation = self.conversation.after(Answer(decoder.text() or "", decoder.said_calls()))
        return None if conversation is None else await self._client.armed(ticket, conversation)

    async def fire(self, scheduled_ns: int, queue_ns: int) -> None:
        """Sends at once; returns when the wire is quiet again, however the attempt ended."""
        self.scheduled_ns = scheduled_ns
        self.queue_ns = queue_ns
        self._held = await self._client.renewed(self, self._held)
        if self._broken_off:
            self.abort()
        exchange = self._held.exchange
        if not exchange.armed.done():  # the SDK refused to build it
            return
        exchange.is_done = self._is_done
        exchange.fire()
        reader = self._held.reader
        watch = Watch(exchange, reader, self._deadlines if reader.ask.streamed else self._deadlines.of_whole())
        try:
            await exchange.over
        finally:
            watch.stop()

    def abort(self) -> None:
        """Breaks the attempt off; its record will say `cancelled`."""
        self._broken_off = True
        self._held.exchange.abort(Failure("cancelled", "stopped by the user"))

    async def record(self) -> AttemptRecord:
        """Decodes the tape in slices that leave the event loop its turns, and sums the attempt up."""
        reader = self._held.reader
        self._held.exchange.release()
        refused = await self._sdk_refusal()
        while not reader.catch_up(SLICE):  # noqa: ASYNC110  # waits for nothing: gives the loop its turns
            await asyncio.sleep(0)
        reader.close()
        return self._client.sum_up(self, self._held, refused)

    async def discard(self) -> None:
        """Drops a request that will not be sent."""
        await self._held.discard()

    def text_so_far(self) -> str:
        """What has come of the answer, where texts are kept; some of a fast stream is left for the next look."""
        self._held.reader.catch_up(SLICE)
        return self._held.reader.decoder.text() or ""

    def _is_done(self) -> bool:
        reader, exchange = self._held.reader, self._held.exchange
        if not reader.catch_up():
            exchange.expect_end()  # and asks again
        return reader.decoder.done

    async def _sdk_refusal(self) -> Failure | None:
        """What the SDK says where nothing went out; for all that went out, the tape speaks."""
        task = self._held.task
        await asyncio.wait((task,))
        error = None if task.cancelled() else task.exception()
        if error is None or self._held.exchange.armed.done():
            return None
        return Failure("client_error", f"{type(error).__name__}: {error}")


MODELS_BOUNDS = Bounds(head_bytes=64 * 1024, body_bytes=8 * 1024 * 1024, line_bytes=8 * 1024 * 1024)
"""Of the answer to `GET /models`."""


async def ask_models(
    config: Config, gateway: str, base_url: str, instruments: Instruments, limit_s: float, after: str | None = None
) -> Tape:
    """What the gateway answered to `GET /models`, as it came; `after` asks for the page behind that model.

    Nothing is waited for longer than `limit_s`. Raises ConfigError as a Client does; never for an answer.
    """
    door = _Door(config.gateways[gateway], base_url, _transport(gateway, config, base_url, instruments), config)
    exchange = Exchange(instruments.clock, replace(MODELS_BOUNDS, connect_s=limit_s))
    task = _in_context_of(exchange, door.list_models(after))
    try:
        await asyncio.wait((task, exchange.armed), return_when=asyncio.FIRST_COMPLETED)
        if exchange.armed.done():
            exchange.fire()
            await asyncio.wait((exchange.over,), timeout=limit_s)
        exchange.abort(Failure("timeout", f"no whole answer within {limit_s:g} s", detail="total"))
        exchange.release()
        await asyncio.wait((task,))
    finally:
        await door.close()
    return exchange.tape


class _Door:
    """One gateway: its SDK client and the transport below it."""

    def __init__(
        self, gateway: Gateway, base_url: str, transport: DirectTransport | StandardTransport, config: Config
    ) -> None:
        self.gateway = gateway
        self.base_url = base_url
        self.transport = transport
        named = {name.lower() for name in gateway.headers}
        keyed = gateway.api_key is not None or "authorization" in named
        self._named = named
        self._headers = {} if keyed else {"Authorization": Omit()}
        url = urlsplit(base_url)
        with _without_sdk_environment():
            self.sdk = AsyncOpenAI(
                base_url=url._replace(query="").geturl(),
                default_query=dict(parse_qsl(url.query, keep_blank_values=True)),  # the SDK would append the path to it
                api_key=gateway.api_key or "none",
                max_retries=0,
                timeout=config.timeouts.total,
                http_client=http_client(self.transport),
                # a compressed stream arrives in blocks: ask for none
                default_headers={**gateway.headers, "Accept-Encoding": "identity"},
            )
        self._spelled = {name.lower(): name for name in (*self.sdk.default_headers, *gateway.headers)}

    async def call(
        self, model: str, ask: Ask, body: Mapping[str, Any], own: Mapping[str, str], carried: Mapping[str, str]
    ) -> None:
        """`body` is a chat's, by whichever API it goes. `own` are the request's headers, which win over the gateway's;
        `carried` stand beside those, which win.
        """
        create = self._resource(ask.api).with_streaming_response.create
        words = in_words_of(ask.api, body)
        beside = {name: value for name, value in carried.items() if name.lower() not in self._named}
        headers: dict[str, str | Omit] = {**beside, **self._respelled(own), **self._headers}
        async with create(model=model, stream=ask.streamed, extra_headers=headers, **words):
            pass  # the answer is on the tape

    def _resource(self, api: str) -> Any:
        """What of the SDK asks by this API."""
        if api == "responses":
            return self.sdk.responses
        return self.sdk.completions if api == "completions" else self.sdk.chat.completions

    def _respelled(self, own: Mapping[str, str]) -> dict[str, str]:
        """As the SDK or the gateway spells the same name: it merges by spelling, and would send both."""
        return {self._spelled.get(name.lower(), name): value for name, value in own.items()}

    async def list_models(self, after: str | None) -> None:
        listing = self.sdk.models.with_streaming_response.list
        query = {} if after is None else {"after": after, "after_id": after}  # as OpenAI and Anthropic page their lists
        async with listing(extra_headers={**self._headers}, extra_query=query):
            pass  # as above

    async def warm(self, count: int, connect_s: float, spare: int) -> None:
        limit = self.gateway.limits.max_concurrency or count
        await self.transport.warm(self.base_url, min(count, limit), connect_s, min(spare, limit))

    async def close(self) -> None:
        await self.sdk.close()


def _in_context_of(exchange: Exchange, call: Any) -> asyncio.Task[None]:
    context = copy_context()
    context.run(CURRENT.set, exchange)
    task: asyncio.Task[None] = asyncio.get_running_loop().create_task(call, context=context)
    task.add_done_callback(_retrieved)
    return task


def _retrieved(task: asyncio.Task[None]) -> None:
    """An SDK error is no surprise: the tape tells it. Anything else would be a fault of ours and is said as one."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, OpenAIError | ValueError | TypeError):
        asyncio.get_running_loop().call_exception_handler(
            {"message": "unexpected error below the SDK", "exception": error, "task": task}
        )


def _transport(
    name: str, config: Config, base_url: str, instruments: Instruments
) -> DirectTransport | StandardTransport:
    """Raises ConfigError for what can be known of a gateway only now: its proxy, certificates, a missing extra."""
    gateway, where = config.gateways[name], f"gateways.{name}"
    tls = TlsSettings(gateway.tls.ca_bundle, gateway.tls.client_cert, gateway.tls.client_key, gateway.tls.verify)
    proxy = gateway.proxy or _environment_proxy(base_url)
    if proxy is None and not gateway.http2:
        return DirectTransport(instruments.hub, instruments.clock, tls, fresh=gateway.connections == "new")
    if gateway.http2 and find_spec("h2") is None:
        raise ConfigError([_lacks(f"{where}.http2", "http2")])
    try:
        return StandardTransport(instruments.clock, tls, proxy=proxy, http2=gateway.http2)
    except ImportError:
        raise ConfigError([_lacks(f"{where}.proxy", "socks")]) from None
    except (OSError, ValueError) as error:
        told = config.secrets.clean(f"cannot be used: {error}")
        raise ConfigError(
            [Problem(told, where=f"{where}.{'tls' if isinstance(error, OSError) else 'proxy'}")]
        ) from None


def _lacks(where: str, extra: str) -> Problem:
    return Problem(
        "needs a package that is not installed", None, None, where, None, f"pip install 'streambench[{extra}]'"
    )


def _environment_proxy(base_url: str) -> str | None:
    """HTTP_PROXY, HTTPS_PROXY or ALL_PROXY unless NO_PROXY names the host; never for this machine itself."""
    url = urlsplit(base_url)
    host = url.hostname or ""
    if _is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _without_sdk_environment() -> Iterator[None]:
    """The SDK takes organisation, project and headers from OPENAI_*; what a run sends stands in its config alone."""
    held = {name: os.environ.pop(name) for name in tuple(os.environ) if name.startswith("OPENAI_")}
    try:
        yield
    finally:
        os.environ.update(held)
