"""The ASGI application: routes, OpenAI-style responses and errors.

One coroutine per request hands the stream to the pacer and sleeps until the stream has ended.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from streambench.clock import NS, MonotonicClock, take_anchor
from streambench.simulator.answer import MS, AnswerOpening, DrawnAnswer, draw_answer, open_answer
from streambench.simulator.chat_events import completion
from streambench.simulator.connection import EXTENSION, ServerConnection
from streambench.simulator.faults import FAULTS, End, Fault, FaultDelivery, Reply
from streambench.simulator.other_apis import whole_completion, whole_response
from streambench.simulator.pacer import Pacer
from streambench.simulator.playback import Stream, Wait
from streambench.simulator.profile import ModelsFile, SimModel
from streambench.simulator.prompt_cache import PromptCache
from streambench.simulator.request_parser import ApiError, ChatRequest, parse_chat, parse_completion, parse_response
from streambench.simulator.script import Script, write_script
from streambench.simulator.truth_log import Truth, TruthLog, as_writes

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

NO_FAULT = Fault("none")
_WHOLE = {"chat": completion, "completions": whole_completion, "responses": whole_response}


@dataclass(frozen=True, slots=True)
class SimulatedExchange:
    """One request, and what was decided when it arrived: its model, fault, first delays and truth log entry."""

    connection: ServerConnection
    send: Send
    request: ChatRequest
    name: str
    model: SimModel
    opening: AnswerOpening
    fault: Fault
    received_ns: int
    truth: Truth

    @property
    def base_headers(self) -> tuple[tuple[str, str], ...]:
        return (("x-request-id", self.opening.request_id),)

    async def pause(self, pacer: Pacer, due_ns: int | None) -> bool:
        """Waits until `due_ns` after the request was received, or for ever if None.

        Returns False if the client disconnected first.
        """
        wait = Wait()
        self.connection.playing = wait
        if self.connection.lost:
            wait.stop()
        elif due_ns is not None:
            pacer.schedule(wait, self.received_ns + due_ns)
        return await wait.done


class SimulatorApp:
    """The ASGI application.

    It counts equal requests, and the count is part of the seed: a repeated request gets a new answer that is the same
    in every run. Each API, and streams and whole responses, are counted separately, so the same prompt gets the same
    answer over each of them.
    """

    def __init__(self, file: ModelsFile, seed: int, pacer: Pacer, truth_log: TruthLog | None) -> None:
        self.served = 0
        self._file = file
        self._seed = seed
        self._pacer = pacer
        self._truth_log = truth_log
        self._now_ns = MonotonicClock().now_ns
        self._anchor = take_anchor()
        self._asked: Counter[tuple[str, str, str, bool]] = Counter()
        self._cache = PromptCache()
        self._ids = random.Random(seed)
        self._routes: Mapping[str, tuple[str, Callable[[Scope, Receive, Send], Awaitable[None]]]] = {
            "/v1/chat/completions": ("POST", partial(self._ask, parse_chat)),
            "/v1/responses": ("POST", partial(self._ask, parse_response)),
            "/v1/completions": ("POST", partial(self._ask, parse_completion)),
            "/v1/models": ("GET", self._list_models),
            "/health": ("GET", self._health),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.served += 1
        try:
            await self._handler(scope)(scope, receive, send)
        except ApiError as exc:
            await self._reply(
                send, Reply(exc.status, exc.body), (("x-request-id", f"{self._ids.getrandbits(128):032x}"),)
            )

    def _handler(self, scope: Scope) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        method, handler = self._routes.get(scope["path"], ("", None))
        if handler is None:
            message = f"Unknown request URL: {scope['method']} {scope['path']}"
            raise ApiError(404, message, param=None, code="unknown_url")
        if scope["method"] != method:
            message = f"Not allowed to {scope['method']} on {scope['path']} (HINT: perhaps you meant to {method})"
            raise ApiError(405, message, param=None, code="method_not_supported")
        return handler

    async def _health(self, _: Scope, __: Receive, send: Send) -> None:
        await self._reply(send, Reply(200, b'{"status":"ok"}'))

    async def _list_models(self, scope: Scope, _: Receive, send: Send) -> None:
        self._authorize(scope)
        created = self._anchor.wall_ns // NS
        rows = [
            {"id": name, "object": "model", "created": created, "owned_by": "streambench-simulator"}
            for name in self._file.models
        ]
        await self._reply(send, Reply(200, msgspec.json.encode({"object": "list", "data": rows})))

    async def _ask(self, parse: Callable[[bytes], ChatRequest], scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        if body is None:
            return
        self._authorize(scope)
        request = parse(body)
        name, model = self._model_of(request)
        exchange = self._open(scope, send, request, name, model)
        await self._answer(exchange)
        exchange.connection.playing = None

    def _authorize(self, scope: Scope) -> None:
        key = self._file.api_key
        if key is not None and (b"authorization", f"Bearer {key}".encode()) not in scope["headers"]:
            raise ApiError(401, "Incorrect API key provided", param=None, code="invalid_api_key")

    def _model_of(self, request: ChatRequest) -> tuple[str, SimModel]:
        name = request.model or ""
        model = self._file.models.get(name)
        if model is None:
            raise ApiError(404, f"The model `{name}` does not exist", param="model", code="model_not_found")
        if request.stream_options is not None and not model.accepts_stream_options:
            message = "Unrecognized request argument supplied: stream_options"
            raise ApiError(400, message, param="stream_options", code="unknown_parameter")
        return name, model

    def _open(self, scope: Scope, send: Send, request: ChatRequest, name: str, model: SimModel) -> SimulatedExchange:
        digest = request.digest()
        kind = (name, digest, request.api, bool(request.stream))
        asked = self._asked[kind]
        self._asked[kind] += 1
        cached = self._cache.take(name, request.messages or ()) if model.cache else 0
        opening = open_answer(name, model, request, self._seed, digest, asked, cached)
        extension = scope["extensions"][EXTENSION]
        fault = FAULTS[opening.fault] if opening.fault is not None else NO_FAULT
        if fault.stream_only and not request.stream:
            fault = NO_FAULT
        received_ns = extension["received_ns"]
        truth = Truth(opening.request_id, name, received_ns, opening.fault, opening.ttft_ns / MS)
        return SimulatedExchange(
            extension["connection"], send, request, name, model, opening, fault, received_ns, truth
        )

    async def _answer(self, exchange: SimulatedExchange) -> None:
        """Answers as the fault's reply or delivery says; without a fault, with a stream or one object as requested."""
        if exchange.fault.reply is not None:
            await self._reply(exchange.send, exchange.fault.reply, exchange.base_headers, exchange.truth)
        elif exchange.fault.delivery is FaultDelivery.NEVER:
            await exchange.pause(self._pacer, None)
            self._log_left(exchange.truth)
        elif exchange.request.stream and exchange.fault.delivery is not FaultDelivery.WHOLE:
            await self._answer_stream(exchange)
        else:
            await self._answer_whole(exchange)

    async def _answer_whole(self, exchange: SimulatedExchange) -> None:
        """Sends one JSON object at the time when a stream would have ended."""
        answer = self._draw(exchange)
        if not await exchange.pause(self._pacer, answer.end_ns):
            self._log_left(exchange.truth)
            return
        plain = _WHOLE[exchange.request.api](answer)
        if not exchange.model.usage:
            del plain["usage"]
        await self._reply(exchange.send, Reply(200, msgspec.json.encode(plain)), exchange.base_headers, exchange.truth)

    async def _answer_stream(self, exchange: SimulatedExchange) -> None:
        late = exchange.fault.delivery is FaultDelivery.LATE_HEADERS
        headers_ns = exchange.opening.ttft_ns if late else exchange.opening.headers_ns
        if headers_ns and not await exchange.pause(self._pacer, headers_ns):
            self._log_left(exchange.truth)
            return
        headers = (("content-type", "text/event-stream"), ("cache-control", "no-cache"), *exchange.base_headers)
        await exchange.send({"type": "http.response.start", "status": 200, "headers": _encoded(headers)})
        exchange.truth.headers_ns = self._now_ns()
        stream = self._start_stream(exchange, headers_ns)
        end = await stream.done
        _note(exchange.truth, stream, end)
        self._log(exchange.truth)
        await self._end_stream(exchange, end)

    def _start_stream(self, exchange: SimulatedExchange, headers_ns: int) -> Stream:
        stamps = array("q") if self._truth_log is not None else None
        build = partial(self._write_script, exchange, headers_ns)
        stream = Stream(exchange.connection, self._pacer, exchange.received_ns, build, stamps)
        exchange.connection.playing = stream
        if exchange.connection.lost:
            stream.stop()
            return stream
        first_ns = headers_ns if exchange.model.keepalive_ms is not None else exchange.opening.ttft_ns
        self._pacer.schedule(stream, exchange.received_ns + first_ns)
        self._pacer.when_free(stream.prepare_early)
        return stream

    def _write_script(self, exchange: SimulatedExchange, headers_ns: int) -> Script:
        usage = exchange.request.wants_usage and exchange.model.usage
        answer, api = self._draw(exchange), exchange.request.api
        return write_script(answer, exchange.model, exchange.fault, headers_ns=headers_ns, usage=usage, api=api)

    def _draw(self, exchange: SimulatedExchange) -> DrawnAnswer:
        created = self._anchor.wall_of(exchange.received_ns - self._anchor.monotonic_ns) // NS
        answer = draw_answer(exchange.opening, exchange.name, exchange.model, exchange.request, created)
        return answer if exchange.fault.change is None else exchange.fault.change(answer)

    async def _end_stream(self, exchange: SimulatedExchange, end: End | None) -> None:
        if end is End.COMPLETE:
            await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        if end is End.CUT:
            exchange.connection.cut()
        elif end is End.RESET:
            exchange.connection.reset()
        # waits until uvicorn also sees the closed connection; otherwise it logs an error about an incomplete response
        await exchange.pause(self._pacer, None)

    async def _reply(
        self, send: Send, reply: Reply, headers: tuple[tuple[str, str], ...] = (), truth: Truth | None = None
    ) -> None:
        """Sends a whole response at once."""
        events = (
            ("content-type", reply.content_type),
            ("content-length", str(len(reply.body))),
            *reply.headers,
            *headers,
        )
        await send({"type": "http.response.start", "status": reply.status, "headers": _encoded(events)})
        if truth is not None:
            truth.status = reply.status
            truth.headers_ns = self._now_ns()
            self._log(truth)
        await send({"type": "http.response.body", "body": reply.body})

    def _log(self, truth: Truth) -> None:
        """Writes the request's line to the truth log.

        Called before the last bytes of the response are sent, so that a client that has received them finds the line.
        """
        truth.ended_ns = self._now_ns()
        if self._truth_log is not None:
            self._truth_log.add(truth)

    def _log_left(self, truth: Truth) -> None:
        truth.end = "disconnected"
        self._log(truth)


async def _read_body(receive: Receive) -> bytes | None:
    """Returns the whole body; None if the client disconnected before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


def _encoded(headers: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


def _note(truth: Truth, stream: Stream, end: End | None) -> None:
    """Stores in `truth` how the stream ended and the chunks that were really written."""
    truth.end = "disconnected" if end is None else end.value
    script = stream.script
    chunks = script.chunks[: stream.written]
    truth.kinds = script.kinds[: sum(chunks)]
    if stream.stamps is not None:
        truth.writes = as_writes(stream.stamps, chunks)
