"""What models are called: by their aliases in a resolved config, and by gateways, of which each has its own spelling.

Whether two stand for one model is judged here too, as each dates and prefixes them in its own way. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_VENDOR = re.compile(r"(?:[a-z]{2,}\.)+(?=[a-z])")
"""As Bedrock writes it: `us.anthropic.claude-...`."""
_VERSION = re.compile(r"[-_@:.](latest|\d{4}-\d{2}-\d{2}|\d{8}-v\d+|\d{2}-\d{2,4}|v?\d{3,8})$")
"""At a name's end: a date in the spellings in use, a number of three digits or more, `latest`."""


def alias_of(entry: Mapping[str, Any]) -> str:
    """What a model of a resolved config is called in every record and table."""
    return str(entry.get("alias") or entry.get("model"))


def entry_of(config: Mapping[str, Any], alias: str) -> Mapping[str, Any]:
    """What a resolved config says of a model; empty where it does not name it."""
    return next((entry for entry in config.get("models", ()) if alias_of(entry) == alias), {})


def model_order(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The aliases of a resolved config's models, in its order."""
    return tuple(map(alias_of, config.get("models", ())))


def same_model(asked: str, served: str) -> bool:
    """Whether the served name may well be the asked one, by another spelling or in a dated version of it."""
    one, other = _read_name(asked), _read_name(served)
    return one[0] == other[0] and all(a == b or not a or not b for a, b in zip(one[1:], other[1:], strict=True))


def _read_name(name: str) -> tuple[str, str, str]:
    """(bare name of letters and digits, version, tag); `latest` is no version."""
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
