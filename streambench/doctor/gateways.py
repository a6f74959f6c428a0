"""What the gateways' lists show: whether each can be reached, takes its key, and offers the models. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from streambench.config import Config, Gateway
from streambench.doctor.check import Check
from streambench.picking import Entry, Listing, why
from streambench.records import Failure

_MS = 1e6
_MENDS: Mapping[str, str] = {
    "dns": "check the host in base_url; a VPN or `proxy:` may be missing",
    "refused": "start the server, or check the port in base_url",
    "unreachable": "check the network, a firewall, or whether a `proxy:` is needed",
    "connect": "nothing answers there: check the port, a firewall, or whether a `proxy:` is needed",
    "tls": "`tls: {ca_bundle: company-ca.pem}` for a private authority; http:// if the server speaks no TLS",
    "proxy": "check `proxy:`, or HTTP_PROXY and its like",
}
_TOOK_LONG = "it is reached; if it is only slow to list its models, --no-discovery saves the wait"


def key_checks(config: Config) -> Iterator[Check]:
    for name in _used(config):
        source = config.gateways[name].api_key_source
        yield Check("ok", f"key of {name}", "none is needed" if source is None else f"{source} is set")


def gateway_checks(config: Config, listings: Mapping[str, Listing]) -> Iterator[Check]:
    """Of each gateway that was asked: how far a request came."""
    for name, listing in listings.items():
        yield _gateway(f"gateway {name}", config.gateways[name], listing)


def _used(config: Config) -> list[str]:
    return list(dict.fromkeys(model.gateway for model in config.models if not model.excludes))


def _gateway(what: str, gateway: Gateway, listing: Listing) -> Check:
    failure = listing.failure
    if failure is None:
        return Check("ok", what, f"{_way(gateway, listing)}; {len(listing.offers)} models offered")
    if failure.status in (401, 403):
        source = gateway.api_key_source
        mend = f"check the key in {source}" if source else "it wants a key: `api_key: ${NAME}`"
        return Check("wrong", what, f"{_way(gateway, listing)}; it refuses the key ({why(failure)})", mend)
    if listing.status is not None:
        told = f"{_way(gateway, listing)}; no list of models ({why(failure)})"
        return Check("note", what, told, "none needed: a run goes on without, but globs need the list")
    if failure.kind == "timeout" and failure.detail != "connect":
        return Check("note", what, f"connected, but {why(failure)}", _TOOK_LONG)
    return Check("wrong", what, _stopped(failure), _MENDS.get(failure.detail or "", "check base_url"))


def _way(gateway: Gateway, listing: Listing) -> str:
    """`DNS 3 ms, TCP 12 ms, TLS 25 ms, HTTP 40 ms`: each step with its time, where it is known."""
    connection = listing.connection
    steps = {
        "DNS": connection.dns_ns if connection else None,
        "TCP": connection.connect_ns if connection else None,
        "TLS": connection.tls_ns if connection else None,
        "HTTP": listing.answered_ns,
    }
    if urlsplit(gateway.base_url).scheme != "https":
        del steps["TLS"]
    return ", ".join(f"{step} {'ok' if ns is None else f'{ns / _MS:.1f} ms'}" for step, ns in steps.items())


def _stopped(failure: Failure) -> str:
    """Which step failed, after those that went well."""
    step = {"dns": "DNS", "tls": "TLS", "proxy": "proxy"}.get(failure.detail or "", "TCP")
    before = {"TLS": "DNS ok, TCP ok, ", "TCP": "DNS ok, "}.get(step, "")
    if failure.kind == "disconnected":
        step, before = "HTTP", "DNS ok, TCP ok, "
    return f"{before}{step} failed: {failure.message}"


def model_checks(config: Config, entries: list[Entry]) -> Iterator[Check]:
    for entry in entries:
        what = f"model {entry.text}"
        near = f"the nearest: {', '.join(entry.nearest)}" if entry.nearest else "`streambench models` lists them"
        if entry.offered is None:
            yield Check("note", what, f"not looked up, as {entry.gateway} gave no list")
        elif not entry.offered:
            fatal = not entry.models or config.gateways[entry.gateway].embedded
            yield Check("wrong" if fatal else "note", what, f"{entry.gateway} does not list it", near)
        elif entry.text in entry.models:
            yield Check("ok", what, f"{entry.gateway} offers it")
        else:
            yield Check("ok", what, f"picks {len(entry.models)} of {entry.gateway}: {_few(list(entry.models))}")


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
