"""Checks from the gateways' model lists: can each be reached, does it accept its key, does it offer the models.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from streambench.config.config import Config
from streambench.config.model_selection import Listing, ModelEntry, why
from streambench.config.schema import Gateway
from streambench.doctor.check import Check
from streambench.records.schema import Failure

_MS = 1e6
_MENDS: Mapping[str, str] = {
    "dns": "check the host in base_url; a VPN or `proxy:` may be missing",
    "refused": "start the server, or check the port in base_url",
    "unreachable": "check the network, a firewall, or whether a `proxy:` is needed",
    "connect": "no response from this address: check the port, a firewall, or whether a `proxy:` is needed",
    "tls": "for a private authority, set `tls: {ca_bundle: company-ca.pem}`; if the server does not use TLS, use http://",
    "proxy": "check `proxy:`, or the variables HTTP_PROXY, HTTPS_PROXY and ALL_PROXY",
}
_TOOK_LONG = "the gateway can be reached; if only its model list is slow, `run --no-discovery` avoids the wait"


def key_checks(config: Config) -> Iterator[Check]:
    for name in _used(config):
        source = config.gateways[name].api_key_source
        yield Check("ok", f"key of {name}", "none is configured" if source is None else f"{source} is set")


def gateway_checks(config: Config, listings: Mapping[str, Listing]) -> Iterator[Check]:
    """Yields a check for each gateway in `listings`: did the request for its models succeed, and if not, which step
    failed."""
    for name, listing in listings.items():
        yield _gateway(f"gateway {name}", config.gateways[name], listing)


def _used(config: Config) -> list[str]:
    return list(dict.fromkeys(model.gateway for model in config.models if not model.excludes))


def _gateway(what: str, gateway: Gateway, listing: Listing) -> Check:
    failure = listing.failure
    if failure is None:
        return Check("ok", what, f"{_route(gateway, listing)}; {len(listing.offers)} models offered")
    if failure.status in (401, 403):
        source = gateway.api_key_source
        fix = f"check the key in {source}" if source else "the gateway requires a key: set `api_key: ${NAME}`"
        return Check("wrong", what, f"{_route(gateway, listing)}; it rejects the key ({why(failure)})", fix)
    if listing.status is not None:
        found = f"{_route(gateway, listing)}; no list of models ({why(failure)})"
        return Check("note", what, found, "only globs need the list; a run works without it")
    if failure.kind == "timeout" and failure.detail != "connect":
        return Check("note", what, f"connected, but {why(failure)}", _TOOK_LONG)
    return Check("wrong", what, _stopped(failure), _MENDS.get(failure.detail or "", "check base_url"))


def _route(gateway: Gateway, listing: Listing) -> str:
    """Returns each step with its time, or `ok` if that is unknown: `DNS 3.0 ms, TCP 12.0 ms, TLS ok, HTTP 40.0 ms`."""
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
    """Returns the steps that succeeded and the step that failed, with the error message."""
    step = {"dns": "DNS", "tls": "TLS", "proxy": "proxy"}.get(failure.detail or "", "TCP")
    before = {"TLS": "DNS ok, TCP ok, ", "TCP": "DNS ok, "}.get(step, "")
    if failure.kind == "disconnected":
        step, before = "HTTP", "DNS ok, TCP ok, "
    return f"{before}{step} failed: {failure.message}"


def model_checks(config: Config, entries: list[ModelEntry]) -> Iterator[Check]:
    for entry in entries:
        what = f"model {entry.text}"
        near = f"similar names: {', '.join(entry.nearest)}" if entry.nearest else "`streambench models` lists them"
        if entry.offered is None:
            yield Check("note", what, f"not checked, as {entry.gateway} returned no list of models")
        elif not entry.offered:
            fatal = not entry.models or config.gateways[entry.gateway].embedded
            yield Check("wrong" if fatal else "note", what, f"{entry.gateway} does not list it", near)
        elif entry.text in entry.models:
            yield Check("ok", what, f"{entry.gateway} offers it")
        else:
            yield Check(
                "ok", what, f"selects {len(entry.models)} models of {entry.gateway}: {_few(list(entry.models))}"
            )


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
