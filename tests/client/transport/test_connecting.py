"""What can go wrong before the first byte: names, ports, certificates; each told as what it was."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from streambench.client.transport.tape import Tape
from streambench.config.sections import Tls
from streambench.records.schema import Failure

from .conftest import Authority, Call, Rig
from .server import sized, turns

pytestmark = pytest.mark.anyio

OK = sized(b"data: x\n\n")
Resolve = Callable[..., None]


async def failed(call: Call, kind: str, detail: str) -> str:
    """The failure's words, after its kind was looked at; nothing was sent."""
    tape = await call.over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == (kind, detail), tape.failure
    assert tape.sent is None
    return tape.failure.message


async def test_a_name_that_nobody_knows(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS says no; the host is named."""

    async def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    call = (await rig.call("http://gateway.example/v1", rig.direct())).fire()
    assert "gateway.example: Name or service not known" in await failed(call, "connect_error", "dns")


async def test_a_name_that_can_be_none(rig: Rig) -> None:
    """An empty label is no DNS error but Python's own; the attempt ends all the same."""
    call = (await rig.call("http://gateway..example/v1", rig.direct())).fire()
    assert "gateway..example" in await failed(call, "connect_error", "dns")


async def test_a_port_where_nobody_listens(rig: Rig) -> None:
    """Refused, by host and port."""
    server = await rig.server()
    await server.close()
    call = (await rig.call(server.url, rig.direct())).fire()
    assert await failed(call, "connect_error", "refused") == f"127.0.0.1:{server.port}: connection refused"


async def test_an_address_without_a_way(rig: Rig) -> None:
    """TCP to the broadcast address fails at once, without a packet."""
    call = (await rig.call("http://255.255.255.255:9/v1", rig.direct())).fire()
    assert "unreachable" in await failed(call, "connect_error", "unreachable")


@pytest.fixture
async def full(rig: Rig) -> AsyncIterator[str]:
    """The URL of a server whose queue of connections is full: Linux drops what else knocks."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            knocking = stack.enter_context(socket.socket())
            knocking.settimeout(0)
            knocking.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


async def test_a_server_that_does_not_take_the_connection(rig: Rig, full: str) -> None:
    """The limit is the exchange's, and it is named."""
    call = (await rig.call(full, rig.direct(), connect_s=0.05)).fire()
    assert await failed(call, "timeout", "connect") == "no connection within 0.05 s"


async def test_a_server_that_does_not_shake_hands(rig: Rig) -> None:
    """The same limit holds for TLS."""
    server = await rig.server()
    url = server.url.replace("http:", "https:")
    call = (await rig.call(url, rig.direct(), connect_s=0.05)).fire()
    await failed(call, "timeout", "connect")
    assert await (await server.peer()).gone() != b""  # our hello, and the end


async def test_an_unknown_authority(rig: Rig, authority: Authority, tmp_path: Path) -> None:
    """A CA bundle replaces what is trusted; the server's is not in it."""
    server = await rig.server(tls=authority.server("localhost"), name="localhost")
    bundle = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    call = (await rig.call(server.url, rig.direct(Tls(ca_bundle=bundle)))).fire()
    assert "certificate not trusted" in await failed(call, "connect_error", "tls")


async def test_an_authority_that_the_system_does_not_know(rig: Rig, authority: Authority) -> None:
    """Without a bundle it is the system's trust that counts."""
    server = await rig.server(tls=authority.server("localhost"), name="localhost")
    call = (await rig.call(server.url, rig.direct(Tls()))).fire()
    await failed(call, "connect_error", "tls")


async def test_a_certificate_for_another_name(rig: Rig, authority: Authority) -> None:
    """The message has both."""
    server = await rig.server(tls=authority.server("other.example"), name="localhost")
    call = (await rig.call(server.url, rig.direct(authority.settings))).fire()
    message = await failed(call, "connect_error", "tls")
    assert "localhost" in message
    assert "ostname mismatch" in message


async def test_an_expired_certificate(rig: Rig, authority: Authority) -> None:
    """It says so."""
    context = authority.server("localhost", not_after=datetime(2002, 1, 1, tzinfo=UTC))
    server = await rig.server(tls=context, name="localhost")
    call = (await rig.call(server.url, rig.direct(authority.settings))).fire()
    assert "expired" in await failed(call, "connect_error", "tls")


async def test_verification_can_be_switched_off(rig: Rig) -> None:
    """Unknown CA, expired, wrong name: all the same then."""
    other = Authority(trustme.CA(), Path("unused"))
    server = await rig.server(tls=other.server("x", not_after=datetime(2002, 1, 1, tzinfo=UTC)), name="localhost")
    tape = await rig.exchanged(server.url, rig.direct(Tls(verify=False)), OK, server)
    assert tape.failure is None


async def test_a_certificate_for_an_address(rig: Rig, authority: Authority) -> None:
    """A gateway may be known by number only."""
    server = await rig.server(tls=authority.server("127.0.0.1"))
    tape = await rig.exchanged(server.url, rig.direct(authority.settings), OK, server)
    assert tape.failure is None


async def test_the_servers_name_is_in_the_hello(rig: Rig, authority: Authority) -> None:
    """Many gateways live at one address."""
    context = authority.server("localhost")
    asked: list[str | None] = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    server = await rig.server(tls=context, name="localhost")
    await rig.exchanged(server.url, rig.direct(authority.settings), OK, server)
    assert asked == ["localhost"]


@pytest.fixture
def client_certificate(authority: Authority, tmp_path: Path) -> Tls:
    leaf = authority.ca.issue_cert("client@example")
    chain, key = tmp_path / "client.pem", tmp_path / "client.key"
    for number, blob in enumerate(leaf.cert_chain_pems):
        blob.write_to_path(str(chain), append=number > 0)
    leaf.private_key_pem.write_to_path(str(key))
    return Tls(ca_bundle=authority.bundle, client_cert=chain, client_key=key)


def demanding(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = authority.server("localhost")
    context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    authority.ca.configure_trust(context)
    return context


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@VERSIONS
async def test_a_client_certificate_is_shown_to_who_asks(
    rig: Rig, authority: Authority, client_certificate: Tls, version: ssl.TLSVersion
) -> None:
    """With its key in a file of its own."""
    server = await rig.server(tls=demanding(authority, version), name="localhost")
    tape = await rig.exchanged(server.url, rig.direct(client_certificate), OK, server)
    assert tape.failure is None
    assert server.peers[0].certificate() is not None


@VERSIONS
async def test_a_client_certificate_that_is_missing_is_a_failure_of_tls(
    rig: Rig, authority: Authority, version: ssl.TLSVersion
) -> None:
    """TLS 1.3 tells it only after our handshake, when the request is on its way; the words are the server's alert."""
    server = await rig.server(name="localhost")
    url = server.url.replace("http:", "https:")
    call = (await rig.call(url, rig.direct(authority.settings))).fire()
    peer = await server.peer()
    await peer.refuse_handshake(demanding(authority, version))
    peer.close()
    tape = await call.over()
    assert tape.failure is not None
    assert tape.failure.kind == ("connect_error" if version is ssl.TLSVersion.TLSv1_2 else "disconnected")
    assert tape.failure.detail == "tls"
    assert "ALERT" in tape.failure.message


async def test_a_handshake_that_the_server_cuts(rig: Rig) -> None:
    """It hangs up on our hello."""
    server = await rig.server()
    call = (await rig.call(server.url.replace("http:", "https:"), rig.direct())).fire()
    peer = await server.peer()
    await peer.some()
    peer.close()
    assert "reset during set-up" in await failed(call, "connect_error", "reset")


async def test_a_server_without_tls(rig: Rig) -> None:
    """https:// to a port that speaks plain HTTP."""
    server = await rig.server()
    call = (await rig.call(server.url.replace("http:", "https:"), rig.direct())).fire()
    peer = await server.peer()
    await peer.some()
    peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert "WRONG_VERSION" in await failed(call, "connect_error", "tls")


async def test_a_verdict_on_the_certificate_outlives_a_server_that_is_gone(rig: Rig, authority: Authority) -> None:
    """Our alert cannot be delivered; why we would have sent it still counts."""
    server = await rig.server(tls=authority.server("other.example"), name="localhost")
    transport = rig.direct(authority.settings)
    call = await rig.call(server.url, transport)
    original = asyncio.get_running_loop().sock_sendall
    sent = 0

    async def sendall(sock: socket.socket, data: bytes) -> None:
        nonlocal sent
        sent += 1
        if sent == 2:  # the hello was the first
            raise BrokenPipeError
        await original(sock, data)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(asyncio.get_running_loop(), "sock_sendall", sendall)
        call.fire()
        await failed(call, "connect_error", "tls")


async def test_an_ipv6_address_in_the_url(rig: Rig) -> None:
    """[::1] is a host like any other."""
    server = await rig.server(host="::1")
    tape = await rig.exchanged(server.url, rig.direct(), OK, server)
    assert tape.failure is None


async def test_the_next_address_is_tried_when_the_first_refuses(rig: Rig, resolve: Resolve) -> None:
    """A name with IPv6 and IPv4 whose server listens on one of them only."""
    server = await rig.server()
    resolve((socket.AF_INET6, ("::1", server.port, 0, 0)), (socket.AF_INET, ("127.0.0.1", server.port)))
    tape = await rig.exchanged(f"http://both.example:{server.port}/v1", rig.direct(), OK, server)
    assert tape.failure is None


async def test_the_next_address_is_tried_while_the_first_says_nothing(rig: Rig, resolve: Resolve, full: str) -> None:
    """After a quarter of a second, not after the connect timeout; the loser is closed."""
    server = await rig.server(host="::1")
    silent = int(full.split(":")[2].split("/")[0])
    resolve((socket.AF_INET, ("127.0.0.1", silent)), (socket.AF_INET6, ("::1", server.port, 0, 0)))
    tape = await rig.exchanged("http://both.example/v1", rig.direct(), OK, server)
    assert tape.failure is None
    assert tape.connection is not None
    assert tape.connection.connect_ns is not None
    assert 200_000_000 < tape.connection.connect_ns < 5_000_000_000


async def test_a_name_none_of_whose_addresses_answers_is_refused(rig: Rig, resolve: Resolve) -> None:
    """Several refusals are one."""
    server = await rig.server()
    await server.close()
    resolve((socket.AF_INET6, ("::1", server.port, 0, 0)), (socket.AF_INET, ("127.0.0.1", server.port)))
    call = (await rig.call(f"http://both.example:{server.port}/v1", rig.direct())).fire()
    await failed(call, "connect_error", "refused")


async def test_abort_while_connecting_ends_the_exchange_at_once(rig: Rig, full: str) -> None:
    """The connection, should it still come, is not used."""
    call = (await rig.call(full, rig.direct())).fire()
    await turns()
    call.exchange.abort(Failure("cancelled"))
    tape: Tape = await call.over()
    assert tape.failure == Failure("cancelled")
    assert tape.connection is None


async def test_a_connection_that_comes_after_the_abort_carries_nothing(rig: Rig) -> None:
    """The server sees it opened and closed."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    call.exchange.abort(Failure("cancelled"))
    peer = await server.peer()
    assert await peer.gone() == b""
    assert (await call.over()).sent is None


async def test_a_ca_bundle_that_cannot_be_read_is_told_by_the_request(rig: Rig, tmp_path: Path) -> None:
    """Not by a crash of the run, nor by silence."""
    bad = tmp_path / "bad.pem"
    bad.write_text("not a certificate")
    server = await rig.server()
    transport = rig.direct(Tls(ca_bundle=bad))
    call = (await rig.call(server.url.replace("http:", "https:"), transport)).fire()
    await failed(call, "connect_error", "tls")
