"""Requests the models that gateways offer: `GET /models`, all gateways at once, with a short time limit.

A failed request is part of the result and never ends a run.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from streambench.client.decode.error_body import failure_from_body
from streambench.client.gateway import GatewayClient, _in_context_of, _transport
from streambench.client.instruments import Instruments, instruments_open
from streambench.client.transport.exchange import Exchange
from streambench.client.transport.tape import Tape
from streambench.config.config import Config
from streambench.config.fields import is_label
from streambench.config.model_selection import Listing, OfferedModel
from streambench.config.sections import Bounds
from streambench.records.schema import Failure
from streambench.redaction import Secrets

LIMIT_S = 5.0
"""Seconds that each page of a gateway's list may take."""
_PAGES = 20
"""Pages requested of one list after the first."""
_SAID = 120
"""Characters kept of a gateway's reason for a refusal."""


async def ask(
    config: Config, base_urls: Mapping[str, str], gateways: Iterable[str], limit_s: float = LIMIT_S
) -> dict[str, Listing]:
    """Returns the model list of each gateway by its name. All gateways are asked at once.

    Raises ConfigError if a gateway's transport cannot be created, such as for an unusable proxy or certificate.
    """
    names = list(gateways)
    async with instruments_open() as instruments:
        asked = (ask_one(config, name, base_urls[name], instruments, limit_s) for name in names)
        return dict(zip(names, await asyncio.gather(*asked), strict=True))


async def ask_one(
    config: Config, gateway: str, base_url: str, instruments: Instruments, limit_s: float = LIMIT_S
) -> Listing:
    """Returns one gateway's list: all pages, up to `_PAGES` after the first and about `MOST` models.

    If a later page fails, the models so far are returned, and `partial` holds the failure.
    """
    first = await ask_models(config, gateway, base_url, instruments, limit_s)
    listing, after = _read(first, config)
    seen = set(listing.names)
    for _ in range(_PAGES):
        if after is None or len(seen) >= MOST:
            break
        page, after = _read(await ask_models(config, gateway, base_url, instruments, limit_s, after), config)
        new = tuple(offer for offer in page.offers if offer.id not in seen)
        if page.failure is not None or not new:
            return replace(listing, partial=page.failure)
        seen.update(offer.id for offer in new)
        listing = replace(listing, offers=listing.offers + new, unusable=listing.unusable + page.unusable)
    return listing


def _answered_ns(tape: Tape) -> int | None:
    """Returns the nanoseconds from the request sent to the response headers; None if unknown.

    It is unknown if the kernel timestamped the response before this client noted that the request was sent.
    """
    if not tape.headers_at or not tape.sent or tape.headers_at <= tape.sent:
        return None
    return tape.headers_at - tape.sent


def _read(tape: Tape, config: Config) -> tuple[Listing, str | None]:
    """Returns the listing in a response, and the model id after which the next page starts (None if no more)."""
    listing = Listing(
        status=tape.status,
        connection=tape.connection,
        answered_ns=_answered_ns(tape),
    )
    if tape.status is not None and not 200 <= tape.status < 300:
        return replace(listing, failure=_refused(tape, tape.status, config)), None
    if tape.failure is not None or tape.status is None:
        failure = tape.failure or Failure("client_error", "the request could not be built")
        return replace(listing, failure=replace(failure, message=config.secrets.clean(failure.message))), None
    try:
        page = read_page(tape.body(), config.secrets)
    except NoListError as error:
        return replace(listing, failure=Failure("not_a_list", str(error), status=tape.status)), None
    return replace(listing, offers=page.offers, unusable=page.unusable), page.after


def _refused(tape: Tape, status: int, config: Config) -> Failure:
    failure = failure_from_body("http_error", tape.body(), status=status)
    return Failure("http_error", config.secrets.clean(failure.message, _SAID), status=status)


MODELS_BOUNDS = Bounds(head_bytes=64 * 1024, stream_bytes=8 * 1024 * 1024, line_bytes=8 * 1024 * 1024)
"""Limits on the response to `GET /models`."""


async def ask_models(
    config: Config, gateway: str, base_url: str, instruments: Instruments, limit_s: float, after: str | None = None
) -> Tape:
    """Returns the tape of the gateway's response to `GET /models`; `after` requests the page after that model.

    Waits at most `limit_s` seconds. Raises ConfigError as `Client` does; never raises because of a response.
    """
    door = GatewayClient(config.gateways[gateway], base_url, _transport(gateway, config, base_url, instruments), config)
    exchange = Exchange(instruments.clock, MODELS_BOUNDS, limit_s)
    task = _in_context_of(exchange, door.list_models(after))
    try:
        await asyncio.wait((task, exchange.prepared), return_when=asyncio.FIRST_COMPLETED)
        if exchange.prepared.done():
            exchange.fire()
            await asyncio.wait((exchange.over,), timeout=limit_s)
        exchange.abort(Failure("timeout", f"no complete response within {limit_s:g} s", detail="total"))
        exchange.release()
        await asyncio.wait((task,))
    finally:
        await door.close()
    return exchange.tape


MOST = 10_000
"""Entries read of a page; no further page is requested once a list has this many models."""
_OWNER = 60
_CONTEXT = ("context_length", "max_model_len", "context_window", "max_context_length", "max_input_tokens")
"""The names that gateways use for a model's context length, in tokens."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a gateway's list."""

    offers: tuple[OfferedModel, ...]
    unusable: int = 0
    """Number of entries without an id that could be shown and requested."""
    after: str | None = None
    """The last model's id if the gateway says that there are more models: the next page starts after it."""


class NoListError(ValueError):
    """Raised if a response is not a list of models; the message says why."""


def read_page(body: bytes, secrets: Secrets) -> Page:
    """Returns the page in a response body. Raises NoListError if the body is not a list of models."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise NoListError("the response is not JSON") from None
    rows = data.get("data", data.get("models")) if isinstance(data, dict) else data
    if not isinstance(rows, list):
        raise NoListError("the response has no list of models under `data`")
    read = [_offer(row, secrets) for row in rows[:MOST]]
    offers = {offer.id: offer for offer in read if offer is not None}
    more = isinstance(data, dict) and data.get("has_more") is True and bool(offers)
    return Page(tuple(offers.values()), read.count(None), next(reversed(offers)) if more else None)


def _offer(row: Any, secrets: Secrets) -> OfferedModel | None:
    row = {"id": row} if isinstance(row, str) else row
    name = row.get("id", row.get("name")) if isinstance(row, dict) else None
    if not isinstance(name, str) or not is_label(name) or secrets.mask(name) != name:
        return None
    owner = row.get("owned_by")
    return OfferedModel(
        name,
        (secrets.clean(owner, _OWNER).strip() or None) if isinstance(owner, str) else None,
        next((found for key in _CONTEXT if (found := _count(row.get(key))) is not None), None),
        *_prices(row.get("pricing")),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 2**53 else None


def _prices(stated: Any) -> tuple[float | None, float | None]:
    """Returns the prices of input and output in USD per million tokens, each None if unknown.

    Reads `prompt` and `completion`, which are USD per token. Some gateways state `input` and `output` instead, per
    token or per million; as the two cannot be told apart, they are ignored.
    """
    if not isinstance(stated, Mapping):
        return None, None
    return _per_million(stated.get("prompt")), _per_million(stated.get("completion"))


def _per_million(value: Any) -> float | None:
    try:
        price = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return round(price * 1e6, 9) if 0 <= price < 1 else None
