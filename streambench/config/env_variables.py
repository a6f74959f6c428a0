"""Replaces `${NAME}` by the value of an environment variable, or of one in a file `.env` beside the config.

A step of load.py over the Draft. It applies under `gateways`, `telemetry` and the `headers` of models only. The Draft
keeps the path of each replaced value, and the values that are secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from streambench.config.credentials import VARIABLE
from streambench.config.draft import Draft
from streambench.documents import KeyPath
from streambench.errors import Problem
from streambench.text import shown
from streambench.workload.headers import is_header_safe

DOTENV = ".env"
_PARTS = ("gateways", "telemetry")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MIN_URL_SECRET = 6
"""Characters: a shorter value in the path of a URL does not count as secret."""
_URLS = ("base_url", "proxy", "endpoint")
_PLAIN = ("limits", "models", "tls", "include_usage", "http2", "connections")
"""Keys of a gateway whose values are not secret."""


def expand(draft: Draft, env: Mapping[str, str]) -> None:
    """Fills in all variables. `env` has priority over `.env`; an empty variable counts as not set."""
    found = [hit for part in _PARTS for hit in _texts_with_variables(draft.data.get(part), (part,))]
    for index, model in draft.models():
        found += _texts_with_variables(model.get("headers"), ("models", index, "headers"))
    if not found:
        return
    values = {**_read_dotenv(draft), **{name: value for name, value in env.items() if value}}
    for path, text in found:
        _fill_in(draft, path, text, values)


def _texts_with_variables(data: Any, path: KeyPath) -> list[tuple[KeyPath, str]]:
    match data:
        case dict():
            return [hit for key, inner in data.items() for hit in _texts_with_variables(inner, (*path, key))]
        case list():
            return [hit for index, inner in enumerate(data) for hit in _texts_with_variables(inner, (*path, index))]
        case str() if "${" in data:
            return [(path, data)]
    return []


def _read_dotenv(draft: Draft) -> dict[str, str]:
    """Returns the non-empty variables of `.env`; {} after a problem.

    `${` inside a value is not expanded, because a key may contain any character.
    """
    path = draft.folder / DOTENV
    if not path.is_file():
        return {}
    from dotenv import dotenv_values  # imported here, because most configs have no `.env`

    try:
        values = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        why = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error.strerror}"
        draft.problems.setdefault((), []).append(Problem(why, file=str(path), accepted="lines of NAME=value"))
        return {}
    return {name: value for name, value in values.items() if value}


def _fill_in(draft: Draft, path: KeyPath, text: str, values: Mapping[str, str]) -> None:
    names = tuple(VARIABLE.findall(text))
    draft.variables[path] = names
    if "${" in VARIABLE.sub("", text):
        draft.refuse(path, "has a `${` without a matching `}`", accepted="${NAME}")
    for name in dict.fromkeys(names):
        _check_variable(draft, path, name, values)
    if draft.is_refused(path):
        return
    expanded = VARIABLE.sub(lambda match: values[match[1]], text)
    _set(draft.data, path, expanded)
    draft.secret_values.update(_secrets_in(path, expanded, [values[name] for name in names]))


def _check_variable(draft: Draft, path: KeyPath, name: str, values: Mapping[str, str]) -> None:
    if not _NAME.fullmatch(name):
        draft.refuse(path, "is not a variable name", f"${{{shown(name)[1:-1]}}}", "${NAME} with letters, digits and _")
    elif name not in values:
        dotenv = draft.folder / DOTENV
        draft.refuse(path, f"{name} is not set or is empty", accepted=f"`export {name}=...`, or {name}=... in {dotenv}")
    elif (
        path[0] == "gateways" and path[2:] == ("api_key",) and (" " in values[name] or not is_header_safe(values[name]))
    ):
        draft.refuse(
            path,
            f"{name} contains a character that is not allowed in a key",
            accepted="a key of ASCII characters, without spaces or line breaks",
        )


def _set(data: Any, path: KeyPath, value: str) -> None:
    for step in path[:-1]:
        data = data[step]
    data[path[-1]] = value


def _secrets_in(path: KeyPath, expanded: str, values: list[str]) -> set[str]:
    """Returns the secrets in an expanded value.

    In headers and keys every variable's value is secret. The host of a URL is not: every message about the URL would
    be masked.
    """
    key = next(iter(path[1:] if path[0] == "telemetry" else path[2:]), None)
    if key in _URLS:
        return _secrets_in_url(expanded, values)
    is_plain = key not in (None, "headers") if path[0] == "telemetry" else key in _PLAIN
    return set() if is_plain else set(values)


def _secrets_in_url(url: str, values: list[str]) -> set[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return set()
    userinfo = parts.netloc.rpartition("@")[0]
    credentials = {form for part in userinfo.split(":", 1) for form in (part, unquote(part))}
    queried = {value for _, value in parse_qsl(parts.query)}
    filled_in = {value for value in values if value in parts.path and len(value) >= _MIN_URL_SECRET}
    return {value for value in credentials | queried | filled_in if value}
