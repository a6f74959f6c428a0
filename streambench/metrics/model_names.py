"""Looks up models in a resolved config by alias, and compares model names across gateways. Pure.

Gateways spell the name of a model differently: with dates, versions, tags and provider prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_VENDOR = re.compile(r"(?:[a-z]{2,}\.)+(?=[a-z])")
"""A vendor prefix as Bedrock writes it: `us.anthropic.claude-...`."""
_VERSION = re.compile(r"[-_@:.](latest|\d{4}-\d{2}-\d{2}|\d{8}-v\d+|\d{2}-\d{2,4}|v?\d{3,8})$")
"""A version at the end of a name: a date in one of the usual formats, a number of three to eight digits, `latest`."""


def alias_of(entry: Mapping[str, Any]) -> str:
    """Returns the name that records and tables use for a model of a resolved config: its alias, else `model`."""
    return str(entry.get("alias") or entry.get("model"))


def entry_of(config: Mapping[str, Any], alias: str) -> Mapping[str, Any]:
    """Returns the entry of a model in a resolved config; an empty mapping if there is none."""
    return next((entry for entry in config.get("models", ()) if alias_of(entry) == alias), {})


def model_order(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the aliases of a resolved config's models, in the config's order."""
    return tuple(map(alias_of, config.get("models", ())))


def same_model(asked: str, served: str) -> bool:
    """True if both names may mean the same model: in another spelling, or with a version or tag that only one has."""
    one, other = _read_name(asked), _read_name(served)
    return one[0] == other[0] and all(a == b or not a or not b for a, b in zip(one[1:], other[1:], strict=True))


def _read_name(name: str) -> tuple[str, str, str]:
    """Returns (name in letters and digits only, version, tag). `latest` counts as no version and no tag."""
    last = name.strip().lower().rstrip("/").rsplit("/", 1)[-1].removesuffix(".gguf")
    last, _, tag = last.partition(":")
    vendor = _VENDOR.match(last)
    last = last[vendor.end() :] if vendor else last
    found = _VERSION.search(last)
    version = found[1] if found and found.start() else ""
    base = last[: -len(version)] if version else last
    return _bare(base), _bare(version.removesuffix("latest")), tag.removesuffix("latest")


def _bare(text: str) -> str:
    return re.sub(r"[\W_]", "", text)
