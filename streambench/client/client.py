"""Sends one attempt: takes a ticket, returns an AttemptRecord.

`Client.prepare` lets the SDK build the request and holds it before it is sent; `SdkRequest.fire` sends it at once;
`SdkRequest.record` lets the SDK read the response and decodes what the transport recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from streambench.client.gateway import GatewayClient, _in_context_of, _transport
from streambench.client.instruments import Instruments
from streambench.client.prompt_redaction import PromptMask
from streambench.client.record_builder import AttemptContext, record_of
from streambench.client.tape_reader import SLICE, BackgroundDecoder, TapeReader
from streambench.client.timeouts import Deadlines, DeadlineWatch
from streambench.client.transport.exchange import Exchange
from streambench.client.transport.standard import StandardTransport
from streambench.client.transport.tape import Tape
from streambench.config.config import Config
from streambench.config.schema import Gateway, Model
from streambench.metrics.outcomes import outcome_of
from streambench.records.schema import AttemptRecord, Failure, OutputRequest, RunTrace, Stamps, Ticket
from streambench.records.trace_ids import Carrier, new_run_trace, new_span_id, new_trace_id
from streambench.workload.conversation import AssistantAnswer, Conversation, begin
from streambench.workload.headers import laid_over
from streambench.workload.images import attached, strings_in
from streambench.workload.request_params import declared_schemas, json_form, output_request_of, prepare_schemas
from streambench.workload.suite import Prompt, texts_of


@dataclass(frozen=True, slots=True)
class TraceContext:
    """How a run's requests are traced. Trace and span ids are chosen before a request is sent."""

    run: RunTrace
    carrier: Carrier = lambda _trace_id, _span_id: {}
    wants_text: bool = False
    """True if records must hold the text even if the config's `keep_text` is off."""

    def first_try(self) -> AttemptId:
        """Returns a request's first attempt: in the run's trace if `run.shape` is `run`, else in a new trace."""
        trace_id = self.run.trace_id if self.run.shape == "run" else new_trace_id()
        return AttemptId(1, trace_id, new_span_id(), new_span_id())

    def headers(self, of: AttemptId) -> Mapping[str, str]:
        """Returns the trace headers of an attempt, with the narrowest span that is sure to be exported as parent.

        With `run.attempts` at `auto`, a request with one attempt has no attempt span, so its first attempt names the
        request's span.
        """
        alone = of.attempt == 1 and self.run.attempts == "auto"
        return self.carrier(of.trace_id, of.request_span_id if alone else of.span_id)


