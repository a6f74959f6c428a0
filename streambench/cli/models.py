"""`streambench models`: lists the models that each gateway offers, and marks those that the config selects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streambench.cli.arguments import CONFIG, OVERRIDES
from streambench.errors import InputError, Problem
from streambench.text import count

if TYPE_CHECKING:
    from streambench.config.config import Config
    from streambench.config.model_selection import Listing, ModelEntry, OfferedModel

_COLUMNS = ("model", "owned by", "context", "USD/M in", "USD/M out", "in the config")


@click.command()
@click.argument("config_file", metavar="CONFIG", type=CONFIG)
@OVERRIDES
@click.option("--gateway", metavar="NAME", help="Ask only this gateway.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def models(config_file: Path, overrides: tuple[str, ...], gateway: str | None, *, as_json: bool) -> int:
    """List the models that the gateways of CONFIG offer.

    Marks the models that CONFIG selects. Sends `GET /models` to each gateway, which costs nothing.

    Exit code 1 if a gateway returned no list.
    """
    import asyncio
    import json

    from streambench.api import steps
    from streambench.client.model_listing import ask
    from streambench.config.load import load_config
    from streambench.config.model_selection import entries_of

    config = load_config(config_file, overrides)
    names = _wanted(config, gateway, config_file)
    with steps.serving(config, unused=True) as base_urls:
        listings = asyncio.run(ask(config, base_urls, names))
    entries = [entry for entry in entries_of(config, listings) if entry.gateway in names]
    if as_json:
        click.echo(json.dumps(_plain(listings, entries), indent=2))
    else:
        for line in _lines(config, listings, entries):
            click.echo(line)
    return 1 if any(listing.failure for listing in listings.values()) else 0


def _wanted(config: Config, gateway: str | None, config_file: Path) -> list[str]:
    if gateway is None:
        return list(config.gateways)
    if gateway in config.gateways:
        return [gateway]
    from streambench.text import nearest, shown

    message = f"there is no such gateway in {config_file}{nearest(gateway, config.gateways)}"
    accepted = ", ".join(config.gateways)
    raise InputError([Problem(message, where="--gateway", found=shown(gateway), accepted=accepted)])


def _lines(config: Config, listings: Mapping[str, Listing], entries: Sequence[ModelEntry]) -> Iterator[str]:
    from streambench.config.model_selection import why
    from streambench.text import counted

    for index, (name, listing) in enumerate(listings.items()):
        address = config.secrets.mask(str(config.gateways[name].model_dump()["base_url"]))
        yield from [""] * bool(index)
        if listing.failure is not None:
            yield f"{name} ({address}) returned no list of models: {why(listing.failure)}"
        else:
            yield f"{name} ({address}) offers {len(listing.offers)} models"
            yield from _table(listing.offers, [entry for entry in entries if entry.gateway == name])
        if listing.unusable:
            yield f"Left out: {counted(listing.unusable, 'model')} without a usable name."
        if listing.partial is not None:
            yield f"The list is incomplete: {why(listing.partial)}"
        for entry in entries:
            if entry.gateway == name and entry.offered is False:
                near = f"; similar names: {', '.join(entry.nearest)}" if entry.nearest else ""
                yield f"In the config, but not offered: {entry.text}{near}"


def _table(offers: Iterable[OfferedModel], entries: Sequence[ModelEntry]) -> Iterator[str]:
    aliases = {name: alias for entry in entries for name, alias in entry.models.items()}
    rows = [
        (
            offer.id,
            offer.owned_by or "-",
            "-" if offer.context_tokens is None else f"{count(offer.context_tokens)}",
            _price(offer.input_usd),
            _price(offer.output_usd),
            _as(offer.id, aliases),
        )
        for offer in sorted(offers, key=lambda offer: offer.id)
    ]
    rows.insert(0, _COLUMNS)
    columns = [index for index in range(len(_COLUMNS)) if any(row[index] not in ("-", "") for row in rows[1:])]
    widths = {index: max(len(row[index]) for row in rows) for index in columns}
    for row in rows if rows[1:] else ():
        yield "  " + "  ".join(row[index].ljust(widths[index]) for index in columns).rstrip()


def _price(usd: float | None) -> str:
    return "-" if usd is None else f"{usd:g}"


def _as(name: str, aliases: Mapping[str, str]) -> str:
    if name not in aliases:
        return ""
    return "yes" if aliases[name] == name else f"as {aliases[name]}"


def _plain(listings: Mapping[str, Listing], entries: Sequence[ModelEntry]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "gateways": {
            name: {
                "failure": None if listing.failure is None else asdict(listing.failure),
                "partial": None if listing.partial is None else asdict(listing.partial),
                "unusable": listing.unusable,
                "models": [asdict(offer) for offer in listing.offers],
            }
            for name, listing in listings.items()
        },
        "config": [asdict(entry) for entry in entries],
    }
