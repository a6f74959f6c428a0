"""Masks keys in everything that is shown or stored: known secret values, and any text that looks like a key. Pure.

The config creates a `Secrets` from the values it resolved; failures, headers and messages are masked with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

from streambench.text import shorten

MASK = "***"
ANYWHERE_FROM = 6
"""A known value of at least this many characters is masked everywhere, even inside a word."""
WORD_FROM = 4
"""A shorter known value is masked only as a whole word; one of fewer characters than this is never masked."""
LIMIT = 500
"""Characters that `clean` keeps by default."""


class Secrets:
    """The secret values of a run. Its repr and str show only how many there are."""

    __slots__ = ("_known", "_values")

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = frozenset(value for value in values if len(value) >= WORD_FROM)
        self._known = _pattern_of(self._values)

    def __repr__(self) -> str:
        return f"Secrets({len(self._values)} values)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secrets) and self._values == other._values

    def __hash__(self) -> int:
        return hash(self._values)

    def __or__(self, other: Secrets) -> Secrets:
        return Secrets(self._values | other._values)

    def mask(self, text: str) -> str:
        """Returns the text with every known value, and everything that looks like a key, replaced by `***`."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _mask_lookalikes(text)

    def clean(self, text: str, limit: int = LIMIT) -> str:
        """Returns untrusted text as one masked line of at most `limit` characters.

        Terminal controls are removed first, because they could split a key. The text is cut last, because a cut could
        leave half a key, which would not be recognised.
        """
        return shorten(self.mask(strip_controls(text)), limit)


def clean(text: str, limit: int = LIMIT) -> str:
    """`Secrets.clean` without known values: masks only what looks like a key."""
    return Secrets().clean(text, limit)


def looks_secret(text: str) -> bool:
    """True if the text holds something that looks like a key, a bearer token or a URL's password."""
    return _mask_lookalikes(text) != text


def is_secret_name(name: str) -> bool:
    """True if a header or parameter of this name usually carries a secret (`x-api-key`, `cookie`, not `max_tokens`)."""
    return _SECRET_NAME.search(name) is not None


def mask_url(url: str) -> str:
    """Returns the URL with the parts masked that may be secret: user, password and the whole query."""
    url = _USERINFO.sub(rf"\1{MASK}@", url)
    head, mark, _ = url.partition("?")
    return f"{head}?{MASK}" if mark else url


def strip_controls(text: str) -> str:
    """Returns the text as one line without terminal escapes, controls, direction marks or lone surrogates."""
    return _UNSHOWABLE.sub("", _ESCAPES.sub("", text).translate(_BLANKS)).translate(_HALVES)


# ---- known values


def _pattern_of(values: frozenset[str]) -> re.Pattern[str] | None:
    """Returns one alternation, longest first: else a shorter value would mask only the start of a longer one."""
    forms = {form for value in values for form in _forms(value)}
    if not forms:
        return None
    return re.compile("|".join(_as_pattern(form) for form in sorted(forms, key=lambda form: (-len(form), form))))


def _forms(value: str) -> set[str]:
    """Returns the value as it is, and as it would appear in a URL or in JSON."""
    return {value, quote(value, safe="", errors="replace"), json.dumps(value)[1:-1]}


def _as_pattern(form: str) -> str:
    escaped = re.escape(form)
    return escaped if len(form) >= ANYWHERE_FROM else rf"(?<!\w){escaped}(?!\w)"


# ---- text that looks like a key. Each pattern starts at a fixed word or a boundary, so long texts cost linear time.

_USERINFO = re.compile(r"([a-zA-Z][\w+.-]{0,20}://)[^\s/?#\"'<>]+@")
_QUERY = re.compile(
    r"([?&](?:[\w-]{0,20}key|[\w-]{0,20}token|sig|signature|password|secret)=)[^&\s#\"'<>]+", re.IGNORECASE
)
_FIELD = re.compile(
    r"\b(api[-_ ]?key|authorization|password|client[-_]secret)(\\?[\"']?\s{0,3}[:=]\s{0,3}\\?[\"']?)"
    r"(?:(?:bearer|basic)\s+)?+(?!none\b|\$\{|\*\*\*)[^\s\"',;}\\]{6,}",
    re.IGNORECASE,
)
# A word after "Bearer" counts as prose ("Bearer authentication") unless it holds a digit or has 24 characters or more.
_BEARER = re.compile(r"\b(bearer|basic)\s+(?:(?=[^\s\"',;]{0,400}\d)[\w.~+/=*-]{8,}|[\w.~+/=*-]{24,})", re.IGNORECASE)
_PREFIXED = re.compile(r"(?<![A-Za-z0-9])(?:sk-|gsk_|xai-|nvapi-|hf_|AIza|eyJ)[\w.*…-]{6,}")
_PARTLY_MASKED = re.compile(r"(?<![\w*-])[\w-]{0,200}\*{3,}[\w*-]{0,200}")


def _mask_lookalikes(text: str) -> str:
    text = _USERINFO.sub(rf"\1{MASK}@", text)
    text = _QUERY.sub(rf"\1{MASK}", text)
    text = _FIELD.sub(rf"\1\2{MASK}", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    text = _PREFIXED.sub(MASK, text)
    return _PARTLY_MASKED.sub(MASK, text)


_SECRET_NAME = re.compile(
    r"authorization|api[-_]?key|token(?!s)|cookie|secret|passw|credential|(?:^|[-_.])(?:key|auth)(?:$|[-_.])",
    re.IGNORECASE,
)

# ---- untrusted text

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS etc.
    r"|\x1b[ -/]*[0-~]?"
)
_BLANKS = {ord(c): " " for c in "\t\n\v\f\r\x85\u2028\u2029"}
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)
_HALVES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