class Client:
    """Sends requests to all gateways of a run.

    `base_urls` maps gateway name to address; the embedded simulator's address is only known once it runs.
    """

    def __init__(
        self, config: Config, base_urls: Mapping[str, str], instruments: Instruments, traced: TraceContext | None = None
    ) -> None:
        self._config = config
        self._instruments = instruments
        self._traced = traced or TraceContext(new_run_trace())
        self._models = {model.alias: model for model in config.models}
        self._prompts = {prompt.id: prompt for prompt in config.suite.prompts}
        self._doors = {
            name: GatewayClient(
                gateway, base_urls[name], _transport(name, config, base_urls[name], instruments), config
            )
            for name, gateway in config.gateways.items()
            if any(model.gateway == name for model in config.models)
        }
        self._behind = BackgroundDecoder()
        self._deadlines = Deadlines(config.timeouts)
        self._masks: dict[str, PromptMask] = {}
        self._refuses_usage: set[str] = set()
        everything: tuple[Iterable[Gateway | Model | Prompt], ...] = (
            config.gateways.values(),
            config.models,
            config.suite.prompts,
        )
        for text in chain.from_iterable(everything):
            prepare_schemas(text.params)

    @property
    def stamps(self) -> Stamps:
        """Source of the arrival timestamps: `kernel`, `read` or `sdk`. If gateways differ, the coarsest one."""
        if any(isinstance(door.transport, StandardTransport) for door in self._doors.values()):
            return "sdk"
        return "kernel" if self._instruments.hub.kernel_stamps else "read"

    @property
    def refuses_usage(self) -> frozenset[str]:
        """Aliases of the models whose gateway rejected `stream_options`; later requests to them leave it out."""
        return frozenset(self._refuses_usage)

    async def prepare(self, ticket: Ticket) -> SdkRequest:
        """Lets the SDK build the ticket's request and returns it, ready to fire. Never raises because of a request."""
        return await self.prepared(ticket, begin(self._prompts[ticket.prompt_id]))

    async def prepared(self, ticket: Ticket, conversation: Conversation, of: AttemptId | None = None) -> SdkRequest:
        """Returns one built attempt of the request: the attempt `of`, or the first attempt if `of` is None."""
        of = of or self._traced.first_try()
        held = await self._build(ticket, conversation, of)
        return SdkRequest(ticket, self, conversation, held, self._deadlines, of)

    async def _build(self, ticket: Ticket, conversation: Conversation, of: AttemptId) -> _Held:
        model = self._models[ticket.model]
        exchange = Exchange(self._instruments.clock, self._config.bounds, self._config.timeouts.connect)
        asks_usage = self._asks_usage(model)
        door = self._doors[model.gateway]
        body = self._body(door.gateway, model, conversation, asks_usage=asks_usage)
        own = laid_over(model.headers, conversation.prompt.headers)
        call = door.call(model.model, model.ask, body, own, self._traced.headers(of))
        task = _in_context_of(exchange, call)
        await asyncio.wait((task, exchange.prepared), return_when=asyncio.FIRST_COMPLETED)
        schemas = declared_schemas(body["extra_body"])
        reader = TapeReader(
            exchange.tape,
            keep_text=self._keeps_text or conversation.continues,
            schemas=schemas,
            limits=self._config.bounds,
            ask=model.ask,
            json_form=json_form(body["extra_body"]),
        )
        exchange.on_backlog = partial(self._behind.ask, exchange, reader)
        return _Held(exchange, reader, task, asks_usage=asks_usage, asked=output_request_of(body["extra_body"]))

    async def renewed(self, prepared: SdkRequest, held: _Held) -> _Held:
        """Returns `held`, or a request rebuilt without `stream_options` if the gateway has rejected that since."""
        if not held.asks_usage or prepared.ticket.model not in self._refuses_usage:
            return held
        await held.discard()
        return await self._build(prepared.ticket, prepared.conversation, prepared.of)

    async def warm(self, count: int, spare: int = 0) -> None:
        """Opens up to `count` connections to each gateway with `connections: warm`.

        No latency then includes the set-up of a connection. Afterwards `spare` idle connections are kept for each
        gateway, because an open loop may need a new one at any instant.
        """
        doors = [door for door in self._doors.values() if door.gateway.connections == "warm"]
        await asyncio.gather(*(door.warm(count, self._config.timeouts.connect, spare) for door in doors))

    async def close(self) -> None:
        await asyncio.gather(*(door.close() for door in self._doors.values()))

    def _asks_usage(self, model: Model) -> bool:
        wanted = model.include_usage
        if wanted is None:
            wanted = self._doors[model.gateway].gateway.include_usage
        return wanted and model.ask.names_usage and model.alias not in self._refuses_usage

    @staticmethod
    def _body(gateway: Gateway, model: Model, conversation: Conversation, *, asks_usage: bool) -> dict[str, Any]:
        """Returns the request's fields except model and stream.

        A prompt's params override its model's params, which override the gateway's.
        """
        usage = {"stream_options": {"include_usage": True}} if asks_usage else {}
        extra = {**gateway.params, **model.params, **conversation.prompt.params}
        return {"messages": conversation.messages, **usage, "extra_body": extra}

    def sum_up(self, prepared: SdkRequest, held: _Held, refused: Failure | None) -> AttemptRecord:
        """Returns the record of an attempt that has ended. `refused` is the SDK's refusal to build it, if any."""
        tape = held.reader.tape
        instruments = self._instruments
        lags = [instruments.lag.worst(tape.start, tape.ended or tape.start), tape.read_lag or None]
        about = AttemptContext(
            ticket=prepared.ticket,
            attempt=prepared.of.attempt,
            trace_id=prepared.of.trace_id,
            span_id=prepared.of.span_id,
            request_span_id=prepared.of.request_span_id,
            scheduled_ns=prepared.scheduled_ns,
            queue_ns=prepared.queue_ns,
            anchor=instruments.anchor,
            usage_refused=prepared.ticket.model in self._refuses_usage and not held.asks_usage,
            lag_ns=max((lag for lag in lags if lag is not None), default=None),
            secrets=self._config.secrets,
            prompt_mask=partial(self._mask_of, prepared.conversation),
            answered=prepared.conversation.answered,
            model_asked=self._models[prepared.ticket.model].model,
            usage_asked=held.asks_usage or not held.reader.ask.names_usage,
            asked=held.asked,
        )
        record = self._with_usage_refusal(record_of(held.reader, about, refused))
        if not self._keeps_text and record.text is not None:
            record = replace(record, text=None, reasoning_text=None)
        return replace(record, retry_wait_ns=prepared.retry_wait_ns) if prepared.retry_wait_ns else record

    @property
    def _keeps_text(self) -> bool:
        return self._config.keep_text or self._traced.wants_text

    def _mask_of(self, conversation: Conversation) -> PromptMask:
        """Returns the mask of a prompt's words, built on first use.

        A single request's mask is built once per prompt. A conversation's mask is built for each record, because its
        history differs each time.
        """
        prompt = conversation.prompt
        if prompt.turns:
            return PromptMask((*texts_of(prompt), *conversation.texts), _beside(prompt, conversation.messages))
        if prompt.id not in self._masks:
            self._masks[prompt.id] = PromptMask(texts_of(prompt), _beside(prompt, prompt.messages))
        return self._masks[prompt.id]

    def _with_usage_refusal(self, record: AttemptRecord) -> AttemptRecord:
        """Returns the record. If the gateway rejected `stream_options` by name, the model's next requests omit it."""
        failure = record.failure
        if failure is None or failure.status not in (400, 422):
            return record
        if "stream_options" in failure.message or "include_usage" in failure.message:
            self._refuses_usage.add(record.ticket.model)
        return record


