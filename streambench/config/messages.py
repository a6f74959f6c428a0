"""Turns what the schema refused into problems in plain words: what is wrong, what stood there, what is accepted.

On the way: the last step of load.py before it raises. "Accepted" comes from the schema's own field descriptions.
"""

from __future__ import annotations

import re
import types
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from streambench.config.draft import Draft
from streambench.config.schema import FileConfig
from streambench.documents import KeyPath, nearest, shown
from streambench.secrets import Secrets, mask_url

_SHOWABLE = ("base_url", "proxy", "limits", "models", "include_usage", "http2", "tls", "connections", "on_rate_limit",
             "api")  # fmt: skip
"""A gateway's keys whose value a message may show. Under any other there may be a secret."""

_MESSAGES = {
    "missing": "is required",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a finite number",
    "literal_error": "is none of the choices",
    "string_type": "must be text",
    "too_short": "must not be empty",
}
_BY_ENDING = {
    "_parsing": "is of the wrong kind",
    "_type": "is of the wrong kind",
    "than_equal": "is out of range",
    "_than": "is out of range",
}


def refuse_invalid(draft: Draft, error: ValidationError) -> None:
    """One problem for each that the schema found, unless an earlier step has told of the same value."""
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        if not draft.is_refused(path) and not _is_echo(detail):
            _refuse(draft, path, detail)


def _is_echo(detail: ErrorDetails) -> bool:
    """A list whose items were refused counts as too short as well."""
    return detail["type"] == "too_short" and bool(detail["input"])


def _refuse(draft: Draft, path: KeyPath, detail: ErrorDetails) -> None:
    if detail["type"] == "extra_forbidden":
        known = _keys_at(path[:-1])
        draft.refuse(path, f"unknown key{nearest(str(path[-1]), known)}", accepted=", ".join(known))
        return
    accepted = _accepted(path)
    found = None if detail["type"] == "missing" else _found(draft, path, detail["input"])
    draft.refuse(path, _message(detail), found, accepted)


def _message(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "literal_error" and isinstance(detail["input"], str):
        return _MESSAGES[kind] + nearest(detail["input"], re.findall(r"'(\w+)'", detail["ctx"]["expected"]))
    if kind == "less_than":
        return f"is too large: below {detail['ctx']['lt']:.15g}"
    if kind == "less_than_equal":
        return f"is too large: at most {detail['ctx']['le']:.15g}"
    by_ending = (text for ending, text in _BY_ENDING.items() if kind.endswith(ending))
    return _MESSAGES.get(kind) or next(by_ending, "is not accepted")


def _found(draft: Draft, path: KeyPath, value: Any) -> str:
    if path in draft.variables:
        return " and ".join(f"the value of ${{{name}}}" for name in draft.variables[path])
    if isinstance(value, str) and _may_be_secret(path):
        return "text"
    if isinstance(value, str):
        return shown(Secrets(draft.secret_values).mask(mask_url(value) if "://" in value else value))
    return shown(value)


def _may_be_secret(path: KeyPath) -> bool:
    if path[0] == "telemetry":
        return len(path) == 1 or path[1] == "headers"
    if path[0] == "models":
        return path[2:3] == ("headers",)
    return path[0] == "gateways" and (len(path) < 3 or path[2] not in _SHOWABLE)


# ---- the schema, asked for what it accepts


def _accepted(path: KeyPath) -> str | None:
    """The description of the field, or of the nearest one around it; a part without one is told by its keys."""
    for length in range(len(path), 0, -1):
        kind, described = _walk(path[:length])
        if described:
            return described
        if _is_model(kind):
            return f"a mapping of {', '.join(_fields(kind))}"
    return None


def _keys_at(path: KeyPath) -> tuple[str, ...]:
    kind, _ = _walk(path)
    return tuple(_fields(kind)) if _is_model(kind) else ()


def _walk(path: KeyPath) -> tuple[Any, str | None]:
    """The type that the schema has at a path, and its field's description if the path ends at a field."""
    kind: Any = FileConfig
    described: str | None = None
    for part in path:
        kind, described = _step(kind, part)
    return kind, described


def _step(kind: Any, part: str | int) -> tuple[Any, str | None]:
    if _is_model(kind):
        field = _fields(kind).get(str(part))
        return (_unwrapped(field.annotation), field.description) if field else (None, None)
    inner = get_args(kind)
    if get_origin(kind) is dict:
        return _unwrapped(inner[1]), None
    return (_unwrapped(inner[0]), None) if get_origin(kind) is tuple else (None, None)


def _fields(kind: type[BaseModel]) -> dict[str, FieldInfo]:
    """By the names that the file uses."""
    return {str(field.validation_alias or name): field for name, field in kind.model_fields.items()}


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _unwrapped(kind: Any) -> Any:
    """`X` of `X | None` and of `Annotated[X, ...]`."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(arm for arm in get_args(kind) if arm is not type(None))
    return get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
