"""Decides whether two runs may be compared: finds the header fields that define the measurement and that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streambench.metrics.model_names import alias_of
from streambench.records.config_diff import changes
from streambench.records.schema import RunHeader

_MAY_DIFFER = ("seed", "repeats", "keep_text", "assertions", "limits", "health")
"""Config keys that may differ, in addition to PLACES and STOPS of `records.config_diff`.

Pairing by prompt allows different repeats and a different order (`seed`). The other keys do not change how a request
is measured.
"""
_OF_A_MODEL = ("price", "alias", "compare_as")
_NOTED = ("streambench", "python")


@dataclass(frozen=True, slots=True)
class Difference:
    """A header field with different values in two runs; None if the field is missing."""

    field: str
    base: Any
    new: Any


def differences(base: RunHeader, new: RunHeader) -> list[Difference]:
    """Returns the fields that make two runs incomparable: suite, gateways, models, load, timeouts, retries, warm-up."""
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
    """Returns differences that do not prevent a comparison: versions, the clock of the timestamps, the machine."""
    found = [
        f"{name} {base.versions.get(name)} then, {new.versions.get(name)} now"
        for name in _NOTED
        if base.versions.get(name) != new.versions.get(name)
    ]
    if base.stamps != new.stamps:
        found.append(f"arrival timestamps come from a different clock: {base.stamps} then, {new.stamps} now")
    if dict(base.host) != dict(new.host):
        keys = sorted(key for key in {*base.host, *new.host} if base.host.get(key) != new.host.get(key))
        found.append(f"a different machine, or the machine has changed: {', '.join(keys)}")
    return found


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the compared config keys, with models by alias: a new order is no difference, an added model is one."""
    kept = {key: value for key, value in config.items() if key not in _MAY_DIFFER}
    return kept | {"models": _by_alias(config.get("models") or ())}


def _by_alias(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {alias_of(entry): {k: v for k, v in entry.items() if k not in _OF_A_MODEL} for entry in models}