def _beside(prompt: Prompt, messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yields a prompt's own strings besides its texts: attachments, strings in params, values of headers.

    Attachments are the bytes or URLs of images, sound and files. Params include the descriptions of tools and schemas.
    """
    yield from attached(messages)
    yield from strings_in(prompt.params)
    yield from prompt.headers.values()


@dataclass(frozen=True, slots=True)
class AttemptId:
    """Identifies one attempt of a request. All attempts of a request share `trace_id` and `request_span_id`.

    `attempt` counts from 1. `after_ns` is when the previous attempt ended (monotonic); None for a first attempt.
    """

    attempt: int
    trace_id: str
    request_span_id: str
    span_id: str
    after_ns: int | None = None

    def next(self, after_ns: int) -> AttemptId:
        return replace(self, attempt=self.attempt + 1, span_id=new_span_id(), after_ns=after_ns)


@dataclass(frozen=True, slots=True)
class _Held:
    """A request that the SDK has built and the transport holds before sending. `task` is the SDK's call."""

    exchange: Exchange
    reader: TapeReader
    task: asyncio.Task[None]
    asks_usage: bool
    asked: OutputRequest | None = None

    async def discard(self) -> None:
        self.task.cancel()
        await asyncio.wait((self.task,))


class SdkRequest:
    """One attempt, built and held. Call `fire` once, then `record` once."""

    def __init__(
        self,
        ticket: Ticket,
        client: Client,
        conversation: Conversation,
        held: _Held,
        deadlines: Deadlines,
        of: AttemptId,
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
        """What has arrived so far."""
        return self._held.exchange.tape

    @property
    def retry_wait_ns(self) -> int:
        """Nanoseconds from the previous attempt's end to this one's start, less the queue; 0 for a first attempt."""
        if self.of.after_ns is None or not self.tape.start:
            return 0
        return max(0, self.tape.start - self.of.after_ns - self.queue_ns)

    async def again(self) -> SdkRequest:
        """Returns the next attempt of the same request. Nothing that this attempt received is carried over."""
        ended = self.tape.ended or self.tape.start or self._held.exchange.clock.now_ns()
        return await self._client.prepared(self.ticket, self.conversation, self.of.next(ended))

    async def follow(self, record: AttemptRecord, ticket: Ticket) -> SdkRequest | None:
        """Returns the next turn of the conversation.

        None if this turn is the last, its outcome is not `ok`, or the conversation cannot continue from its answer.
        """
        decoder = self._held.reader.decoder
        if outcome_of(record) != "ok":
            return None
        conversation = self.conversation.after(AssistantAnswer(decoder.text() or "", decoder.received_calls()))
        return None if conversation is None else await self._client.prepared(ticket, conversation)

    async def fire(self, scheduled_ns: int, queue_ns: int) -> None:
        """Sends the request and returns when the attempt has ended, whatever its outcome.

        Returns at once if the SDK refused to build the request.
        """
        self.scheduled_ns = scheduled_ns
        self.queue_ns = queue_ns
        self._held = await self._client.renewed(self, self._held)
        if self._broken_off:
            self.abort()
        exchange = self._held.exchange
        if not exchange.prepared.done():  # the SDK refused to build it
            return
        exchange.is_done = self._is_done
        exchange.fire()
        reader = self._held.reader
        watch = DeadlineWatch(exchange, reader, self._deadlines if reader.ask.streamed else self._deadlines.of_whole())
        try:
            await exchange.over
        finally:
            watch.stop()

    def abort(self) -> None:
        """Cancels the attempt; the failure in its record is `cancelled`."""
        self._broken_off = True
        self._held.exchange.abort(Failure("cancelled", "stopped by the user"))

    async def record(self) -> AttemptRecord:
        """Decodes the tape in slices, so that other callbacks run in between, and returns the attempt's record."""
        reader = self._held.reader
        self._held.exchange.release()
        refused = await self._sdk_refusal()
        while not reader.catch_up(SLICE):  # noqa: ASYNC110  # yields to the loop; there is no event to wait for
            await asyncio.sleep(0)
        reader.close()
        return self._client.sum_up(self, self._held, refused)

    async def discard(self) -> None:
        """Drops a request that will not be sent."""
        await self._held.discard()

    def text_so_far(self) -> str:
        """Returns the answer's text so far; "" if texts are not kept.

        Decodes at most `SLICE` pieces per call, so the end of a fast stream may be left for the next call.
        """
        self._held.reader.catch_up(SLICE)
        return self._held.reader.decoder.text() or ""

    def _is_done(self) -> bool:
        reader, exchange = self._held.reader, self._held.exchange
        if not reader.catch_up():
            exchange.expect_end()  # calls `_is_done` again after the grace period
        return reader.decoder.done

    async def _sdk_refusal(self) -> Failure | None:
        """Returns the SDK's error if it refused to build the request; else None, as the tape holds what happened."""
        task = self._held.task
        await asyncio.wait((task,))
        error = None if task.cancelled() else task.exception()
        if error is None or self._held.exchange.prepared.done():
            return None
        return Failure("client_error", f"{type(error).__name__}: {error}")
