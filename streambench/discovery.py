"""Asks gateways what they offer: `GET /models`, once each, all at once, with a short limit and none of it fatal.

On the way: config -> here -> `picking`, which turns globs into models -> plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from streambench.client import Instruments, ask_models
from streambench.clock import take_anchor
from streambench.config import Config
from streambench.failures import failure_from_body
from streambench.lag import LagSampler
from streambench.offers import MOST, NoListError, read_page
from streambench.picking import Listing
from streambench.records import Failure
from streambench.timers import LoopClock
from streambench.transport import Hub, Tape

LIMIT_S = 5.0
"""For a gateway's whole list."""
_PAGES = 20
_SAID = 120
"""Characters of what a gateway says of its refusal."""


@asynccontextmanager
async def instruments_open() -> AsyncIterator[Instruments]:
    """What a request outside of a run is timed by."""
    clock = LoopClock()
    instruments = Instruments(clock, take_anchor(), LagSampler(clock), Hub(clock))
    try:
        yield instruments
    finally:
        instruments.hub.close()
        clock.close()


async def ask(
    config: Config, base_urls: Mapping[str, str], gateways: Iterable[str], limit_s: float = LIMIT_S
) -> dict[str, Listing]:
    """The list of each of these gateways, asked at once. Raises ConfigError for a gateway that cannot be asked."""
    names = list(gateways)
    async with instruments_open() as instruments:
        asked = (ask_one(config, name, base_urls[name], instruments, limit_s) for name in names)
        return dict(zip(names, await asyncio.gather(*asked), strict=True))


async def ask_one(
    config: Config, gateway: str, base_url: str, instruments: Instruments, limit_s: float = LIMIT_S
) -> Listing:
    """All pages of its list, up to a limit of each kind."""
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
    """None where the kernel stamped the answer before we could note that all was sent: unknown, not zero."""
    if not tape.headers_at or not tape.sent or tape.headers_at <= tape.sent:
        return None
    return tape.headers_at - tape.sent


def _read(tape: Tape, config: Config) -> tuple[Listing, str | None]:
    """What came, and from where to ask on."""
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
