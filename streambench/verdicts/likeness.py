"""Whether two runs may be compared: the fields of their headers that decide what was measured, and how they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streambench.model_names import alias_of
from streambench.records import RunHeader
from streambench.resume import changes

_MAY_DIFFER = ("seed", "repeats", "keep_text", "assertions", "limits", "health")
"""Beside where things go and when to stop: pairing by prompt takes care of repeats and order, readers of the rest."""
_OF_A_MODEL = ("price", "alias", "compare_as")
_NOTED = ("streambench", "python")


@dataclass(frozen=True, slots=True)
class Difference:
    """A header's field that is not the same in two runs; None is nothing."""

    field: str
    base: Any
    new: Any


def differences(base: RunHeader, new: RunHeader) -> list[Difference]:
    """The fields that make two runs unlike: suite, gateways, models, load, time limits, retries, warm-up."""
    suite = (base.suite.get("hash"), new.suite.get("hash"))
    found = [Difference("suite.hash", *suite)] if suite[0] != suite[1] else []
    found += [
        Difference(key, then, now)
        for key, then, now in changes(_compared(base.config), _compared(new.config))
        if key != "suite.hash"
    ]
    if set(base.simulated) != set(new.simulated):
        found.append(Difference("simulated", ", ".join(base.simulated), ", ".join(new.simulated)))
    return found


def notes(base: RunHeader, new: RunHeader) -> list[str]:
    """What a reader should know of two runs that may be compared all the same."""
    found = [
        f"{name} {base.versions.get(name)} then, {new.versions.get(name)} now"
        for name in _NOTED
        if base.versions.get(name) != new.versions.get(name)
    ]
    if base.stamps != new.stamps:
        found.append(f"arrivals are on another clock: {base.stamps} then, {new.stamps} now")
    if dict(base.host) != dict(new.host):
        keys = sorted(key for key in {*base.host, *new.host} if base.host.get(key) != new.host.get(key))
        found.append(f"another machine, or another state of it: {', '.join(keys)}")
    return found


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Models by their alias, so that another order, or one more, is told as just that."""
    kept = {key: value for key, value in config.items() if key not in _MAY_DIFFER}
    return kept | {"models": _by_alias(config.get("models") or ())}


def _by_alias(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {alias_of(entry): {k: v for k, v in entry.items() if k not in _OF_A_MODEL} for entry in models}
