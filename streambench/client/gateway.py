"""The SDK client of one gateway and its transport: `DirectTransport`, or `StandardTransport` for proxies and HTTP/2."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from urllib.request import getproxies, proxy_bypass

from openai import AsyncOpenAI, Omit, OpenAIError

from streambench.client.instruments import Instruments
from streambench.client.transport.direct import DirectTransport
from streambench.client.transport.exchange import CURRENT, Exchange
from streambench.client.transport.http_client import http_client
from streambench.client.transport.standard import StandardTransport
from streambench.config.config import Config
from streambench.config.schema import Gateway
from streambench.errors import ConfigError, Problem
from streambench.workload.api_formats import ApiMode, in_words_of


class GatewayClient:
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
                # If base_url kept its query, the SDK would append the path to the query.
                default_query=dict(parse_qsl(url.query, keep_blank_values=True)),
                api_key=gateway.api_key or "none",
                max_retries=0,
                timeout=config.timeouts.total,
                http_client=http_client(self.transport),
                # A compressed stream arrives in blocks, so no compression is requested.
                default_headers={**gateway.headers, "Accept-Encoding": "identity"},
            )
        self._spelled = {name.lower(): name for name in (*self.sdk.default_headers, *gateway.headers)}

    async def call(
        self, model: str, ask: ApiMode, body: Mapping[str, Any], own: Mapping[str, str], carried: Mapping[str, str]
    ) -> None:
        """Sends one request through the SDK; the transport records the response on the exchange's tape.

        `body` holds the fields of a chat request, whatever API `ask` names. `own` are the request's headers, which
        override the gateway's. `carried` are trace headers, which both the gateway's and the request's override.
        """
        create = self._resource(ask.api).with_streaming_response.create
        words = in_words_of(ask.api, body)
        beside = {name: value for name, value in carried.items() if name.lower() not in self._named}
        headers: dict[str, str | Omit] = {**beside, **self._respelled(own), **self._headers}
        async with create(model=model, stream=ask.streamed, extra_headers=headers, **words):
            pass  # the response is on the tape

    def _resource(self, api: str) -> Any:
        """Returns the SDK resource that sends requests of this API."""
        if api == "responses":
            return self.sdk.responses
        return self.sdk.completions if api == "completions" else self.sdk.chat.completions

    def _respelled(self, own: Mapping[str, str]) -> dict[str, str]:
        """Returns the headers, each spelled as the SDK or the gateway spells the same name.

        The SDK merges headers by exact spelling and would otherwise send both.
        """
        return {self._spelled.get(name.lower(), name): value for name, value in own.items()}

    async def list_models(self, after: str | None) -> None:
        listing = self.sdk.models.with_streaming_response.list
        query = {} if after is None else {"after": after, "after_id": after}  # OpenAI's and Anthropic's names for it
        async with listing(extra_headers={**self._headers}, extra_query=query):
            pass  # the response is on the tape

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
    """Retrieves the exception of an SDK call, so that asyncio does not warn about it.

    SDK errors, ValueError and TypeError are expected: the record holds the failure. Any other exception is a bug in
    streambench and goes to the event loop's exception handler.
    """
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, OpenAIError | ValueError | TypeError):
        asyncio.get_running_loop().call_exception_handler(
            {"message": "unexpected error in an SDK call", "exception": error, "task": task}
        )


def _transport(
    name: str, config: Config, base_url: str, instruments: Instruments
) -> DirectTransport | StandardTransport:
    """Returns the gateway's transport.

    Raises ConfigError for what can only be checked now: an unusable proxy or certificate, or a missing extra.
    """
    gateway, where = config.gateways[name], f"gateways.{name}"
    tls = gateway.tls
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
        message = config.secrets.clean(f"cannot be used: {error}")
        raise ConfigError(
            [Problem(message, where=f"{where}.{'tls' if isinstance(error, OSError) else 'proxy'}")]
        ) from None


def _lacks(where: str, extra: str) -> Problem:
    return Problem(
        "needs a package that is not installed", None, None, where, None, f"pip install 'streambench[{extra}]'"
    )


def _environment_proxy(base_url: str) -> str | None:
    """Returns the proxy URL from HTTP_PROXY, HTTPS_PROXY or ALL_PROXY.

    None if no proxy is set, NO_PROXY names the host, or the host is a loopback address.
    """
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
    """Hides the OPENAI_* variables, from which the SDK takes organisation, project and headers.

    A run must send only what its config states.
    """
    held = {name: os.environ.pop(name) for name in tuple(os.environ) if name.startswith("OPENAI_")}
    try:
        yield
    finally:
        os.environ.update(held)
