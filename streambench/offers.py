"""What a gateway offers: the answer to `GET /models`, whose text may be hostile, read into names that can be asked for.

On the way: config -> discovery -> here -> a config whose models all have names. Pure.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from streambench.config import is_glob, is_label
from streambench.secrets import Secrets

MOST = 10_000
"""Models of one gateway that are looked at."""
_OWNER = 60
_NEAR = 0.6
_CONTEXT = ("context_length", "max_model_len", "context_window", "max_context_length", "max_input_tokens")
"""What gateways call the length of a model's context, in tokens."""
_GLOB_SIGNS = re.compile(r"[*?\[\]]")


@dataclass(frozen=True, slots=True)
class Offer:
    """One model that a gateway offers; None is what it does not say."""

    id: str
    owned_by: str | None = None
    context_tokens: int | None = None
    input_usd: float | None = None
    """Per million tokens, as `output_usd`."""
    output_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a gateway's list."""

    offers: tuple[Offer, ...]
    unusable: int = 0
    """Entries whose id is no name that could be shown or asked for."""
    after: str | None = None
    """The model to ask on from, where the gateway says that there is more."""


class NoListError(ValueError):
    """The answer is no list of models; says why."""


def read_page(body: bytes, secrets: Secrets) -> Page:
    """Raises NoListError."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise NoListError("the answer is no JSON") from None
    rows = data.get("data", data.get("models")) if isinstance(data, dict) else data
    if not isinstance(rows, list):
        raise NoListError("the answer has no list of models under `data`")
    read = [_offer(row, secrets) for row in rows[:MOST]]
    offers = {offer.id: offer for offer in read if offer is not None}
    more = isinstance(data, dict) and data.get("has_more") is True and bool(offers)
    return Page(tuple(offers.values()), read.count(None), next(reversed(offers)) if more else None)


def _offer(row: Any, secrets: Secrets) -> Offer | None:
    row = {"id": row} if isinstance(row, str) else row
    name = row.get("id", row.get("name")) if isinstance(row, dict) else None
    if not isinstance(name, str) or not is_label(name) or secrets.mask(name) != name:
        return None
    owner = row.get("owned_by")
    return Offer(
        name,
        (secrets.clean(owner, _OWNER).strip() or None) if isinstance(owner, str) else None,
        next((found for key in _CONTEXT if (found := _count(row.get(key))) is not None), None),
        *_prices(row.get("pricing")),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 2**53 else None


def _prices(stated: Any) -> tuple[float | None, float | None]:
    """USD per token under `prompt` and `completion`. Others say `input` and `output`, per token or per million: those
    nobody can tell apart.
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


# --- choosing among them


def matches(pattern: str, name: str) -> bool:
    """Whatever the case; `*` goes over a slash as well."""
    return pattern == name or fnmatchcase(name.lower(), pattern.lower())


def is_offered(name: str, offered: Iterable[str]) -> bool:
    """Also by a name such as `openai/*`, as proxies list what they pass on."""
    return any(other == name or (is_glob(other) and matches(other, name)) for other in offered)


def nearest_names(name: str, offered: Iterable[str], count: int = 3) -> list[str]:
    """Those that a mistyped name or glob may have meant, best first; a vendor before a slash counts for nothing."""
    wanted = _bare(_GLOB_SIGNS.sub("", name))
    scored = [(_likeness(wanted, _bare(other)), other) for other in offered]
    near = [(score, other) for score, other in scored if score >= _NEAR]
    return [other for _, other in sorted(near, key=lambda pair: (-pair[0], pair[1]))[:count]]


def _bare(name: str) -> str:
    return name.lower().rstrip("/").rsplit("/", 1)[-1]


def _likeness(wanted: str, other: str) -> float:
    if wanted and other.startswith(wanted):
        return 1.0
    matcher = difflib.SequenceMatcher(None, other, wanted)
    return matcher.ratio() if matcher.quick_ratio() >= _NEAR else 0.0
