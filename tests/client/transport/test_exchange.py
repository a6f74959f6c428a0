"""One exchange: held until fired, taped to its last byte, and only then handed back to the SDK."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from typing import Any

import httpx2
import openai
import pytest

from streambench.client.transport.exchange import Exchange
from streambench.client.transport.http_client import http_client
from streambench.records.schema import Failure

from .conftest import Call, Rig
from .server import CHUNKED, LAST, Server, chunk, sized, turns

pytestmark = pytest.mark.anyio

GONE = Failure("cancelled", "stopped")


def sdk(rig: Rig, server: Server) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=server.url, api_key="key", max_retries=0, http_client=http_client(rig.direct()), timeout=60
    )


async def sdk_call(rig: Rig, client: openai.AsyncOpenAI) -> Call:
    """A streamed chat completion, prepared, made the way `client.py` makes it."""

    async def create() -> int:
        messages: Any = [{"role": "user", "content": "hi"}]
        streamed = client.chat.completions.with_streaming_response
        async with streamed.create(model="m", messages=messages, stream=True) as response:
            return response.status_code

    call = rig.under(create())
    await call.exchange.prepared
    return call


async def test_nothing_is_on_the_wire_before_fire(rig: Rig) -> None:
    """Prepared means built and held: no byte, and no connection either."""
    server = await rig.server()
    call = await rig.call(server.url, rig.direct())
    await turns()
    assert server.accepted == 0
    assert call.tape.sent is None


async def test_fire_sends_in_that_very_call_on_a_warm_connection(rig: Rig) -> None:
    """The event loop has no turn between the planned instant and the bytes' way to the kernel."""
    server = await rig.server()
    transport = rig.direct()
    await transport.warm(server.url, 1, 5.0)
    peer = await server.peer()
    call = await rig.call(server.url, transport)
    assert peer.unread() == 0
    call.fire()
    assert peer.unread() > 0
    assert call.tape.sent is not None


async def test_the_clock_starts_at_fire_and_holds_the_connecting(rig: Rig) -> None:
    """A connection opened for the request lies between start and sent."""
    server = await rig.server()
    tape = await rig.exchanged(server.url, rig.direct(), sized(b"x"), server)
    assert tape.connection is not None
    assert tape.connection.connect_ns is not None
    assert tape.sent is not None
    assert tape.sent - tape.start >= tape.connection.connect_ns > 0


async def test_the_instants_come_in_order(rig: Rig) -> None:
    """start, sent, headers, first byte, last byte, end."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED)
    await call.read(1)
    peer.write(chunk(b"one"))
    await call.read(2)
    peer.write(chunk(b"two") + LAST)
    tape = await call.over()
    moments: list[Any] = [tape.start, tape.sent, tape.headers_at, tape.first_byte, tape.last_byte, tape.ended]
    assert moments == sorted(moments)
    assert len(set(moments)) == len(moments)


async def test_over_resolves_at_the_last_byte_and_not_before(rig: Rig) -> None:
    """The end of a chunked body is its last chunk's."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED + chunk(b"data: x\n\n"))
    await call.read(1)
    await turns()
    assert not call.exchange.over.done()
    peer.write(LAST)
    tape = await call.over()
    assert tape.failure is None
    assert tape.body() == b"data: x\n\n"


async def test_the_request_goes_out_as_the_sdk_built_it(rig: Rig) -> None:
    """Path, key and length are the SDK's; the body is whole."""
    server = await rig.server()
    call = (await sdk_call(rig, sdk(rig, server))).fire()
    request = await (await server.peer()).answer(sized(b""))
    await call.over()
    assert request.line == "POST /v1/chat/completions HTTP/1.1"
    assert request.headers["authorization"] == "Bearer key"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert b'"stream":true' in request.body


async def test_the_sdk_gets_its_answer_only_when_released(rig: Rig) -> None:
    """The SDK's unpacking stands on no timed path."""
    server = await rig.server()
    call = (await sdk_call(rig, sdk(rig, server))).fire()
    await (await server.peer()).answer(sized(b"data: [DONE]\n\n"))
    await call.over()
    await turns()
    assert not call.task.done()
    assert await call.result() == 200


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
async def test_an_error_status_is_the_sdks_typed_error(
    rig: Rig, status: int, error: type[openai.APIStatusError]
) -> None:
    """Body and headers of the answer reach it, once the call is released."""
    server = await rig.server()
    call = (await sdk_call(rig, sdk(rig, server))).fire()
    body = b'{"error": {"message": "no", "code": "because"}}'
    head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\nx-request-id: r1\r\n" % status
    await (await server.peer()).answer(head + b"content-length: %d\r\n\r\n" % len(body) + body)
    await call.over()
    with pytest.raises(error) as caught:
        await call.result()
    assert caught.value.code == "because"
    assert caught.value.request_id == "r1"


async def test_no_answer_is_the_sdks_connection_error(rig: Rig) -> None:
    """A server that closes without a word."""
    server = await rig.server()
    call = (await sdk_call(rig, sdk(rig, server))).fire()
    peer = await server.peer()
    await peer.request()
    peer.close()
    await call.over()
    with pytest.raises(openai.APIConnectionError):
        await call.result()


async def test_a_timeout_is_the_sdks_timeout(rig: Rig) -> None:
    """Our deadlines look to the SDK like its own."""
    server = await rig.server()
    call = (await sdk_call(rig, sdk(rig, server))).fire()
    call.exchange.abort(Failure("timeout", "nothing within 1 s", detail="first_chunk"))
    with pytest.raises(openai.APITimeoutError):
        await call.result()


async def test_a_header_that_is_not_ascii_does_not_hinder_the_answer(rig: Rig) -> None:
    """Servers send Latin-1 and UTF-8 there; both are let through."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    await (await server.peer()).answer(sized(b"", b"x-city: Z\xfcrich\r\n"))
    await call.over()
    assert call.tape.header("x-city") == "Zürich"
    assert (await call.result()).headers["x-city"] == "Zürich"


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\0b"])
async def test_a_header_cannot_break_out_of_its_line(rig: Rig, value: str) -> None:
    """Refused before anything is prepared."""
    request = httpx2.Request("POST", "http://127.0.0.1:1/v1", headers={"x-team": value}, content=b"{}")
    call = rig.under(rig.client(rig.direct()).send(request))
    with pytest.raises(httpx2.LocalProtocolError, match="x-team"):
        await call.task
    assert not call.exchange.prepared.done()


async def test_fire_before_armed_is_our_own_mistake(rig: Rig) -> None:
    """It is said, and nothing is sent."""
    with pytest.raises(RuntimeError, match="prepared"):
        Exchange(rig.clock).fire()


async def test_what_was_aborted_before_its_instant_is_not_sent(rig: Rig) -> None:
    """Ctrl-C between preparing and firing costs no request."""
    server = await rig.server()
    transport = rig.direct()
    await transport.warm(server.url, 1, 5.0)
    peer = await server.peer()
    call = await rig.call(server.url, transport)
    call.exchange.abort(GONE)
    call.fire()
    assert peer.unread() == 0
    assert (await call.over()).failure == GONE


async def test_the_first_end_counts(rig: Rig) -> None:
    """A second word after the end changes neither instant nor reason."""
    exchange = Exchange(rig.clock)
    exchange.finish(GONE)
    ended = exchange.tape.ended
    exchange.finish()
    exchange.abort(Failure("timeout"))
    assert exchange.tape.failure == GONE
    assert exchange.tape.ended == ended


async def test_an_exchange_that_is_over_is_freed_without_the_garbage_collector(rig: Rig) -> None:
    """The collector is off while a run lasts: a cycle would keep every tape to the end."""
    server = await rig.server()
    transport = rig.direct()
    gc.collect()
    gc.disable()
    try:
        call = (await rig.call(server.url, transport)).fire()
        call.exchange.is_done = partial(bool, call.exchange)
        await (await server.peer()).answer(sized(b"data: [DONE]\n\n"))
        await call.over()
        await call.result()
        seen = weakref.ref(call.exchange)
        rig.forget_calls()
        del call
        await turns(5)
        assert seen() is None
    finally:
        gc.enable()


async def test_a_request_without_an_exchange_is_sent_at_once(rig: Rig) -> None:
    """Nobody fires for it; its error body is read."""
    server = await rig.server()
    call = rig.alone(server.url, rig.direct())
    await (await server.peer()).answer(b"HTTP/1.1 404 X\r\ncontent-length: 4\r\n\r\ngone")
    response = await call
    assert (response.status_code, response.text) == (404, "gone")


async def test_who_goes_away_from_a_request_without_an_exchange_takes_its_connection_down(rig: Rig) -> None:
    """The server sees it closed."""
    server = await rig.server()
    call = rig.alone(server.url, rig.direct())
    peer = await server.peer()
    await peer.answer(CHUNKED)
    call.cancel()
    assert await peer.gone() == b""


async def test_a_waiter_that_is_cancelled_can_still_abort(rig: Rig) -> None:
    """Cancelling who awaits `over` cancels that future; the connection is known to the transport all the same."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED)
    call.exchange.over.cancel()
    await turns(5)
    call.exchange.abort(GONE)
    assert call.tape.failure == GONE
    assert await peer.gone() == b""
